"""Tenants that keep one device busy: what they got of its time, second by second."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from gshare.benchmarks import share_stats as stats
from gshare.benchmarks.share_picture import bins
from gshare.benchmarks.share_stage import Stage
from gshare.benchmarks.share_stats import Sample
from gshare.benchmarks.suite.arms import Arm
from gshare.benchmarks.suite.ground import Ground, Load
from gshare.benchmarks.suite.metrics import Probe
from gshare.benchmarks.suite.rivals import Ask

US, MS = 1_000, 1_000_000
STEP_S = 0.1
SETTLED = 4
"""Times what an arm lets pass before it holds a probe, for each tenant: then it has been at work a while."""
MOST_S, MOST_S_REAL = 60, 10
TURNS_EACH = 1
"""So many are watched of a library under which one program after another has the device."""


class Effort(NamedTuple):
    """How long each is measured; on the virtual clock that is cheap."""

    settle_s: float
    seconds: float


def is_virtual(ground: Ground, arm: Arm) -> bool:
    """Whether the arm's programs are on the virtual clock."""
    return ground.place.virtual and not (arm.rival and not arm.rival.on_virtual_clock)


def effort(ground: Ground, arm: Arm, probe: Probe | None = None, tenants: int = 1) -> Effort:
    """Longer where the arm's limits begin to act late, or turns are long, so that it is seen at its work."""
    virtual = is_virtual(ground, arm)
    if virtual:
        least = Effort(1, 4) if ground.quick else Effort(2, 8)
    else:
        least = Effort(0.5, 2) if ground.quick else Effort(1, 3)
    after_s = ground.held_after_s.get((arm.name, probe), 0) if probe else 0
    settle_s = min(SETTLED * tenants * after_s, MOST_S if virtual else MOST_S_REAL)
    turns_s = TURNS_EACH * tenants * arm.rival.turn_s if arm.rival else 0
    return Effort(max(least.settle_s, settle_s), max(least.seconds, 2 * settle_s, turns_s))


def watched(
    ground: Ground,
    arm: Arm,
    tenants: Sequence[tuple[Load, Ask]],
    block: int,
    probe: Probe | None = None,
) -> list[Sample]:
    """What it looks like when all have been there for a while."""
    how = effort(ground, arm, probe, len(tenants))
    with ground.stage(arm, tenants, block) as stage:
        stage.go()
        stage.wait(how.settle_s)
        return stage.watch(how.seconds, STEP_S)


def got(samples: Sequence[Sample]) -> list[float]:
    """Each one's percent of the time that switches leave."""
    return [round(share, 3) for share in stats.shares(samples[0], samples[-1])]


def course(samples: Sequence[Sample]) -> dict[str, Any]:
    """Shares over time, for a picture."""
    times, columns = bins(samples)
    return {
        "seconds": [round(at, 3) for at in times],
        "percent": [[round(v, 2) for v in column] for column in columns],
    }


def request_latencies_ms(stage: Stage, seconds: float, settle_s: float) -> tuple[list[float], list[Sample]]:
    """Of the first tenant's requests over that time."""
    stage.go()
    stage.wait(settle_s)
    before = len(stage.latencies_ns(0))
    samples = stage.watch(seconds, STEP_S)
    return [ns / 1e6 for ns in stage.latencies_ns(0, before)], samples
