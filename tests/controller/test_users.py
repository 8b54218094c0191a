"""Real users on one machine-wide controller: everybody has what is theirs, and nobody else's."""

import os
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import zmq
from crowd import answers, ask_all, connect, hoard, let_go
from machine_wide import GIB, Everybodys, ask, everybodys
from users import ALICE, BOB, CAROL, User, needs_root, users
from waiting import until

from gshare.controller import wire
from gshare.controller.client import Client
from gshare.controller.connections import PART
from gshare.controller.errors import NoSuchThing, NotPermitted, UsageError
from gshare.controller.launch import start_controller
from gshare.controller.paths import Runtime
from gshare.controller.protocol import (
    Admit,
    Change,
    GetDevices,
    GetEvents,
    GetMemory,
    GetProcesses,
    GetQuotas,
    GetShares,
    GetStatus,
    GetTop,
    Limits,
    Pause,
    Reload,
    RemoveQuota,
    SetLimits,
    SetQuota,
    Simulated,
    Stop,
)
from gshare.controller.units import Memory
from gshare.shim import TENANT_DIR_VARIABLE

pytestmark = needs_root

GROUP = 30001
CROWD = 100
MORE = Change(memory=Memory(2 * GIB, None))


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Everybodys]:
    with everybodys(GSHARE_CONFIG=str(tmp_path_factory.mktemp("etc") / "gshare.toml")) as made:
        yield made


@pytest.fixture
def two(machine: Everybodys) -> Iterator[tuple[User, User]]:
    """Alice, who runs in a tenant `train`, and Bob."""
    with users((ALICE, ()), (BOB, ())) as (alice, bob):
        machine.ask(machine.admission("train"), alice)
        yield alice, bob


def test_a_run_is_of_who_asks_whatever_the_message_says(machine: Everybodys, two: tuple[User, User]) -> None:
    alice, bob = two
    rows = machine.ask(GetProcesses(), alice).processes
    assert [(row.tenant, row.pid) for row in rows] == [(f"train@{ALICE}", alice.pid)]
    assert machine.ask(machine.admission("train"), bob).tenant == f"train@{BOB}"


def ask_from_a_child(directory: str, request: Admit) -> str:
    """What tenant a child of the caller's is let into with it."""
    reading, writing = os.pipe()
    if os.fork() == 0:
        try:
            os.write(writing, ask(directory, request).tenant.encode())
        finally:
            os._exit(0)
    os.close(writing)
    with open(reading) as answer:
        tenant = answer.read()
    os.wait()
    return tenant


def test_a_shell_has_its_child_ask(machine: Everybodys, two: tuple[User, User]) -> None:
    """As `gshare env` does; it is believed of the child's own parent only, who is the same user."""
    alice, bob = two
    where = str(machine.runtime.directory)
    for named in (bob.pid, alice.pid):
        request = msgspec.structs.replace(machine.admission("shell"), pid=named)
        assert bob.call(ask_from_a_child, where, request) == f"shell@{BOB}"
        rows = machine.ask(GetProcesses(), bob).processes
        assert [row.pid for row in rows] == [bob.pid]
    assert [row.pid for row in machine.ask(GetProcesses(), alice).processes] == [alice.pid]


def test_owners_change_their_own(machine: Everybodys, two: tuple[User, User]) -> None:
    alice, _ = two
    changed = machine.ask(SetLimits("train", MORE), alice)
    assert changed.devices[0].new_memory_bytes == 2 * GIB
    assert machine.ask(Pause(str(alice.pid), True), alice).paused
    assert not machine.ask(Pause("train", False), alice).paused


LONGEST = "x" * (63 - len(f"@{ALICE}"))

NO_NAMES = {
    "beside": "./../evil",
    "above": "./../../evil",
    "someone's": f"x@/./../evil@{ALICE}",
    "parent": "..",
    "folder": "a/b",
    "two words": "a b",
    "zero": "x\0y",
    "colours": "\x1b[31mred",
    "long": LONGEST + "x",
    "endless": f"x@{'9' * 100}",
}


def test_a_name_is_no_path(machine: Everybodys, two: tuple[User, User]) -> None:
    """Whoever speaks to the socket without our command: the folder is root's to make, and to remove."""
    alice, _ = two
    folder = machine.runtime.directory
    before = {entry for place in (folder.parent, folder) for entry in place.iterdir()}
    for which, name in NO_NAMES.items():
        for who in (alice, None) if which != "long" else (alice,):
            with pytest.raises((UsageError, NotPermitted)):
                machine.ask(machine.admission(name), who)
        with pytest.raises((UsageError, NotPermitted)):
            machine.ask(SetQuota(name + "/", MORE))
    assert {entry for place in (folder.parent, folder) for entry in place.iterdir()} == before
    assert machine.ask(machine.admission(LONGEST), alice).tenant == f"{LONGEST}@{ALICE}"


