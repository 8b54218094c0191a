"""What gshare costs: instructions and nanoseconds of each hooked launch beside the bare driver; starting up.

Instructions are counted in libgshare.so alone, so they do not depend on the machine or on the driver; times
are taken bare and under `gshare run` in turn within one run, and compared as a ratio.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gshare.benchmarks.arms import Arm
from gshare.benchmarks.budgets import Budget, Budgets
from gshare.benchmarks.results import Row
from gshare.cli.sandbox import GSHARE, Sandbox

BUDGETS = Budgets(
    {
        "launch_unlimited": Budget(
            "cuLaunchKernel, no compute limit, over the bare call", 15, "instructions"
        ),
        "launch_limited": Budget(
            "cuLaunchKernel, limited and never throttled, 100 us kernels", 80, "instructions"
        ),
        "run_true": Budget("gshare run true, to python -c 'import click'", 2.0, "times"),
        "cold_start": Budget("gshare run with a limit and no controller running", 1.0, "seconds"),
    }
)

MEMORY_LIMIT = ["--mem=8G"]
BOTH_LIMITS = ["--mem=8G", "--compute=100%"]


@dataclass(frozen=True)
class Effort:
    """How much of each is run."""

    rounds: int
    batches: int
    paced: int
    starts: int


FULL = Effort(rounds=5, batches=200, paced=50, starts=20)
SMOKE = Effort(rounds=2, batches=20, paced=10, starts=3)


def run(sandbox: Sandbox, *, smoke: bool, say: Callable[[str], None]) -> list[Row]:
    """Measure every row; `say` gets a word before each that takes a while."""
    effort = SMOKE if smoke else FULL
    rows: list[Row] = []
    for measure in (_launches, _starts):
        say(measure.__doc__ or "")
        rows += measure(sandbox, effort, smoke)
    return rows


def _launches(sandbox: Sandbox, effort: Effort, smoke: bool) -> list[Row]:
    """kernel launches"""
    bare, unlimited, limited = Arm(sandbox, None), Arm(sandbox, MEMORY_LIMIT), Arm(sandbox, BOTH_LIMITS)
    burst = ("launch", f"--batches={effort.batches}")
    paced = ("launch-paced", f"--batches={effort.paced}")
    return [
        BUDGETS.instructions("launch_unlimited", bare, unlimited, ("launch", "--batches=8"), smoke),
        BUDGETS.instructions("launch_limited", bare, limited, ("launch-paced", "--batches=10"), smoke),
        BUDGETS.nanoseconds("launch_unlimited", bare, unlimited, burst, effort.rounds),
        BUDGETS.nanoseconds("launch_limited", bare, limited, paced, effort.rounds),
    ]


def _starts(sandbox: Sandbox, effort: Effort, smoke: bool) -> list[Row]:
    """command start-up"""
    _seconds(sandbox, [*GSHARE, "controller", "stop"], check=False)
    rows = []
    if sandbox.simulated:  # the user's own controller is not ours to stop
        cold = _seconds(sandbox, sandbox.run(MEMORY_LIMIT, ["true"]))
        rows.append(BUDGETS.row("cold_start", cold, smoke))
    _seconds(sandbox, [*GSHARE, "controller", "start"])
    click_s, true_s = [], []
    for _ in range(effort.starts):
        click_s.append(_seconds(sandbox, [sys.executable, "-c", "import click"]))
        true_s.append(_seconds(sandbox, [*GSHARE, "run", "true"]))
    details = {"import_click_s": statistics.median(click_s), "run_true_s": statistics.median(true_s)}
    return [
        *rows,
        BUDGETS.row("run_true", details["run_true_s"] / details["import_click_s"], smoke, details=details),
    ]


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
