"""What the controller takes of a core while many busy tenants share many devices, and how soon it answers.

Its own CPU time is measured, which says little less on a machine that does much else; how long requests take
does not, so that short runs forgive ten times that.
"""

from __future__ import annotations

import math
import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import zmq

from gshare.benchmarks.budgets import Budget
from gshare.benchmarks.crowd import Crowd
from gshare.benchmarks.results import Row
from gshare.cli.sandbox import Sandbox
from gshare.controller import wire
from gshare.controller.client import Client
from gshare.controller.errors import GshareError
from gshare.controller.history import WINDOWS_NS
from gshare.controller.lock import controller_pid
from gshare.controller.paths import Runtime
from gshare.controller.protocol import (
    GetDevices,
    GetEvents,
    GetMemory,
    GetProcesses,
    GetQueue,
    GetQuotas,
    GetShares,
    GetStatus,
    GetTop,
    Pause,
    Request,
)
from gshare.shim import sim

TENANTS, DEVICES = 64, 8
REQUESTS_PER_S = 2000
CONNECTIONS = 32
PROFILE = f"h200*{DEVICES}"

BUDGETS = {
    "busy": Budget("all busy, no requests: the controller's CPU time", 3, "% of a core"),
    "requests_cpu": Budget("with 2,000 requests a second", 30, "% of a core"),
    "requests_p99": Budget("how long these take, p99", 20, "ms"),
    "growth": Budget("memory that the time leaves behind", 1, "MiB"),
}
FORGIVEN = {"% of a core": 3.0, "ms": 10.0}
"""In a short run, which shares the machine with whatever else runs."""

SETTLED_S = WINDOWS_NS[-1] / 1e9 + 10
"""From then on as much history is kept as ever will be."""

LONGEST_WAIT_S = 30


@dataclass(frozen=True)
class Effort:
    """How long each is measured; `settled`: from when on memory is."""

    busy_s: float
    requests_s: float
    each_s: float
    settled_s: float | None


FULL = Effort(busy_s=600, requests_s=20, each_s=1, settled_s=SETTLED_S)
SMOKE = Effort(busy_s=10, requests_s=4, each_s=0.3, settled_s=None)


def run(sandbox: Sandbox, *, smoke: bool, say: Callable[[str], None]) -> list[Row]:
    """Measure every row; `say` gets a word before each that takes a while."""
    if not sandbox.simulated:
        raise GshareError("gshare bench controller", "its tenants are simulated ones", "add --sim")
    effort = SMOKE if smoke else FULL
    say(f"{TENANTS} tenants on {DEVICES} devices")
    with _controller() as (own, where), Crowd(own, where, TENANTS) as crowd:
        pid = controller_pid(where.lock)
        assert pid
        say(f"{effort.busy_s:g} s without requests")
        rows = _busy(pid, effort, smoke)
        say(f"{effort.requests_s:g} s with {REQUESTS_PER_S} requests a second")
        rows += _requests(where, pid, effort, smoke)
        say("requests of each kind")
        return rows + list(_each(where, pid, crowd, effort))


@contextmanager
def _controller() -> Iterator[tuple[Sandbox, Runtime]]:
    """One of its own, on a machine with many devices."""
    with Sandbox(simulated=True, profile=PROFILE) as own:
        before = dict(os.environ)
        os.environ.update(own.environment)
        try:
            sim.start(own.environment["SIMGPU_MACHINE"], PROFILE)
            yield own, Runtime(Path(own.environment["GSHARE_RUNTIME_DIR"]))
        finally:
            os.environ.clear()
            os.environ.update(before)


def _busy(pid: int, effort: Effort, smoke: bool) -> list[Row]:
    """The controller has nothing to do but look after all."""
    resident, seconds = [], []
    begin, before = time.monotonic(), cpu_s(pid)
    while (now := time.monotonic()) - begin < effort.busy_s:
        was = cpu_s(pid)
        time.sleep(min(10.0, effort.busy_s))
        seconds.append(round(100 * (cpu_s(pid) - was) / (time.monotonic() - now), 2))
        resident.append((time.monotonic() - begin, resident_bytes(pid)))
    percent = 100 * (cpu_s(pid) - before) / (time.monotonic() - begin)
    rows = [_row("busy", percent, smoke, {"tenants": TENANTS, "devices": DEVICES, "percent": seconds})]
    if effort.settled_s is None:
        return rows
    later = [bytes_ for at, bytes_ in resident if at >= effort.settled_s]
    grown = (later[-1] - later[0]) / 2**20
    return [*rows, _row("growth", grown, smoke, {"resident_bytes": [bytes_ for _, bytes_ in resident]})]


