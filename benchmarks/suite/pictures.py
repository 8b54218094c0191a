"""The pictures of a result, drawn light and dark."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from gshare.benchmarks.suite.groups.coverage import ABSENT, DOCUMENTED, ENFORCED
from gshare.benchmarks.suite.record import Result, Run


class Theme(NamedTuple):
    name: str
    ground: str
    ink: str
    faint: str
    verdicts: Mapping[str, str]


THEMES = (
    Theme(
        "light",
        "#ffffff",
        "#1f2328",
        "#d0d7de",
        {ENFORCED: "#2da44e", DOCUMENTED: "#d4a72c", ABSENT: "#d0d7de"},
    ),
    Theme(
        "dark",
        "#0d1117",
        "#e6edf3",
        "#30363d",
        {ENFORCED: "#3fb950", DOCUMENTED: "#d29922", ABSENT: "#30363d"},
    ),
)
OPEN_COLOR = "#cf222e"
WORDS = {ENFORCED: "yes", DOCUMENTED: "no, as documented", ABSENT: "not applicable"}
COLORS = {
    "native": "#8c959f",
    "timeslice": "#8c959f",
    "gshare": "#0969da",
    "mps": "#8250df",
    "hami": "#bc4c00",
    "vgpu-manager": "#bf3989",
    "nvshare": "#1b7c83",
    "xsched": "#9a6700",
}


class Picture(NamedTuple):
    name: str
    title: str
    draw: Callable[[Result, Any, Theme], bool]
    """Of the result, the figure, the theme; False: there is nothing to show."""
    size: tuple[float, float] = (8, 3.6)


def first_runs(result: Result, group: str, trial: str) -> dict[str, Run]:
    """By arm, what its first block has."""
    found: dict[str, Run] = {}
    for run in sorted(result.runs, key=lambda run: run.block):
        if (run.group, run.trial) == (group, trial) and not run.failed:
            found.setdefault(run.arm, run)
    return {arm: found[arm] for arm in result.options.arms if arm in found}


def _labelled(axes: Any, x: str, y: str, has_data: bool) -> bool:
    """What is on the axes, and which arm is which; the same `has_data`."""
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    if has_data:
        axes.legend(fontsize=8, frameon=False)
    return has_data


def _share_over_time(result: Result, figure: Any, theme: Theme) -> bool:
    runs = {
        arm: run
        for arm, run in first_runs(result, "shares", "pair_30_70_1ms").items()
        if "course" in run.details
    }
    if not runs:
        return False
    for index, (arm, run) in enumerate(runs.items()):
        axes = figure.add_subplot(1, len(runs), index + 1)
        course = run.details["course"]
        for asked, column, shade in zip(run.details["asked"], course["percent"], (1.0, 0.55), strict=True):
            axes.plot(
                course["seconds"], column, color=COLORS[arm], alpha=shade, drawstyle="steps-post", linewidth=1
            )
            axes.axhline(asked, color=theme.ink, linestyle=":", linewidth=0.8)
        axes.set_title(arm, fontsize=9)
        axes.set_ylim(0, 102)
        axes.set_xlabel("seconds")
        if index:
            axes.set_yticklabels([])
        else:
            axes.set_ylabel("GPU time, %")
    return True


def _asked_against_got(result: Result, figure: Any, theme: Theme) -> bool:
    axes = figure.add_subplot()
    axes.plot([0, 100], [0, 100], color=theme.faint, linewidth=1)
    seen: set[str] = set()
    for run in result.runs:
        if run.group == "shares" and "got" in run.details and run.arm in COLORS:
            label = None if run.arm in seen else run.arm
            seen.add(run.arm)
            asked, got = run.details["asked"], run.details["got"]
            axes.plot(asked, got, "o", color=COLORS[run.arm], label=label, markersize=4, alpha=0.6)
    return _labelled(axes, "asked, %", "got, %", bool(seen))


def _latencies(result: Result, figure: Any, theme: Theme) -> bool:
    runs = {arm: run for arm, run in first_runs(result, "priority", "200us").items() if run.details.get("ms")}
    axes = figure.add_subplot()
    drawn = [("alone", theme.ink, next(iter(runs.values())).details["alone_ms"])] if runs else []
    drawn += [(arm, COLORS[arm], run.details["ms"]) for arm, run in runs.items()]
    for label, color, values in drawn:
        ordered = sorted(values)
        parts = [100 * (i + 1) / len(ordered) for i in range(len(ordered))]
        axes.plot(ordered, parts, color=color, label=label, linewidth=1.4)
    return _labelled(axes, "ms a request", "% of requests", bool(runs))


def _overhead(result: Result, figure: Any, theme: Theme) -> bool:
    metrics = [m for m in result.metrics if m.group == "overhead" and m.arms.get("native", None)]
    names = [m.id.partition(".")[2] for m in metrics]
    arms = [arm for arm in result.options.arms if any(m.arms[arm].median is not None for m in metrics)]
    arms = [arm for arm in arms if arm != "native"]
    if not metrics or not arms:
        return False
    axes = figure.add_subplot()
    for index, arm in enumerate(arms):
        ratios = [(m.arms[arm].median or 0) / (m.arms["native"].median or 1) for m in metrics]
        places = [i + (index - (len(arms) - 1) / 2) * 0.8 / len(arms) for i in range(len(metrics))]
        axes.bar(places, ratios, 0.8 / len(arms), color=COLORS[arm], label=arm)
    axes.axhline(1, color=theme.ink, linewidth=0.8)
    axes.set_yscale("log")
    axes.set_xticks(range(len(names)), names, rotation=20, fontsize=8)
    return _labelled(axes, "", "times the bare call", True)


def _scaling(result: Result, figure: Any, theme: Theme) -> bool:
    axes = figure.add_subplot()
    runs = first_runs(result, "scale", "tenants")
    for arm, run in runs.items():
        curve = run.details["curve"]
        axes.plot(
            [point["tenants"] for point in curve],
            [100 * point["busy"] for point in curve],
            "o-",
            color=COLORS[arm],
            label=arm,
            markersize=4,
        )
    axes.set_xscale("log", base=2)
    return _labelled(axes, "equal tenants", "GPU time used, %", bool(runs))


def _coverage(result: Result, figure: Any, theme: Theme) -> bool:
    rows, arms = coverage(result)
    if not rows:
        return False
    axes = figure.add_subplot()
    for y, (_, verdicts) in enumerate(rows):
        for x, arm in enumerate(arms):
            if arm in verdicts:
                color = theme.verdicts.get(verdicts[arm], OPEN_COLOR)
                axes.add_patch(_rectangle(x, y, color))
                word = WORDS.get(verdicts[arm], "no")
                axes.text(x + 0.5, y + 0.5, word, ha="center", va="center", fontsize=7, color=theme.ground)
    axes.set_xlim(0, len(arms))
    axes.set_ylim(len(rows), 0)
    axes.set_xticks([x + 0.5 for x in range(len(arms))], arms, fontsize=8)
    axes.set_yticks([y + 0.5 for y in range(len(rows))], [name for name, _ in rows], fontsize=7)
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    return True


def coverage(result: Result) -> tuple[list[tuple[str, dict[str, str]]], list[str]]:
    """Rows of probes, with each arm's verdict, and the arms that have any."""
    rows: dict[str, dict[str, str]] = {}
    for trial in "doors", "launches", "lookups":
        for arm, run in first_runs(result, "coverage", trial).items():
            for name, verdict in run.details.get("verdicts", {}).items():
                rows.setdefault(name, {})[arm] = verdict
    arms = [arm for arm in result.options.arms if any(arm in verdicts for verdicts in rows.values())]
    return list(rows.items()), arms


