"""How soon shares are right again after something has happened: other limits, an arrival, an end."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gshare.benchmarks import share_stats as stats
from gshare.benchmarks.share_stage import Stage
from gshare.benchmarks.suite import arms
from gshare.benchmarks.suite.arms import CHANGE, COMPUTE, Arm
from gshare.benchmarks.suite.ground import Ground
from gshare.benchmarks.suite.metrics import DIFFERENCE, Found, Metric, Probe, Trial
from gshare.benchmarks.suite.rivals import Ask
from gshare.benchmarks.suite.steady import US, course

LOAD_NS = 200 * US
STEP_S = 0.02
WATCHED_S = 2.0
NEVER_MS = WATCHED_S * 1000
TOLERANCE = 0.1


def _reverse(stage: Stage) -> None:
    for tenant, percent in enumerate((80, 20)):
        stage.ask(tenant, arms.limits(Ask(percent=percent)))


def _arrive(stage: Stage) -> None:
    """The second one begins to launch."""
    stage.go(1)


def _trial(
    name: str,
    what: str,
    asks: Sequence[Ask],
    happens: Callable[[Stage], None],
    wanted: tuple[float | None, ...],
    needs: frozenset[str],
    begin: tuple[int, ...] = (0, 1),
) -> Trial:
    settled = Metric(
        f"adaptation.{name}", f"{what}: until shares are right and stay so", "ms", compared=DIFFERENCE
    )

    probe = Probe(LOAD_NS, asks[0].percent) if asks[0].percent else None

    def run(ground: Ground, arm: Arm, block: int) -> Found:
        with ground.stage(arm, [({"ns": LOAD_NS}, ask) for ask in asks], block) as stage:
            stage.go(*begin)
            stage.wait(1)
            before = stage.watch(0.5, STEP_S)
            happens(stage)
            after = stage.watch(WATCHED_S, STEP_S)
        taken = stats.settled_ms(after, before[-1].elapsed_ns, wanted, TOLERANCE)
        details = {"never": taken is None, "course": course([*before, *after[1:]])}
        return Found({settled.id: NEVER_MS if taken is None else taken}, details)

    return Trial(name, "adaptation", (settled,), run, needs, several=True, probe=probe, seconds=0.8)


HALF = Ask(percent=50)
TRIALS = [
    _trial(
        "change",
        "20/80 become 80/20 by a command",
        [Ask(percent=20), Ask(percent=80)],
        _reverse,
        (80, 20),
        frozenset({COMPUTE, CHANGE}),
    ),
    _trial(
        "arrival", "a second one at 50 % begins", [HALF, HALF], _arrive, (50, 50), frozenset({COMPUTE}), (0,)
    ),
    _trial(
        "departure",
        "one of two equal ones leaves",
        [Ask(weight=1)] * 2,
        lambda stage: stage.leave(1),
        (100, None),
        frozenset(),
    ),
    _trial(
        "death",
        "one of two equal ones is killed",
        [Ask(weight=1)] * 2,
        lambda stage: stage.kill(1),
        (100, None),
        frozenset(),
    ),
]
