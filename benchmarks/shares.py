"""Whether tenants get the GPU time they are promised: how exactly, fairly, soon; each with its target.

The truth is what the simulated GPU says its processes had; on a real one it is the sum of what their kernels
take alone, which is known of each.  Shares are of the time that switches between contexts leave, in any
second after the first two.  Pictures show the shares over time.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from gshare.benchmarks import share_cases as cases
from gshare.benchmarks import share_picture
from gshare.benchmarks.results import Row
from gshare.benchmarks.share_cases import CONCURRENT, TURNS, Case, Run, Target
from gshare.benchmarks.share_stage import Place
from gshare.cli.sandbox import Sandbox
from gshare.controller.errors import GshareError, UsageError
from gshare.shim import sim

LOAD = Path(__file__).parent / "programs" / "share_load.c"
US, MS = 1_000, 1_000_000
SLICES_MS = (0.3, 1.0, 2.0)
SIGMA = 0.25

KERNELS = {"50us": 50 * US, "200us": 200 * US, "1ms": MS, "5ms": 5 * MS}
MIXES = ((30, 70), (20, 30, 50), (10, 20, 30, 40))
KINDS = {
    "graph": {"kind": "graph", "ns": 800 * US},
    "cooperative": {"kind": "cooperative", "ns": 200 * US},
    "ptsz": {"kind": "ptsz", "ns": 200 * US},
    "memset": {"kind": "memset", "ns": 64 << 20, "simulated_ns": 4 << 10},  # the host does the simulated one
}
REACTIONS = {
    "change": ("20/80 become 80/20", 500),
    "arrival": ("a second tenant arrives", 500),
    "departure": ("one of two leaves", 200),
    "death": ("kill -9 of one of two", 500),
}
SMOKE_CASES = (
    "alone_10_50us",
    "alone_30_1ms",
    "alone_75_1ms",
    "mix_30_70_50us_concurrent",
    "mix_30_70_200us_concurrent",
    "short_long_concurrent",
    "bursts",
    "kind_graph",
    "kind_cooperative_concurrent",
    "kind_ptsz_concurrent",
    "kind_memset_concurrent",
    "light",
    "jain_16",
    "sum_30_70_turns",
    "arrival",
    "departure",
    "death",
    "wait_turns",
    "charges_turns",
)
"""What a short run measures, on a machine with slices of 1 ms: rows that are within their targets there."""


@dataclass(frozen=True)
class Options:
    """What `gshare bench shares` takes beside what every benchmark takes."""

    virtual: bool | None = None
    """None: where there is no GPU."""
    by_work: bool = False
    pictures: Path | None = None
    only: Sequence[str] = ()
    slices_ms: Sequence[float] = ()
    sigma: float = SIGMA
    seed: int = 0
    """Other kernels: of what is by chance."""


def all_cases() -> Iterator[Case]:
    """In the order of the table; what sums up over others comes after them."""
    yield from _alone()
    for mode in CONCURRENT, TURNS:
        yield from _contended(mode, 3 if mode == CONCURRENT else 1)
    for mode in CONCURRENT, TURNS:
        yield from _kinds(mode, 2 if mode == CONCURRENT else 1)
    for mode in CONCURRENT, TURNS:
        is_turns = mode == TURNS
        what = "a light synchronous tenant beside a saturating one: its rate / that without gshare"
        yield Case("light", mode, [_at_least(what, 0.5 if is_turns else 0.95)], cases.light)
        for count in 16, 32, 64:
            what = f"{count} equal tenants: Jain's index"
            target = _at_least(what, 0.99 if is_turns else 0.98)
            yield Case(f"jain_{count}", mode, [target], cases.equal(count))
        for mix in MIXES:
            what = f"what {_slashed(mix)} get together / native alone"
            target = _at_least(what, 0.98 if is_turns else 0.96)
            yield Case(f"sum_{_name(mix)}", mode, [target], cases.total(mix))
    yield from _priority()
    for mode in CONCURRENT, TURNS:
        for name, (what, most_ms) in REACTIONS.items():
            target = Target(f"{what}: shares within 5 %", most_ms, "ms")
            yield Case(name, mode, [target], cases.reaction(cases.CHANGES[name]))
        target = Target("longest wait of a runnable tenant", 101 if mode == CONCURRENT else 80, "ms")
        yield Case("wait", mode, [target], cases.waits)
        target = Target("charges of all in any second / the device's busy time: off 1", 0.03)
        yield Case("charges", mode, [target], cases.charges, contended=False)


def _at_least(what: str, limit: float) -> Target:
    return Target(what, limit, at_least=True)


def _slashed(mix: Sequence[float]) -> str:
    return "/".join(map(str, mix))


def _name(mix: Sequence[float]) -> str:
    return "_".join(map(str, mix))


def _alone() -> Iterator[Case]:
    for cap in 10, 30, 75:
        for kernel, ns in {"50us": 50 * US, "1ms": MS, "5ms": 5 * MS, "20ms": 20 * MS}.items():
            target = Target(f"alone at {cap} %, kernels of {kernel}", 2 if ns == 20 * MS else 1, "points")
            measure = cases.shares(cases.capped([{"ns": ns}], [cap]))
            yield Case(f"alone_{cap}_{kernel}", CONCURRENT, [target], measure, contended=False)


def _contended(mode: str, accuracy: float) -> Iterator[Case]:
    for mix in MIXES:
        for kernel, ns in KERNELS.items():
            target = Target(f"{_slashed(mix)}, kernels of {kernel}", accuracy, "points")
            measure = cases.shares(cases.capped([{"ns": ns}] * len(mix), mix))
            yield Case(f"mix_{_name(mix)}_{kernel}", mode, [target], measure)
    for name, first, second in ("short_long", 50 * US, 4 * MS), ("long_short", 4 * MS, 50 * US):
        what = f"30/70, kernels of {first / MS:g} and {second / MS:g} ms"
        measure = cases.shares(cases.capped([{"ns": first}, {"ns": second}], (30, 70)))
        yield Case(name, mode, [Target(what, accuracy, "points")], measure)
    target = Target("bursts at 10 % beside a saturating tenant", 2, "points")
    burst = {"ns": 100 * US, "batch": 4, "gap_us": 300}
    yield Case("bursts", mode, [target], cases.shares(cases.beside(burst, 10, 200 * US)))
    what = "one function, 0.1 or 5 ms, at 30 % beside a saturating tenant"
    target = Target(what, 4 if mode == CONCURRENT else 1, "points")
    varies = {"ns": 100 * US, "long_ns": 5 * MS, "sigma": 0}
    yield Case("varies", mode, [target], cases.shares(cases.beside(varies, 30, 500 * US)))


def _kinds(mode: str, accuracy: float) -> Iterator[Case]:
    """Alone, and in turns beside somebody."""
    for kind, load in KINDS.items():
        is_alone = mode == CONCURRENT
        make = cases.capped([load], [30]) if is_alone else cases.beside(load, 30, 200 * US)
        target = Target(f"{kind} only, at 30 %", accuracy, "points")
        yield Case(f"kind_{kind}", mode, [target], cases.shares(make), contended=not is_alone)


def _priority() -> Iterator[Case]:
    for kernel, low_ns, most in ("200us", 200 * US, 1.10), ("2ms", 2 * MS, 1.25):
        for name, poisson, how in ("priority", True, "at random"), ("priority_even", False, "evenly spaced"):
            what = f"high priority, requests of 10 ms {how}, beside low with kernels of {kernel}: p99 / alone"
            harvest = f"low priority with kernels of {kernel}, requests {how}: its part of what high leaves"
            targets = [Target(what, most), Target(harvest, 0.85, at_least=True, suffix="_harvest")]
            measure = cases.priority(low_ns, poisson=poisson)
            yield Case(f"{name}_{kernel}", CONCURRENT, targets, measure)


def run(
    sandbox: Sandbox, *, smoke: bool, say: Callable[[str], None], options: Options | None = None
) -> list[Row]:
    """Measure every row; `say` gets a word before each that takes a while."""
    options = options or Options()
    if options.pictures:
        share_picture.require()
        options.pictures.mkdir(parents=True, exist_ok=True)
    wanted = list(_chosen(options.only or (SMOKE_CASES if smoke else ())))
    place = place_on(sandbox, options)
    slices_ms = options.slices_ms or ((1.0,) if smoke else SLICES_MS)
    bench = Run(
        place=place,
        effort=cases.SMOKE if smoke else cases.FULL,
        slices_ns=[round(ms * MS) for ms in slices_ms] if place.simulated else [0],
        sigma=options.sigma,
        pictures=options.pictures,
    )
    rows: list[Row] = []
    for case in wanted:
        say(case.row_name)
        rows += case.rows(bench)
    return rows


def _chosen(names: Sequence[str]) -> Iterator[Case]:
    found = [case for case in all_cases() if not names or any(case.row_name.startswith(n) for n in names)]
    if not found:
        known = ", ".join(dict.fromkeys(case.row_name for case in all_cases()))
        raise UsageError("gshare bench shares", f"no row begins with {' or '.join(names)}", known)
    return iter(found)


def place_on(sandbox: Sandbox, options: Options) -> Place:
    virtual = sandbox.simulated if options.virtual is None else options.virtual
    if virtual and not sandbox.simulated:
        raise UsageError("gshare bench shares", "a real GPU has no virtual clock", "add --sim")
    directory = sandbox.directory
    if sandbox.simulated:  # device memory is host memory: where the sandbox has its own machine
        directory = Path(sandbox.environment["SIMGPU_MACHINE"]).parent
    foreign = ("LD_LIBRARY_PATH", "GSHARE_", "SIMGPU_") if sandbox.simulated else ("GSHARE_", "SIMGPU_")
    return Place(
        directory=directory,
        program=_build(sandbox.directory),
        simulated=sandbox.simulated,
        virtual=virtual,
        by_work=options.by_work or not sandbox.simulated,
        seed=options.seed,
        environment={name: value for name, value in os.environ.items() if not name.startswith(foreign)},
    )


def _build(directory: Path) -> Path:
    """Linked with the simulated driver: its name is the real one's."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if not compiler:
        raise GshareError("gshare bench shares", "there is no C compiler", "apt-get install gcc")
    program = directory / "share_load"
    library = Path(sim.LIBRARY_DIR, "libcuda.so.1")
    done = subprocess.run(
        [compiler, "-std=gnu17", "-O2", str(LOAD), str(library), "-lm", "-o", str(program)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise GshareError("gshare bench shares", "the load does not build", done.stderr)
    return program
