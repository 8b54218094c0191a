"""What gshare costs: instructions and nanoseconds of each hooked call beside the bare driver; starting up.

Instructions are counted in libgshare.so alone, so they do not depend on the machine or on the driver; times
are taken bare and under `gshare run` in turn within one run, and compared as a ratio.
"""

from __future__ import annotations

import math
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from gshare.benchmarks import callgrind
from gshare.benchmarks.arms import Arm, Instructions
from gshare.benchmarks.results import Row
from gshare.cli.sandbox import GSHARE, Sandbox

SHIM, DRIVER = "libgshare.so", "libcuda.so"


@dataclass(frozen=True)
class Budget:
    what: str
    limit: float
    unit: str

    @property
    def by_the_clock(self) -> bool:
        """Whether a busy machine can spoil it: smoke runs then fail only far over the limit."""
        return self.unit != "instructions"


BUDGETS = {
    "launch_unlimited": Budget("cuLaunchKernel, no compute limit, over the bare call", 15, "instructions"),
    "launch_limited": Budget(
        "cuLaunchKernel, limited and never throttled, 100 us kernels", 80, "instructions"
    ),
    "alloc_free": Budget("cuMemAlloc + cuMemFree, over the bare calls", 400, "instructions"),
    "alloc_free_growth": Budget("the same with many live allocations, to with few", 1.2, "times"),
    "init": Budget("cuInit in many processes at once, p99, to bare", 2.0, "times"),
    "run_true": Budget("gshare run true, to python -c 'import click'", 2.0, "times"),
    "cold_start": Budget("gshare run with a limit and no controller running", 1.0, "seconds"),
}
SMOKE_HEADROOM = 10.0

MEMORY_LIMIT = ["--mem=8G"]
BOTH_LIMITS = ["--mem=8G", "--compute=100%"]


@dataclass(frozen=True)
class Effort:
    """How much of each is run."""

    rounds: int
    storms: int
    batches: int
    paced: int
    live: int
    processes: int
    starts: int


FULL = Effort(rounds=5, storms=9, batches=200, paced=50, live=100_000, processes=200, starts=20)
SMOKE = Effort(rounds=2, storms=5, batches=20, paced=10, live=10_000, processes=20, starts=3)


def run(sandbox: Sandbox, *, smoke: bool, say: Callable[[str], None]) -> list[Row]:
    """Measure every row; `say` gets a word before each that takes a while."""
    effort = SMOKE if smoke else FULL
    rows: list[Row] = []
    for measure in (_launches, _allocations, _init, _starts):
        say(measure.__doc__ or "")
        rows += measure(sandbox, effort, smoke)
    return rows


def _launches(sandbox: Sandbox, effort: Effort, smoke: bool) -> list[Row]:
    """kernel launches"""
    bare, unlimited, limited = Arm(sandbox, None), Arm(sandbox, MEMORY_LIMIT), Arm(sandbox, BOTH_LIMITS)
    burst = ("launch", f"--batches={effort.batches}")
    paced = ("launch-paced", f"--batches={effort.paced}")
    return [
        _instructions("launch_unlimited", bare, unlimited, ("launch", "--batches=8"), smoke),
        _instructions("launch_limited", bare, limited, ("launch-paced", "--batches=10"), smoke),
        _nanoseconds("launch_unlimited", bare, unlimited, burst, effort),
        _nanoseconds("launch_limited", bare, limited, paced, effort),
    ]


def _allocations(sandbox: Sandbox, effort: Effort, smoke: bool) -> list[Row]:
    """allocations"""
    bare, limited = Arm(sandbox, None), Arm(sandbox, MEMORY_LIMIT)
    few, many = ("alloc-free", "--live=10"), ("alloc-free", f"--live={effort.live}")
    count = ("--batches=10", "--batch=100")
    with_few = _instructions("alloc_free", bare, limited, (*few, *count), smoke)
    with_many = _instructions("alloc_free", bare, limited, (*many, *count), smoke)
    growth = with_many.value / with_few.value if with_many.value and with_few.value else None
    details = {"live": [10, effort.live], "instructions": [with_few.value, with_many.value]}
    return [
        with_few,
        _row("alloc_free_growth", growth, smoke, note=with_few.note, details=details),
        _nanoseconds("alloc_free", bare, limited, few, effort),
    ]


