"""A callgrind profile is summed by shared object."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from gshare.benchmarks import callgrind, loops

PROFILE = """\
version: 1
positions: line
events: Ir
summary: 1000

ob=(1) /lib/libgshare.so
fl=(1) launch.c
fn=(1) cuLaunchKernel
12 5
+3 2
* 1
cob=(2) /sim/libcuda.so.1
cfn=(2) cuLaunchKernel
calls=1 40
16 900
-2 4

ob=(2)
fn=(2)
40 600
41 300

fn=(3) helper
7 50

ob=(1)
fn=(1)
12 10
"""

PROGRAM = """
#include <stdlib.h>

struct loops_kernel { int (*launch)(void), (*sync)(void); void *more[3]; };
int loops_launch(const struct loops_kernel *, unsigned long batches, unsigned long batch, double *out_ns);

int noop(void) { return 0; }
int main(int argc, char **argv)
{
    struct loops_kernel kernel = { noop, noop };
    double out_ns[10];
    (void)argc;
    return loops_launch(&kernel, atoi(argv[1]), 100, out_ns);
}
"""


def test_own_costs_are_summed_and_the_costs_of_callees_are_not() -> None:
    sums = callgrind.instructions(PROFILE.splitlines())
    assert sums["libgshare.so", "cuLaunchKernel"] == 5 + 2 + 1 + 4 + 10
    assert sums["libcuda.so.1", "helper"] == 50
    assert callgrind.by_object(sums) == {"libgshare.so": 22, "libcuda.so.1": 600 + 300 + 50}


@pytest.mark.skipif(not callgrind.available(), reason="valgrind is not installed")
def test_only_the_counted_loop_is_collected(tmp_path: Path) -> None:
    """The sum of a loop over a no-op grows with its count and with nothing else that the process does."""
    program, profile = tmp_path / "program", tmp_path / "callgrind.out"
    subprocess.run(
        [
            shutil.which("cc") or "gcc",
            "-O1",
            "-x",
            "c",
            "-",
            "-o",
            program,
            "-x",
            "none",
            loops.LIBRARY,
            f"-Wl,-rpath,{loops.LIBRARY.parent}",
        ],
        input=PROGRAM,
        text=True,
        check=True,
    )
    sums = []
    for batches in ("2", "6"):
        subprocess.run([*callgrind.prefix(profile), program, batches], check=True)
        sums.append(callgrind.instructions(profile.read_text().splitlines())[program.name, "noop"])
    assert sums[0] > 0
    assert sums[1] == 3 * sums[0]
