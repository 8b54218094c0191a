"""Threads of one program share everything of the driver: ThreadSanitizer sees whether it is guarded."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from simulated import ROOT, Machine, compiled

SOURCES = ROOT / "shim" / "sim"
PARTS = [SOURCES / name for name in ("core", "driver", "stream", "memory", "graph", "code")]
PROGRAMS = ROOT / "tests" / "programs"
OPTIONS = ["-std=gnu17", "-O0", "-g", "-fsanitize=thread", "-w", *(f"-I{part}" for part in PARTS)]
HESITATING = ["-include", PROGRAMS / "hesitate.h"]
HELLO = """
#include <stdio.h>
int main(void) { puts("hello"); return 0; }
"""


@pytest.fixture(scope="module")
def threads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the program that does everything in many threads, with the driver's own code in it."""
    folder = tmp_path_factory.mktemp("threads")
    (folder / "hello.c").write_text(HELLO)
    hello = [folder / "hello.c", "-o", folder / "hello"]
    if subprocess.run(["gcc", *OPTIONS, *hello], capture_output=True, check=False).returncode:
        pytest.skip("gcc has no ThreadSanitizer here")
    said = subprocess.run([folder / "hello"], capture_output=True, text=True, check=False)
    if said.stdout != "hello\n":  # "unexpected memory mapping": addresses are more random than it can bear
        pytest.skip(f"ThreadSanitizer does not run here: {said.stderr.strip()}")

    files = [PROGRAMS / "threads.c", *(file for part in PARTS for file in sorted(part.glob("*.c")))]
    objects = compiled(files, [*OPTIONS, *HESITATING], folder)
    link = ["gcc", "-fsanitize=thread", *objects, "-ldl", "-lpthread", "-o", folder / "threads"]
    subprocess.run(link, check=True)
    return folder / "threads"


@pytest.mark.parametrize(
    ("profile", "seconds"),
    [("l4", 2), pytest.param("h200", 60, marks=[pytest.mark.soak, pytest.mark.timeout(400)])],
)
def test_no_two_threads_disturb_each_other(
    make_machine: Callable[..., Machine], threads: Path, profile: str, seconds: int
) -> None:
    machine = make_machine(profile)
    environ = {**machine.environ, "TSAN_OPTIONS": "halt_on_error=1 exitcode=66"}
    environ.pop("LD_LIBRARY_PATH", None)
    environ.pop("LD_PRELOAD", None)  # another sanitizer's runtime
    command = [threads, str(seconds), str(seconds)]
    done = subprocess.run(
        command, env=environ, capture_output=True, text=True, timeout=60 + seconds, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("done, ")
    device = machine.device()
    assert device["used_bytes"] == 0  # it has ended
    assert sum(p["kernels"] for p in device["processes"]) > 100
