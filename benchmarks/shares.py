"""Whether tenants get the GPU time they are promised: how exactly, how fairly, how soon; with a target for each.

The truth is what the simulated GPU says its processes had; on a real one it is the sum of what their kernels take
alone, which is known of each.  Shares are of the time that switches between contexts leave, in any second after the
first two.  Pictures show the shares over time.
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
from gshare.benchmarks.share_cases import CONCURRENT, TURNS, Case, Run
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
    "memset": {"kind": "memset", "ns": 16 << 20},
}
SMOKE_CASES = ()
"""What a short run measures."""


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


def all_cases() -> Iterator[Case]:
    """In the order of the table; what sums up over others comes after them."""
    yield from _alone()
    yield from _contended()
    for mode, accuracy in (CONCURRENT, 2), (TURNS, 1):
        for kind, load in KINDS.items():
            what = f"{kind} only, at 30 %"
            if mode == CONCURRENT:
                make = cases.contended([{"sigma": 0, **load}], [30])
                measure = cases.shares(f"{what}, alone", accuracy, make, alone=True)
            else:
                make = cases.beside({"sigma": 0, **load}, 30, 200 * US)
                measure = cases.shares(f"{what}, beside a saturating one", accuracy, make)
            yield Case(f"kind_{kind}", mode, measure)
    for mode, least in (CONCURRENT, 0.95), (TURNS, 0.5):
        yield Case("light", mode, cases.light(least))
    for count in 16, 32, 64:
        for mode, least in (CONCURRENT, 0.98), (TURNS, 0.99):
            yield Case(f"jain_{count}", mode, cases.equal(count, least))
    for mode, least in (CONCURRENT, 0.96), (TURNS, 0.98):
        yield Case("sum", mode, cases.total(least))
    yield Case("priority_200us", CONCURRENT, cases.priority(200 * US, 1.10))
    yield Case("priority_2ms", CONCURRENT, cases.priority(2 * MS, 1.25))
    for name in "from_20_to_80", "arrival", "departure", "death":
        for mode in CONCURRENT, TURNS:
            yield Case(name, mode, cases.reaction(getattr(cases, name)))
    for mode, most_ms in (CONCURRENT, 101), (TURNS, 80):
        yield Case("wait", mode, cases.waits(most_ms))
    for mode in CONCURRENT, TURNS:
        yield Case("charges", mode, cases.charges)


def _alone() -> Iterator[Case]:
    for cap in 10, 30, 75:
        for kernel, ns in {"50us": 50 * US, "1ms": MS, "5ms": 5 * MS, "20ms": 20 * MS}.items():
            make = cases.contended([{"ns": ns}], [cap])
            accuracy = 2 if ns == 20 * MS else 1
            what = f"one tenant alone, {cap} %, kernels of {kernel}"
            yield Case(f"alone_{cap}_{kernel}", CONCURRENT, cases.shares(what, accuracy, make, alone=True))


def _contended() -> Iterator[Case]:
    for mode, accuracy in (CONCURRENT, 3), (TURNS, 1):
        for mix in MIXES:
            for kernel, ns in KERNELS.items():
                names = "/".join(map(str, mix))
                make = cases.contended([{"ns": ns}] * len(mix), mix)
                measure = cases.shares(f"{names}, kernels of {kernel}", accuracy, make)
                yield Case(f"mix_{names.replace('/', '_')}_{kernel}", mode, measure)
        for first, second, name in (50 * US, 4 * MS, "short_long"), (4 * MS, 50 * US, "long_short"):
            make = cases.contended([{"ns": first}, {"ns": second}], (30, 70))
            what = f"30/70, kernels of {first / MS:g} and {second / MS:g} ms"
            yield Case(name, mode, cases.shares(what, accuracy, make))
        burst = {"ns": 100 * US, "batch": 4, "gap_us": 300}
        what = "bursts at 10 % beside a saturating tenant"
        yield Case("bursts", mode, cases.shares(what, 2, cases.beside(burst, 10, 200 * US)))
        varies = {"ns": 100 * US, "long_ns": 5 * MS, "sigma": 0}
        what = "one function, 0.1 or 5 ms, at 30 % beside a saturating tenant"
        accuracy = 4 if mode == CONCURRENT else 1
        yield Case("varies", mode, cases.shares(what, accuracy, cases.beside(varies, 30, 500 * US)))


def run(
    sandbox: Sandbox, *, smoke: bool, say: Callable[[str], None], options: Options | None = None
) -> list[Row]:
    """Measure every row; `say` gets a word before each that takes a while."""
    options = options or Options()
    if options.pictures:
        share_picture.require()
        options.pictures.mkdir(parents=True, exist_ok=True)
    wanted = list(_chosen(options.only or (SMOKE_CASES if smoke else ())))
    place = _place(sandbox, options)
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
        rows += case.measure(bench, case.row_name, case.mode)
    return rows


def _chosen(names: Sequence[str]) -> Iterator[Case]:
    found = [case for case in all_cases() if not names or any(case.row_name.startswith(n) for n in names)]
    if not found:
        known = ", ".join(dict.fromkeys(case.row_name for case in all_cases()))
        raise UsageError("gshare bench shares", f"no row begins with {' or '.join(names)}", known)
    return iter(found)


def _place(sandbox: Sandbox, options: Options) -> Place:
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
