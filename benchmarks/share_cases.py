"""The cases of `gshare bench shares`: who is on the device, what is measured, and what it must be.

A case is measured in one mode, on a machine of each time slice, and the worst counts.  A load without `batch`
launches as fast as it may; `asked` is what a tenant must get.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from gshare.benchmarks import share_stats as stats
from gshare.benchmarks.results import Row
from gshare.benchmarks.share_picture import draw
from gshare.benchmarks.share_stage import Place, Stage, Tenant
from gshare.benchmarks.share_stats import Sample
from gshare.controller.protocol import Limits

CONCURRENT, TURNS = "concurrent", "turns"
STEP_S = 0.1
MOST_REAL = 8
"""So many programs on the real clock; more go on the virtual one, where there is one."""


@dataclass(frozen=True)
class Effort:
    """How long each is measured."""

    settle_s: float
    seconds: float
    requests_s: float


FULL = Effort(settle_s=2, seconds=8, requests_s=20)
SMOKE = Effort(settle_s=2, seconds=2, requests_s=4)


class Found(NamedTuple):
    """A measured value, and the run it comes from."""

    value: float | None
    samples: Sequence[Sample] = ()
    tenants: Sequence[Tenant] = ()
    details: Mapping[str, Any] = {}


class Target(NamedTuple):
    """What a value is, and what it must be."""

    what: str
    limit: float
    unit: str = ""
    at_least: bool = False
    suffix: str = ""
    """Of the row's name, where a case has several."""

    def met(self, value: float) -> bool:
        return value >= self.limit if self.at_least else value <= self.limit

    def __str__(self) -> str:
        return f"{'>=' if self.at_least else '<='} {self.limit:g} {self.unit}".strip()


