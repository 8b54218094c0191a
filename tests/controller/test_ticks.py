"""A controller that has ticked a million times holds no more than one that has ticked a few hundred times."""

import asyncio
import gc
import itertools
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gshare.controller import region
from gshare.controller.events import EventLog
from gshare.controller.identity import Peer, controller_itself
from gshare.controller.occupants import Occupant, Occupants
from gshare.controller.pieces import at_once
from gshare.controller.protocol import Admit, Change, Limits, SetLimits
from gshare.controller.reconcile import Reconciler
from gshare.controller.refusals import Refusals
from gshare.controller.server import Server
from gshare.controller.units import Memory
from gshare.controller.views import processes

from .conftest import GIB, House, device
from .test_watch import Programs

S = 1_000_000_000
UUID = device(0).uuid
SETTLED = 130
"""So many ticks later as much history is kept as ever will be, and all that comes and goes has once."""

MOST_LEFT = SETTLED
"""Python's blocks of memory: some come and go, and an object that is left behind at each tick is more."""


class Ticking:
    """A server without sockets and with a clock of its own; tenants work, come, are changed and go."""

    def __init__(self, house: House, stranger: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.house = house
        self.look_every, self.come_every = 2, 65
        self.now_ns = region.now_ns() + 3600 * S
        monkeypatch.setattr(region, "now_ns", lambda: self.now_ns)
        self.events = EventLog(house.runtime.event_log)
        tenants, registry = house.registry.tenants, house.registry
        self.reconciler = Reconciler(tenants, self.occupants, self.events.add, clock=lambda: self.now_ns)
        refusals = Refusals(self.events, registry.inventory)
        self.server = Server(
            house.runtime, registry, self.events, refusals, self.reconciler, lambda config: None
        )
        tenants.on_change = lambda what, tenant: self.events.add({"what": what, "tenant": tenant})
        tenants.on_ending = lambda tenant: refusals.collect(tenant, ended=True)
        for name in ("a", "b"):
            limits = Limits(Memory(8 * GIB, None), 300_000, ceiling_ppm=1_000_000)
            registry.admit(house.request(limits, tenant=name))
        self.stranger = stranger
        self.programs = Programs(house)
        self.ticks = 0

    def occupants(self, machine: str) -> Occupants:
        """Now and then there is somebody whom nobody manages."""
        pids = {self.house.programs[0].pid: Occupant(GIB, self.now_ns // 4)}
        if self.ticks // self.look_every % 4 < 2:
            pids[self.stranger] = Occupant(GIB, 0)
        return {UUID: pids}

    def run(self, ticks: int, then: Callable[[], None] = lambda: None) -> None:
        """Let so many seconds pass; `then` is called in each."""
        asyncio.run(self._run(ticks, then))

    async def _run(self, ticks: int, then: Callable[[], None]) -> None:
        for _ in range(ticks):
            self.ticks += 1
            self.now_ns += S
            self.programs.used("a", S // 3, throttled_ns=S // 10)
            self.server.tick(self.now_ns)
            self.house.registry.tenants.apportioner.lender.tick(self.now_ns)
            if self.ticks % self.look_every == 0:
                await self.reconciler.look()
            if self.ticks % self.come_every == 0:
                self.happen()
            then()
            await asyncio.sleep(0)

    def happen(self) -> None:
        """Somebody comes who will be gone at the next tick; others are changed, asked about and refused."""
        registry, number = self.house.registry, self.ticks // self.come_every
        registry.admit(Admit(1, 1, "gone", Limits(Memory(GIB, None)), tenant=f"t{number}"))
        registry.set_limits(SetLimits("b", Change(memory=Memory((8 + number % 2) * GIB, None))))
        self.server.answering.forbidden.note(
            Peer(number % 2, 0, 1, frozenset(), False), "Stop", "no", self.now_ns
        )
        self.server.answering.top(controller_itself())
        at_once(processes(registry, self.server.answering.sampler))


def left_behind(ticking: Ticking, ticks: int, then: Callable[[], None] = lambda: None) -> int:
    """How many more blocks of memory there are after so many ticks: the least of three times."""
    ticking.run(ticks, then)
    counts = []
    for _ in range(4):
        gc.collect()
        counts.append(sys.getallocatedblocks())
        if len(counts) < 4:
            ticking.run(ticks, then)
    return min(after - before for before, after in itertools.pairwise(counts))


@pytest.fixture
def ticking(
    house: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> Iterator[Ticking]:
    caplog.set_level(logging.CRITICAL)  # else what is logged is kept, by pytest
    command = ["sh", "-c", "sleep 3600 >/dev/null 2>&1 & echo $!"]  # nobody's child
    stranger = int(subprocess.run(command, capture_output=True, check=True).stdout)
    yield Ticking(house, stranger, monkeypatch)
    os.kill(stranger, signal.SIGKILL)


def test_nothing_is_left_behind(ticking: Ticking) -> None:
    assert left_behind(ticking, SETTLED) < MOST_LEFT
    told = [event["what"] for event in ticking.events.latest(1000)]
    assert {"started", "ended", "limits", "unmanaged", "forbidden"} <= set(told)


def test_what_is_left_behind_at_each_tick_is_noticed(ticking: Ticking) -> None:
    kept: list[object] = []
    assert left_behind(ticking, SETTLED, lambda: kept.append([object()])) > MOST_LEFT


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_a_million_ticks(ticking: Ticking) -> None:
    ticking.look_every, ticking.come_every = 20, 500
    marks = []
    for _ in range(11):
        gc.collect()
        resident = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")
        marks.append((ticking.ticks, sys.getallocatedblocks(), resident >> 10))
        print(*marks[-1], flush=True)
        if len(marks) <= 10:
            ticking.run(100_000)
    assert marks[-1][1] - marks[1][1] < 1000
    assert marks[-1][2] - marks[1][2] < 4096