def _requests(where: Runtime, pid: int, effort: Effort, smoke: bool) -> list[Row]:
    """As many as that, at their times."""
    begin, before = time.monotonic(), cpu_s(pid)
    took = storm(where, effort.requests_s)
    percent = 100 * (cpu_s(pid) - before) / (time.monotonic() - begin)
    took_ms = sorted(1000 * one for one in took)
    details: dict[str, object] = {
        "requests": len(took),
        "per_s": round(len(took) / effort.requests_s),
        "median_ms": round(took_ms[len(took_ms) // 2], 3),
        "max_ms": round(took_ms[-1], 3),
    }
    p99 = took_ms[math.ceil(0.99 * len(took_ms)) - 1]
    return [_row("requests_cpu", percent, smoke, details), _row("requests_p99", p99, smoke, details)]


def storm(where: Runtime, seconds: float) -> list[float]:
    """Ask REQUESTS_PER_S times a second; how long each took from when it was due.

    As clients do, a connection asks again only once it has been answered: where all wait, those that are
    due do, too.
    """
    asked = [wire.pack(0, GetQueue()), wire.pack(0, GetQuotas())]
    took: list[float] = []
    with zmq.Context() as context:
        free, poller = deque(context.socket(zmq.DEALER) for _ in range(CONNECTIONS)), zmq.Poller()
        due_at: dict[zmq.Socket[bytes], float] = {}
        for socket in free:
            socket.setsockopt(zmq.LINGER, 0)
            socket.connect(f"ipc://{where.socket}")
            poller.register(socket, zmq.POLLIN)
        begin, sent, total = time.monotonic(), 0, round(seconds * REQUESTS_PER_S)
        while len(took) < total:
            now = time.monotonic()
            if now - begin > seconds + LONGEST_WAIT_S:
                raise GshareError("controller", f"{total - len(took)} of {total} requests are not answered")
            while free and sent < total and (due := begin + sent / REQUESTS_PER_S) <= now:
                socket = free.popleft()
                socket.send(asked[sent % len(asked)])
                due_at[socket] = due
                sent += 1
            for socket, _ in poller.poll(1):
                socket.recv()
                took.append(time.monotonic() - due_at.pop(socket))
                free.append(socket)
        for socket in free:
            socket.close()
    return took


def _each(where: Runtime, pid: int, crowd: Crowd, effort: Effort) -> Iterator[Row]:
    """What one request of each kind takes of the controller, one after the other; without a budget."""
    program = crowd.programs[0].pid
    requests: list[Request] = [
        *(GetQueue(), GetQuotas(), GetStatus(), GetDevices(), GetEvents(100)),
        *(GetProcesses(), GetMemory(), GetShares(), GetTop()),
        *(crowd.admission(program, dry_run=True), Pause(str(program), False)),
    ]
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        socket.setsockopt(zmq.LINGER, 0)
        socket.connect(f"ipc://{where.socket}")
        for request in requests:
            name, count, before = type(request).__name__, 0, cpu_s(pid)
            begin = time.monotonic()
            while time.monotonic() - begin < effort.each_s or not count:
                socket.send(wire.pack(0, request))
                if not socket.poll(1000 * LONGEST_WAIT_S):
                    raise GshareError("controller", f"does not answer {name}")
                reply = socket.recv()
                count += 1
            spent_ms = round(1000 * (cpu_s(pid) - before) / count, 3)
            details = {"requests": count, "reply_bytes": len(reply)}
            yield Row(f"cpu_{name}", f"{name}, the controller's CPU time", spent_ms, "ms", details=details)
    Client(where).ask(Pause(str(program), False))  # it still answers


def _row(name: str, value: float, smoke: bool, details: dict[str, object]) -> Row:
    budget = BUDGETS[name]
    headroom = FORGIVEN.get(budget.unit, 1.0) if smoke else 1.0
    within = value <= budget.limit * headroom
    return Row(name, budget.what, round(value, 3), budget.unit, budget.limit, within, details=details)


def cpu_s(pid: int) -> float:
    """CPU time of a process, threads that have ended included: its clock as clock_getcpuclockid names it."""
    return time.clock_gettime((~pid << 3) | 2)


def resident_bytes(pid: int) -> int:
    """What a process has of the machine's memory."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE")
