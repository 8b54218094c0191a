"""What calls cost a tenant that has limits and does not reach them, alone on the device."""

from __future__ import annotations

import statistics

from gshare.benchmarks.suite.arms import COMPUTE, MEMORY, Arm
from gshare.benchmarks.suite.ground import GIB, Ground
from gshare.benchmarks.suite.metrics import Found, Metric, Trial
from gshare.benchmarks.suite.rivals import Ask

BATCHES, BATCHES_QUICK = 200, 40
LIVE = 2000


def _metric(name: str, what: str, gvb: str = "") -> Metric:
    return Metric(f"overhead.{name}", what, "ns", gvb=gvb)


CALLS = {
    "launch": _metric("launch", "cuLaunchKernel, with limits", "OH-001"),
    "launch_paced": _metric("launch_paced", "cuLaunchKernel, kernels of 20 us every 100 us"),
    "round_trip": _metric("round_trip", "launch of 1 us and the wait for its end"),
    "alloc_free": _metric("alloc_free", "cuMemAlloc of 1 MiB + cuMemFree", "OH-002"),
    "alloc_free_live": _metric("alloc_free_live", f"the same of 4 KiB beside {LIVE} live ones", "OH-007"),
    "refused": _metric("refused", "cuMemAlloc that is refused", "IS-002"),
    "info": _metric("info", "cuMemGetInfo"),
    "passive": _metric("passive", "cuCtxGetDevice, which nobody needs to see", "OH-005"),
    "init": Metric("overhead.init", "cuInit and the first context", "ns", gvb="OH-004"),
}


def _calls(ground: Ground, arm: Arm, block: int) -> Found:
    batches = BATCHES_QUICK if ground.quick else BATCHES
    ask = Ask(memory_bytes=8 * GIB, percent=50)
    said = ground.ask(arm, ask, "calls", str(batches), str(LIVE))
    samples = {name: said[name] for name in CALLS}
    values = {CALLS[name].id: statistics.median(ns) for name, ns in samples.items()}
    rounded = {name: [round(ns, 1) for ns in found[:40]] for name, found in samples.items()}
    return Found(values, {"ns": rounded})


TRIALS = [
    Trial(
        "calls",
        "overhead",
        tuple(CALLS.values()),
        _calls,
        uses=frozenset({MEMORY, COMPUTE}),
        seconds=1.5,
    )
]
