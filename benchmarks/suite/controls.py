"""Positive controls: an arm's limits must be seen to act before a number of it counts."""

from __future__ import annotations

from typing import Any, NamedTuple

from gshare.benchmarks.suite.arms import COMPUTE, MEMORY, NATIVE, Arm
from gshare.benchmarks.suite.ground import GIB, Ground
from gshare.benchmarks.suite.rivals import Ask
from gshare.benchmarks.suite.steady import US, Effort, got
from gshare.benchmarks.suite.within import within
from gshare.controller.errors import GshareError
from gshare.shim import sim

QUOTA = 2 * GIB
CAP = 30.0
CONTROL_S = 60.0
THROTTLED = 0.8
"""Who is held gets at most this part of what it gets without limits."""
TOTAL_OFF = 0.01


class Control(NamedTuple):
    """What one control found."""

    arm: str
    what: str
    in_effect: bool
    why: str
    details: dict[str, Any]


def control(ground: Ground, arm: Arm) -> list[Control]:
    """One for each limit that the arm offers; all arms must be able to run at all."""
    found = []
    for what, run in ((MEMORY, _memory), (COMPUTE, _compute)):
        if what in arm.offers:
            try:
                with within(CONTROL_S):
                    found.append(run(ground, arm))
            except (GshareError, RuntimeError, OSError, sim.SimulationError) as error:
                found.append(Control(arm.name, what, False, str(error), {}))
    return found


def _memory(ground: Ground, arm: Arm) -> Control:
    said = ground.ask(arm, Ask(memory_bytes=QUOTA), "control", str(QUOTA))
    why = ""
    if said["over"] == 0:
        why = "an allocation above the quota was given"
    elif abs(said["total"] - QUOTA) > TOTAL_OFF * QUOTA:
        why = f"cuMemGetInfo says {said['total']} bytes in all, of a quota of {QUOTA}"
    return Control(arm.name, MEMORY, not why, why, said)


def _compute(ground: Ground, arm: Arm) -> Control:
    """The kind of load that every library holds best: kernels of 100 us that fill the device."""
    how = Effort(2, 10) if ground.place.virtual else Effort(1, 5)
    shares = []
    for which in NATIVE, arm:
        with ground.stage(which, [({"ns": 100 * US}, Ask(percent=CAP))], 0) as stage:
            stage.go()
            stage.wait(how.settle_s)
            shares.append(got(stage.watch(how.seconds, 1.0))[0])
    bare, limited = shares
    why = (
        ""
        if limited <= THROTTLED * bare
        else f"a probe at {CAP:g} % gets {limited:.1f} %, {bare:.1f} without"
    )
    return Control(arm.name, COMPUTE, not why, why, {"without": bare, "with": limited})


def lacking(controls: list[Control], needs: frozenset[str]) -> str:
    """Why an arm has no number where these limits are needed; empty: they act."""
    return "; ".join(f"not in effect: {c.why}" for c in controls if c.what in needs and not c.in_effect)
