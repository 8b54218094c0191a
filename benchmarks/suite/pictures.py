"""The pictures of a result, drawn light and dark; each names the arms that have nothing in it, and why."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from textwrap import fill
from typing import Any, NamedTuple

from gshare.benchmarks.share_stats import percentile
from gshare.benchmarks.suite import stats
from gshare.benchmarks.suite.groups.coverage import ABSENT, DOCUMENTED, ENFORCED
from gshare.benchmarks.suite.looks import LOOKS, THEMES, Theme, called
from gshare.benchmarks.suite.metrics import RATIO
from gshare.benchmarks.suite.record import Result, Run
from gshare.benchmarks.suite.table import ANOTHER_ARM, short

WORDS = {ENFORCED: "yes", DOCUMENTED: "no, as documented", ABSENT: "not applicable"}
ABREAST = 3
"""Panels beside each other."""
FAR = 20
"""Latencies that are so many times each other are drawn on a logarithmic scale."""
DODGE = 1.4
"""Percent that arms are drawn beside each other."""


class Picture(NamedTuple):
    name: str
    title: str
    metric: str
    """The id of what it shows, whose reasons are given for arms that are not in it."""
    draw: Callable[[Result, Any, Theme], bool]
    """Of the result, the figure, the theme; False: there is nothing to show."""
    size: tuple[float, float] = (8, 3.8)


def all_runs(result: Result, group: str, trial: str, detail: str) -> dict[str, list[Run]]:
    """By arm, those that have this detail, in the order of their blocks."""
    runs = [run for run in result.runs if (run.group, run.trial) == (group, trial) and detail in run.details]
    runs.sort(key=lambda run: run.block)
    by_arm = {arm: [run for run in runs if run.arm == arm] for arm in result.options.arms if arm in LOOKS}
    return {arm: some for arm, some in by_arm.items() if some}


def _labelled(axes: Any, x: str, y: str, has_data: bool) -> bool:
    """What is on the axes, and which arm is which; the same `has_data`."""
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    if has_data:
        axes.legend(fontsize=8, frameon=False)
    return has_data


def _whiskers(found: Sequence[stats.Interval]) -> list[list[float]]:
    """How far intervals go below and above their medians."""
    return [[one.median - one.low for one in found], [one.high - one.median for one in found]]


def _share_over_time(result: Result, figure: Any, theme: Theme) -> bool:
    arms = all_runs(result, "shares", "pair_30_70_1ms", "course")
    down = -(-len(arms) // ABREAST)
    for index, (arm, (run, *_)) in enumerate(arms.items()):
        axes = figure.add_subplot(down, min(len(arms), ABREAST), index + 1)
        course = run.details["course"]
        for asked, column, width in zip(run.details["asked"], course["percent"], (1.8, 0.9), strict=True):
            label = f"asks for {asked:g} %"
            axes.plot(course["seconds"], column, color=theme.color(arm), linewidth=width, label=label)
            axes.axhline(asked, color=theme.ink, linestyle=":", linewidth=0.8)
        axes.set_title(called(arm), fontsize=9)
        axes.set_ylim(0, 118)
        axes.set_yticks(range(0, 101, 20))
        axes.set_xlabel("seconds")
        if index % ABREAST:
            axes.set_yticklabels([])
        else:
            axes.set_ylabel("GPU time, %")
        axes.legend(fontsize=7, frameon=False, loc="upper right", ncols=2)
    return bool(arms)


def _asked_against_got(result: Result, figure: Any, theme: Theme) -> bool:
    """A mark for each tenant of each trial, with the interval of what it got over the blocks."""
    got: dict[str, dict[tuple[str, int, float], list[float]]] = {}
    for run in result.runs:
        if run.group == "shares" and "got" in run.details and run.arm in LOOKS:
            tenants = enumerate(zip(run.details["asked"], run.details["got"], strict=True))
            for index, (asked, share) in tenants:
                got.setdefault(called(run.arm), {}).setdefault((run.trial, index, asked), []).append(share)
    axes = figure.add_subplot()
    axes.plot([0, 100], [0, 100], color=theme.faint, linewidth=1)
    names = {called(arm): arm for arm in result.options.arms if arm in LOOKS and called(arm) in got}
    for index, (name, arm) in enumerate(names.items()):
        medians = [stats.interval(values) for values in got[name].values()]
        places = [asked + (index - (len(names) - 1) / 2) * DODGE for _, _, asked in got[name]]
        axes.errorbar(
            places,
            [one.median for one in medians],
            _whiskers(medians),
            fmt=LOOKS[arm].mark,
            color=theme.color(arm),
            label=name,
            markersize=5,
            markerfacecolor="none",
            elinewidth=1,
        )
    return _labelled(axes, "asked for, %", "got, %", bool(names))


def _latencies(result: Result, figure: Any, theme: Theme) -> bool:
    arms = all_runs(result, "priority", "200us", "ms")
    drawn: list[tuple[str, str, Any, list[float]]]
    drawn = [("alone", theme.ink, "-", run.details["alone_ms"]) for run, *_ in [*arms.values()][:1]]
    drawn += [
        (called(arm), theme.color(arm), LOOKS[arm].line, run.details["ms"]) for arm, (run, *_) in arms.items()
    ]
    axes = figure.add_subplot()
    for name, color, line, values in drawn:
        ordered = sorted(values)
        parts = [100 * (i + 1) / len(ordered) for i in range(len(ordered))]
        label = f"{name}: p99 {percentile(ordered, 99):.1f} ms"
        axes.plot(ordered, parts, color=color, linestyle=line, label=label, linewidth=1.5)
    axes.axhline(99, color=theme.faint, linewidth=0.8)
    if drawn and max(max(values) for *_, values in drawn) > FAR * min(min(values) for *_, values in drawn):
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}")
    return _labelled(axes, "ms a request", "% of requests", bool(arms))


def _overhead(result: Result, figure: Any, theme: Theme) -> bool:
    """Bars from 1 on: what costs more goes up, what costs less goes down."""
    bare = {m.id: m for m in result.metrics if m.group == "overhead" and "native" in m.arms}
    ratios: dict[str, dict[int, stats.Interval]] = {}
    for place, metric in enumerate(bare.values()):
        for arm, found in metric.arms.items():
            ours, theirs = (
                {int(block): value for block, value in one.values.items()}
                for one in (found, metric.arms["native"])
            )
            if arm != "native" and arm in LOOKS and (pairs := stats.paired(ours, theirs, RATIO)):
                ratios.setdefault(arm, {})[place] = stats.interval(pairs)
    axes = figure.add_subplot()
    for index, (arm, found_at) in enumerate(ratios.items()):
        medians = list(found_at.values())
        axes.bar(
            [at + (index - (len(ratios) - 1) / 2) * 0.8 / len(ratios) for at in found_at],
            [one.median - 1 for one in medians],
            0.8 / len(ratios),
            bottom=1,
            yerr=_whiskers(medians),
            color=theme.color(arm),
            ecolor=theme.ink,
            error_kw={"elinewidth": 0.9},
            label=called(arm),
        )
    axes.axhline(1, color=theme.ink, linewidth=0.8)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:g}")
    labels = [fill(metric.what, 15, break_long_words=False) for metric in bare.values()]
    axes.set_xticks(range(len(labels)), labels, fontsize=6.5)
    return _labelled(axes, "", "times the bare call", bool(ratios))


def _scaling(result: Result, figure: Any, theme: Theme) -> bool:
    axes = figure.add_subplot()
    arms = all_runs(result, "scale", "tenants", "curve")
    counts: set[int] = set()
    for arm, runs in arms.items():
        points: dict[int, list[float]] = {}
        for point in (point for run in runs for point in run.details["curve"]):
            points.setdefault(point["tenants"], []).append(100 * point["busy"])
        medians = [stats.interval(values) for values in points.values()]
        counts |= points.keys()
        axes.errorbar(
            list(points),
            [one.median for one in medians],
            _whiskers(medians),
            color=theme.color(arm),
            linestyle=LOOKS[arm].line,
            marker=LOOKS[arm].mark,
            markerfacecolor="none",
            label=called(arm),
            markersize=5,
        )
    axes.set_xscale("log", base=2)
    axes.set_xticks(sorted(counts), [str(count) for count in sorted(counts)])
    return _labelled(axes, "equal tenants", "GPU time used, %", bool(arms))


def _coverage(result: Result, figure: Any, theme: Theme) -> bool:
    rows, arms = coverage(result)
    if not rows:
        return False
    axes = figure.add_subplot()
    for y, (_, _, verdicts) in enumerate(rows):
        for x, arm in enumerate(arms):
            if arm in verdicts:
                color, ink = theme.verdicts[verdicts[arm]]
                axes.add_patch(_rectangle(x, y, color))
                word = WORDS.get(verdicts[arm], "no")
                axes.text(x + 0.5, y + 0.5, word, ha="center", va="center", fontsize=7, color=ink)
    for at in _ends(kind for kind, _, _ in rows):
        axes.axhline(at, color=theme.ink, linewidth=1)
    axes.set_xlim(0, len(arms))
    axes.set_ylim(len(rows), 0)
    axes.set_xticks([x + 0.5 for x in range(len(arms))], [called(arm) for arm in arms], fontsize=8)
    axes.set_yticks([y + 0.5 for y in range(len(rows))], [name for _, name, _ in rows], fontsize=7)
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    return True


def coverage(result: Result) -> tuple[list[tuple[str, str, dict[str, str]]], list[str]]:
    """Rows of probes with their trial and each arm's verdict, and the arms that have any."""
    rows: dict[tuple[str, str], dict[str, str]] = {}
    for trial in "doors", "launches", "lookups":
        for arm, (run, *_) in all_runs(result, "coverage", trial, "verdicts").items():
            for name, verdict in run.details["verdicts"].items():
                rows.setdefault((trial, name), {})[arm] = verdict
    arms = [arm for arm in result.options.arms if any(arm in verdicts for verdicts in rows.values())]
    return [(trial, name, verdicts) for (trial, name), verdicts in rows.items()], arms


