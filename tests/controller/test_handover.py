"""The hand-over of tenants' memory: to who may run there, and in a form that nobody else can use or spoil."""

import array
import fcntl
import mmap
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from machine_wide import GIB, Everybodys, everybodys
from users import ALICE, BOB, User, needs_root, users

from gshare.controller.authority import Ownership
from gshare.controller.handover import MOST_SEGMENTS_EACH, Keeping, place
from gshare.controller.protocol import Change, SetLimits
from gshare.controller.units import Memory
from gshare.shim import LIBRARY, abi, preload_environment

MOST = 3 + abi.SEGMENTS
OUT_OF_MEMORY, NOT_PERMITTED = 2, 800


@pytest.fixture(scope="module")
def machine() -> Iterator[Everybodys]:
    with everybodys() as made:
        yield made


def take(path: str) -> tuple[int, list[int]]:
    """The status and the descriptors that whoever calls this is handed."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as asking:
        asking.settimeout(5)
        asking.connect(path)
        data, descriptors, _, _ = socket.recv_fds(asking, 100, MOST)
    return int.from_bytes(data[12:16], sys.byteorder), descriptors


def let_all_connect(path: str) -> None:
    """As where files have no lists of who may open them."""
    os.removexattr(path, "system.posix_acl_access")
    os.chmod(path, 0o666)


def refusals(path: str) -> dict[str, str]:
    """What whoever calls this tries with what they are handed, and why it does not work."""
    status, descriptors = take(path)
    assert status == 0
    limits, usage, own, *segments = descriptors
    foreign = next(fd for fd in segments if not os.path.samestat(os.fstat(fd), os.fstat(own)))
    tries = {
        "write limits": lambda: os.write(limits, b"x"),
        "map limits for writing": lambda: mmap.mmap(limits, 0),
        "open limits for writing": lambda: os.open(f"/proc/self/fd/{limits}", os.O_RDWR),
        "change the mode of the limits": lambda: os.chmod(f"/proc/self/fd/{limits}", 0o666),
        "write a neighbour's activity": lambda: os.write(foreign, b"x"),
        "map a neighbour's activity for writing": lambda: mmap.mmap(foreign, 0),
        "open a neighbour's activity for writing": lambda: os.open(f"/proc/self/fd/{foreign}", os.O_RDWR),
        "shrink usage": lambda: os.ftruncate(usage, 0),
        "shrink activity": lambda: os.ftruncate(own, 0),
        "grow usage": lambda: os.ftruncate(usage, 1 << 30),
        "grow activity": lambda: os.ftruncate(own, 1 << 30),
        "seal usage": lambda: fcntl.fcntl(usage, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE),
    }
    found = {}
    for what, attempt in tries.items():
        try:
            attempt()
            found[what] = ""
        except (OSError, ValueError) as error:
            found[what] = type(error).__name__
    mmap.mmap(usage, 0).close()  # what is theirs to write they can
    mmap.mmap(own, 0).close()
    return found


@pytest.fixture
def alice(machine: Everybodys) -> Iterator[tuple[User, str]]:
    """Alice, who runs in a tenant, and its socket."""
    with users((ALICE, ())) as (user,):
        admitted = machine.ask(machine.admission("train"), user)
        yield user, f"{admitted.directory}/{abi.HANDOVER_SOCKET}"


@needs_root
def test_it_is_handed_to_its_owner_and_cannot_be_spoilt(alice: tuple[User, str]) -> None:
    user, path = alice
    found = user.call(refusals, path)
    assert found
    assert {what for what, why in found.items() if not why} == set()


@needs_root
def test_another_user_does_not_even_stand_in_line(machine: Everybodys, alice: tuple[User, str]) -> None:
    """Whoever connects again and again would keep others from being served in time."""
    user, path = alice
    with users((BOB, ())) as (bob,):
        with pytest.raises(PermissionError):
            bob.call(take, path)
        assert user.call(take, path)[0] == 0


@needs_root
def test_another_user_gets_nothing_and_is_told_of(machine: Everybodys, alice: tuple[User, str]) -> None:
    _, path = alice
    let_all_connect(path)
    with users((BOB, ())) as (bob,):
        assert bob.call(take, path) == (1, [])
        deadline = time.monotonic() + 5
        while not [event for event in machine.events("forbidden") if event["pid"] == bob.pid]:
            assert time.monotonic() < deadline
        event = machine.events("forbidden")[-1]
    assert (event["uid"], event["request"]) == (BOB, "handover")


@needs_root
def test_nothing_of_it_has_a_name(machine: Everybodys, alice: tuple[User, str]) -> None:
    _, path = alice
    assert {entry.name for entry in Path(path).parent.iterdir()} == {"socket", "tenant.json"}
    assert not machine.runtime.activity.exists()
    with users((BOB, ())) as (bob,):
        for folder in (machine.runtime.tenants, Path(path).parent):
            with pytest.raises(PermissionError):
                bob.call(os.listdir, str(folder))
            with pytest.raises(PermissionError):  # no place for a name of somebody else's
                bob.call(os.mkdir, f"{folder}/mine")
        with pytest.raises(PermissionError):
            bob.call(Path.read_bytes, Path(path).parent / "tenant.json")


CONTROLLER_ENDS = [signal.SIGTERM, signal.SIGKILL]


@needs_root
@pytest.mark.parametrize("number", CONTROLLER_ENDS)
def test_it_goes_on_without_a_controller_and_the_next_one_has_it_all(
    machine: Everybodys, alice: tuple[User, str], number: int
) -> None:
    user, path = alice
    machine.end(number)
    status, descriptors = user.call(take_numbers, path)
    assert (status, descriptors) == (0, MOST)
    machine.begin()
    change = Change(memory=Memory(2 * GIB, None))
    assert machine.ask(SetLimits("train", change), user).devices[0].new_memory_bytes == 2 * GIB
    assert user.call(limit_bytes, path) == 2 * GIB


def take_numbers(path: str) -> tuple[int, int]:
    """How many descriptors whoever calls this is handed."""
    status, descriptors = take(path)
    return status, len(descriptors)


def limit_bytes(path: str) -> int | None:
    """The limit that stands in what whoever calls this is handed."""
    _, descriptors = take(path)
    content = os.pread(descriptors[0], abi.LIMITS_BYTES, 0)
    words = array.array("Q", content[192 + 16 : 192 + 24])
    return words[0]


@needs_root
def test_a_keeper_that_is_killed_is_replaced(machine: Everybodys, alice: tuple[User, str]) -> None:
    user, path = alice
    (keeper,) = machine.keepers()
    os.kill(keeper, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while keeper in machine.keepers() or not machine.keepers():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert user.call(take_numbers, path) == (0, MOST)
    let_all_connect(path)
    with users((BOB, ())) as (bob,):  # the new one is heard, too
        assert bob.call(take, path) == (1, [])
        while not [event for event in machine.events("forbidden") if event["pid"] == bob.pid]:
            assert time.monotonic() < deadline


@needs_root
def test_a_keeper_ends_where_nobody_could_find_it() -> None:
    with everybodys() as made, users((ALICE, ())) as (user,):
        made.ask(made.admission("train"), user)
        (keeper,) = made.keepers()
        made.runtime.keeper.unlink()
        made.end(signal.SIGKILL)
        descriptor = os.pidfd_open(keeper)
        assert select.select([descriptor], [], [], 30)[0]
        os.close(descriptor)


def test_another_version_of_shared_memory_has_segments_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One keeper holds both, and hands to each program what is of its version."""
    folders = {}
    for version in (abi.VERSION, abi.VERSION + 1):
        monkeypatch.setattr(abi, "VERSION", version)
        keeping = Keeping(tmp_path / "keeper")
        folders[version] = folder = tmp_path / str(version)
        folder.mkdir()
        for part in ("limits", "usage"):
            (folder / part).write_text(f"{part} {version}")
        keeping.put(f"t{version}", 0, Ownership(os.getuid()), folder)
        keeping.activity().close()
        keeping.close()
    found = [take(str(folder / abi.HANDOVER_SOCKET))[1] for folder in folders.values()]
    assert [os.pread(fds[0], 100, 0).decode() for fds in found] == [
        f"limits {version}" for version in folders
    ]
    old, new = ({(os.fstat(fd).st_ino) for fd in fds[2:]} for fds in found)
    assert len(old) == len(new) == abi.SEGMENTS
    assert not old & new
    last = Keeping(tmp_path / "keeper")
    assert sorted(last.names()) == sorted(f"t{version}" for version in folders)
    for name in last.names():
        last.drop(name)
    last.close()


