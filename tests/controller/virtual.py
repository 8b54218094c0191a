"""Tenants of a virtual device, as the registry makes and changes them and the shipped library obeys.

Only the server and its socket are left out.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gshare.controller import balance, region
from gshare.controller.devices import Found
from gshare.controller.protocol import Change, Limits, SetLimits, Simulated
from gshare.shim import preload_environment, sim
from gshare.shim.sim.virtual import VirtualClock

if TYPE_CHECKING:
    from .conftest import House

KERNEL_NS = 200_000
SOON_S = 0.05
SETTLE_S = 0.5
ROOT = Path(__file__).resolve().parents[2]


class Tenants:
    """Tenants of one simulated device, as the registry makes and changes them."""

    def __init__(self, house: House, clock: VirtualClock, program: Path) -> None:
        self.house = house
        self.clock = clock
        self.program = program
        device = clock.stat()["devices"][0]
        bytes_ = device["memory_bytes"]
        found = Found(0, device["uuid"], "Test", "1.0", clock.machine, bytes_)
        house.machines[clock.machine] = [found]
        self.names: list[str] = []

    def add(self, limits: Limits, *command: str) -> subprocess.Popen[str]:
        """A tenant and its program, by default one that launches as fast as it may."""
        request = self.house.request(limits, simulated=Simulated(self.clock.machine))
        admitted = self.house.registry.admit(request)
        self.names.append(admitted.tenant)
        environ = {"PYTHONPATH": str(ROOT / "tests/shim"), **sim.environment(self.clock.machine)}
        words = list(command) or [str(self.program), "kernel", "600", str(KERNEL_NS)]
        program = self.clock.start(words, preload_environment(Path(admitted.directory), environ))
        self.wait(0.001)
        assert program.stdout is not None
        assert program.stdout.readline() == "ready\n"
        return program

    def files(self, number: int) -> region.TenantFiles:
        return self.house.registry.tenants.by_name[self.names[number]].files

    def change(self, number: int, **change: object) -> None:
        name = self.names[number]
        self.house.registry.set_limits(SetLimits(name, Change(**change)))  # type: ignore[arg-type]

    def wait(self, seconds: float) -> None:
        """Let time pass, and lend."""
        period_s = balance.PERIOD_NS / 1e9
        until_ns = self.clock.now_ns + round(seconds * 1e9)
        while (left_s := (until_ns - self.clock.now_ns) / 1e9) > 0:
            self.clock.run(min(left_s, period_s))
            if left_s >= period_s:
                self.house.registry.tenants.apportioner.lender.tick(self.clock.now_ns)

    def shares(self, programs: Sequence[subprocess.Popen[str]], seconds: float = 1) -> list[float]:
        """What each has in that time, in percent of what switches leave, and then what these take."""
        before = self.clock.stat()["devices"][0]
        self.wait(seconds)
        after = self.clock.stat()["devices"][0]
        switch_ns = after["switch_ns"] - before["switch_ns"]
        elapsed_ns = after["elapsed_ns"] - before["elapsed_ns"]

        def used(device: dict[str, list[dict[str, int]]], pid: int) -> int:
            return sum(process["gpu_ns"] for process in device["processes"] if process["pid"] == pid)

        got = [100 * (used(after, p.pid) - used(before, p.pid)) / (elapsed_ns - switch_ns) for p in programs]
        print([round(share, 2) for share in got], f"switches {100 * switch_ns / elapsed_ns:.2f}")
        return [*got, 100 * switch_ns / elapsed_ns]


@pytest.fixture(scope="session")
def share_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """tests/programs/share.c."""
    target = tmp_path_factory.mktemp("programs") / "share"
    sources = [f"-I{ROOT}/shim/src", str(ROOT / "tests/programs/share.c")]
    libraries = [str(Path(sim.LIBRARY_DIR) / "libcuda.so.1"), "-ldl", "-lpthread"]
    subprocess.run(["gcc", "-std=gnu17", "-O1", *sources, *libraries, "-o", target], check=True)
    return target


@pytest.fixture
def virtual(
    house: House, share_program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Tenants]:
    """Nobody yet; see Tenants."""
    with VirtualClock(str(tmp_path / "machine")) as clock:
        monkeypatch.setattr(region, "now_ns", lambda: clock.now_ns)
        yield Tenants(house, clock, share_program)


def near(got: Sequence[float], expected: Sequence[float], points: float = 3) -> bool:
    """Within what a tenant may have saved, 20 ms of a second, and a point."""
    return all(abs(g - e) <= points for g, e in zip(got, expected, strict=False))
