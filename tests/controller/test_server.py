"""The controller as a process: started on demand, asked, killed, stopped; it never keeps others waiting."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq
from waiting import PATIENCE_S, until

from gshare.controller import protocol, wire
from gshare.controller.client import Client
from gshare.controller.errors import ControllerUnreachable, GshareError
from gshare.controller.launch import controller_environment, start_controller
from gshare.controller.lock import ControllerLock, controller_lives, controller_pid
from gshare.controller.paths import Runtime, runtime
from gshare.controller.protocol import GetProcesses, GetStatus, Stop
from gshare.controller.replies import Fault, Reply, Status, Stopping
from gshare.shim import LIBRARY


@pytest.fixture
def where(monkeypatch: pytest.MonkeyPatch) -> Iterator[Runtime]:
    with tempfile.TemporaryDirectory(prefix="gshare-") as folder:
        monkeypatch.setenv("GSHARE_RUNTIME_DIR", f"{folder}/run")
        monkeypatch.setenv("GSHARE_STATE_DIR", f"{folder}/state")
        monkeypatch.setenv("SIMGPU_MACHINE", f"{folder}/machine")
        found = runtime()
        yield found
        if controller_lives(found.lock):
            pid = controller_pid(found.lock)
            assert pid
            os.kill(pid, signal.SIGKILL)
            until(lambda: not controller_lives(found.lock))


def status() -> Status:
    reply = Client().ask(GetStatus())
    assert isinstance(reply, Status)
    return reply


def test_it_starts_on_demand_and_stays(where: Runtime) -> None:
    assert not controller_lives(where.lock)
    first = status()
    assert first.controller.pid == controller_pid(where.lock) == status().controller.pid
    assert first.controller.protocol == protocol.VERSION


def test_it_does_not_start_where_it_must_not(where: Runtime) -> None:
    with pytest.raises(ControllerUnreachable, match="does not run"):
        Client(start=False).ask(GetStatus())
    assert not where.directory.exists()


def test_many_clients_at_once_get_one_controller(where: Runtime) -> None:
    ask = (
        "from gshare.controller.client import Client; from gshare.controller.protocol import GetStatus;"
        "print(Client().ask(GetStatus(), 30).controller.pid)"
    )
    clients = [
        subprocess.Popen([sys.executable, "-c", ask], stdout=subprocess.PIPE, text=True) for _ in range(6)
    ]
    pids = {client.communicate(timeout=60)[0] for client in clients}
    assert pids == {f"{controller_pid(where.lock)}\n"}


def test_it_is_nobodys_child_and_holds_nothing_of_its_starter(where: Runtime) -> None:
    reading, writing = os.pipe()
    os.set_inheritable(writing, True)
    pid = status().controller.pid
    os.close(writing)
    assert os.read(reading, 1) == b""  # the controller has no copy of the other end
    os.close(reading)
    assert os.getsid(pid) not in (os.getsid(0), pid)  # can get no terminal
    with pytest.raises(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
    assert os.readlink(f"/proc/{pid}/fd/0") == os.devnull
    assert os.readlink(f"/proc/{pid}/cwd") == "/"


def test_after_a_kill_the_next_one_answers(where: Runtime) -> None:
    first = status().controller.pid
    os.kill(first, signal.SIGKILL)
    until(lambda: not controller_lives(where.lock))
    assert status().controller.pid != first


def test_a_kill_while_it_is_asked_is_survived(where: Runtime) -> None:
    """The question goes to a controller that is stopped, and then dies before it answers."""
    first = status().controller.pid
    os.kill(first, signal.SIGSTOP)
    kill = f"import os, time; time.sleep(0.5); os.kill({first}, 9)"
    with subprocess.Popen([sys.executable, "-c", kill]):
        assert status().controller.pid != first


def test_one_that_does_not_answer_is_named(where: Runtime) -> None:
    pid = status().controller.pid
    os.kill(pid, signal.SIGSTOP)
    with pytest.raises(ControllerUnreachable, match=f"pid {pid} does not answer .*kill -9 {pid} is safe"):
        Client().ask(GetStatus(), timeout_s=0.3)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it(where: Runtime, number: int) -> None:
    os.kill(status().controller.pid, number)
    until(lambda: not controller_lives(where.lock))
    assert "Traceback" not in where.log.read_text()


def test_it_stops_when_asked(where: Runtime) -> None:
    pid = status().controller.pid
    assert Client(start=False).ask(Stop()) == Stopping(pid)
    until(lambda: not controller_lives(where.lock))
    assert "Traceback" not in where.log.read_text()


def test_a_port_that_is_taken_is_told_to_who_starts_it(
    where: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is ready once other machines are heard, too."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setenv("GSHARE_LISTEN", f"tcp://127.0.0.1:{taken.getsockname()[1]}")
        with pytest.raises(ControllerUnreachable, match=r"did not start: GSHARE_LISTEN .* cannot be bound"):
            start_controller(where)


def test_it_leaves_when_idle(where: Runtime) -> None:
    start_controller(where, "--idle-exit", "1")
    assert controller_lives(where.lock)
    until(lambda: not controller_lives(where.lock))
    assert "idle for 1 s" in where.log.read_text()


def test_only_one_has_the_lock(tmp_path: Path) -> None:
    with ControllerLock(tmp_path / "lock") as first:
        assert first.taken
        assert controller_lives(tmp_path / "lock")
        assert controller_pid(tmp_path / "lock") == os.getpid()
        with ControllerLock(tmp_path / "lock") as second:
            assert not second.taken
    assert not controller_lives(tmp_path / "lock")


def talk(where: Runtime, *messages: list[bytes]) -> list[tuple[int, Reply]]:
    """Send raw messages and return what came back to the last request, which is a good one."""
    replies = []
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        socket.setsockopt(zmq.LINGER, 0)
        socket.connect(f"ipc://{where.socket}")
        for message in messages:
            socket.send_multipart(message)
        while socket.poll(2000):
            replies.append(wire.unpack_reply(socket.recv()))
            if replies[-1][0] == 99:
                break
    return replies


def test_nonsense_is_answered_or_ignored_and_hurts_nobody(where: Runtime) -> None:
    pid = status().controller.pid
    good = wire.pack(99, GetProcesses())
    replies = talk(
        where,
        [b""],
        [b"nonsense"],
        [b"a", b"b", b"c"],
        [wire.pack(7, GetStatus(), version=protocol.VERSION + 1)],
        [good],
    )
    faults = [reply for number, reply in replies if number == 0]
    assert all(isinstance(fault, Fault) and "not a gshare message" in fault.why for fault in faults)
    (foreign,) = [reply for number, reply in replies if number == 7]
    assert isinstance(foreign, Fault)
    assert f"speaks protocol {protocol.VERSION + 1}, this gshare speaks {protocol.VERSION}" in foreign.why
    assert replies[-1][0] == 99
    assert status().controller.pid == pid


def test_a_message_too_large_is_dropped(where: Runtime) -> None:
    pid = status().controller.pid
    assert talk(where, [b"x" * (wire.MAX_MESSAGE_BYTES + 1)]) == []
    assert status().controller.pid == pid


def test_a_client_that_does_not_read_makes_nobody_wait(where: Runtime) -> None:
    status()
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.RCVHWM, 1)
        socket.connect(f"ipc://{where.socket}")
        for _ in range(2000):
            socket.send(wire.pack(1, GetStatus()))
        assert Client().ask(GetStatus(), timeout_s=PATIENCE_S)


def test_a_directory_that_cannot_be_used_is_named(where: Runtime) -> None:
    where.directory.write_text("in the way")
    with pytest.raises(GshareError, match="cannot be made"):
        status()


def test_what_keeps_it_from_starting_is_told(where: Runtime) -> None:
    where.create()
    where.socket.mkdir()
    with pytest.raises(ControllerUnreachable, match=r"did not start: .*controller\.sock: cannot be bound"):
        status()


def test_the_controller_is_no_tenant() -> None:
    environment = controller_environment(
        {
            "GSHARE_TENANT_DIR": "/x",
            "CUDA_VISIBLE_DEVICES": "1",
            "LD_PRELOAD": f"{LIBRARY}:/other.so",
            "LD_LIBRARY_PATH": f"{LIBRARY.parent / 'sim'}",
            "HOME": "/root",
        }
    )
    assert environment == {"LD_PRELOAD": "/other.so", "HOME": "/root"}


def test_events_are_published(where: Runtime) -> None:
    """A tenant that starts and ends is told to whoever listens."""
    status()
    with zmq.Context() as context, context.socket(zmq.SUB) as socket:
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.SUBSCRIBE, b"")
        monitor = socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED)
        socket.connect(f"ipc://{where.events}")
        assert monitor.poll(5000)
        seen = []
        while seen[-1:] != ["ended"]:
            run = [sys.executable, "-m", "gshare.cli", "run", "--sim", "--tenant", "t", "--mem", "2G", "true"]
            subprocess.run(run, check=True)  # again, where the subscription came too late for the first
            while socket.poll(1000):
                seen.append(json.loads(socket.recv_multipart()[1])["what"])
        assert {"started", "ended"} <= set(seen)
        socket.disable_monitor()
