"""`report.html`: tables and pictures of a result in one file, which needs none beside it, light or dark."""

from __future__ import annotations

import base64
import json
from html import escape
from pathlib import Path

from gshare.benchmarks.suite import pictures
from gshare.benchmarks.suite.looks import Theme
from gshare.benchmarks.suite.record import ArmValues, MetricResult, Result
from gshare.benchmarks.suite.stats import BETTER, WORSE
from gshare.benchmarks.suite.table import ANOTHER_ARM, number, short

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
td:first-child, th:first-child, td:last-child, th:last-child, .words td { text-align: left; }
td:first-child { min-width: 11em; } td + td { white-space: nowrap; } .words td { white-space: normal; }
small { opacity: .65; } .better { color: var(--good); } .worse { color: var(--bad); }
.wide, figure { overflow-x: auto; margin: 1em 0; } img { max-width: 100%; min-width: 36em; }
li { overflow-wrap: anywhere; }
"""


def write(result: Result, folder: Path) -> None:
    """The page and the pictures, into the folder."""
    drawn = pictures.draw(result, folder)
    parts = [_head(result), _pictures(drawn), _table(result), _skipped(result), _controls(result)]
    head = "<meta charset=utf-8><meta name=viewport content='width=device-width'><title>gshare bench</title>"
    page = f"<!doctype html><html lang=en>{head}<style>{STYLE}</style>"
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
        "Medians, and below them their 95 % bootstrap intervals; better and worse are paired by block, and "
        "said only where the whole interval says so.",
    ]
    return "<h1>gshare bench</h1><p>" + "<br>".join(escape(line) for line in lines) + "</p>"


def _controls(result: Result) -> str:
    """A line for each arm, one for each limit that does not act, and all for who wants to see them."""
    rows, lines = [], []
    for arm in dict.fromkeys(control.arm for control in result.controls):
        mine = [control for control in result.controls if control.arm == arm]
        held = [c.what for c in mine if c.in_effect]
        said = ", ".join(what for what in held if ", " not in what)
        loads = sum(", " in what for what in held)
        words = [f"{said}{f'; {loads} loads at their caps' if loads else ''}: in effect"] if held else []
        words += [
            f"{escape(c.what)}: <span class=worse>not in effect</span>, {escape(c.why)}"
            for c in mine
            if not c.in_effect
        ]
        rows.append(f"<tr><td>{escape(arm)}<td>{'<br>'.join(words)}")
        lines += [f"<li>{escape(arm)}, {escape(c.what)}: {escape(json.dumps(c.details))}" for c in mine]
    void = [
        f"<p class=worse>{escape(m.id)} means nothing: {escape(m.control)} does not fail it"
        for m in result.metrics
        if m.control_failed is False
    ]
    return (
        f"<h2>Do the limits act?</h2><div class=wide><table class=words>{''.join(rows)}</table></div>"
        f"{''.join(void)}<details><summary>Each control</summary><ul>{''.join(lines)}</ul></details>"
    )


def _cell(found: ArmValues) -> str:
    if found.median is None or found.low is None or found.high is None:
        why = short(found)
        shown = "-" if why in ANOTHER_ARM else why
        return f"<td title='{escape(found.skipped, quote=True)}'><small>{shown}</small>"
    text = f"<td>{number(found.median)}"
    if (found.low, found.high) != (found.median, found.median):
        text += f"<br><small>{number(found.low)} to {number(found.high)}</small>"
    return text


def _against(metric: MetricResult) -> str:
    words = []
    for verdict in BETTER, WORSE:
        names = [name for name, held in metric.against.items() if held.verdict == verdict]
        if names:
            words.append(f"<span class={verdict}>{verdict} than</span> {escape(', '.join(names))}")
    return "<br>".join(words)


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


def _pictures(drawn: list[tuple[pictures.Picture, Theme, Path]]) -> str:
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
