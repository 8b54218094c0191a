"""A callgrind profile is summed by shared object."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gshare.benchmarks import callgrind

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
import sys
from gshare.benchmarks import loops

ffi = loops._ffi
ffi.cdef("int noop(void);")
noop = ffi.cast("void *", ffi.dlopen(sys.argv[1]).noop)
kernel = ffi.new("struct loops_kernel *", {"launch": noop, "sync": noop})
batches = int(sys.argv[2])
ffi.dlopen(str(loops.LIBRARY)).loops_launch(kernel, batches, 100, ffi.new("double[]", batches))
"""


def test_own_costs_are_summed_and_the_costs_of_callees_are_not() -> None:
    sums = callgrind.instructions(PROFILE.splitlines())
    assert sums["libgshare.so", "cuLaunchKernel"] == 5 + 2 + 1 + 4 + 10
    assert sums["libcuda.so.1", "helper"] == 50
    assert callgrind.by_object(sums) == {"libgshare.so": 22, "libcuda.so.1": 600 + 300 + 50}


@pytest.mark.skipif(not callgrind.available(), reason="valgrind is not installed")
def test_only_the_counted_loop_is_collected(tmp_path: Path) -> None:
    """The sum of a loop over a no-op grows with its count and with nothing else that the process does."""
    library, profile = tmp_path / "noop.so", tmp_path / "callgrind.out"
    subprocess.run(
        [shutil.which("cc") or "gcc", "-shared", "-fPIC", "-O1", "-x", "c", "-", "-o", str(library)],
        input="int noop(void) { return 0; }",
        text=True,
        check=True,
    )
    sums = []
    for batches in ("2", "6"):
        subprocess.run(
            [*callgrind.prefix(profile), sys.executable, "-c", PROGRAM, str(library), batches], check=True
        )
        sums.append(callgrind.instructions(profile.read_text().splitlines())[library.name, "noop"])
    assert sums[0] > 0
    assert sums[1] == 3 * sums[0]
