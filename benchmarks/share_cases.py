"""The cases of `gshare bench shares`: who is on the device, what is measured, and what it must be.

A case measures one mode and answers with rows.  `asked` is what a tenant must get, `cap` its limit and `turn` its part
of the period in turns; a load without `batch` launches as fast as it may.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from gshare.benchmarks import share_stats as stats
from gshare.benchmarks.results import Row
from gshare.benchmarks.share_picture import draw
from gshare.benchmarks.share_stage import Place, Stage, Tenant
from gshare.benchmarks.share_stats import Sample

CONCURRENT, TURNS = "concurrent", "turns"
STEP_S = 0.1
MOST_REAL = 8
"""So many programs on the real clock; more go on the virtual one, where there is one."""
MOST_TURNS = 62


@dataclass(frozen=True)
class Effort:
    """How long each is measured."""

    settle_s: float
    seconds: float
    requests_s: float


FULL = Effort(settle_s=2, seconds=8, requests_s=20)
SMOKE = Effort(settle_s=2, seconds=2, requests_s=4)


@dataclass
class Run:
    """One run of the benchmark: where, how long, on which machines; and what charges came to so far."""

    place: Place
    effort: Effort
    slices_ns: Sequence[int]
    sigma: float
    pictures: Path | None = None
    charges: dict[str, list[tuple[float, float, str]]] = field(default_factory=dict)

    def stage(self, tenants: Sequence[Tenant], mode: str, slice_ns: int = 0) -> Stage:
        crowd = self.place.simulated and len(tenants) > MOST_REAL
        place = replace(self.place, virtual=True) if crowd else self.place
        return Stage(place, tenants, turns=mode == TURNS, slice_ns=slice_ns or self.slices_ns[0])

    def steady(self, name: str, tenants: Sequence[Tenant], mode: str, slice_ns: int = 0) -> list[Sample]:
        """What a second looks like when all have been there for a while."""
        with self.stage(tenants, mode, slice_ns) as stage:
            stage.go()
            stage.wait(self.effort.settle_s)
            samples = stage.watch(self.effort.seconds, STEP_S)
        if all(tenant.cap is not None for tenant in tenants):
            least, most = stats.charges_off(samples)
            self.charges.setdefault(mode, []).append((least, most, name))
        return samples

    def kernel(self, ns: int, **more: Any) -> dict[str, Any]:
        """A load of kernels whose times vary as asked."""
        return {"ns": ns, "sigma": self.sigma, **more}

    def picture(self, name: str, what: str, samples: Sequence[Sample], tenants: Sequence[Tenant]) -> None:
        if self.pictures:
            draw(self.pictures / f"{name}.png", what, samples, tenants)


@dataclass(frozen=True)
class Case:
    """`measure(run, name, mode)` answers with rows named after the case and the mode."""

    name: str
    mode: str
    measure: Callable[[Run, str, str], list[Row]]

    @property
    def row_name(self) -> str:
        return f"{self.name}_{self.mode}"


def verdict(
    name: str,
    what: str,
    value: float | None,
    target: float,
    unit: str = "points",
    *,
    at_least: bool = False,
    note: str = "",
    **details: Any,
) -> Row:
    """A row with its target; None: not measured, or (with a note) never reached."""
    within = None if value is None else (value >= target if at_least else value <= target)
    rounded = None if value is None else round(value, 4)
    details = {"target": f"{'>=' if at_least else '<='} {target:g} {unit}".strip(), **details}
    return Row(name, what, rounded, unit, target, within, note, details)


# -------- shares that hold --------


def shares(
    what: str, target: float, make: Callable[[Run], Sequence[Tenant]], *, alone: bool = False
) -> Callable[[Run, str, str], list[Row]]:
    """How far any tenant is from what it asked for in any second, over all time slices."""

    def measure(run: Run, name: str, mode: str) -> list[Row]:
        tenants, tried = make(run), []
        asked = [tenant.asked for tenant in tenants]
        for slice_ns in run.slices_ns[:1] if alone else run.slices_ns:
            samples = run.steady(name, tenants, mode, slice_ns)
            tried.append((stats.points_off(samples, asked), slice_ns, samples))
        worst = max(tried, key=lambda one: one[0])
        run.picture(name, f"{what}, {mode}", worst[2], tenants)
        found = [
            {
                "slice_ms": slice_ns / 1e6,
                "off": round(off, 2),
                "got": [round(share, 2) for share in stats.shares(samples[0], samples[-1])],
            }
            for off, slice_ns, samples in tried
        ]
        return [verdict(name, f"{what}, {mode}", worst[0], target, asked=asked, found=found)]

    return measure


def contended(loads: Sequence[dict[str, Any]], caps: Sequence[float]) -> Callable[[Run], list[Tenant]]:
    """Tenants with those caps, that are their turns and what they must get."""
    return lambda run: [
        Tenant({"sigma": run.sigma, **load}, cap=cap, asked=cap, turn=cap)
        for load, cap in zip(loads, caps, strict=True)
    ]


def beside(load: dict[str, Any], cap: float, other_ns: int) -> Callable[[Run], list[Tenant]]:
    """A tenant with a cap beside one that takes all it can get."""
    return lambda run: [
        Tenant({"sigma": run.sigma, **load}, cap=cap, asked=cap, turn=cap),
        Tenant(run.kernel(other_ns), turn=100 - cap),
    ]


def charges(run: Run, name: str, mode: str) -> list[Row]:
    """Over every second of all the cases before; worst first."""
    found = sorted(run.charges.get(mode, []), key=lambda one: -max(1 - one[0], one[1] - 1))
    what = f"charges of all tenants in any second / the device's busy time: off 1, {mode}"
    if not found:
        return [verdict(name, what, None, 0.03, "", note="not measured: no cases with shares before")]
    off = max(1 - found[0][0], found[0][1] - 1)
    worst = {case: [round(least, 4), round(most, 4)] for least, most, case in found[:5]}
    return [verdict(name, what, off, 0.03, "", worst=worst, cases=len(found))]


def light(target: float) -> Callable[[Run, str, str], list[Row]]:
    """A kernel of 100 us, a synchronise, 300 us of the host, and again."""

    def measure(run: Run, name: str, mode: str) -> list[Row]:
        tenants = [
            Tenant({"ns": 100_000, "batch": 1, "gap_us": 300}, cap=50, turn=50, name="light"),
            Tenant(run.kernel(200_000), turn=50, name="saturating"),
        ]
        bare = [replace(tenant, cap=None) for tenant in tenants]
        tried = []
        for slice_ns in run.slices_ns:
            rates = []
            for some, how in (bare, CONCURRENT), (tenants, mode):
                samples = run.steady(name, some, how, slice_ns)
                first, last = samples[0], samples[-1]
                rates.append((last.gpu_ns[0] - first.gpu_ns[0]) / (last.elapsed_ns - first.elapsed_ns))
            tried.append((rates[1] / rates[0], slice_ns, rates, samples))
        worst = min(tried, key=lambda one: one[0])
        what = f"a light synchronous tenant beside a saturating one: its rate / that without gshare, {mode}"
        run.picture(name, what, worst[3], tenants)
        found = [
            {"slice_ms": slice_ns / 1e6, "without": round(rates[0], 4), "with": round(rates[1], 4)}
            for _, slice_ns, rates, _ in tried
        ]
        return [verdict(name, what, worst[0], target, "times", at_least=True, found=found)]

    return measure


def equal(count: int, target: float) -> Callable[[Run, str, str], list[Row]]:
    def measure(run: Run, name: str, mode: str) -> list[Row]:
        tenants = [Tenant(run.kernel(200_000), cap=100 / count, turn=100 / count) for _ in range(count)]
        what = f"{count} equal tenants: Jain's index of any second, {mode}"
        if mode == TURNS and count > MOST_TURNS:
            return [verdict(name, what, None, target, "", note=f"at most {MOST_TURNS} tenants take turns")]
        samples = run.steady(name, tenants, mode)
        run.picture(name, what, samples, tenants)
        index = min(stats.jain(stats.shares(*window)) for window in stats.windows(samples))
        over_all = stats.shares(samples[0], samples[-1])
        details = {"over_all": round(stats.jain(over_all), 4), "sum": round(sum(over_all), 2)}
        return [verdict(name, what, index, target, "", at_least=True, **details)]

    return measure


def total(target: float) -> Callable[[Run, str, str], list[Row]]:
    def measure(run: Run, name: str, mode: str) -> list[Row]:
        def busy(samples: Sequence[Sample]) -> float:
            first, last = samples[0], samples[-1]
            return (sum(last.gpu_ns) - sum(first.gpu_ns)) / (last.elapsed_ns - first.elapsed_ns)

        native = busy(run.steady(name, [Tenant(run.kernel(200_000), cap=None)], CONCURRENT))
        what, found = f"what all tenants get, all busy / native alone, {mode}", {}
        for caps in (30, 70), (10, 20, 30, 40):
            tenants = contended([run.kernel(200_000)] * len(caps), caps)(run)
            samples = run.steady(name, tenants, mode)
            found["/".join(map(str, caps))] = round(busy(samples) / native, 4)
        run.picture(name, what, samples, tenants)
        return [verdict(name, what, min(found.values()), target, "", at_least=True, found=found)]

    return measure


# -------- priority --------


def priority(low_ns: int, target: float) -> Callable[[Run, str, str], list[Row]]:
    """Requests of 10 ms at half load, beside a tenant of low priority that takes what is left."""

    def measure(run: Run, name: str, mode: str) -> list[Row]:
        requests = {"ns": 200_000, "batch": 50, "period_us": 20_000}
        high, low = Tenant(requests, name="high"), Tenant(run.kernel(low_ns), low=True, name="low")
        p99_ms, samples = [], []
        for tenants in [replace(high, cap=None)], [high, low]:
            with run.stage(tenants, mode) as stage:
                stage.go()
                stage.wait(run.effort.settle_s)
                before = len(stage.latencies_ns(0))
                samples = stage.watch(run.effort.requests_s, STEP_S)
                latencies_ns = stage.latencies_ns(0, before)
            p99_ms.append(stats.percentile(latencies_ns, 99) / 1e6)
        high_share, low_share = stats.shares(samples[0], samples[-1])
        kernels = f"kernels of {low_ns / 1e6:g} ms"
        what = f"high priority, requests of 10 ms beside low priority with {kernels}: p99 / alone"
        run.picture(name, what, samples, [high, low])
        details = {"p99_ms": [round(ms, 3) for ms in p99_ms], "requests": len(latencies_ns)}
        harvest = low_share / (100 - high_share)
        return [
            verdict(name, what, p99_ms[1] / p99_ms[0], target, "times", **details),
            verdict(
                f"{name}_harvest",
                f"low priority with {kernels}: its part of what high leaves",
                harvest,
                0.85,
                "times",
                at_least=True,
                shares=[round(high_share, 2), round(low_share, 2)],
            ),
        ]

    return measure


# -------- changes --------

TOLERANCE = 0.05
CHANGE_STEP_S = 0.01


@dataclass(frozen=True)
class Change:
    """Something that happens to tenants, and what they must get from then on."""

    what: str
    caps: tuple[float, ...]
    happens: Callable[[Stage], None]
    asked: tuple[float | None, ...]
    target_ms: float
    starts: tuple[bool, ...] = (True, True)


def reaction(change: Callable[[str], Change]) -> Callable[[Run, str, str], list[Row]]:
    """Milliseconds until each half second that begins then has the shares asked for."""

    def measure(run: Run, name: str, mode: str) -> list[Row]:
        one = change(mode)
        turn = 100 / len(one.caps) if mode == TURNS else 0
        tenants = [
            Tenant(
                run.kernel(200_000),
                cap=cap,
                asked=asked,
                turn=cap if sum(one.caps) == 100 else turn,
                starts=s,
            )
            for cap, asked, s in zip(one.caps, one.asked, one.starts, strict=True)
        ]
        with run.stage(tenants, mode) as stage:
            stage.go()
            stage.wait(run.effort.settle_s)
            before = stage.watch(1, CHANGE_STEP_S)
            one.happens(stage)
            after = stage.watch(3, CHANGE_STEP_S)
        taken_ms = stats.settled_ms(after, after[0].elapsed_ns, one.asked, TOLERANCE)
        what = f"{one.what}: shares within {100 * TOLERANCE:g} %, {mode}"
        run.picture(name, what, before + after[1:], tenants)
        got = [round(share, 2) for share in stats.shares(after[len(after) // 3], after[-1])]
        late = float("inf") if taken_ms is None else taken_ms
        row = verdict(name, what, late, one.target_ms, "ms", asked=one.asked, got_later=got)
        return [
            row if taken_ms is not None else replace(row, value=None, note="not within 3 s", within=False)
        ]

    return measure


def from_20_to_80(mode: str) -> Change:
    def happens(stage: Stage) -> None:
        if mode == TURNS:
            stage.take_turns([80, 20])
        for tenant, cap in enumerate((80, 20)):
            stage.set_cap(tenant, cap)

    return Change("20/80 become 80/20", (20, 80), happens, (80, 20), 500)


def arrival(mode: str) -> Change:
    def happens(stage: Stage) -> None:
        stage.prepare(1)
        stage.go(1)

    caps = (100.0, 100.0) if mode == TURNS else (50.0, 50.0)
    return Change("a second tenant arrives, 50/50", caps, happens, (50, 50), 500, starts=(True, False))


def departure(mode: str) -> Change:
    if mode == TURNS:
        return Change("one of two leaves", (100, 100), lambda stage: stage.leave(1), (100, None), 200)
    return Change("one of two leaves", (50, 50), lambda stage: stage.leave(1), (50, None), 200)


def death(mode: str) -> Change:
    if mode == TURNS:
        return Change("kill -9 of one of two", (100, 100), lambda stage: stage.kill(1), (100, None), 500)
    return Change("kill -9 of one of two", (50, 50), lambda stage: stage.kill(1), (50, None), 500)


# -------- waits --------

WAIT_STEP_S = 0.002


def waits(target_ms: float) -> Callable[[Run, str, str], list[Row]]:
    def measure(run: Run, name: str, mode: str) -> list[Row]:
        caps = (10, 20, 30, 40)
        tenants = contended([run.kernel(1_000_000)] * len(caps), caps)(run)
        with run.stage(tenants, mode) as stage:
            stage.go()
            stage.wait(run.effort.settle_s)
            samples = stage.watch(run.effort.seconds, WAIT_STEP_S)
        longest = stats.longest_wait_ms(samples)
        what = f"longest wait of a runnable tenant, 10/20/30/40, kernels of 1 ms, {mode}"
        run.picture(name, what, samples, tenants)
        return [verdict(name, what, max(longest), target_ms, "ms", longest=[round(ms) for ms in longest])]

    return measure