def _rectangle(x: float, y: float, color: str) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((x + 0.03, y + 0.06), 0.94, 0.88, color=color)


PICTURES: Sequence[Picture] = (
    Picture("share_over_time", "30 % and 70 % with kernels of 1 ms", _share_over_time, (11, 3)),
    Picture("asked_against_got", "Asked against got", _asked_against_got, (5, 4.6)),
    Picture("latencies", "Requests beside a saturating neighbour", _latencies),
    Picture("overhead", "What calls cost", _overhead),
    Picture("scaling", "All tenants together", _scaling),
    Picture("coverage", "Ways round the limits: are they enforced?", _coverage, (8, 9.5)),
)


def draw(result: Result, folder: Path) -> list[tuple[Picture, Theme, Path]]:
    """Each picture in each theme, as PNG."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    drawn = []
    for theme in THEMES:
        colors: dict[Any, Any] = dict.fromkeys(
            ("text.color", "axes.labelcolor", "xtick.color", "ytick.color"), theme.ink
        )
        grounds: dict[Any, Any] = dict.fromkeys(
            ("figure.facecolor", "axes.facecolor", "savefig.facecolor"), theme.ground
        )
        with matplotlib.rc_context({**colors, **grounds, "axes.edgecolor": theme.faint}):
            for picture in PICTURES:
                figure = Figure(figsize=picture.size, dpi=96, layout="constrained")
                FigureCanvasAgg(figure)
                figure.suptitle(picture.title, fontsize=10)
                if picture.draw(result, figure, theme):
                    path = folder / f"{picture.name}-{theme.name}.png"
                    figure.savefig(path, metadata={"Software": None})
                    drawn.append((picture, theme, path))
    return drawn
