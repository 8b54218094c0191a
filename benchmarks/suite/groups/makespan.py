"""Jobs that fit together: all at once to one after another, each with its own work to do."""

from __future__ import annotations

from gshare.benchmarks.suite.arms import NATIVE, Arm
from gshare.benchmarks.suite.ground import Ground
from gshare.benchmarks.suite.metrics import Found, Metric, Trial
from gshare.benchmarks.suite.rivals import Ask
from gshare.benchmarks.suite.steady import US, is_virtual

JOB = {"ns": 500 * US, "batch": 8, "gap_us": 1000, "sigma": 0, "count": 1}
"""4 ms of the GPU, 1 ms of the host, again and again."""
WORK_NS, WORK_NS_REAL = 2_000_000_000, 500_000_000
STEP_S = 0.005
GIVE_UP = 10.0
"""Times what all of it takes alone."""


def _trial(count: int) -> Trial:
    ratio = Metric(f"makespan.jobs_{count}", f"{count} jobs at once, to one after another", "times")

    def run(ground: Ground, arm: Arm, block: int) -> Found:
        work_ns = WORK_NS if is_virtual(ground, arm) else WORK_NS_REAL
        alone_s = _all_done_s(ground, NATIVE, 1, block, work_ns)
        shared_s = _all_done_s(ground, arm, count, block, work_ns)
        return Found(
            {ratio.id: shared_s / (count * alone_s)},
            {"alone_s": round(alone_s, 4), "shared_s": round(shared_s, 4)},
        )

    return Trial(f"jobs_{count}", "makespan", (ratio,), run, several=True, seconds=1.0)


def _all_done_s(ground: Ground, arm: Arm, count: int, block: int, work_ns: int) -> float:
    """Seconds until each of so many jobs has done its work."""
    with ground.stage(arm, [(JOB, Ask(weight=1))] * count, block) as stage:
        stage.go()
        begin_ns = stage.now_ns()
        at_work = set(range(count))
        while at_work:
            stage.wait(STEP_S)
            for index in list(at_work):
                if stage.work_ns(index) >= work_ns:
                    stage.leave(index)
                    at_work.discard(index)
            if stage.now_ns() - begin_ns > GIVE_UP * count * work_ns:
                raise RuntimeError("jobs did not come to their end")
        return (stage.now_ns() - begin_ns) / 1e9


TRIALS = [_trial(2), _trial(4)]
