"""The comparison on the terminal."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from gshare.benchmarks.suite.record import ArmValues, MetricResult, Result
from gshare.benchmarks.suite.stats import BETTER, WORSE

ANOTHER_ARM = ("one program", "several programs")
NO_NUMBER = ("not offered", "not in effect", "not applicable", "no number", *ANOTHER_ARM)
"""How reasons begin that are no failures."""
MARK = {BETTER: "[green]better[/]", WORSE: "[red]worse[/]"}


def number(value: float) -> str:
    if value == 0:
        return "0"
    if abs(value) >= 1e6:
        return f"{value:,.0f}"
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def short(found: ArmValues) -> str:
    """Why there is no number, in few words."""
    return next((reason for reason in NO_NUMBER if found.skipped.startswith(reason)), "failed")


def cell(found: ArmValues) -> str:
    """The median, and its interval where there is one."""
    if found.median is None or found.low is None or found.high is None:
        why = short(found)
        return f"[dim]{'-' if why in ANOTHER_ARM else why}[/]"
    text = number(found.median)
    if len(found.values) > 1 and (found.low, found.high) != (found.median, found.median):
        text += f" [dim]\\[{number(found.low)}, {number(found.high)}][/]"
    return text


def against(metric: MetricResult) -> str:
    words = []
    for name, held in metric.against.items():
        mark = MARK.get(held.verdict)
        if mark:
            words.append(f"{mark} than {name}")
    return ", ".join(words)


def show(result: Result, console: Console) -> None:
    where = f"a simulated {result.device}" if result.simulated else result.device
    title = f"{where}, driver {result.driver}, {result.options.blocks} blocks, {result.date}"
    arms = result.options.arms
    table = Table(
        "metric", "unit", *arms, "gshare is", title=title, title_justify="left", box=None, pad_edge=False
    )
    group = ""
    for metric in result.metrics:
        if metric.group != group:
            table.add_row(f"[bold]{metric.group}[/]")
            group = metric.group
        table.add_row(metric.what, metric.unit, *(cell(metric.arms[arm]) for arm in arms), against(metric))
    console.print(table, highlight=False)
    for control in result.controls:
        if not control.in_effect:
            console.print(
                f"{control.arm}: its {control.what} limit is [red]not in effect[/]: {escape(control.why)}"
            )
    for text in reasons(result):
        console.print(text, highlight=False, markup=False)
    for metric in result.metrics:
        if metric.control_failed is False:
            console.print(f"[red]{metric.id} means nothing: {metric.control} does not fail it[/]")
    if any(m.must is not None and m.control not in m.arms for m in result.metrics):
        console.print(
            "What runs without limits was left out: nothing here shows that isolation was measured."
        )


def reasons(result: Result) -> list[str]:
    """Why arms have no number, each reason once."""
    found: dict[str, list[str]] = {}
    for metric in result.metrics:
        for arm, values in metric.arms.items():
            if values.skipped and not values.skipped.startswith((*ANOTHER_ARM, "not in effect")):
                found.setdefault(f"{arm}: {values.skipped}", []).append(metric.id)
    return [f"{why} ({', '.join(ids[:4])}{', …' if len(ids) > 4 else ''})" for why, ids in found.items()]
