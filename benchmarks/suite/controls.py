"""Positive controls: an arm's limits must be seen to act before a number of it counts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import msgspec

from gshare.benchmarks.suite.arms import COMPUTE, MEMORY, NATIVE, PRIORITY, TURNS, Arm
from gshare.benchmarks.suite.ground import GIB, NO_LIMITS, Ground
from gshare.benchmarks.suite.metrics import Probe
from gshare.benchmarks.suite.rivals import Ask
from gshare.benchmarks.suite.steady import STEP_S, US, Effort, course, got, is_virtual
from gshare.benchmarks.suite.within import within

QUOTA = 2 * GIB
CAP = 30.0
CONTROL_S = 60.0
PROBE_S, PROBE_S_REAL = 60, 15
PROBE_STEP_S = 0.5
PREFERRED = 80.0
"""Of two that could use all there is, who has priority gets so many percent."""
THROTTLED = 0.8
"""Who is held gets at most this part of what it gets without limits."""
TOTAL_OFF = 0.01
WHOLE = 90.0
"""Who has a turn has so many percent of a moment at least."""


class Control(msgspec.Struct, frozen=True):
    """What one control found."""

    arm: str
    what: str
    in_effect: bool
    why: str
    details: dict[str, Any]


def control(ground: Ground, arm: Arm, probes: Iterable[Probe]) -> Iterator[Control]:
    """One for each limit that the arm offers, and for each load that a cap of its must hold."""
    runs: list[tuple[str, str, Callable[[Ground, Arm], Control]]] = [
        (MEMORY, MEMORY, _memory),
        (COMPUTE, COMPUTE, _compute),
        (PRIORITY, PRIORITY, _priority),
        (TURNS, TURNS, _turns),
        *((COMPUTE, probe.what, partial(_held, probe=probe)) for probe in probes),
    ]
    hangs = ""
    for offered, what, run in runs:
        if offered in arm.offers and hangs:
            yield Control(arm.name, what, False, hangs, {})
        elif offered in arm.offers:
            try:
                with within(CONTROL_S):
                    yield run(ground, arm)
            except Exception as error:  # of any kind: then the arm has no such limit
                hangs = f"its {what} was {error}" if isinstance(error, TimeoutError) else ""
                yield Control(arm.name, what, False, str(error), {})


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


def _held(ground: Ground, arm: Arm, probe: Probe) -> Control:
    """Alone at its cap: some time it must be held.  How long that takes is kept, and waited for later."""
    seconds = PROBE_S if is_virtual(ground, arm) else PROBE_S_REAL
    with ground.stage(arm, [({"ns": probe.ns}, Ask(percent=probe.percent))], 0) as stage:
        stage.go()
        stage.wait(1)
        after_s, share = 0.0, 100.0
        while after_s < seconds:
            share = got(stage.watch(PROBE_STEP_S, PROBE_STEP_S))[0]
            if share <= 100 * THROTTLED:
                break
            after_s += PROBE_STEP_S
    in_effect = after_s < seconds
    if in_effect:
        ground.held_after_s[arm.name, probe] = after_s
    why = (
        ""
        if in_effect
        else f"kernels of {probe.ns / 1e6:g} ms at {probe.percent:g} % run unheld for {seconds} s"
    )
    return Control(arm.name, probe.what, in_effect, why, {"after_s": after_s, "percent": share})


def _priority(ground: Ground, arm: Arm) -> Control:
    how = Effort(1, 4)
    tenants = [({"ns": 200 * US}, Ask(priority=level)) for level in ("high", "low")]
    with ground.stage(arm, tenants, 0) as stage:
        stage.go()
        stage.wait(how.settle_s)
        high, low = got(stage.watch(how.seconds, 1.0))
    why = "" if high >= PREFERRED else f"who has priority gets {high:.1f} %, the other {low:.1f} %"
    return Control(arm.name, PRIORITY, not why, why, {"high": high, "low": low})


def _turns(ground: Ground, arm: Arm) -> Control:
    """Of two that could use all there is, one at a time does, and each for a while."""
    turn_s = arm.rival.turn_s if arm.rival else 0
    with ground.stage(arm, [({"ns": 200 * US}, NO_LIMITS)] * 2, 0) as stage:
        stage.go()
        samples = stage.watch(3 * turn_s, STEP_S)
    moments = list(zip(*course(samples)["percent"], strict=True))
    alone = 100 * sum(max(shares) >= WHOLE for shares in moments) / len(moments)
    each = min(got(samples))
    why = "" if alone >= PREFERRED else f"both of two programs ran in {100 - alone:.0f} % of moments"
    why = why or ("" if each else "one of two programs had no turn")
    return Control(arm.name, TURNS, not why, why, {"alone": alone, "least": each})


def acts(controls: Iterable[Control]) -> str:
    """Why nothing of an arm counts, if nothing that it offers acts: it may not even be loaded."""
    found = list(controls)
    if not found or any(control.in_effect for control in found):
        return ""
    return f"not in effect: {found[0].why}"


def lacking(controls: list[Control], needs: frozenset[str]) -> str:
    """Why an arm has no number where these limits are needed; empty: they act."""
    return "; ".join(f"not in effect: {c.why}" for c in controls if c.what in needs and not c.in_effect)
