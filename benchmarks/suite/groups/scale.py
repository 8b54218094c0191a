"""What becomes of all together as tenants are more; and many programs that start at the same moment."""

from __future__ import annotations

from gshare.benchmarks import share_stats as stats
from gshare.benchmarks.suite.arms import MEMORY, Arm
from gshare.benchmarks.suite.ground import GIB, Ground
from gshare.benchmarks.suite.metrics import HIGHER, Found, Metric, Trial
from gshare.benchmarks.suite.rivals import Ask
from gshare.benchmarks.suite.steady import US, got, is_virtual, watched

COUNTS, COUNTS_QUICK, COUNTS_REAL = (1, 2, 4, 8, 16, 32), (1, 2, 4, 8), (1, 2, 4, 8)
PROCESSES, PROCESSES_QUICK = 64, 16

TOTAL = Metric("scale.total", "what most tenants get together, to one alone", "times", HIGHER)
JAIN = Metric("scale.jain", "Jain's index of most equal tenants", "", HIGHER)
START = Metric("scale.start", "cuInit in many processes at once, the slowest", "ms")


def _tenants(ground: Ground, arm: Arm, block: int) -> Found:
    counts: tuple[int, ...] = COUNTS_QUICK if ground.quick else COUNTS
    if not is_virtual(ground, arm):
        counts = COUNTS_REAL[:: 2 if ground.quick else 1]
    curve = []
    for count in counts:
        ask = Ask(weight=1) if count > 1 else Ask()
        samples = watched(ground, arm, [({"ns": 200 * US}, ask)] * count, block)
        shares = got(samples)
        busy = (samples[-1].busy_ns - samples[0].busy_ns) / (samples[-1].elapsed_ns - samples[0].elapsed_ns)
        curve.append({"tenants": count, "busy": round(busy, 5), "jain": round(stats.jain(shares), 5)})
    values = {TOTAL.id: curve[-1]["busy"] / curve[0]["busy"], JAIN.id: curve[-1]["jain"]}
    return Found(values, {"curve": curve})


def _start(ground: Ground, arm: Arm, block: int) -> Found:
    count = PROCESSES_QUICK if ground.quick else PROCESSES
    said = ground.ask(arm, Ask(memory_bytes=8 * GIB), "init", str(count))
    return Found({START.id: max(said["ns"]) / 1e6}, {"ms": [round(ns / 1e6, 3) for ns in said["ns"]]})


TRIALS = [
    Trial("tenants", "scale", (TOTAL, JAIN), _tenants, several=True, seconds=2.0),
    Trial("start", "scale", (START,), _start, uses=frozenset({MEMORY}), seconds=1.0),
]
