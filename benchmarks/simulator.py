"""What the simulated GPU itself costs, so that what gshare adds is visible: launches, allocations, starting.

A time is the least over several processes of each one's median: what else the machine does makes it longer,
nothing makes it shorter.  So a short run is held to the same budgets as a long one.  Starting is the median
of all programs that were started; in a short run, the least.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from gshare.benchmarks.arms import Arm
from gshare.benchmarks.results import Row
from gshare.cli.sandbox import Sandbox
from gshare.controller.errors import GshareError

START = Path(__file__).parent / "programs" / "start.c"


@dataclass(frozen=True)
class Budget:
    what: str
    limit: float
    unit: str


BUDGETS = {
    "launch_idle": Budget("cuLaunchKernel on an idle stream", 300, "ns"),
    "launch_filled": Budget("cuLaunchKernel into a filled queue", 300, "ns"),
    "alloc_free": Budget("cuMemAlloc + cuMemFree", 1000, "ns"),
    "alloc_free_many": Budget("the same with many live allocations", 1000, "ns"),
    "start": Budget("start of a C program to its first context", 5, "ms"),
    "growth": Budget("memory that many launches leave behind", 1, "MiB"),
}


@dataclass(frozen=True)
class Effort:
    """How much of each is run."""

    processes: int
    batches: int
    live: int
    starts: int
    launches: int


FULL = Effort(processes=5, batches=1000, live=100_000, starts=20, launches=10_000_000)
SMOKE = Effort(processes=3, batches=100, live=10_000, starts=20, launches=1_000_000)


def run(sandbox: Sandbox, *, smoke: bool, say: Callable[[str], None]) -> list[Row]:
    """Measure every row; `say` gets a word before each that takes a while."""
    if not sandbox.simulated:
        raise GshareError("gshare bench simulator", "it measures the simulated GPU", "add --sim")
    effort = SMOKE if smoke else FULL
    arm = Arm(sandbox, None)
    batches = f"--batches={effort.batches}"
    say("launches and allocations")
    rows = [
        _least("launch_idle", arm, effort, ("launch", batches, "--kernel-us=0.001")),
        _least("launch_filled", arm, effort, ("launch", batches, "--kernel-us=10")),
        _least("alloc_free", arm, effort, ("alloc-free", batches, "--live=10")),
        _least("alloc_free_many", arm, effort, ("alloc-free", batches, f"--live={effort.live}")),
    ]
    say("starting programs")
    rows.append(_start(arm, effort, smoke))
    say(f"{effort.launches} launches")
    rows.append(_growth(arm, effort))
    return rows


def _least(name: str, arm: Arm, effort: Effort, case: Sequence[str]) -> Row:
    medians_ns = [arm.ns(*case) for _ in range(effort.processes)]
    return _row(name, min(medians_ns), {"medians_ns": [round(ns, 1) for ns in medians_ns]})


def _start(arm: Arm, effort: Effort, smoke: bool) -> Row:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if not compiler:
        return _row("start", None, {}, note="not measured: there is no C compiler")
    program = arm.sandbox.directory / "start"
    library = Path(arm.environment["LD_LIBRARY_PATH"].split(":")[0], "libcuda.so.1")
    subprocess.run([compiler, "-O2", str(START), str(library), "-o", str(program)], check=True)
    done = subprocess.run(
        [program, str(effort.starts)], env=arm.environment, capture_output=True, text=True, check=True
    )
    taken_ms = [int(ns) / 1e6 for ns in done.stdout.split()]
    if min(taken_ms) < 0:
        raise GshareError("gshare bench simulator", "a program got no context", done.stderr.strip())
    taken = min(taken_ms) if smoke else median(taken_ms)
    return _row("start", taken, {"ms": [round(ms, 2) for ms in taken_ms]})


def _growth(arm: Arm, effort: Effort) -> Row:
    """Of the process's memory, the part of the machine that it has used included."""
    said: dict[str, Any] = arm.loops("launch-many", f"--launches={effort.launches}")
    before, after = said["resident_bytes"]
    return _row("growth", max(0, after - before) / 2**20, {"launches": said["count"]} | said)


def _row(name: str, value: float | None, details: dict[str, Any], note: str = "") -> Row:
    budget = BUDGETS[name]
    within = None if value is None else value <= budget.limit
    rounded = None if value is None else round(value, 3)
    return Row(name, budget.what, rounded, budget.unit, budget.limit, within, note, details)
