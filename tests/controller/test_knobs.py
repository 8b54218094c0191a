"""Every limit that can be changed while programs run takes effect within 50 ms: on the virtual clock.

The registry writes, as it does in the controller, and the shipped library reads; only the server and its
socket are left out.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from gshare.controller import balance, region
from gshare.controller.devices import Found
from gshare.controller.protocol import Change, Limits, Pause, SetLimits, Simulated
from gshare.controller.units import Memory
from gshare.shim import preload_environment, sim
from gshare.shim.sim.virtual import VirtualClock

from .conftest import CONTEXT_BYTES, House

MIB = 1 << 20
KERNEL_NS = 200_000
SOON_S = 0.05
SETTLE_S = 0.5
ROOT = Path(__file__).resolve().parents[2]

# Launches nothing: tries each millisecond to have 64 MiB, and says when the answer became another one.
TRIES = """
from driver_calls import *
import ctypes, json, sys, time
take, give, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
start()
print("ready", flush=True)
found, until = [], time.monotonic() + seconds
while time.monotonic() < until:
    code, memory = new(take, 64 << 20, *([0] if "Host" in take else []))
    if code == 0:
        call(give, u64(memory))
    if not found or found[-1][1] != code:
        found.append([time.monotonic(), code])
    time.sleep(0.001)
out(found)
"""
# Copies from pinned memory as fast as it may.
COPIES = """
from driver_calls import *
start()
there, here = new("cuMemAlloc_v2", 1 << 20)[1], new("cuMemHostAlloc", 1 << 20, 0)[1]
print("ready", flush=True)
while True:
    call("cuMemcpyHtoD_v2", u64(there), ctypes.c_void_p(here), 1 << 20)
