"""Every door to device memory obeys the quota to the byte, on all roads; each way back gives all of it up."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from probing import (
    BOUNDED,
    DOORS,
    EXACT,
    MOVES,
    NOT_CARRIED_OUT,
    NOTHING,
    ROADS,
    VERSIONS,
    WAYS,
    Door,
    Probes,
    Way,
    build,
    ways_of,
)
from tenants import Tenant

from gshare.shim import sim

OUT_OF_MEMORY = 2
SIMULATED_DRIVER = 13000
AMPLE = 1 << 40

every_door = pytest.mark.parametrize("door", [d for d in DOORS if d.charge != MOVES], ids=str)
every_road = pytest.mark.parametrize("road", ROADS)


class Bench:
    """One machine and one tenant for all doors, and the program on each road, limited or not."""

    def __init__(self, folder: Path, environ: dict[str, str]) -> None:
        folder.mkdir()
        self.tenant = Tenant(folder, environ, profile="h200*2", limit_bytes=AMPLE)
        self.programs = build(folder, Path(sim.LIBRARY_DIR) / "libcuda.so.1")
        self.charges: dict[Door, int] = {}
        self.running: dict[tuple[str, bool, bool], Probes] = {}

    @contextmanager
    def probes(self, road: str, limited: bool = True, fresh: bool = False) -> Iterator[Probes]:
        """The program, on that road.  One that did what it should not is not used again."""
        key = road, limited, fresh
        environ = self.tenant.environ if limited else self.tenant.bare
        probes = self.running.pop(key, None) or Probes([self.programs[road], road], environ)
        self.running[key] = probes
        try:
            with probes.or_killed():
                yield probes
        except BaseException:
            self.running.pop(key).close()
            self.collect()
            raise
        if fresh:
            self.running.pop(key).close()

    def collect(self) -> None:
        """What dead programs had comes back when somebody else would be refused."""
        door = next(door for door in DOORS if door.kind == "CONTEXT")
        self.limit(0)
        with closing(Probes([self.programs["dlsym"], "dlsym"], self.tenant.environ)) as probes:
            probes.prepare(door, ways_of(door)[0])
            probes.take()
        self.limit(AMPLE)

    def charge_of(self, door: Door) -> int:
        """What the door is charged, by trying it once where there is room."""
        if door not in self.charges:
            with self.probes("dlsym") as probes:
                assert probes.prepare(door, ways_of(door)[0]) == 0
                used = self.used()
                assert probes.take() == 0
                self.charges[door] = self.used() - used
                assert probes.give() == 0
                assert probes.leave() == 0
        return self.charges[door]

    def used(self, device: int = 0) -> int:
        return self.tenant.usage.device(device).used_bytes

    def physical(self, device: int = 0) -> int:
        used: int = self.tenant.devices()[device]["used_bytes"]
        return used

    def peak(self, pid: int) -> int:
        """The most that a process has ever had."""
        processes = self.tenant.devices()[0]["processes"]
        return max((process["peak_bytes"] for process in processes if process["pid"] == pid), default=0)

    def limit(self, bytes_: int, device: int = 0) -> None:
        self.tenant.limits.set_memory_limit(device, bytes_)

    def close(self) -> None:
        for probes in self.running.values():
            probes.close()
        self.tenant.close()


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory, environ: dict[str, str]) -> Iterator[Bench]:
    bench = Bench(tmp_path_factory.mktemp("probes") / "limited", environ)
    yield bench
    bench.close()


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory, environ: dict[str, str]) -> Iterator[Bench]:
    """Another machine, for programs without gshare."""
    bench = Bench(tmp_path_factory.mktemp("probes") / "bare", environ)
    yield bench
    bench.close()


@pytest.fixture(autouse=True)
def ample(bench: Bench) -> None:
    for device in range(2):
        bench.limit(AMPLE, device)


def supported(door: Door, road: str = "dlsym") -> None:
    if door.name in NOT_CARRIED_OUT:
        pytest.skip("the simulated driver does not carry it out")
    if road == "procaddress" and VERSIONS[door.name] > SIMULATED_DRIVER:
        pytest.skip("the simulated driver is too old to find it by version")


# -------- without gshare --------


@every_door
def test_without_gshare_the_memory_is_had(bare: Bench, door: Door) -> None:
    """The control: on the same machine nothing is refused, and each way back gives all of it back."""
    wanted = NOT_CARRIED_OUT.get(door.name, 0)
    with bare.probes("dlsym", limited=False) as probes:
        for way in ways_of(door):
            assert probes.prepare(door, way) == 0
            assert probes.take() == wanted
            assert wanted or probes.give() == 0, way
            assert probes.leave() == 0, way
        assert bare.physical() == 0


# -------- with a quota --------


@every_door
def test_what_is_charged_covers_what_the_device_loses(bench: Bench, door: Door) -> None:
    supported(door)
    with bench.probes("dlsym") as probes:
        for way in ways_of(door):
            charged, taken = sequence(bench, probes, door, way)
            if door.charge == EXACT:
                assert charged == taken > 0
            elif door.charge == BOUNDED:
                assert charged >= taken
                assert charged > 0
            elif door.charge == NOTHING:
                assert (charged, taken) == (0, 0)
            else:
                assert charged == 0


def sequence(bench: Bench, probes: Probes, door: Door, way: Way) -> tuple[int, int]:
    """Through the door and back, which gives all back; returns what was charged, and what the device lost."""

    def look(what: str) -> None:
        assert bench.physical() <= bench.used(), (way, what)

    assert probes.prepare(door, way) == 0
    used, physical = bench.used(), bench.physical()
    assert probes.take() == 0
    charged, taken = bench.used() - used, bench.physical() - physical
    look("taken")
    assert probes.give(look) == 0, way
    look("given back")
    left = used - bench.tenant.context_bytes[0] * way.ends_context
    assert bench.used() == left if door.charge in {EXACT, BOUNDED} else bench.used() <= left, way
    assert probes.leave() == 0
    assert bench.used() == 0, way
    return charged, taken


@every_road
@every_door
def test_the_quota_is_refused_at_the_right_byte(bench: Bench, door: Door, road: str) -> None:
    supported(door, road)
    way, charged = ways_of(door)[0], bench.charge_of(door)
    with bench.probes(road) as probes:
        assert probes.prepare(door, way) == 0
        used = bench.used()
        if charged:
            bench.limit(used + charged - 1)
            assert probes.take() == OUT_OF_MEMORY
            assert bench.used() == used
            assert bench.physical() <= used
        bench.limit(used + charged)
        assert probes.take() == 0
        assert bench.used() == used + charged
        assert probes.give() == 0
        bench.limit(AMPLE)
        assert probes.leave() == 0
        assert bench.used() == 0


@every_door
def test_the_device_never_gives_more_than_the_quota_in_between(bench: Bench, door: Door) -> None:
    """Not for a moment: in a program of its own, whose highest mark the machine keeps."""
    supported(door)
    way, charged = ways_of(door)[0], bench.charge_of(door)
    with bench.probes("dlsym", fresh=True) as probes:
        assert probes.prepare(door, way) == 0
        limit = bench.used() + max(charged - 1, 0)
        bench.limit(limit)
        assert probes.take() == (OUT_OF_MEMORY if charged else 0)
        assert bench.peak(probes.process.pid) <= limit
        bench.limit(AMPLE)
        assert charged or probes.give() == 0
        assert probes.leave() == 0


@pytest.mark.parametrize("door", [door for door in DOORS if door.charge == MOVES], ids=str)
def test_managed_memory_is_charged_where_it_is_moved_to(bench: Bench, door: Door) -> None:
    (way,) = ways_of(door)
    bench.limit(0, device=1)
    with bench.probes("dlsym") as probes:
        assert probes.prepare(door, way) == 0
        probes.take()
        moved = bench.physical(1), bench.used(1)
        assert probes.give() == 0
        assert probes.leave() == 0
    assert moved == (0, 0)


@pytest.mark.parametrize("door", [door for door in DOORS if door.charge == MOVES], ids=str)
def test_what_is_moved_to_a_device_is_charged_there_until_it_is_freed(bench: Bench, door: Door) -> None:
    (way,) = ways_of(door)
    with bench.probes("dlsym") as probes:
        assert probes.prepare(door, way) == 0
        assert probes.take() == 0
        assert 0 < bench.physical(1) <= bench.used(1)
        assert probes.give() == 0
        assert probes.leave() == 0
    assert bench.used(1) == 0


def test_the_program_has_the_rows_that_are_read_here(bench: Bench) -> None:
    with bench.probes("dlsym") as probes:
        said = probes.ask("list")
    assert [tuple(row) for row in said["doors"]] == [door[1:] for door in DOORS]
    assert [tuple(row) for row in said["ways"]] == [(way.kind, way.name, way.setting) for way in WAYS]
