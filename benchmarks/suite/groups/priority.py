"""What a saturating neighbour does to somebody's requests, and what is left to the neighbour."""

from __future__ import annotations

from gshare.benchmarks import share_stats as stats
from gshare.benchmarks.suite.arms import COMPUTE, NATIVE, PRIORITY, Arm
from gshare.benchmarks.suite.ground import Ground
from gshare.benchmarks.suite.metrics import HIGHER, Found, Metric, Probe, Trial
from gshare.benchmarks.suite.rivals import Ask
from gshare.benchmarks.suite.steady import MS, US, effort, got, is_virtual, request_latencies_ms

REQUESTS = {"ns": 200 * US, "batch": 25, "period_us": 20_000}
"""Of 5 ms, one every 20 ms: they keep up even with half of the GPU."""
HIGH, LOW = Ask(percent=None, priority="high"), Ask(percent=None, priority="low")
CAP = 70.0
CAPPED_LOW = Ask(percent=CAP)
"""Where there are caps and no priorities: what the requests leave, and a little less."""
LATENCIES_KEPT = 400


def _trial(name: str, low_ns: int) -> Trial:
    p99 = Metric(
        f"priority.{name}",
        f"requests of 5 ms beside a neighbour with kernels of {name}: p99 to that alone",
        "times",
        must=1.5,
    )
    left = Metric(
        f"priority.{name}_left", f"what the neighbour with kernels of {name} gets of the rest", "%", HIGHER
    )

    probe = Probe(low_ns, CAP)

    def run(ground: Ground, arm: Arm, block: int) -> Found:
        capped = PRIORITY not in arm.offers and COMPUTE in arm.offers
        how = effort(ground, arm, probe if capped else None, 2)
        seconds = 2 * how.seconds if is_virtual(ground, arm) else how.seconds
        low = CAPPED_LOW if capped else LOW
        load = {"ns": low_ns}
        with ground.stage(NATIVE, [(REQUESTS, Ask())], block) as stage:
            alone, _ = request_latencies_ms(stage, seconds, how.settle_s)
        with ground.stage(arm, [(REQUESTS, HIGH), (load, low)], block) as stage:
            beside, samples = request_latencies_ms(stage, seconds, how.settle_s)
        if len(alone) < 20 or len(beside) < 5:
            raise RuntimeError(f"{len(beside)} requests were served in {seconds:g} s, too few for a p99")
        high_share, low_share = got(samples)
        values = {
            p99.id: stats.percentile(beside, 99) / stats.percentile(alone, 99),
            left.id: 100 * low_share / max(100 - high_share, 1e-9),
        }
        return Found(
            values,
            {
                "alone_ms": [round(ms, 3) for ms in alone[:LATENCIES_KEPT]],
                "ms": [round(ms, 3) for ms in beside[:LATENCIES_KEPT]],
                "requests": len(beside),
                "got": [high_share, low_share],
            },
        )

    return Trial(
        name,
        "priority",
        (p99, left),
        run,
        several=True,
        uses=frozenset({PRIORITY}),
        probe=probe,
        seconds=1.0,
    )


TRIALS = [_trial("200us", 200 * US), _trial("2ms", 2 * MS)]