"""


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
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """tests/programs/share.c."""
    target = tmp_path_factory.mktemp("programs") / "share"
    sources = [f"-I{ROOT}/shim/src", str(ROOT / "tests/programs/share.c")]
    libraries = [str(Path(sim.LIBRARY_DIR) / "libcuda.so.1"), "-ldl", "-lpthread"]
    subprocess.run(["gcc", "-std=gnu17", "-O1", *sources, *libraries, "-o", target], check=True)
    return target


@pytest.fixture
def tenants(
    house: House, program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Tenants]:
    """Nobody yet; see Tenants."""
    with VirtualClock(str(tmp_path / "machine")) as clock:
        monkeypatch.setattr(region, "now_ns", lambda: clock.now_ns)
        yield Tenants(house, clock, program)


def near(got: Sequence[float], expected: Sequence[float], points: float = 3) -> bool:
    """Within what a tenant may have saved, 20 ms of a second, and a point."""
    return all(abs(g - e) <= points for g, e in zip(got, expected, strict=False))


def test_compute(tenants: Tenants) -> None:
    program = tenants.add(Limits(compute_ppm=200_000))
    tenants.wait(SETTLE_S)
    for percent in 60, 20:
        tenants.change(0, compute_ppm=percent * 10_000)
        tenants.wait(SOON_S)
        assert near(tenants.shares([program]), [percent])
    tenants.change(0, compute_ppm=200_000, ceiling_ppm=800_000)
    tenants.wait(SOON_S)
    assert near(tenants.shares([program]), [80])
    tenants.change(0, lift_compute=True)
    tenants.wait(SOON_S)
    assert near(tenants.shares([program]), [100])


def test_weight(tenants: Tenants) -> None:
    both = [tenants.add(Limits(weight=1)), tenants.add(Limits(weight=1))]
    tenants.wait(SETTLE_S)
    assert near(tenants.shares(both), [50, 50])
    tenants.change(0, weight=3)
    tenants.wait(SOON_S)
    assert near(tenants.shares(both), [75, 25])
    tenants.change(0, weight=1)
    tenants.wait(SOON_S)
    assert near(tenants.shares(both), [50, 50])


def test_priority(tenants: Tenants) -> None:
    both = [tenants.add(Limits(weight=1)), tenants.add(Limits(weight=1))]
    tenants.wait(SETTLE_S)
    tenants.change(0, priority="low")
    tenants.wait(SOON_S)
    assert near(tenants.shares(both), [0, 100], 2)
    tenants.change(0, priority="normal")
    tenants.wait(SOON_S)
    assert near(tenants.shares(both), [50, 50])
    tenants.change(0, priority="high")
    tenants.wait(SOON_S)
    assert near(tenants.shares(both), [100, 0], 2)


def test_mode(tenants: Tenants) -> None:
    """Told by what switches take."""
    both = [tenants.add(Limits(compute_ppm=500_000)), tenants.add(Limits(compute_ppm=500_000))]
    tenants.wait(SETTLE_S)
    assert tenants.shares(both)[-1] > 2
    tenants.change(0, mode="turns")
    tenants.wait(SOON_S)
    *got, switches = tenants.shares(both)
    assert near(got, [50, 50])
    assert switches < 1
    tenants.change(0, mode="concurrent")
    tenants.wait(SOON_S)
    *got, switches = tenants.shares(both)
    assert near(got, [50, 50])
    assert switches > 2


@pytest.mark.parametrize("mode", ["concurrent", "turns"])
def test_pause_and_resume(tenants: Tenants, mode: str) -> None:
    both = [tenants.add(Limits(compute_ppm=400_000, mode=mode)), tenants.add(Limits(compute_ppm=600_000))]
    tenants.wait(SETTLE_S)
    tenants.house.registry.pause(Pause(tenants.names[0], True))
    tenants.wait(SOON_S)
    assert tenants.shares(both)[0] == 0
    tenants.house.registry.pause(Pause(tenants.names[0], False))
    tenants.wait(SOON_S)
    assert near(tenants.shares(both), [40, 60])


@pytest.mark.parametrize(
    ("knob", "take", "give", "least"),
    [
        ("memory", "cuMemAlloc_v2", "cuMemFree_v2", CONTEXT_BYTES),
        ("host_memory_bytes", "cuMemHostAlloc", "cuMemFreeHost", 0),
    ],
)
def test_memory(tenants: Tenants, knob: str, take: str, give: str, least: int) -> None:
    def amount(bytes_: int) -> Memory | int:
        return least + bytes_ if "host" in knob else Memory(least + bytes_, None)

    limits = {knob: amount(256 * MIB)}
    program = tenants.add(Limits(**limits), sys.executable, "-c", TRIES, take, give, "1")  # type: ignore[arg-type]
    tenants.wait(0.3)
    times = []
    for bytes_ in 32 * MIB, 256 * MIB:
        times.append(tenants.clock.now_ns / 1e9)
        tenants.change(0, **{knob: amount(bytes_)})
        tenants.wait(0.3)
    tenants.clock.wait(program)
    output, errors = program.communicate()
    assert errors == ""
    (_, first), (refused_s, refused), (granted_s, granted) = json.loads(output)
    assert (first, refused, granted) == (0, 2, 0)
    assert 0 <= refused_s - times[0] < SOON_S
    assert 0 <= granted_s - times[1] < SOON_S


def test_pcie(tenants: Tenants) -> None:
    rates: Callable[[float], dict[str, int]] = lambda gib: {"h2d": round(gib * (1 << 30))}  # noqa: E731
    tenants.add(Limits(copy_bytes_per_s=rates(1)), sys.executable, "-c", COPIES)
    files = tenants.files(0)
    for gib in 1.0, 4.0, 0.5:
        tenants.change(0, copy_bytes_per_s=rates(gib))
        tenants.wait(SOON_S)
        before = files.usage.copied(0).bytes[0]
        tenants.wait(0.5)
        moved = (files.usage.copied(0).bytes[0] - before) / (1 << 30)
        print(f"{moved / 0.5:.2f} GiB/s of {gib}")
        assert moved / 0.5 == pytest.approx(gib, rel=0.05)


def test_what_is_not_changed_stays(tenants: Tenants) -> None:
    """The control: half a second of one is that of the next."""
    program = tenants.add(Limits(compute_ppm=200_000))
    tenants.wait(SETTLE_S)
    limits = tenants.files(0).limits
    before = limits.line(0)
    assert near(tenants.shares([program]), [20], 1)
    assert near(tenants.shares([program]), [20], 1)
    assert limits.line(0) == before
