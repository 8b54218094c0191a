"""How alike those are treated who are to have the same, or parts: Jain's index, and the longest wait."""

from __future__ import annotations

from collections.abc import Sequence

from gshare.benchmarks import share_stats as stats
from gshare.benchmarks.suite.arms import COMPUTE, Arm
from gshare.benchmarks.suite.ground import Ground
from gshare.benchmarks.suite.metrics import DIFFERENCE, HIGHER, Found, Metric, Probe, Trial
from gshare.benchmarks.suite.rivals import Ask
from gshare.benchmarks.suite.steady import MS, US, course, effort, got

WAIT_STEP_S = 0.02


def _trial(
    name: str, what: str, caps: Sequence[float], ns: Sequence[int], needs: frozenset[str], must: float | None
) -> Trial:
    index = Metric(
        f"fairness.{name}", f"{what}: Jain's index of what each got of its part", "", HIGHER, must=must
    )
    wait = Metric(f"fairness.{name}_wait", f"{what}: the longest time without any", "ms", compared=DIFFERENCE)

    probe = Probe(ns[0], caps[0])

    def run(ground: Ground, arm: Arm, block: int) -> Found:
        how = effort(ground, arm, probe, len(caps))
        tenants = [({"ns": length}, Ask(percent=cap)) for cap, length in zip(caps, ns, strict=True)]
        with ground.stage(arm, tenants, block) as stage:
            stage.go()
            stage.wait(how.settle_s)
            samples = stage.watch(how.seconds, WAIT_STEP_S)
        found = got(samples)
        parts = [share / cap for share, cap in zip(found, caps, strict=True)]
        values = {index.id: stats.jain(parts), wait.id: max(stats.longest_wait_ms(samples))}
        return Found(values, {"asked": list(caps), "got": found, "course": course(samples)})

    return Trial(name, "fairness", (index, wait), run, needs, several=True, probe=probe, seconds=0.8)


TRIALS = [
    _trial("equal", "four equal ones, kernels of 1 ms", [25] * 4, [MS] * 4, frozenset(), None),
    _trial("unequal", "10/20/30/40, kernels of 1 ms", [10, 20, 30, 40], [MS] * 4, frozenset({COMPUTE}), 0.95),
    _trial(
        "lengths",
        "three equal ones, kernels of 50 us, 1 and 5 ms",
        [33] * 3,
        [50 * US, MS, 5 * MS],
        frozenset(),
        None,
    ),
]
