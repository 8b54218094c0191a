"""256 programs that start at once are let in within two seconds."""

import os
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import zmq

from gshare.controller import wire
from gshare.controller.client import Client
from gshare.controller.lock import controller_lives, controller_pid
from gshare.controller.paths import Runtime, runtime
from gshare.controller.processes import start_ticks
from gshare.controller.protocol import Admit, GetQueue, Limits, Simulated
from gshare.controller.replies import Admitted, Queue, Queued
from gshare.controller.units import Memory
from gshare.shim import abi, sim

STARTS = abi.MAX_TENANTS
BUDGET_S = 2.0
MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
"""Where the runtime directory is on a machine that has one."""

PART = Memory(540 << 20, None)
"""As many fit on a GPU, and each is enough for a context."""


@pytest.fixture
def where(monkeypatch: pytest.MonkeyPatch) -> Iterator[Runtime]:
    with tempfile.TemporaryDirectory(prefix="gshare-", dir=MEMORY) as folder:
        monkeypatch.setenv("GSHARE_RUNTIME_DIR", f"{folder}/run")
        monkeypatch.setenv("GSHARE_STATE_DIR", f"{folder}/state")
        monkeypatch.setenv("SIMGPU_MACHINE", f"{folder}/machine")
        sim.start(f"{folder}/machine", "h200*8")
        found = runtime()
        yield found
        if controller_lives(found.lock):
            pid = controller_pid(found.lock)
            assert pid
            os.kill(pid, signal.SIGTERM)
            while controller_lives(found.lock):
                time.sleep(0.01)
        sim.stop(f"{folder}/machine")


@pytest.fixture
def programs() -> Iterator[list[int]]:
    """Processes that only wait to be killed."""
    pids = []
    for _ in range(STARTS):
        pid = os.fork()
        if pid == 0:
            signal.pause()
            os._exit(0)
        pids.append(pid)
    yield pids
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    for pid in pids:
        os.waitpid(pid, 0)


def admission(pid: int, memory: Memory, **more: object) -> Admit:
    ticks = start_ticks(pid)
    assert ticks is not None
    machine = Simulated(os.environ["SIMGPU_MACHINE"])
    return Admit(pid, ticks, "/bin/program", Limits(memory), simulated=machine, **more)  # type: ignore[arg-type]


def ask_at_once(where: Runtime, requests: list[Admit]) -> tuple[list[object], float]:
    """Each from a connection of its own; the replies, and how long all took."""
    with zmq.Context() as context:
        context.set(zmq.MAX_SOCKETS, len(requests) + 10)
        sockets = []
        for _ in requests:
            socket = context.socket(zmq.DEALER)
            socket.setsockopt(zmq.LINGER, 0)
            socket.connect(f"ipc://{where.socket}")
            sockets.append(socket)
        begin = time.monotonic()
        for socket, request in zip(sockets, requests, strict=True):
            socket.send(wire.pack(1, request))
        replies: list[object] = []
        for socket in sockets:
            assert socket.poll(60_000)
            replies.append(wire.unpack_reply(socket.recv())[1])
        took_s = time.monotonic() - begin
        for socket in sockets:
            socket.close()
    return replies, took_s


def test_256_starts_at_once(where: Runtime, programs: list[int]) -> None:
    warm = admission(os.getpid(), PART, dry_run=True)
    assert isinstance(Client().ask(warm, 60), Admitted)  # a context has been measured
    requests = [admission(pid, PART) for pid in programs]
    replies, took_s = ask_at_once(where, requests)
    assert all(isinstance(reply, Admitted) for reply in replies)
    assert len({reply.tenant for reply in replies if isinstance(reply, Admitted)}) == STARTS
    print(f"{STARTS} starts at once on 8 GPUs: admitted in {took_s:.2f} s")
    assert took_s <= 10 * BUDGET_S  # the machine that tests run on is shared
    # and as many who wait, as soon as there is room
    late = [admission(os.getpid(), PART, wait_ms=0)]
    (reply,), _ = ask_at_once(where, late)
    assert isinstance(reply, Queued)
    assert "tenants run already" in reply.why
    queue = Client().ask(GetQueue())
    assert isinstance(queue, Queue)
    assert [row.pid for row in queue.waiting] == [os.getpid()]
    assert Path(where.tenants).is_dir()
