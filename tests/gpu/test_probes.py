"""Every door to device memory, on the machine at hand: the quota ends it, and what it took comes back."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from probing import (
    ABSENT,
    BOUNDED,
    COVERED,
    DOORS,
    EXACT,
    MOVES,
    NOT_SUPPORTED,
    NOTHING,
    ROADS,
    Door,
    Probes,
    build,
    ways_of,
)

from gshare.shim import sim

if TYPE_CHECKING:
    from conftest import Gpu

pytestmark = pytest.mark.gpu

OUT_OF_MEMORY = 2
QUOTA = 3 << 30
GRAIN = 512

# Doors within a primary context, which stays: to make one takes long on a GPU.  A process that is parked by a
# checkpoint does not answer how much memory is left.
TRIED = [door for door in DOORS if ways_of(door)[0].setting == "PRIMARY" and door.kind != "PARKED"]

every_door = pytest.mark.parametrize("door", TRIED, ids=str)


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    if shutil.which("gcc") is None:
        pytest.skip("no C compiler here")
    return build(tmp_path_factory.mktemp("probes"), Path(sim.LIBRARY_DIR) / "libcuda.so.1")


class Kept:
    """A program for all doors, until one of them goes wrong."""

    def __init__(self, start: Callable[[], Probes]) -> None:
        self.start = start
        self.probes: Probes | None = None

    def running(self) -> AbstractContextManager[Probes]:
        if self.probes is None or self.probes.process.poll() is not None:
            self.close()
            self.probes = self.start()
            assert self.probes.ask("keep")["code"] == 0
        return self.probes.or_killed()

    def close(self) -> None:
        if self.probes is not None:
            self.probes.close()


@pytest.fixture(scope="module", params=ROADS)
def limited(gpu: Gpu, programs: dict[str, Path], request: pytest.FixtureRequest) -> Iterator[Kept]:
    command = gpu.sandbox.run([f"--mem={QUOTA}"], [str(programs[request.param]), request.param])
    with closing(Kept(lambda: Probes(command, gpu.sandbox.environment))) as kept:
        yield kept


@pytest.fixture(scope="module")
def bare(gpu: Gpu, programs: dict[str, Path]) -> Iterator[Kept]:
    with closing(Kept(lambda: Probes([programs["dlsym"], "dlsym"], gpu.bare_environment))) as kept:
        yield kept


def of_tenant(probes: Probes) -> tuple[int, ...]:
    """The program, and the one that it imports from."""
    pid = probes.process.pid
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return pid, *map(int, children.split())


def answer_without_gshare(probes: Probes, door: Door) -> int:
    """What the driver says to it: a device may not have such a thing."""
    assert probes.prepare(door, ways_of(door)[0]) in {0, NOT_SUPPORTED}
    code = probes.take()
    if code == 0:
        assert probes.give() == 0
    probes.leave()
    return code


@every_door
def test_the_quota_ends_it_and_it_comes_back(gpu: Gpu, limited: Kept, bare: Kept, door: Door) -> None:
    if door.charge == MOVES and gpu.device_count == 1:
        pytest.skip("it takes a second device")
    with bare.running() as probes:
        code = answer_without_gshare(probes, door)
    if code:
        pytest.skip(f"this driver answers {code}")
    (way, *_) = ways_of(door)
    with limited.running() as probes:
        assert probes.prepare(door, way) == 0
        free = probes.free()
        code = probes.take()
        if code == ABSENT:
            pytest.skip("this driver is too old to find it by version")
        assert code == 0
        charged = free - probes.free()
        assert gpu.used_by(*of_tenant(probes)) <= QUOTA
        assert probes.give() == 0
        if door.charge in {EXACT, BOUNDED}:
            assert charged > 0
            assert probes.free() == free
            refused_without(probes, charged)
        elif door.charge in {NOTHING, COVERED}:
            assert charged == 0
        assert probes.leave() == 0


def refused_without(probes: Probes, charged: int) -> None:
    """Where less is left than it was charged, it is refused, and what was left stays so."""
    left = probes.free()
    padding = (left - charged) // GRAIN * GRAIN + GRAIN
    assert probes.pad(padding) == 0
    left = probes.free()
    assert left < charged
    assert probes.take() == OUT_OF_MEMORY
    assert probes.free() == left
    assert probes.pad() == 0
