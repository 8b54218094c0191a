"""Whatever programs do: physical ≤ charged ≤ limit at any moment, equality after a wait, nothing at the end.

The programs are tests/programs/doors, which take memory through every door, good and bad calls mixed, from
several threads and processes; doors.py holds them against the simulated machine's books, between two steps
and, stopped between any two instructions, in the midst of them.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from doors import CONTEXTS, ROOM, Bench, Case
from tenants import Tenant

from gshare.shim import sim

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted(f"doors/{path.name}" for path in (ROOT / "tests" / "programs" / "doors").glob("*.c"))
UNKNOWN, OUT_OF_MEMORY = 999, 2
NEVER = {"cuGraphClone"}
"""What a program that allocates in all graphs cannot have succeed."""

CASES = {
    "alone": Case(0, rounds=100, steps=1),
    "threads": Case(0, threads=4),
    "processes": Case(0, processes=3, threads=2),
    "shared": Case(0, processes=2, threads=3, shares=True),
}


def faults(seed: int) -> str:
    """Errors of the driver, by chance; and questions that it does not answer for a while."""
    by_chance = {
        UNKNOWN: ("cuMem*", "cuArray*", "cuMipmapped*", "cuModule*", "cuLibrary*", "cuStream*"),
        OUT_OF_MEMORY: ("cuGraph*", "cuCtxCreate*", "cuCtxDestroy*", "cuDevicePrimaryCtxRet*", "cuGreenCtx*"),
    }
    rules = [f"{name}:p0.04@{seed}:{code}" for code, names in by_chance.items() for name in names]
    questions = ("cuMemPoolGetAttribute", "cuDeviceGetGraphMemAttribute", "cuEventQuery")
    return ",".join([*rules, *(f"{name}:5-25:{UNKNOWN}" for name in questions)])


@pytest.fixture(scope="session")
def program(build: Callable[..., Path]) -> Path:
    """Return the random program."""
    parts = [f"-I{ROOT}/shim/sim/{part}" for part in ("driver", "memory")]
    return build("doors", *SOURCES, options=["-Werror", *parts, str(Path(sim.LIBRARY_DIR) / "libcuda.so.1")])


@pytest.fixture
def make_bench(tmp_path: Path, environ: dict[str, str], program: Path) -> Iterator[Callable[..., Bench]]:
    """Return a function that makes tenants with a different quota for each device of a machine of theirs."""
    first: list[Tenant] = []

    def make(tenants: int = 1, profile: str = "h200,l4") -> Bench:
        folder = tmp_path / str(len(first))
        folder.mkdir()
        tenant = Tenant(folder, environ, profile=profile)
        first.append(tenant)
        limits = [CONTEXTS * context + ROOM for context in tenant.context_bytes]
        for index, limit in enumerate(limits):
            tenant.limits.set_memory_limit(index, limit)
        others = [tenant.beside(folder / f"other-{i}", limits) for i in range(1, tenants)]
        return Bench([tenant, *others], program)

    yield make
    for tenant in first:
        tenant.close()


def seeds(count: int) -> list[int]:
    """The same in each run; the soak test has thousands."""
    return [*range(1, count + 1)]


@pytest.mark.parametrize("name", CASES)
def test_random_programs_keep_to_their_quotas(make_bench: Callable[..., Bench], name: str) -> None:
    bench = make_bench()
    for seed in seeds(3):
        bench.hold(replace(CASES[name], seed=seed))


def test_two_tenants_do_not_disturb_each_other(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench(tenants=2, profile="l4*3")
    for seed in seeds(3):
        bench.hold(Case(seed, processes=2, threads=2))


def test_errors_of_the_driver_lose_nothing(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench()
    for seed in seeds(3):
        bench.hold(Case(seed, processes=2, threads=2, faults=faults(seed)))
    assert sum(bench.failed.values()) > 50


def test_every_door_is_gone_through(make_bench: Callable[..., Bench]) -> None:
    """And quotas are reached: the other tests would say nothing of a call that never succeeds."""
    bench = make_bench()
    for seed in range(1, 13):  # which thread comes first is chance: some doors take more programs than others
        bench.hold(Case(seed, processes=2, threads=2, rounds=2, steps=400, shares=True))
        if seed >= 3 and unopened(bench) <= NEVER:
            break
    assert unopened(bench) <= NEVER
    assert bench.refused() > 0


def unopened(bench: Bench) -> set[str]:
    """Return the functions that were called, and never succeeded."""
    return {name for name in bench.failed if not bench.calls[name]}


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_thousands_of_random_programs(make_bench: Callable[..., Bench]) -> None:
    """Ten minutes; `-s` shows what was run."""
    started, programs, looks, calls, number = time.monotonic(), 0, 0, 0, 0
    chance = random.Random(number)
    while time.monotonic() - started < 600:
        bench = make_bench(tenants=1 + number % 2, profile=("h200,l4", "l4*3")[number % 3 == 2])
        for seed in range(25):
            case = Case(
                seed=10_000 * number + seed + 1,
                processes=chance.randint(1, 3),
                threads=chance.randint(1, 6),
                steps=chance.choice((10, 40, 150)),
                shares=chance.random() < 0.4,
            )
            bench.hold(replace(case, faults=faults(case.seed)) if chance.random() < 0.3 else case)
        number += 1
        programs += bench.programs
        looks += bench.looks
        calls += sum(bench.calls.values()) + sum(bench.failed.values())
    seconds = time.monotonic() - started
    print(f"{programs} programs, {calls} calls, {looks} looks in their midst, in {seconds:.0f} s")
