"""The wall clock jumps by hours, as when a machine is set right: nothing expires, stalls or is lost."""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gshare.controller.balance import LEASE_NS
from gshare.controller.client import Client
from gshare.controller.lock import controller_lives, controller_pid
from gshare.controller.paths import Runtime, runtime
from gshare.controller.processes import start_ticks
from gshare.controller.protocol import (
    Admit,
    Change,
    GetEvents,
    GetQueue,
    GetQuotas,
    GetShares,
    Limits,
    Pause,
    SetQuota,
    Simulated,
)
from gshare.controller.replies import Admitted, Events, Queue, Queued, Quotas, Shares
from gshare.controller.units import Memory
from gshare.shim import abi, sim

ROOT = Path(__file__).resolve().parents[2]
GIB = 1 << 30
HOUR_NS = 3_600_000_000_000
JUMPS_H = (5, -9000, 0)
NEAR_NS = 20_000_000_000
"""Far less than any jump, and far more than a busy machine takes."""


class WallClock:
    """That of the controller, which may be set."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.set(0)

    def set(self, off_ns: int) -> None:
        self.file.write_bytes(off_ns.to_bytes(8, sys.byteorder, signed=True))
        self.off_ns = off_ns


@pytest.fixture
def wall(tmp_path: Path) -> WallClock:
    return WallClock(tmp_path / "wall")


@pytest.fixture
def where(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, wall: WallClock) -> Iterator[Runtime]:
    """A runtime directory whose controller is started on demand, with that clock."""
    library = tmp_path / "wall.so"
    source = ROOT / "tests/programs/wall.c"
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", str(source), "-o", str(library)], check=True)
    with tempfile.TemporaryDirectory(prefix="gshare-") as folder:
        monkeypatch.setenv("GSHARE_RUNTIME_DIR", f"{folder}/run")
        monkeypatch.setenv("GSHARE_STATE_DIR", f"{folder}/state")
        monkeypatch.setenv("SIMGPU_MACHINE", f"{folder}/machine")
        monkeypatch.setenv("TEST_WALL_CLOCK", str(wall.file))
        monkeypatch.setenv("LD_PRELOAD", str(library))
        sim.start(f"{folder}/machine", "h200")
        sizes = {"NVIDIA H200 simulated": GIB >> 1}  # else a context would be measured first
        (Path(folder) / "state").mkdir()
        known = json.dumps({"schema": "gshare/contexts/v1", "context_bytes": sizes})
        (Path(folder) / "state" / "contexts.json").write_text(known)
        found = runtime()
        yield found
        end(found)
        sim.stop(f"{folder}/machine")


def end(where: Runtime) -> None:
    if pid := controller_pid(where.lock):
        os.kill(pid, signal.SIGTERM)
    while controller_lives(where.lock):
        time.sleep(0.01)


@pytest.fixture
def programs() -> Iterator[list[subprocess.Popen[bytes]]]:
    """What is started in a test."""
    started: list[subprocess.Popen[bytes]] = []
    yield started
    for program in started:
        program.kill()
        program.wait()


def admission(pid: int, memory_bytes: int, **more: object) -> Admit:
    ticks, machine = start_ticks(pid), Simulated(os.environ["SIMGPU_MACHINE"])
    assert ticks is not None
    limits = Limits(Memory(memory_bytes, None), compute_ppm=300_000, ceiling_ppm=600_000)
    return Admit(pid, ticks, "train", limits, simulated=machine, **more)  # type: ignore[arg-type]


def test_nothing_depends_on_the_wall_clock(
    where: Runtime, wall: WallClock, programs: list[subprocess.Popen[bytes]]
) -> None:
    client = Client()
    programs += [subprocess.Popen(["sleep", "600"]) for _ in range(3)]
    borrower, holder, waiter = (program.pid for program in programs)
    lent = client.ask(admission(borrower, GIB, tenant="borrower"))
    held = client.ask(admission(holder, 100 * GIB, tenant="holder"))
    assert isinstance(lent, Admitted)
    assert isinstance(held, Admitted)
    wish = admission(waiter, 100 * GIB, tenant="waiter", wait_ms=0)
    assert isinstance(client.ask(wish), Queued)
    client.ask(SetQuota("team", Change(memory=Memory(GIB, None))))
    busy = [sys.executable, "-m", "gshare.benchmarks.crowd", lent.directory]
    programs.append(subprocess.Popen(busy))  # uses all that it may
    told = client.ask(GetQueue())
    assert isinstance(told, Queue)
    since_ns = told.waiting[0].since_ns
    with abi.Limits(Path(lent.directory) / "limits") as limits:
        deadline = time.monotonic() + 10
        while limits.line(0).rate_ppm != 600_000:
            assert time.monotonic() < deadline, "nothing is lent"
            time.sleep(0.01)
        number = 0
        for hours in JUMPS_H:
            wall.set(hours * HOUR_NS)
            time.sleep(1.5 * LEASE_NS / 1e9)  # what was lent before has ended
            now_ns = time.monotonic_ns()
            line = limits.line(0)
            assert line.rate_ppm == 600_000
            assert line.lease_until_ns > now_ns, "leases are not renewed"
            number = look(client, wall, number, now_ns)
            told, still = client.ask(GetQueue()), client.ask(wish)
            assert isinstance(told, Queue)
            assert [row.since_ns for row in told.waiting] == [since_ns]
            assert isinstance(still, Queued)
    wall.set(-7 * HOUR_NS)
    programs[1].kill()
    programs[1].wait()
    deadline = time.monotonic() + 10
    while isinstance(answer := client.ask(wish), Queued):
        assert time.monotonic() < deadline, "the queue stands still"
    assert isinstance(answer, Admitted)
    end(where)
    wall.set(7 * HOUR_NS)
    quotas = client.ask(GetQuotas())
    assert isinstance(quotas, Quotas)
    assert [quota.tenant for quota in quotas.quotas] == ["team"]
    assert isinstance(again := client.ask(GetShares()), Shares)
    assert {share.tenant for share in again.tenants} == {"borrower", "waiter"}


def look(client: Client, wall: WallClock, number: int, now_ns: int) -> int:
    """Shares go by the clock that does not jump; events are dated by the one that does, and numbered on."""
    shares = client.ask(GetShares())
    assert isinstance(shares, Shares)
    assert 0 <= shares.now_ns - now_ns < NEAR_NS
    windows = [window for share in shares.tenants for window in share.windows]
    assert all(0 < window.elapsed_ns < NEAR_NS for window in windows)
    for paused in (True, False):
        client.ask(Pause("holder", paused))
    told = client.ask(GetEvents(1000))
    assert isinstance(told, Events)
    numbers, at = [[event[key] for event in told.events] for key in ("number", "at_ns")]
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(numbers) >= number + 2
    assert at == sorted(at)
    wall_ns = time.time_ns() + wall.off_ns
    for event in told.events[-2:]:
        assert abs(event["time_ns"] - wall_ns) < NEAR_NS, "else nothing has jumped"
    return len(numbers)


READS = re.compile(
    r"CLOCK_REALTIME|CLOCK_TAI|gettimeofday|\btime\((?:NULL|0|&)|\btime\.time(?:_ns)?\(|mktime"
)


def test_only_what_dates_something_reads_the_wall_clock() -> None:
    sources = [path for folder in ("shim/src", "controller") for path in (ROOT / folder).iterdir()]
    assert len(sources) > 100
    reading = {path.name for path in sources if path.is_file() and READS.search(path.read_text())}
    assert reading == {"trace.c", "events.py"}
