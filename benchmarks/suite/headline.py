"""The numbers that README shows of a result: `python -m gshare.benchmarks.suite.headline FILE`."""

from __future__ import annotations

import sys
from pathlib import Path

from gshare.benchmarks.suite.looks import NO_LIMITS
from gshare.benchmarks.suite.record import ArmValues, MetricResult, Result, load
from gshare.benchmarks.suite.table import number, short

ROWS = (
    ("a launch, ns", "overhead.launch"),
    ("an allocation of 1 MiB and its release, ns", "overhead.alloc_free"),
    ("the same of 4 KiB beside 2000 live ones, ns", "overhead.alloc_free_live"),
    ("30 % alone, kernels of 100 us: off on average, points", "shares.alone_30_100us_mean"),
    ("30/70, kernels of 1 ms: off on average, points", "shares.pair_30_70_1ms_mean"),
    ("the same: off in the worst second, points", "shares.pair_30_70_1ms"),
    ("10/20/30/40, kernels of 1 ms: Jain's index", "fairness.unequal"),
    ("p99 of requests beside kernels of 0.2 ms, to alone", "priority.200us"),
    ("p99 of requests beside kernels of 2 ms, to alone", "priority.2ms"),
    ("two jobs at once, to one after another", "makespan.jobs_2"),
    ("ways to take memory that keep to the quota, %", "coverage.memory"),
    ("ways to launch that keep to the cap, %", "coverage.launches"),
    ("ways to find a function and to start that keep to the quota, %", "coverage.lookups"),
)
"""What it is called there, and the metric."""
CONTROLS = ("native", "timeslice")


def columns(result: Result) -> list[str]:
    """One for both arms without limits."""
    others = [arm for arm in result.options.arms if arm not in (*CONTROLS, "gshare")]
    return ["gshare", NO_LIMITS, *others]


def render(result: Result) -> str:
    """Medians with their 95 % intervals, where these are wider than what is shown."""
    by_id = {metric.id: metric for metric in result.metrics}
    names = columns(result)
    lines = [f"| | {' | '.join(names)} |", f"| --- |{' --- |' * len(names)}"]
    for what, metric_id in ROWS:
        cells = [_cell(_of(by_id[metric_id], name)) for name in names]
        lines.append(f"| {what} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _of(metric: MetricResult, column: str) -> ArmValues:
    names = CONTROLS if column == NO_LIMITS else (column,)
    found = [metric.arms[name] for name in names if name in metric.arms]
    return next((values for values in found if values.median is not None), found[0])


def _cell(found: ArmValues) -> str:
    if found.median is None or found.low is None or found.high is None:
        return short(found)
    middle, low, high = (number(value) for value in (found.median, found.low, found.high))
    return middle if low == high == middle else f"{middle} ({low} to {high})"


if __name__ == "__main__":
    print(render(load(Path(sys.argv[1]))), end="")