# -------- places in the activity file --------

DOMAINS = st.lists(st.sampled_from([None, "a", "b", "c"]), min_size=abi.SEGMENTS, max_size=abi.SEGMENTS)


@given(DOMAINS, st.sets(st.integers(0, abi.MAX_TENANTS - 1)))
def test_nobody_is_placed_beside_another_user(domains: list[str | None], taken: set[int]) -> None:
    index = place(domains, taken, "a")
    if index is not None:
        assert index not in taken
        assert domains[index // abi.SEGMENT_TENANTS] in ("a", None)


def test_no_user_can_take_all_places() -> None:
    domains: list[str | None] = [None] * abi.SEGMENTS
    taken: set[int] = set()
    while (index := place(domains, taken, "a")) is not None:
        taken.add(index)
        domains[index // abi.SEGMENT_TENANTS] = "a"
    assert len(taken) == MOST_SEGMENTS_EACH * abi.SEGMENT_TENANTS
    assert place(domains, taken, "b") is not None


# -------- programs --------


@pytest.fixture(scope="module")
def program(machine: Everybodys) -> list[str]:
    return machine.program("somebody.c")


def run_as(uid: int, machine: Everybodys, directory: str, command: list[str]) -> tuple[list[list[int]], str]:
    """What a program of a user's says that names a tenant, whoever's it is."""
    library = Path(command[0]).parent / LIBRARY.name
    environment = {**machine.environment, "LD_LIBRARY_PATH": str(library.parent)}
    done = subprocess.run(
        command,
        env=preload_environment(directory, environment, library=library),
        user=uid,
        group=uid,
        extra_groups=[],
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return [list(map(int, line.split())) for line in done.stdout.splitlines()], done.stderr


@needs_root
def test_a_program_of_the_owners_has_its_limit_and_one_of_anothers_has_nothing(
    machine: Everybodys, alice: tuple[User, str], program: list[str]
) -> None:
    _, path = alice
    directory = str(Path(path).parent)
    told, errors = run_as(ALICE, machine, directory, program)
    assert told == [[0, ALICE, 0, OUT_OF_MEMORY, 0], [0, ALICE, 0, OUT_OF_MEMORY, 0], [0]], errors
    told, errors = run_as(BOB, machine, directory, program)
    assert told == [[NOT_PERMITTED, BOB, -1, -1, 0], [NOT_PERMITTED, BOB, -1, -1, 0], [0]]
    line = f"gshare: {path}: not this user's to run in (start the program again with gshare run)\n"
    assert errors == 2 * line


@needs_root
def test_what_the_dead_held_comes_back_while_their_children_live(
    machine: Everybodys, alice: tuple[User, str]
) -> None:
    """A forked child has what its parent mapped, and with it nothing that says its parent lives."""
    _, path = alice
    command, children = machine.program("orphan.c"), []
    try:
        for _ in range(2):  # of 300 MiB and a context each, within 1 GiB
            ((code, child),), errors = run_as(ALICE, machine, str(Path(path).parent), command)
            children.append(child)
            assert code == 0, errors
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)


@needs_root
def test_a_program_starts_while_there_is_no_controller(
    machine: Everybodys, alice: tuple[User, str], program: list[str]
) -> None:
    _, path = alice
    machine.end(signal.SIGKILL)
    told, errors = run_as(ALICE, machine, str(Path(path).parent), program)
    machine.begin()
    assert told[0] == [0, ALICE, 0, OUT_OF_MEMORY, 0], errors


@needs_root
def test_nobody_waits_long_for_a_keeper_that_does_not_answer(
    machine: Everybodys, alice: tuple[User, str], program: list[str]
) -> None:
    """Then the limits cannot be applied, and the program does not get the GPU."""
    _, path = alice
    (keeper,) = machine.keepers()
    os.kill(keeper, signal.SIGSTOP)
    try:
        told, errors = run_as(ALICE, machine, str(Path(path).parent), program)
    finally:
        os.kill(keeper, signal.SIGCONT)
    assert told[0] == [NOT_PERMITTED, ALICE, -1, -1, 0]
    assert "the machine's gshare does not answer" in errors


def test_the_keeper_holds_nothing_that_its_parent_writes_to(machine: Everybodys) -> None:
    """Else `$(gshare controller ...)` would wait for the end of a process that stays."""
    (keeper,) = machine.keepers()
    theirs, ours = (
        [os.stat(f"/proc/{pid}/fd/{number}") for number in (1, 2)] for pid in (keeper, machine.process.pid)
    )
    assert not any(os.path.samestat(one, other) for one in theirs for other in ours)