def _init(sandbox: Sandbox, effort: Effort, smoke: bool) -> list[Row]:
    """many processes starting at once"""
    case = ("init", f"--processes={effort.processes}")
    bare, limited = Arm(sandbox, None), Arm(sandbox, MEMORY_LIMIT)
    p99_ns = [(_p99(bare.loops(*case)["ns"]), _p99(limited.loops(*case)["ns"])) for _ in range(effort.storms)]
    value = statistics.median(b for _, b in p99_ns) / statistics.median(a for a, _ in p99_ns)
    details = {
        "processes": effort.processes,
        "bare_p99_ns": [a for a, _ in p99_ns],
        "gshare_p99_ns": [b for _, b in p99_ns],
    }
    return [_row("init", value, smoke, details=details)]


def _starts(sandbox: Sandbox, effort: Effort, smoke: bool) -> list[Row]:
    """command start-up"""
    _seconds(sandbox, [*GSHARE, "controller", "stop"], check=False)
    rows = []
    if sandbox.simulated:  # the user's own controller is not ours to stop
        cold = _seconds(sandbox, sandbox.run(MEMORY_LIMIT, ["true"]))
        rows.append(_row("cold_start", cold, smoke))
    _seconds(sandbox, [*GSHARE, "controller", "start"])
    click_s, true_s = [], []
    for _ in range(effort.starts):
        click_s.append(_seconds(sandbox, [sys.executable, "-c", "import click"]))
        true_s.append(_seconds(sandbox, [*GSHARE, "run", "true"]))
    details = {"import_click_s": statistics.median(click_s), "run_true_s": statistics.median(true_s)}
    return [
        *rows,
        _row("run_true", details["run_true_s"] / details["import_click_s"], smoke, details=details),
    ]


def _instructions(name: str, bare: Arm, hooked: Arm, case: Sequence[str], smoke: bool) -> Row:
    """Instructions of libgshare a call; beside it what the driver itself did, with and without."""
    if callgrind.available():
        counts = hooked.instructions(*case)
        ours = {name: count for (library, name), count in counts.items() if library == SHIM}
        details: dict[str, Any] = {
            "by": "callgrind",
            "driver": _of(counts, DRIVER),
            "functions": {
                name: round(ours[name], 1) for name in sorted(ours, key=ours.__getitem__, reverse=True)[:16]
            },
        }
        if not smoke:
            details["driver_bare"] = _of(bare.instructions(*case), DRIVER)
        return _row(name, _of(counts, SHIM), smoke, details=details)
    return _row(name, None, smoke, note="not measured: valgrind is not installed")


def _nanoseconds(name: str, bare: Arm, hooked: Arm, case: Sequence[str], effort: Effort) -> Row:
    """Nanoseconds added to one call, bare and hooked in turn; reported, without a budget."""
    pairs = [(bare.ns(*case), hooked.ns(*case)) for _ in range(effort.rounds)]
    ratio = statistics.median(b / a for a, b in pairs)
    details = {
        "bare_ns": [round(a, 1) for a, _ in pairs],
        "gshare_ns": [round(b, 1) for _, b in pairs],
        "ratio": ratio,
    }
    what = BUDGETS[name].what.replace(", over the bare calls", "").replace(", over the bare call", "")
    value = round(statistics.median(b - a for a, b in pairs), 1)
    return Row(f"{name}_ns", f"{what}, added", value, "ns", details=details)


def _row(
    name: str, value: float | None, smoke: bool, note: str = "", details: dict[str, Any] | None = None
) -> Row:
    budget = BUDGETS[name]
    headroom = SMOKE_HEADROOM if smoke and budget.by_the_clock else 1.0
    within = None if value is None else value <= budget.limit * headroom
    rounded = None if value is None else round(value, 3)
    return Row(name, budget.what, rounded, budget.unit, budget.limit, within, note, details or {})


def _of(counts: Instructions, library: str) -> float:
    return round(sum(count for (name, _), count in counts.items() if name.startswith(library)), 1)


def _p99(samples: list[float]) -> float:
    return sorted(samples)[math.ceil(0.99 * len(samples)) - 1]


def _seconds(sandbox: Sandbox, command: Sequence[str], *, check: bool = True) -> float:
    start = time.perf_counter()
    subprocess.run(
        command,
        env=sandbox.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=check,
        timeout=60,
    )
    return time.perf_counter() - start