def _ends(kinds: Iterable[str]) -> list[int]:
    """Where one kind of rows ends and another begins."""
    found, at = [], 0
    for _, some in groupby(kinds):
        at += len(list(some))
        found.append(at)
    return found[:-1]


def _rectangle(x: float, y: float, color: str) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((x + 0.03, y + 0.06), 0.94, 0.88, color=color)


PICTURES: Sequence[Picture] = (
    Picture(
        "share_over_time",
        "Two programs that ask for 30 % and 70 %, kernels of 1 ms",
        "shares.pair_30_70_1ms",
        _share_over_time,
        (10, 3.2),
    ),
    Picture(
        "asked_against_got",
        "Shares of GPU time, asked for and got",
        "shares.alone_30_100us",
        _asked_against_got,
        (7, 5),
    ),
    Picture("latencies", "Requests of 5 ms beside a neighbour that saturates", "priority.200us", _latencies),
    Picture("overhead", "What calls cost", "overhead.launch", _overhead, (9, 4.2)),
    Picture("scaling", "The GPU's time that equal tenants use together", "scale.total", _scaling),
    Picture("coverage", "Ways round the limits: are they enforced?", "coverage.memory", _coverage, (8, 9.5)),
)


def absent(result: Result, metric_id: str) -> str:
    """The arms that have no number in a metric, and in few words why."""
    arms = next((metric.arms for metric in result.metrics if metric.id == metric_id), {})
    why = {
        arm: short(found)
        for arm, found in arms.items()
        if found.median is None and not found.skipped.startswith(ANOTHER_ARM)
    }
    return "; ".join(f"{called(arm) if arm in LOOKS else arm}: {reason}" for arm, reason in why.items())


def draw(result: Result, folder: Path) -> list[tuple[Picture, Theme, Path]]:
    """Each picture in each theme, as PNG."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    drawn = []
    for theme in THEMES:
        inks = ("text.color", "axes.labelcolor", "xtick.color", "ytick.color")
        grounds = ("figure.facecolor", "axes.facecolor", "savefig.facecolor")
        colors: Mapping[Any, Any] = {
            **dict.fromkeys(inks, theme.ink),
            **dict.fromkeys(grounds, theme.ground),
            "axes.edgecolor": theme.faint,
        }
        with matplotlib.rc_context(dict(colors)):
            for picture in PICTURES:
                figure = Figure(figsize=picture.size, dpi=120, layout="constrained")
                FigureCanvasAgg(figure)
                figure.suptitle(picture.title, fontsize=10)
                if picture.draw(result, figure, theme):
                    if why := absent(result, picture.metric):
                        figure.supxlabel(f"without a number: {why}", fontsize=7)
                    path = folder / f"{picture.name}-{theme.name}.png"
                    figure.savefig(path, metadata={"Software": None})
                    drawn.append((picture, theme, path))
    return drawn
