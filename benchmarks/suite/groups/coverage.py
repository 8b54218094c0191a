"""One probe for each way round the limits, under every arm: memory, launches, look-ups, processes."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from typing import Any

from gshare.benchmarks.suite.arms import COMPUTE, MEMORY, NATIVE, Arm
from gshare.benchmarks.suite.controls import THROTTLED
from gshare.benchmarks.suite.doors import DOORS
from gshare.benchmarks.suite.ground import GIB, Ground
from gshare.benchmarks.suite.metrics import DIFFERENCE, HIGHER, Found, Metric, Trial
from gshare.benchmarks.suite.rivals import Ask, daemon
from gshare.benchmarks.suite.steady import US, Effort, got
from gshare.benchmarks.suite.within import within
from gshare.controller.errors import GshareError
from gshare.shim import sim

QUOTA = GIB
CAP = 30.0
KIND_S = 20.0
LAUNCHES = {
    "cuLaunchKernel": "kernel",
    "cuLaunchKernel_ptsz": "ptsz",
    "cuLaunchKernelEx": "ex",
    "cuLaunchCooperativeKernel": "cooperative",
    "cuGraphLaunch": "graph",
    "cuMemsetD8Async": "memset",
}
ENFORCED, OPEN, DOCUMENTED, ABSENT = "enforced", "open", "documented", "not applicable"
DOCUMENTED_BY = {"gshare": {"LD_PRELOAD unset"}}
"""What an arm's own documentation says that it does not close."""


def _metric(name: str, what: str) -> Metric:
    return Metric(f"coverage.{name}", what, "%", HIGHER, compared=DIFFERENCE, must=60)


DOORS_SHUT = _metric("memory", "ways to take memory that keep to the quota")
LAUNCHES_HELD = _metric("launches", "ways to launch that keep to the cap")
LOOKUPS_SEEN = _metric("lookups", "ways to find functions and start programs that keep to the quota")
RIGHT_CODE = Metric(
    "coverage.codes", "refusals that are CUDA_ERROR_OUT_OF_MEMORY", "%", HIGHER, compared=DIFFERENCE
)


def _score(verdicts: dict[str, str]) -> float:
    """Of the probes that apply, how many are enforced."""
    applicable = [verdict for verdict in verdicts.values() if verdict != ABSENT]
    return 100 * applicable.count(ENFORCED) / max(1, len(applicable))


def _open(arm: Arm, name: str) -> str:
    return DOCUMENTED if name in DOCUMENTED_BY.get(arm.name, ()) else OPEN


def _lines(program: subprocess.Popen[str]) -> Iterator[dict[str, Any]]:
    assert program.stdout is not None
    for line in program.stdout:
        if line.startswith("{"):
            yield json.loads(line)


def _doors(ground: Ground, arm: Arm, block: int) -> Found:
    """A process for each; the context is let off, since libraries differ in whether it counts."""
    verdicts, codes, truths = {}, [], {}
    context = ground.context_bytes()
    with daemon(arm.rival, arm.library):
        program = ground.start(arm, Ask(memory_bytes=QUOTA), ["door", str(QUOTA)], ground.folder())
        assert program.stdin is not None
        for said in _lines(program):
            name = said["name"]
            taken = ground.taken_bytes(said["pid"])
            truths[name] = round(taken / QUOTA, 3)
            program.stdin.write("\n")
            program.stdin.flush()
            if (
                (said.get("code") == -1 and not said.get("taken"))
                or said.get("code") == 801
                or "failed" in said
            ):
                verdicts[name] = ABSENT
            else:
                given = (
                    not said["code"] or taken > QUOTA + context
                )  # managed memory takes none until it is used
                verdicts[name] = _open(arm, name) if given else ENFORCED
                if verdicts[name] == ENFORCED:
                    codes.append(said["code"])
        program.communicate(timeout=60)
    for name in DOORS:
        verdicts.setdefault(name, OPEN)  # it brought the program to its end
    values = {DOORS_SHUT.id: _score(verdicts)}
    if codes:
        values[RIGHT_CODE.id] = 100 * codes.count(2) / len(codes)
    return Found(values, {"verdicts": verdicts, "of_quota": truths, "codes": codes})


def _lookups(ground: Ground, arm: Arm, block: int) -> Found:
    verdicts: dict[str, str] = {}
    with daemon(arm.rival, arm.library):
        for case in "lookup", "tricks":
            program = ground.start(arm, Ask(memory_bytes=QUOTA), [case, str(QUOTA)], ground.folder())
            for said in _lines(program):
                if "failed" in said or said["code"] == -1:
                    verdicts[said["name"]] = ABSENT
                else:
                    verdicts[said["name"]] = ENFORCED if said["code"] else _open(arm, said["name"])
            program.communicate(timeout=60)
    return Found({LOOKUPS_SEEN.id: _score(verdicts)}, {"verdicts": verdicts})


def _launches(ground: Ground, arm: Arm, block: int) -> Found:
    """Alone, for ten seconds: held is who gets clearly less than without limits."""
    verdicts: dict[str, str] = {}
    shares: dict[str, float | str] = {}
    for name, kind in LAUNCHES.items():
        load: dict[str, Any] = {"kind": kind, "ns": 100 * US, "sigma": 0}
        if kind in ("memset", "cooperative"):
            load |= {"per_sm": 0} | ({"ns": _memset_bytes(ground)} if kind == "memset" else {})
        try:
            with within(KIND_S):
                bare, limited = (_share(ground, which, load, block) for which in (NATIVE, arm))
        except (
            GshareError,
            sim.SimulationError,
            TimeoutError,
        ) as error:  # a load that one driver or library does not carry out
            verdicts[name], shares[name] = ABSENT, str(error)[:120]
            continue
        shares[name] = round(limited, 2)
        verdicts[name] = ENFORCED if limited <= THROTTLED * bare else _open(arm, name)
    return Found({LAUNCHES_HELD.id: _score(verdicts)}, {"verdicts": verdicts, "percent": shares})


def _memset_bytes(ground: Ground) -> int:
    """The host does the simulated ones."""
    return 4 << 10 if ground.simulated else 64 << 20


def _share(ground: Ground, arm: Arm, load: dict[str, Any], block: int) -> float:
    how = Effort(1, 10) if ground.place.virtual else Effort(1, 4)
    if load["kind"] == "memset" and ground.simulated:  # millions of them a second
        how = Effort(0.2, 1)
    with ground.stage(arm, [(load, Ask(percent=CAP))], block) as stage:
        stage.go()
        stage.wait(how.settle_s)
        return got(stage.watch(how.seconds, how.seconds / 4))[0]


TRIALS = [
    Trial(
        "doors",
        "coverage",
        (DOORS_SHUT, RIGHT_CODE),
        _doors,
        frozenset({MEMORY}),
        once=True,
        seconds=6.0,
    ),
    Trial(
        "lookups",
        "coverage",
        (LOOKUPS_SEEN,),
        _lookups,
        frozenset({MEMORY}),
        once=True,
        seconds=2.0,
    ),
    Trial("launches", "coverage", (LAUNCHES_HELD,), _launches, frozenset({COMPUTE}), once=True, seconds=1.0),
]