def forbidden_requests(machine: Everybodys, alice: User) -> list[Any]:
    name = f"train@{ALICE}"
    return [
        SetLimits(name, MORE),
        SetLimits(str(alice.pid), MORE),
        Pause(name, True),
        Pause(str(alice.pid), True),
        machine.admission(name),
        machine.admission(name, dry_run=True),
        machine.admission(f"other@{CAROL}"),
        Admit(1, 1, "x", Limits(Memory(GIB, None)), simulated=Simulated("/etc/passwd")),
        GetDevices("/etc/passwd"),
        SetQuota("team", MORE),
        RemoveQuota("team"),
        Stop(),
    ]


def test_whatever_is_anothers_is_refused_and_logged(machine: Everybodys, two: tuple[User, User]) -> None:
    alice, _ = two
    before = machine.ask(GetProcesses(), alice).processes
    for request in forbidden_requests(machine, alice):
        with users((CAROL + len(machine.events("forbidden")), ())) as (somebody,):
            with pytest.raises(NotPermitted) as refusal:
                machine.ask(request, somebody)
            assert refusal.value.exit_code == 4
            assert "\n" not in str(refusal.value)
            event = machine.events("forbidden")[-1]
            assert (event["uid"], event["pid"]) == (somebody.uid, somebody.pid)
            assert (event["request"], event["why"]) == (type(request).__name__, str(refusal.value))
    assert machine.ask(GetProcesses(), alice).processes[0].memory_limit_bytes == before[0].memory_limit_bytes


def test_views_show_what_is_theirs(machine: Everybodys, two: tuple[User, User]) -> None:
    alice, bob = two
    name = f"train@{ALICE}"
    machine.ask(SetQuota("team", MORE))
    reads = (GetProcesses(), GetMemory(), GetShares(), GetTop(), GetStatus(), GetDevices(), GetEvents(100))
    for read in (*reads, GetQuotas()):
        assert name not in repr(machine.ask(read, bob)), read
        assert "'team'" not in repr(machine.ask(read, bob)), read
    for read in (GetProcesses(), GetShares(), GetTop(), GetEvents(100)):
        assert name in repr(machine.ask(read, alice)), read
        assert name in repr(machine.ask(read)), read
    machine.ask(RemoveQuota("team"))


def test_a_permanent_tenant_is_for_its_owner_and_members_and_changed_by_administrators(
    machine: Everybodys, two: tuple[User, User]
) -> None:
    alice, _ = two
    machine.ask(SetQuota("lab", MORE))
    try:
        with pytest.raises(NotPermitted, match="may not run in it"):
            machine.ask(Admit(1, 1, "x", tenant="lab", simulated=Simulated(machine.machine)), alice)
    finally:
        machine.ask(RemoveQuota("lab"))


def test_names_of_others_are_not_found_by_their_short_form(
    machine: Everybodys, two: tuple[User, User]
) -> None:
    _, bob = two
    with pytest.raises(NoSuchThing):
        machine.ask(Pause("train", True), bob)


def test_many_refusals_of_one_user_do_not_drive_out_other_events(machine: Everybodys) -> None:
    with users((BOB + 1000, ())) as (pest,):
        for _ in range(40):
            with pytest.raises(NotPermitted):
                machine.ask(Stop(), pest)
    assert sum(event["uid"] == BOB + 1000 for event in machine.events("forbidden")) == 10
    log = (machine.runtime.directory.parent / "log").read_text()
    assert log.count(f"uid {BOB + 1000},") == 10


def test_owners_stay_owners_over_a_restart(two: tuple[User, User], machine: Everybodys) -> None:
    alice, bob = two
    machine.restart(signal.SIGKILL)
    assert machine.ask(GetProcesses(), alice).processes[0].pid == alice.pid
    assert machine.ask(GetProcesses(), bob).processes == []
    with pytest.raises(NotPermitted):
        machine.ask(Pause(f"train@{ALICE}", True), bob)


def test_who_says_to_be_in_anothers_tenant_is_not_believed(
    machine: Everybodys, two: tuple[User, User]
) -> None:
    """Neither its processes nor what they take are charged to somebody else."""
    alice, _ = two
    directory = f"{machine.runtime.tenants}/train@{ALICE}"
    environment = {**machine.environment, TENANT_DIR_VARIABLE: directory}
    for uid, believed in ((BOB, False), (ALICE, True)):
        with subprocess.Popen(
            ["sleep", "60"], env=environment, user=uid, group=uid, extra_groups=[], cwd="/"
        ) as sleeping:
            rows = machine.ask(GetProcesses(), alice).processes
            assert (sleeping.pid in {row.pid for row in rows}) == believed
            sleeping.kill()


def test_others_reach_the_sockets_and_nothing_else(machine: Everybodys) -> None:
    where = machine.runtime
    modes = {path.name: path.stat().st_mode & 0o077 for path in where.directory.iterdir()}
    assert modes.pop(where.tenants.name) == 0o011  # to be entered, not listed
    open_to_all = {name for name, mode in modes.items() if mode}
    assert open_to_all == {where.socket.name, where.events.name}


