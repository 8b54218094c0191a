"""Asking from another machine: only with keys that are known on both sides, and not unless asked for."""

import resource
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import zmq
from crowd import ended
from machine_wide import Everybodys, everybodys
from users import ALICE, needs_root
from waiting import PATIENCE_S, until

from gshare.controller import remote, wire
from gshare.controller.client import Client
from gshare.controller.connections import PART, PART_OF_ALL_AWAY
from gshare.controller.errors import ControllerUnreachable, NotPermitted, UsageError
from gshare.controller.protocol import GetProcesses, GetStatus, Stop

pytestmark = needs_root

UNHEARD_S = 1.0
"""How long who is not let in waits in vain."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@pytest.fixture(scope="module")
def machine() -> Iterator[tuple[Everybodys, str]]:
    """A controller that listens for other machines, and its address."""
    address = f"tcp://127.0.0.1:{free_port()}"
    with everybodys(GSHARE_LISTEN=address) as made:
        yield made, address


@pytest.fixture
def host(machine: tuple[Everybodys, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """What --host is given here, by a user with a key of their own."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    made, address = machine
    (made.state / remote.CLIENTS).unlink(missing_ok=True)
    return f"{address}#{remote.public_of(remote.own_key(made.state)).hex()}"


def let_in(machine: tuple[Everybodys, str], user: int) -> None:
    """As an administrator does."""
    key = remote.public_of(remote.own_key(remote.client_folder())).hex()
    (machine[0].state / remote.CLIENTS).write_text(f"# who may ask\n{key} {user}\n")


def ask(host: str, request: object, monkeypatch: pytest.MonkeyPatch, timeout_s: float = PATIENCE_S) -> object:
    monkeypatch.setenv("GSHARE_HOST", host)
    return Client().ask(request, timeout_s=timeout_s)  # type: ignore[arg-type]


def test_a_known_key_is_its_user(
    machine: tuple[Everybodys, str], host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_in(machine, ALICE)
    assert ask(host, GetProcesses(), monkeypatch)
    with pytest.raises(NotPermitted):
        ask(host, Stop(), monkeypatch)
    assert machine[0].events("forbidden")[-1]["uid"] == ALICE
    let_in(machine, 0)
    assert ask(host, GetStatus(), monkeypatch)


def test_an_unknown_key_does_not_get_in(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ControllerUnreachable, match="does not answer"):
        ask(host, GetStatus(), monkeypatch, UNHEARD_S)


def test_another_controllers_key_is_noticed(
    machine: tuple[Everybodys, str], host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_in(machine, 0)
    address = host.partition("#")[0]
    with pytest.raises(ControllerUnreachable, match="does not answer"):
        ask(f"{address}#{remote.public_of(b'x' * 32).hex()}", GetStatus(), monkeypatch, UNHEARD_S)


def test_without_a_key_nobody_is_heard(machine: tuple[Everybodys, str]) -> None:
    with zmq.Context() as context, context.socket(zmq.DEALER) as asking:
        asking.setsockopt(zmq.LINGER, 0)
        asking.connect(machine[1])
        asking.send(wire.pack(1, GetStatus()))
        assert not asking.poll(int(UNHEARD_S * 1000))


MOST, EXCESS = 16, 5


def test_an_address_with_too_many_connections_loses_the_last_and_others_none(
    machine: tuple[Everybodys, str], host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_in(machine, 0)
    made, address = machine
    soft, hard = resource.prlimit(made.process.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(made.process.pid, resource.RLIMIT_NOFILE, (MOST * PART, hard))
    port = int(address.rpartition(":")[2])
    held = [
        socket.create_connection(("127.0.0.1", port), source_address=("127.0.0.2", 0))
        for _ in range(MOST + EXCESS)
    ]
    try:
        for one in held:
            one.setblocking(False)
        until(lambda: sum(map(ended, held)) == EXCESS)
        assert ask(host, GetStatus(), monkeypatch)
        whys = {event["why"] for event in made.events("forbidden")}
        assert "127.0.0.2 has too many connections open" in whys
    finally:
        resource.prlimit(made.process.pid, resource.RLIMIT_NOFILE, (soft, hard))
        for one in held:
            one.close()


def test_all_other_machines_together_leave_room_for_this_one(
    machine: tuple[Everybodys, str], host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many addresses somebody has."""
    made, address = machine
    soft, hard = resource.prlimit(made.process.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(made.process.pid, resource.RLIMIT_NOFILE, (MOST * PART, hard))
    port = int(address.rpartition(":")[2])
    most = MOST * PART // PART_OF_ALL_AWAY
    held = [
        socket.create_connection(("127.0.0.1", port), source_address=(f"127.0.1.{1 + number // 8}", 0))
        for number in range(most + EXCESS)
    ]
    try:
        for one in held:
            one.setblocking(False)
        until(lambda: sum(map(ended, held)) == EXCESS)
        assert made.ask(GetStatus())
    finally:
        resource.prlimit(made.process.pid, resource.RLIMIT_NOFILE, (soft, hard))
        for one in held:
            one.close()


def test_nobody_listens_unless_that_is_asked_for() -> None:
    with everybodys() as made:
        inodes = {link.readlink().name for link in Path(f"/proc/{made.process.pid}/fd").iterdir()}
        listening = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        assert not [words for words in listening if f"socket:[{words[9]}]" in inodes and words[3] == "0A"]


def test_keys_stay_their_users(tmp_path: Path) -> None:
    secret = remote.own_key(tmp_path)
    assert remote.own_key(tmp_path) == secret
    assert (tmp_path / remote.KEY).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "text", ["", "tcp://x:1", "tcp://x:1#12", "ipc://x#" + "0" * 64, "tcp://x:1#" + "g" * 64]
)
def test_an_address_has_a_key(text: str) -> None:
    with pytest.raises(UsageError):
        remote.parse_host(text)


def test_who_make_a_key_at_the_same_time_have_the_same(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        keys = set(pool.map(remote.own_key, [tmp_path] * 100))
    assert len(keys) == 1
    assert [path.name for path in tmp_path.iterdir()] == [remote.KEY]
