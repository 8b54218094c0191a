"""Whether a memory quota is what it says: to the byte, and while several processes ask at once."""

from __future__ import annotations

from gshare.benchmarks.suite.arms import MEMORY, TENANTS, Arm
from gshare.benchmarks.suite.ground import GIB, Ground
from gshare.benchmarks.suite.metrics import DIFFERENCE, Found, Metric, Trial
from gshare.benchmarks.suite.rivals import Ask

QUOTA = 4 * GIB
PROCESSES = 4

OVER = Metric("memory.over", "linear memory got above the quota", "%", compared=DIFFERENCE, must=0)
GOT = Metric(
    "memory.got", "linear memory got, of the quota", "%", better="higher", compared=DIFFERENCE, gvb="IS-001"
)
TOTAL = Metric(
    "memory.total", "what cuMemGetInfo calls the total, off the quota", "%", compared=DIFFERENCE, must=1
)
RACE = Metric(
    "memory.race",
    f"got above the quota by {PROCESSES} processes that ask at once",
    "%",
    compared=DIFFERENCE,
    must=0,
)


def _accuracy(ground: Ground, arm: Arm, block: int) -> Found:
    said = ground.ask(arm, Ask(memory_bytes=QUOTA), "control", str(QUOTA))
    values = {
        OVER.id: max(0.0, 100 * (said["taken"] - QUOTA) / QUOTA),
        GOT.id: 100 * min(said["taken"], QUOTA) / QUOTA,
        TOTAL.id: 100 * abs(said["total"] - QUOTA) / QUOTA,
    }
    return Found(values, said)


def _race(ground: Ground, arm: Arm, block: int) -> Found:
    said = ground.ask(arm, Ask(memory_bytes=QUOTA), "race", str(QUOTA), str(PROCESSES))
    taken = sum(bytes_ for bytes_, _ in said["taken"])
    return Found({RACE.id: max(0.0, 100 * (taken - QUOTA) / QUOTA)}, said)


TRIALS = [
    Trial("accuracy", "memory", (OVER, GOT, TOTAL), _accuracy, frozenset({MEMORY}), seconds=0.8),
    Trial("race", "memory", (RACE,), _race, frozenset({MEMORY, TENANTS}), seconds=0.8),
]
