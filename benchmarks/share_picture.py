"""The picture of a case: each tenant's share over time, beside what it asked for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gshare.benchmarks.share_stage import Tenant
from gshare.benchmarks.share_stats import Sample, shares, windows
from gshare.controller.errors import GshareError

BIN_S = 0.1
MOST_NAMED = 8


def bins(samples: Sequence[Sample]) -> tuple[list[float], list[list[float]]]:
    """When each bin begins, in seconds, and the shares in it, tenant by tenant."""
    times, rows, until_ns = [], [], 0
    for before, after in windows(samples, BIN_S):
        if before.elapsed_ns >= until_ns:
            until_ns = after.elapsed_ns
            times.append((before.elapsed_ns - samples[0].elapsed_ns) / 1e9)
            rows.append(shares(before, after))
    return times, [list(column) for column in zip(*rows, strict=True)]


def require() -> None:
    """Raise where no picture can be drawn."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise GshareError(
            "gshare bench shares", "pictures need matplotlib", "pip install 'gshare[bench]'"
        ) from None


def draw(path: Path, title: str, samples: Sequence[Sample], tenants: Sequence[Tenant]) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    times, columns = bins(samples)
    figure = Figure(figsize=(7, 3.2), dpi=72, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for index, (tenant, column) in enumerate(zip(tenants, columns, strict=True)):
        color = f"C{index % 10}"
        label = tenant.name or (f"asked {tenant.asked:g} %" if tenant.asked is not None else "the other")
        axes.plot(times, column, color=color, label=label, drawstyle="steps-post", linewidth=1)
        if tenant.asked is not None:
            axes.axhline(tenant.asked, color=color, linestyle="--", linewidth=0.7)
    axes.set_xlabel("seconds")
    axes.set_ylabel("GPU time, %")
    axes.set_ylim(bottom=0)
    axes.set_title(title, fontsize=8)
    if len(tenants) <= MOST_NAMED:
        axes.legend(fontsize=7, loc="upper right")
    figure.savefig(path, metadata={"Software": None})