def test_a_users_own_controller_hears_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where the directory would let them."""
    with tempfile.TemporaryDirectory(prefix="gshare-") as folder, users((ALICE, ())) as (alice,):
        os.chmod(folder, 0o711)
        where = Runtime(f"{folder}/run")
        monkeypatch.setenv("GSHARE_RUNTIME_DIR", str(where.directory))
        start_controller(where)
        for path, mode in ((where.directory, 0o711), (where.socket, 0o666)):
            os.chmod(path, mode)
        assert answered(str(where.socket))
        assert not alice.call(answered, str(where.socket))
        Client(where).ask(Stop())


def answered(path: str) -> bool:
    """Whether a controller answers to whoever calls this."""
    with zmq.Context() as context, context.socket(zmq.DEALER) as asking:
        asking.setsockopt(zmq.LINGER, 0)
        asking.connect(f"ipc://{path}")
        asking.send(wire.pack(1, GetStatus()))
        return bool(asking.poll(1000))


def status(machine: Everybodys, uid: int, *groups: int) -> subprocess.CompletedProcess[str]:
    """`gshare status` by a user with these groups."""
    them = ["--groups", ",".join(map(str, groups))] if groups else ["--clear-groups"]
    become = ["setpriv", "--reuid", str(uid), "--regid", str(uid), *them]
    command = [*become, sys.executable, "-m", "gshare.cli", "status"]
    return subprocess.run(command, env=machine.environment, capture_output=True, text=True, check=False)


def test_where_a_group_is_named_only_its_members_get_in(machine: Everybodys, two: tuple[User, User]) -> None:
    _, bob = two
    config = Path(machine.environment["GSHARE_CONFIG"])
    config.write_text(f'[controller]\ngroup = "{GROUP}"\n')
    try:
        assert machine.ask(Reload()).usable
        with pytest.raises(NotPermitted, match=f"uid {BOB} is not in group {GROUP}"):
            machine.ask(machine.admission(), bob)
        assert status(machine, BOB, GROUP).returncode == 0
        refused = status(machine, BOB, GROUP + 1)
        assert (refused.returncode, refused.stdout) == (4, "")
        why = f"uid {BOB} is not in group {GROUP} (root: usermod -aG {GROUP} USER, who logs in anew)"
        assert refused.stderr == f"gshare: the machine's controller: {why}\n"
        assert {event["request"] for event in machine.events("forbidden")} >= {"Admit", "GetStatus"}
    finally:
        config.unlink()
        machine.ask(Reload())
    assert machine.ask(GetProcesses(), bob).processes == []


def test_who_asks_over_many_connections_waits_behind_themselves(
    machine: Everybodys, two: tuple[User, User]
) -> None:
    alice, bob = two
    where = str(machine.runtime.socket)
    bob.call(connect, where, CROWD)
    alice.call(connect, where, 1)
    machine.process.send_signal(signal.SIGSTOP)
    bob.call(ask_all)
    alice.call(ask_all)
    machine.process.send_signal(signal.SIGCONT)
    assert alice.call(answers, 20_000) == 1
    machine.process.send_signal(signal.SIGSTOP)
    before_her = bob.call(answers, 0)
    machine.process.send_signal(signal.SIGCONT)
    assert before_her < CROWD // 2


def test_what_a_user_names_neither_ends_a_line_of_the_log_nor_speaks_to_a_terminal(
    machine: Everybodys, two: tuple[User, User]
) -> None:
    with pytest.raises(NotPermitted):
        machine.ask(GetDevices("\x1b]0;mine\x07\rfake\nfake"), two[1])
    log = (machine.runtime.directory.parent / "log").read_text()
    assert "simulated machine ?]0;mine?" in log
    assert all(character.isprintable() for character in log.replace("\n", ""))
    assert not [line for line in log.splitlines() if line.startswith("fake")]


MOST, EXCESS = 100, 50


def test_who_holds_too_many_connections_loses_the_last_and_others_none(
    machine: Everybodys, two: tuple[User, User]
) -> None:
    alice, bob = two
    where, files = str(machine.runtime.socket), f"/proc/{machine.process.pid}/fd"
    before = len(os.listdir(files))
    soft, hard = resource.prlimit(machine.process.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(machine.process.pid, resource.RLIMIT_NOFILE, (MOST * PART, hard))
    bob.call(hoard, where, MOST + EXCESS)
    until(lambda: bob.call(hoard, where, 0) >= EXCESS)
    until(lambda: len(os.listdir(files)) <= before + MOST)
    resource.prlimit(machine.process.pid, resource.RLIMIT_NOFILE, (soft, hard))
    (row,) = machine.ask(GetProcesses(), alice).processes
    assert row.pid == alice.pid
    assert f"uid {BOB} has too many connections open" in {
        event["why"] for event in machine.events("forbidden")
    }
    bob.call(let_go)
    until(lambda: len(os.listdir(files)) <= before)
    assert machine.ask(GetProcesses(), bob).processes == []