@dataclass
class Run:
    """One run of the benchmark: where, how long, on which machines; and what charges came to so far."""

    place: Place
    effort: Effort
    slices_ns: Sequence[int]
    sigma: float
    pictures: Path | None = None
    charges: dict[str, list[tuple[float, float, str]]] = field(default_factory=dict)

    def stage(self, tenants: Sequence[Tenant], mode: str, slice_ns: int) -> Stage:
        crowd = self.place.simulated and len(tenants) > MOST_REAL
        place = replace(self.place, virtual=True) if crowd else self.place
        return Stage(place, tenants, turns=mode == TURNS, slice_ns=slice_ns)

    def steady(self, tenants: Sequence[Tenant], mode: str, slice_ns: int, name: str = "") -> list[Sample]:
        """What seconds look like when all have been there for a while; `name`: their charges count."""
        with self.stage(tenants, mode, slice_ns) as stage:
            stage.go()
            stage.wait(self.effort.settle_s)
            samples = stage.watch(self.effort.seconds, STEP_S)
        if name:
            least, most = stats.charges_off(samples)
            self.charges.setdefault(mode, []).append((least, most, f"{name} {slice_ns / 1e6:g}"))
        return samples

    def load(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """A load whose kernels' times vary as asked; `simulated_ns` replaces `ns` there."""
        load = {"sigma": self.sigma, **options}
        simulated_ns = load.pop("simulated_ns", None)
        if simulated_ns and self.place.simulated:
            load["ns"] = simulated_ns
        return load

    def kernel(self, ns: int) -> dict[str, Any]:
        return self.load({"ns": ns})


Measure = Callable[[Run, str, str, int], Sequence[Found]]
"""Of the run, the row's name, the mode and the time slice: a value for each target of the case."""


@dataclass(frozen=True)
class Case:
    name: str
    mode: str
    targets: Sequence[Target]
    measure: Measure
    contended: bool = True
    """Else time slices make no difference."""

    @property
    def row_name(self) -> str:
        return f"{self.name}_{self.mode}"

    def rows(self, run: Run) -> list[Row]:
        slices_ns = run.slices_ns if self.contended else run.slices_ns[:1]
        tried = [self.measure(run, self.row_name, self.mode, slice_ns) for slice_ns in slices_ns]
        rows = []
        for index, target in enumerate(self.targets):
            found = [one[index] for one in tried]
            rows.append(self._row(target, found, slices_ns))
            worst = worst_of(target, found)
            if run.pictures and worst.samples:
                draw(run.pictures / f"{rows[-1].name}.png", rows[-1].what, worst.samples, worst.tenants)
        return rows

    def _row(self, target: Target, found: Sequence[Found], slices_ns: Sequence[int]) -> Row:
        worst = worst_of(target, found)
        details = [
            {"slice_ms": ns / 1e6, "value": one.value and round(one.value, 4), **one.details}
            for ns, one in zip(slices_ns, found, strict=True)
        ]
        return verdict(self.row_name + target.suffix, target, self.mode, worst, details)


def worst_of(target: Target, found: Sequence[Found]) -> Found:
    """Least or most; what was never reached is worse than all."""
    never = [one for one in found if one.value is None]
    pick = min if target.at_least else max
    return never[0] if never else pick(found, key=lambda one: one.value or 0.0)


def verdict(
    name: str, target: Target, mode: str, worst: Found, details: Sequence[Mapping[str, Any]] = ()
) -> Row:
    """A value of None with a note was not measured; without one, what it stands for never came."""
    note = worst.details.get("note", "")
    within = target.met(worst.value) if worst.value is not None else None if note else False
    return Row(
        name,
        f"{target.what}, {mode}",
        None if worst.value is None else round(worst.value, 4),
        target.unit,
        target.limit,
        within,
        note or ("" if worst.value is not None else "never"),
        {"target": str(target), "found": list(details)},
    )


def percent(share: float, ceiling: float | None = None) -> Limits:
    """What `--compute SHARE%` or `SHARE%..CEILING%` asks for."""
    return Limits(
        compute_ppm=round(share * 10_000), ceiling_ppm=None if ceiling is None else round(ceiling * 10_000)
    )


def got(samples: Sequence[Sample]) -> list[float]:
    return [round(share, 2) for share in stats.shares(samples[0], samples[-1])]


# -------- shares that hold --------


def shares(make: Callable[[Run], Sequence[Tenant]]) -> Measure:
    """How far any tenant is from what it asked for in any second."""

    def measure(run: Run, name: str, mode: str, slice_ns: int) -> list[Found]:
        tenants = make(run)
        samples = run.steady(tenants, mode, slice_ns, name)
        off = stats.points_off(samples, [tenant.asked for tenant in tenants])
        return [Found(off, samples, tenants, {"got": got(samples)})]

    return measure


def capped(loads: Sequence[Mapping[str, Any]], caps: Sequence[float]) -> Callable[[Run], list[Tenant]]:
    """Tenants with those caps, which are also what they must get."""
    return lambda run: [
        Tenant(run.load(load), percent(cap), cap) for load, cap in zip(loads, caps, strict=True)
    ]


def beside(load: Mapping[str, Any], cap: float, other_ns: int) -> Callable[[Run], list[Tenant]]:
    """A tenant with a cap beside one that takes all it can get."""
    return lambda run: [Tenant(run.load(load), percent(cap), cap), Tenant(run.kernel(other_ns))]


def charges(run: Run, name: str, mode: str, slice_ns: int) -> list[Found]:
    """Over every second of the cases before; worst first."""
    found = sorted(run.charges.get(mode, []), key=lambda one: -max(1 - one[0], one[1] - 1))
    if not found:
        return [Found(None, details={"note": "not measured: no cases with shares before"})]
    worst = {case: [round(least, 4), round(most, 4)] for least, most, case in found[:10]}
    off = max(1 - found[0][0], found[0][1] - 1)
    return [Found(off, details={"runs": len(found), "worst": worst})]


def light(run: Run, name: str, mode: str, slice_ns: int) -> list[Found]:
    """A kernel of 100 us, a synchronise, 300 us of the host, and again."""
    tenants = [
        Tenant({"ns": 100_000, "batch": 1, "gap_us": 300}, percent(50), name="light"),
        Tenant(run.kernel(200_000), name="saturating"),
    ]
    bare = [replace(tenant, limits=None) for tenant in tenants]
    rates = []
    for some, how in (bare, CONCURRENT), (tenants, mode):
        samples = run.steady(some, how, slice_ns)
        first, last = samples[0], samples[-1]
        rates.append((last.gpu_ns[0] - first.gpu_ns[0]) / (last.elapsed_ns - first.elapsed_ns))
    details = {"without": round(rates[0], 4), "with": round(rates[1], 4)}
    return [Found(rates[1] / rates[0], samples, tenants, details)]


def equal(count: int) -> Measure:
    """Jain's index, in the worst second."""

    def measure(run: Run, name: str, mode: str, slice_ns: int) -> list[Found]:
        tenants = [Tenant(run.kernel(200_000), Limits(weight=1))] * count
        samples = run.steady(tenants, mode, slice_ns, name)
        index = min(stats.jain(stats.shares(*window)) for window in stats.windows(samples))
        over_all = stats.shares(samples[0], samples[-1])
        details = {"over_all": round(stats.jain(over_all), 4), "sum": round(sum(over_all), 2)}
        return [Found(index, samples, tenants, details)]

    return measure


def _busy(samples: Sequence[Sample]) -> float:
    """The part of the whole time that tenants had."""
    first, last = samples[0], samples[-1]
    return (sum(last.gpu_ns) - sum(first.gpu_ns)) / (last.elapsed_ns - first.elapsed_ns)


def total(caps: Sequence[float]) -> Measure:
    """What all get to what one without gshare gets: their shares, which are of the time that switches leave.

    Where switches are not seen, of the whole time.  What they take is told, too, and without gshare.
    """

    def measure(run: Run, name: str, mode: str, slice_ns: int) -> list[Found]:
        native = _busy(run.steady([Tenant(run.kernel(200_000), None)], CONCURRENT, slice_ns))
        tenants = capped([run.kernel(200_000)] * len(caps), caps)(run)
        bare = run.steady([replace(tenant, limits=None) for tenant in tenants], CONCURRENT, slice_ns)
        samples = run.steady(tenants, mode, slice_ns, name)
        whole = _busy(samples)
        got = whole if run.place.by_work else sum(stats.shares(samples[0], samples[-1])) / 100
        details = {"native": native, "of_whole": whole / native, "without_gshare": _busy(bare) / native}
        rounded = {what: round(value, 4) for what, value in details.items()}
        return [Found(got / native, samples, tenants, rounded)]

    return measure


def priority(low_ns: int, *, poisson: bool) -> Measure:
    """Requests of 10 ms at half load, beside a tenant of low priority that takes what is left.

    They come at random (`poisson`), as those of many users do, or nearly evenly: then none waits for another.
    """

    def measure(run: Run, name: str, mode: str, slice_ns: int) -> list[Found]:
        requests = {"ns": 200_000, "batch": 50, "period_us": 20_000, "poisson": int(poisson)}
        high = Tenant(requests, Limits(priority="high"), name="high")
        low = Tenant(run.kernel(low_ns), Limits(priority="low"), name="low")
        p99_ms = []
        for tenants in [replace(high, limits=None)], [high, low]:
            with run.stage(tenants, mode, slice_ns) as stage:
                stage.go()
                stage.wait(run.effort.settle_s)
                before = len(stage.latencies_ns(0))
                samples = stage.watch(run.effort.requests_s, STEP_S)
                latencies_ns = stage.latencies_ns(0, before)
            p99_ms.append(stats.percentile(latencies_ns, 99) / 1e6)
        high_share, low_share = stats.shares(samples[0], samples[-1])
        details = {"p99_ms": [round(ms, 3) for ms in p99_ms], "requests": len(latencies_ns)}
        return [
            Found(p99_ms[1] / p99_ms[0], samples, tenants, details),
            Found(low_share / (100 - high_share), details={"got": got(samples)}),
        ]

    return measure


# -------- changes --------

TOLERANCE = 0.05
CHANGE_STEP_S = 0.01
WATCHED_S = 3.0


@dataclass(frozen=True)
class Change:
    """Something that happens to two tenants, and what they must get from then on."""

    limits: tuple[Limits, Limits]
    happens: Callable[[Stage], None]
    asked: tuple[float | None, ...]
    starts: bool = True
    """Is the second one there before it?"""


def _reverse(stage: Stage) -> None:
    stage.ask(0, percent(80))
    stage.ask(1, percent(20))


def _arrive(stage: Stage) -> None:
    stage.prepare(1)
    stage.go(1)


HALF_OR_ALL = percent(50, 100), percent(50, 100)
CHANGES = {
    "change": Change((percent(20), percent(80)), _reverse, (80, 20)),
    "arrival": Change(HALF_OR_ALL, _arrive, (50, 50), starts=False),
    "departure": Change(HALF_OR_ALL, lambda stage: stage.leave(1), (100, None)),
    "death": Change(HALF_OR_ALL, lambda stage: stage.kill(1), (100, None)),
}


def reaction(change: Change) -> Measure:
    """Milliseconds until each half second that begins then has the shares asked for."""

    def measure(run: Run, name: str, mode: str, slice_ns: int) -> list[Found]:
        first, second = change.limits
        kernel = run.kernel(200_000)
        tenants = [
            Tenant(kernel, first, change.asked[0]),
            Tenant(kernel, second, change.asked[1], change.starts),
        ]
        with run.stage(tenants, mode, slice_ns) as stage:
            stage.go()
            stage.wait(run.effort.settle_s)
            before = stage.watch(1, CHANGE_STEP_S)
            changed_ns = before[-1].elapsed_ns
            change.happens(stage)
            after = stage.watch(WATCHED_S, CHANGE_STEP_S)
        taken_ms = stats.settled_ms(after, changed_ns, change.asked, TOLERANCE)
        later = got(after[len(after) // 3 :])
        return [Found(taken_ms, before + after[1:], tenants, {"got_later": later})]

    return measure


WAIT_STEP_S = 0.004


def waits(run: Run, name: str, mode: str, slice_ns: int) -> list[Found]:
    """Milliseconds without anything, of four tenants with kernels of 1 ms."""
    caps = (10, 20, 30, 40)
    tenants = capped([run.kernel(1_000_000)] * len(caps), caps)(run)
    with run.stage(tenants, mode, slice_ns) as stage:
        stage.go()
        stage.wait(run.effort.settle_s)
        samples = stage.watch(run.effort.seconds, WAIT_STEP_S)
    longest_ms = stats.longest_wait_ms(samples)
    return [Found(max(longest_ms), samples, tenants, {"longest_ms": [round(ms) for ms in longest_ms]})]
