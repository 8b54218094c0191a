"""Frameworks and compute shares: what each gets of the GPU, against itself alone in the same run.

usage: compute_share.py --output FILE [--others]

For each kind of load: alone without gshare and under gshare without limits in turn, which gives what it
costs; alone at 30 %; then two at 30 % and 70 %, concurrently and in turns.  And requests of high priority
beside low ones.  With --others: other frameworks, and torch in other settings, only alone.
In a rehearsal rows have no targets: a simulated GPU on a shared host keeps no time.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Timer
from types import TracebackType
from typing import Any

from place import NO_RUNTIME, PROGRAMS, PYTHON, REHEARSAL, Place, end, kill, missing

from gshare.benchmarks.results import Row
from gshare.cli.sandbox import GSHARE

MS = 1_000_000
ROUNDS = 2 if REHEARSAL else 8
ROUND_S = 0.3 if REHEARSAL else 0.5
SETTLE_S, MEASURE_S = (0.3, 0.7) if REHEARSAL else (1.5, 3.0)
REQUESTS_S = 1.0 if REHEARSAL else 6.0
READY_S = 90.0
LEAD_NS = 50 * MS
"""From the order to begin until the beginning."""
REQUEST_NS = 10 * MS
CAP = 30.0

KINDS = {
    "spin": ("kernels of 1 ms by the driver", ()),
    "matmul": ("matrix products of 4096, single precision, as in HAMi-core's issue 314", ("torch",)),
    "train": ("torch, training loop", ("torch",)),
    "eager": ("torch, eager inference", ("torch",)),
    "graph": ("torch, inference by a captured graph", ("torch",)),
}
OTHERS = {
    "triton": ("Triton", ("triton",)),
    "numba": ("numba-cuda", ("numba", "numba_cuda", "numpy")),
    "cupy": ("CuPy", ("cupy",)),
    "jax": ("JAX", ("jax", "jaxlib")),
    "compiled": ("torch.compile, training loop", ("torch",)),
    "expandable": ("torch with expandable segments, training loop", ("torch",)),
    "async": ("torch with cudaMallocAsync, training loop", ("torch",)),
}
SETTINGS = {
    "expandable": {"PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True"},
    "async": {"PYTORCH_CUDA_ALLOC_CONF": "backend:cudaMallocAsync"},
}
SIMULATED = ("spin", "triton", "numba")
TOGETHER = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
"""Or the first JAX leaves nothing for the second."""
FAULTS = (RuntimeError, LookupError, OSError, ValueError, ZeroDivisionError, subprocess.SubprocessError)
LOW_KERNELS_US = (250, 1000) if REHEARSAL else (250, 500, 1000, 2000)


class Load:
    """programs/load.py as it runs."""

    def __init__(self, place: Place, limits: Sequence[str] | None, *kind: str) -> None:
        python = sys.executable if kind[0] == "spin" else PYTHON
        settings = TOGETHER | SETTINGS.get(kind[0], {})
        self.process = place.start(limits, [python, str(PROGRAMS / "load.py"), *kind], settings)

    def __enter__(self) -> Load:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.process.communicate(timeout=0.01 if error else 10)
        except subprocess.TimeoutExpired:
            end(self.process)

    def hear(self) -> dict[str, Any]:
        """Its next line of JSON; it is killed if it says nothing for long."""
        assert self.process.stdout is not None
        timer = Timer(READY_S, kill, [self.process])
        timer.start()
        try:
            for line in self.process.stdout:
                if line.startswith("{"):
                    heard: dict[str, Any] = json.loads(line)
                    return heard
        finally:
            timer.cancel()
        words = (end(self.process)[1].strip().splitlines() or ["it said nothing"])[-1]
        raise RuntimeError(words[:300])

    def tell(self, *words: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()


def busy(*loads: Load, seconds: float, settle_s: float = 0.0) -> list[float]:
    """Units a second of each, all at once, without those of the first `settle_s`."""
    begin_ns = time.monotonic_ns() + LEAD_NS
    end_ns = begin_ns + round((settle_s + seconds) * 1e9)
    for load in loads:
        load.tell("busy", begin_ns, end_ns)
    window = range(round(settle_s * 1e9), end_ns - begin_ns)
    return [sum(end in window for end in load.hear()["ends_ns"]) / seconds for load in loads]


def row(
    name: str, what: str, value: float, unit: str, limit: float, at_least: bool = False, **details: Any
) -> Row:
    within = value >= limit if at_least else value <= limit
    target = f"{'>=' if at_least else '<='} {limit:g} {unit}".strip()
    if REHEARSAL:
        return Row(name, what, value, unit, note="a rehearsal's number says nothing", details=details)
    return Row(name, what, value, unit, limit, within, details=details | {"target": target})


def bootstrap(native: Sequence[float], tenant: Sequence[float]) -> tuple[float, float]:
    """The interval of 95 % of the ratio of means."""
    chance = random.Random(1)
    ratios = sorted(
        statistics.mean(chance.choices(tenant, k=len(tenant)))
        / statistics.mean(chance.choices(native, k=len(native)))
        for _ in range(2000)
    )
    return ratios[50], ratios[1949]


def cost(kind: str, what: str, native: Load, free: Load) -> Row:
    """Of gshare to somebody without limits, in rounds that alternate."""
    busy(native, seconds=ROUND_S)
    rounds = [(*busy(native, seconds=ROUND_S), *busy(free, seconds=ROUND_S)) for _ in range(ROUNDS)]
    bare, tenant = (list(rates) for rates in zip(*rounds, strict=True))
    low, high = bootstrap(bare, tenant)
    ratio = statistics.mean(tenant) / statistics.mean(bare)
    details = {"native_per_s": bare, "gshare_per_s": tenant, "interval": [low, high]}
    title = f"{what}: no limits under gshare / native"
    return row(f"{kind}_unlimited", title, round(ratio, 4), "", 0.995, at_least=True, **details)


def held(kind: str, what: str, capped: float, native: Sequence[float]) -> Row:
    """Alone at a cap, against what it does without, in the same run."""
    points = abs(100 * capped / statistics.mean(native) - CAP)
    details = {"tenant_per_s": capped, "native_per_s": list(native)}
    title = f"{what}: alone at {CAP:g} %"
    return row(f"{kind}_alone_{CAP:g}", title, round(points, 2), "points", 1, **details)


def pair(place: Place, kind: str, what: str, native: Load) -> Iterator[Row]:
    asked = (CAP, 100 - CAP)
    with ExitStack() as stack:
        loads = [
            stack.enter_context(Load(place, [f"--tenant=hw-{kind}-{share:g}", f"--compute={share:g}%"], kind))
            for share in asked
        ]
        for load in loads:
            load.hear()
        (before,) = busy(native, seconds=2 * ROUND_S)
        (capped,) = busy(loads[0], seconds=MEASURE_S, settle_s=SETTLE_S)
        rates = {"concurrent": busy(*loads, seconds=MEASURE_S, settle_s=SETTLE_S)}
        for share in asked:
            subprocess.run(
                [*GSHARE, "set", f"hw-{kind}-{share:g}", "--mode=turns"],
                env=place.sandbox.environment,
                capture_output=True,
                check=True,
            )
        rates["turns"] = busy(*loads, seconds=MEASURE_S, settle_s=SETTLE_S)
        (after,) = busy(native, seconds=2 * ROUND_S)
    reference = (before + after) / 2
    reference_facts = {"native_per_s": [before, after]}
    yield held(kind, what, capped, [before, after])
    for mode, found in rates.items():
        shares = [100 * rate / sum(found) for rate in found]
        points = max(abs(share - want) for share, want in zip(shares, asked, strict=True))
        details = {"shares": shares, "tenants_per_s": found, **reference_facts}
        is_turns = mode == "turns"
        most, least = (1, 0.98) if is_turns else (3, 0.96)
        name = f"{kind}_30_70_{mode}"
        yield row(name, f"{what}: 30/70, {mode}", round(points, 2), "points", most, **details)
        title = f"{what}: 30/70, {mode}, together / native alone"
        together = round(sum(found) / reference, 4)
        yield row(f"{name}_sum", title, together, "", least, at_least=True, **details)


def contended(place: Place, kind: str) -> Iterator[Row]:
    what, _ = KINDS[kind]
    with Load(place, None, kind) as native:
        with Load(place, [], kind) as free:
            native.hear()
            free.hear()
            yield cost(kind, what, native, free)
        yield from pair(place, kind, what, native)


@dataclass(frozen=True)
class Requests:
    """Requests of about 10 ms, at half load."""

    load: Load
    units: int
    period_ns: int

    @staticmethod
    def of(load: Load) -> Requests:
        (per_second,) = busy(load, seconds=ROUND_S)
        units = max(1, round(REQUEST_NS * per_second / 1e9))
        return Requests(load, units, round(2e9 * units / per_second))

    def p99_ns(self, seconds: float, beside: Load | None = None) -> tuple[float, float]:
        """Of the requests, and units a second of who is beside."""
        begin_ns = time.monotonic_ns() + LEAD_NS
        end_ns = begin_ns + round(seconds * 1e9)
        if beside:
            beside.tell("busy", begin_ns, end_ns)
        self.load.tell("requests", begin_ns, end_ns, self.period_ns, self.units)
        took = sorted(self.load.hear()["took_ns"])
        units = len(beside.hear()["ends_ns"]) / seconds if beside else 0.0
        return took[min(len(took) - 1, int(0.99 * len(took)))], units


def priority(place: Place, name: str, high: Sequence[str], low: Sequence[str], most: float) -> Iterator[Row]:
    with (
        Load(place, [f"--tenant=hw-high-{name}", "--priority=high"], *high) as first,
        Load(place, [f"--tenant=hw-low-{name}", "--priority=low"], *low) as second,
    ):
        first.hear()
        second.hear()
        (low_alone,) = busy(second, seconds=2 * ROUND_S)
        requests = Requests.of(first)
        alone_ns, _ = requests.p99_ns(REQUESTS_S)
        beside_ns, low_rate = requests.p99_ns(REQUESTS_S, second)
    what = f"requests of high priority ({' '.join(high)}) beside low ({' '.join(low)})"
    ratio, harvest = beside_ns / alone_ns, low_rate / (low_alone / 2)
    details = {
        "p99_alone_ns": alone_ns,
        "p99_beside_ns": beside_ns,
        "units": requests.units,
        "period_ns": requests.period_ns,
        "low_per_s": low_rate,
        "low_alone_per_s": low_alone,
    }
    yield row(f"priority_{name}", f"{what}: p99 / alone", round(ratio, 3), "", most, **details)
    title = f"{what}: low's part of what high leaves"
    yield row(f"priority_{name}_harvest", title, round(harvest, 3), "", 0.85, at_least=True, **details)


def lone(place: Place, kind: str) -> Iterator[Row]:
    what, _ = OTHERS[kind]
    with (
        Load(place, None, kind) as native,
        Load(place, [], kind) as free,
        Load(place, [f"--compute={CAP:g}%"], kind) as limited,
    ):
        for load in native, free, limited:
            load.hear()
        yield cost(kind, what, native, free)
        (before,) = busy(native, seconds=ROUND_S)
        (capped,) = busy(limited, seconds=MEASURE_S, settle_s=SETTLE_S)
        (after,) = busy(native, seconds=ROUND_S)
        yield held(kind, what, capped, [before, after])


def tasks(place: Place, others: bool) -> Iterator[tuple[str, Sequence[str], Callable[[], Iterator[Row]]]]:
    """Name, the modules that it needs, and what measures it."""
    if others:
        for kind, (_, modules) in OTHERS.items():
            yield kind, modules, partial(lone, place, kind)
        return
    for kind, (_, modules) in KINDS.items():
        yield kind, modules, partial(contended, place, kind)
    for high, low in ("graph", "train"), ("eager", "matmul"):
        name = f"{high}_{low}"
        yield f"priority_{name}", ("torch",), partial(priority, place, name, [high], [low], 1.25)
    for kernel_us in LOW_KERNELS_US:
        name, most = f"spin_{kernel_us}us", 1.10 if kernel_us <= 250 else 1.25
        yield f"priority_{name}", (), partial(priority, place, name, ["spin"], ["spin", str(kernel_us)], most)


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--output", type=Path, required=True)
    options.add_argument("--others", action="store_true")
    chosen = options.parse_args()
    rows: list[Row] = []
    with Place() as place:
        for name, modules, work in tasks(place, chosen.others):
            absent = place.simulated and modules and name not in SIMULATED
            reason = NO_RUNTIME if absent else missing(modules)
            print(f"{name}: {reason or 'begins'}", file=sys.stderr, flush=True)
            try:
                rows += [Row(name, name, None, "", note=reason)] if reason else work()
            except FAULTS as error:
                traceback.print_exc()
                rows.append(Row(name, name, None, "", within=False, note=str(error)))
            place.write("rates-hardware" if chosen.others else "compute-hardware", rows, chosen.output)
    return 0 if all(r.within is not False for r in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
