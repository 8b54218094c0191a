"""Whether tenants get the part of the GPU's time that they are to have, second by second."""

from __future__ import annotations

from collections.abc import Sequence

from gshare.benchmarks import share_stats as stats
from gshare.benchmarks.suite.arms import COMPUTE, Arm
from gshare.benchmarks.suite.ground import Ground, Load
from gshare.benchmarks.suite.metrics import DIFFERENCE, Found, Metric, Probe, Trial
from gshare.benchmarks.suite.rivals import Ask
from gshare.benchmarks.suite.steady import MS, US, course, got, watched

MUST_POINTS = 10.0
"""What runs without limits is farther off in each of these."""
KERNELS = {"100us": 100 * US, "1ms": MS, "5ms": 5 * MS, "20ms": 20 * MS}


WORK: dict[str, Load] = {
    "arithmetic": {"kind": "fma", "ns": 5000, "sigma": 0},
    "copies": {"kind": "copy", "ns": 200, "sigma": 0},
    "chases": {"kind": "chase", "ns": 300, "sigma": 0},
}
"""About 200 us each; the GPU says how long."""


def _computes(ground: Ground) -> str:
    return "not applicable: kernels of the simulated GPU compute nothing" if ground.simulated else ""


def _trial(name: str, what: str, caps: Sequence[float], loads: Sequence[Load], gvb: str = "") -> Trial:
    metric = Metric(
        f"shares.{name}",
        f"{what}: the farthest off in any second",
        "points",
        compared=DIFFERENCE,
        must=MUST_POINTS,
        gvb=gvb,
    )
    mean = Metric(f"shares.{name}_mean", f"{what}: off on average", "points", compared=DIFFERENCE)

    is_work = "kind" in loads[0]
    probe = None if is_work else Probe(loads[0]["ns"], caps[0])

    def run(ground: Ground, arm: Arm, block: int) -> Found:
        tenants = [(load, Ask(percent=cap)) for cap, load in zip(caps, loads, strict=True)]
        samples = watched(ground, arm, tenants, block, probe)
        found = got(samples)
        off = max(abs(share - cap) for share, cap in zip(found, caps, strict=True))
        details = {"asked": list(caps), "got": found, "course": course(samples)}
        return Found({metric.id: stats.points_off(samples, list(caps)), mean.id: off}, details)

    return Trial(
        name,
        "shares",
        (metric, mean),
        run,
        frozenset({COMPUTE}),
        several=len(caps) > 1,
        probe=probe,
        unfit=_computes if is_work else lambda ground: "",
        seconds=0.5,
    )


def _spin(*ns: int) -> list[Load]:
    return [{"ns": length} for length in ns]


TRIALS = [
    *(
        _trial(f"alone_30_{name}", f"30 % alone, kernels of {name}", [30], _spin(ns), "IS-003")
        for name, ns in KERNELS.items()
    ),
    _trial("pair_30_70_200us", "30/70, kernels of 200 us", [30, 70], _spin(200 * US) * 2),
    _trial("pair_30_70_1ms", "30/70, kernels of 1 ms", [30, 70], _spin(MS) * 2),
    _trial("four_1ms", "10/20/30/40, kernels of 1 ms", [10, 20, 30, 40], _spin(MS) * 4),
    _trial("long_short", "20/80, kernels of 2 ms against 100 us", [20, 80], _spin(2 * MS, 100 * US)),
    _trial(
        "arithmetic_copies",
        "30/70, arithmetic against copies",
        [30, 70],
        [WORK["arithmetic"], WORK["copies"]],
    ),
    _trial(
        "chases_arithmetic",
        "30/70, chases against arithmetic",
        [30, 70],
        [WORK["chases"], WORK["arithmetic"]],
    ),
]
