"""`report.html`: tables and pictures of a result in one file, which needs none beside it, light or dark."""

from __future__ import annotations

import base64
from html import escape
from pathlib import Path

from gshare.benchmarks.suite import pictures
from gshare.benchmarks.suite.record import ArmValues, MetricResult, Result
from gshare.benchmarks.suite.stats import BETTER, WORSE
from gshare.benchmarks.suite.table import number

STYLE = """
:root { color-scheme: light dark;
  --ink: #1f2328; --ground: #fff; --faint: #d0d7de; --good: #1a7f37; --bad: #cf222e; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6edf3; --ground: #0d1117; --faint: #30363d; --good: #3fb950; --bad: #f85149; }
}
body { font: 15px/1.45 system-ui, sans-serif; color: var(--ink); background: var(--ground); margin: 2em auto;
  max-width: 76em; padding: 0 1em; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
td, th { border-bottom: 1px solid var(--faint); padding: .2em .7em; text-align: right; vertical-align: top; }
td:first-child, th:first-child, td:last-child { text-align: left; }
small { opacity: .65; } .better { color: var(--good); } .worse { color: var(--bad); }
img { max-width: 100%; } .wide { overflow-x: auto; }
"""


def write(result: Result, folder: Path) -> None:
    """The page and the pictures, into the folder."""
    drawn = pictures.draw(result, folder)
    parts = [_head(result), _controls(result), _table(result), _pictures(drawn), _skipped(result)]
    page = (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>gshare bench</title><style>{STYLE}</style>"
    )
    (folder / "report.html").write_text(page + "\n".join(parts) + "</html>\n")


def _head(result: Result) -> str:
    machine, options = result.machine, result.options
    where = f"a simulated {result.device}" if result.simulated else result.device
    clock = ", shares on the virtual clock" if options.virtual_clock else ""
    load = " / ".join(f"{loads[0]:g}" for loads in (machine.load_before, machine.load_after))
    lines = [
        f"{where}, driver {result.driver}{clock}; gshare {result.gshare} {result.revision}",
        f"{machine.cpu}, {machine.cpus} cores, {machine.system}; load {load} before and after",
        f"{result.date}, {options.blocks} blocks, {result.seconds:g} s{', quick' if options.quick else ''}",
        "Medians, and in brackets the 95 % bootstrap interval; better and worse are paired by block, and "
        "said only where the whole interval says so.",
    ]
    return "<h1>gshare bench</h1><p>" + "<br>".join(escape(line) for line in lines) + "</p>"


def _controls(result: Result) -> str:
    rows = [
        f"<tr><td>{escape(c.arm)}<td>{c.what}<td>"
        + ("in effect" if c.in_effect else f"<span class=worse>not in effect</span>: {escape(c.why)}")
        for c in result.controls
    ]
    void = [
        f"<p class=worse>{escape(m.id)} means nothing: {escape(m.control)} does not fail it"
        for m in result.metrics
        if m.control_failed is False
    ]
    return "<h2>Do the limits act?</h2><table>" + "".join(rows) + "</table>" + "".join(void)


def _cell(found: ArmValues) -> str:
    if found.median is None or found.low is None or found.high is None:
        return f"<td title='{escape(found.skipped, quote=True)}'><small>-</small>"
    text = f"<td>{number(found.median)}"
    if (found.low, found.high) != (found.median, found.median):
        text += f" <small>[{number(found.low)}, {number(found.high)}]</small>"
    return text


def _against(metric: MetricResult) -> str:
    words = [
        f"<span class={held.verdict}>{held.verdict} than {escape(name)}</span>"
        for name, held in metric.against.items()
        if held.verdict in (BETTER, WORSE)
    ]
    return ", ".join(words)


def _table(result: Result) -> str:
    arms = result.options.arms
    head = "".join(f"<th>{escape(arm)}" for arm in arms)
    text = f"<h2>Numbers</h2><div class=wide><table><tr><th>metric<th>unit{head}<th>gshare is"
    group = ""
    for metric in result.metrics:
        if metric.group != group:
            group = metric.group
            text += f"<tr><th colspan={3 + len(arms)}>{group}"
        cells = "".join(_cell(metric.arms[arm]) for arm in arms)
        name = f"{escape(metric.what)}{f' <small>{metric.gvb}</small>' if metric.gvb else ''}"
        text += f"<tr><td>{name}<td>{metric.unit}{cells}<td>{_against(metric)}"
    return text + "</table></div>"


def _pictures(drawn: list[tuple[pictures.Picture, pictures.Theme, Path]]) -> str:
    data = {
        (picture.name, theme.name): base64.b64encode(path.read_bytes()).decode()
        for picture, theme, path in drawn
    }
    titles = {picture.name: picture.title for picture, _, _ in drawn}
    return "<h2>Pictures</h2>" + "".join(
        f"<figure><picture><source media='(prefers-color-scheme: dark)' "
        f"srcset='data:image/png;base64,{data[name, 'dark']}'>"
        f"<img alt='{escape(title)}' src='data:image/png;base64,{data[name, 'light']}'></picture></figure>"
        for name, title in titles.items()
    )


def _skipped(result: Result) -> str:
    reasons = {
        f"{arm}: {found.skipped}"
        for metric in result.metrics
        for arm, found in metric.arms.items()
        if found.skipped
    }
    return (
        "<h2>What has no number</h2><ul>" + "".join(f"<li>{escape(why)}" for why in sorted(reasons)) + "</ul>"
    )
