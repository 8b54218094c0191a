"""What changed from one result to another: each arm's medians, and whether the intervals lie apart."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from gshare.benchmarks.suite.metrics import LOWER
from gshare.benchmarks.suite.record import ArmValues, MetricResult, Result
from gshare.benchmarks.suite.stats import BETTER, SAME, WORSE
from gshare.benchmarks.suite.table import number

APPEARED, VANISHED = "now measured", "no longer measured"
MARK = {BETTER: "[green]better[/]", WORSE: "[red]worse[/]", VANISHED: f"[red]{VANISHED}[/]"}


class Change(NamedTuple):
    metric: str
    unit: str
    arm: str
    before: float | None
    after: float | None
    verdict: str


def changes(before: Result, after: Result) -> Iterator[Change]:
    """Of every metric and arm that one of the two has a number of."""
    was = {metric.id: metric for metric in before.metrics}
    for metric in after.metrics:
        old = was.pop(metric.id, None)
        for arm, now in metric.arms.items():
            then = old.arms.get(arm, ArmValues()) if old else ArmValues()
            if then.median is not None or now.median is not None:
                verdict = _verdict(metric, then, now)
                yield Change(metric.id, metric.unit, arm, then.median, now.median, verdict)
    for metric in was.values():
        for arm, then in metric.arms.items():
            if then.median is not None:
                yield Change(metric.id, metric.unit, arm, then.median, None, VANISHED)


def _verdict(metric: MetricResult, then: ArmValues, now: ArmValues) -> str:
    """Not paired: the two runs had no blocks in common."""
    if then.low is None or then.high is None:
        return APPEARED
    if now.low is None or now.high is None:
        return VANISHED
    if now.low <= then.high and then.low <= now.high:
        return SAME
    return BETTER if (now.high < then.low) == (metric.better == LOWER) else WORSE


def _where(result: Result) -> str:
    return f"{result.machine.cpu} ({result.machine.host})"


def _short(result: Result, rival: str) -> str:
    return result.options.rivals[rival][:12]


def _when(result: Result) -> str:
    return f"{result.revision or result.gshare}, measured {result.date}, {result.options.blocks} blocks"


def show(before: Result, after: Result, console: Console) -> None:
    """What changed; and where the runs cannot be held against each other, that."""
    rivals = before.options.rivals.keys() & after.options.rivals.keys()
    for what, a, b in (
        ("device", before.device, after.device),
        ("driver", before.driver, after.driver),
        ("simulated", before.simulated, after.simulated),
        ("virtual clock", before.options.virtual_clock, after.options.virtual_clock),
        ("machine", _where(before), _where(after)),
        ("quick", before.options.quick, after.options.quick),
        *((f"{name}", *(_short(one, name) for one in (before, after))) for name in sorted(rivals)),
    ):
        if a != b:
            console.print(f"[yellow]not the same {what}: {a}, then {b}[/]", highlight=False)
    for name, one in ("before", before), ("after", after):
        console.print(f"{name}: {_when(one)}", highlight=False, markup=False)
    found = list(changes(before, after))
    told = [change for change in found if change.verdict != SAME]
    table = Table("metric", "unit", "arm", "before", "after", "", box=None, pad_edge=False)
    for change in told:
        values = ("-" if value is None else number(value) for value in (change.before, change.after))
        verdict = MARK.get(change.verdict, change.verdict)
        table.add_row(change.metric, change.unit, change.arm, *values, verdict)
    if told:
        console.print(table, highlight=False)
    console.print(f"{len(found) - len(told)} of {len(found)} numbers show no difference.", highlight=False)
