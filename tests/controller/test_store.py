"""Permanent tenants: written whole or not at all, whatever happens meanwhile, and refused where damaged."""

import json
import os
import random
import resource
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gshare.controller.errors import GshareError
from gshare.controller.permanent import Permanent
from gshare.controller.protocol import Limits
from gshare.controller.store import JSON_SCHEMA, VERSION, QuotaStore
from gshare.controller.units import Memory

A = Permanent(Limits(Memory(1 << 30, None), 300_000))
B = Permanent(Limits(Memory(None, 500_000), None), reserved=True)
C = Permanent(Limits(None, 1, {"0": Memory(1 << 30, None), "GPU-1b2c3d4e": Memory(None, 5), "2": None}))
D = Permanent(Limits(compute_ppm=300_000, ceiling_ppm=600_000, weight=2, priority="high", mode="turns"))
E = Permanent(Limits(copy_bytes_per_s={"h2d": 1 << 30, "d2h": 1 << 20}), 1000, ("bob", "@students"))
ALL = {"a": A, "b": B, "c": C, "d": D, "e": E}

KILLS = 40
SOAK_KILLS = 1000


@pytest.fixture
def folder() -> Iterator[Path]:
    """On no disk, where there is such a place: what counts here is the order of writes, not their speed."""
    place = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="gshare-", dir=place) as made:
        yield Path(made)


def in_child(does: Callable[[], None]) -> int:
    """Exit status of a forked child that does it: 0, or 3 where it was refused with a line about the file."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            does()
            code = 0
        except GshareError as error:
            code = 3 if "cannot be written" in str(error) and "gshare.sqlite" in str(error) else 2
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_there_are_none_at_first_and_looking_makes_no_file(tmp_path: Path) -> None:
    assert QuotaStore(tmp_path / "state").load() == {}
    assert not (tmp_path / "state").exists()


def test_tenants_outlive_the_one_who_wrote_them(tmp_path: Path) -> None:
    for name, permanent in ALL.items():
        QuotaStore(tmp_path / "state").put(name, permanent)
    assert QuotaStore(tmp_path / "state").load() == ALL
    for name in ("e", "d", "a"):
        QuotaStore(tmp_path / "state").remove(name)
    assert QuotaStore(tmp_path / "state").load() == {"b": B, "c": C}
    assert (tmp_path / "state" / "gshare.sqlite").stat().st_mode & 0o777 == 0o600


def test_what_another_writes_is_seen(tmp_path: Path) -> None:
    first, second = QuotaStore(tmp_path), QuotaStore(tmp_path)
    first.put("a", A)
    assert second.load() == {"a": A}
    first.put("b", B)
    assert second.load() == {"a": A, "b": B}
    second.remove("a")
    assert first.load() == {"b": B}
    first.path.unlink()
    assert first.load() == {}


ROWS = (
    5,
    {"memory_bytes": -1},
    {"compute_ppm": 1_000_001},
    {"memory_bytes": True},
    {"h2d_bytes_per_s": 0},
    {"priority": "urgent"},
    {"mode": []},
    {"ceiling_ppm": 5},
    {"compute_ppm": 5, "ceiling_ppm": 5},
    {"colour": 1},
    {"devices": 5},
    {"devices": {"0": 5}},
    {"devices": {"0": {"memory_ppm": 0}}},
    {"devices": {"0": {"compute_ppm": 1}}},
    {"owner_uid": -1},
    {"owner_uid": "root"},
    {"members": "bob"},
    {"members": [""]},
    {"reserved": 1},
)


def refused_and_left_alone(store: QuotaStore, path: Path) -> None:
    content = path.read_bytes()
    for access in (store.load, lambda: store.put("a", A), lambda: store.remove("a")):
        with pytest.raises(GshareError, match=path.name):
            access()
    assert path.read_bytes() == content


@pytest.mark.parametrize("row", ROWS, ids=json.dumps)
def test_a_damaged_row_is_named_and_left_alone(tmp_path: Path, row: object) -> None:
    QuotaStore(tmp_path).put("x", A)
    with sqlite3.connect(tmp_path / "gshare.sqlite") as connection:
        connection.execute("UPDATE tenant SET row = ?", (json.dumps(row),))
    connection.close()
    refused_and_left_alone(QuotaStore(tmp_path), tmp_path / "gshare.sqlite")


def test_a_damaged_file_is_named_and_left_alone(tmp_path: Path) -> None:
    store = QuotaStore(tmp_path)
    store.path.write_bytes(b"nothing of SQLite's" * 100)
    refused_and_left_alone(store, store.path)
    store.path.unlink()
    store.put("a", A)
    with sqlite3.connect(store.path) as connection:
        connection.execute(f"PRAGMA user_version = {VERSION + 1}")
    connection.close()
    refused_and_left_alone(QuotaStore(tmp_path), store.path)


def write_earlier(folder: Path, content: object) -> Path:
    path = folder / "quotas.json"
    path.write_text(json.dumps(content))
    return path


def test_what_an_earlier_version_wrote_is_taken_over(tmp_path: Path) -> None:
    rows = {"a": {"memory_bytes": 1 << 30, "compute_ppm": 300_000}, "b": {"devices": {"0": {}}, "weight": 2}}
    path = write_earlier(tmp_path, {"schema": JSON_SCHEMA, "quotas": rows})
    before = path.read_bytes()
    assert set(QuotaStore(tmp_path).load()) == {"a", "b"}
    assert path.read_bytes() == before
    QuotaStore(tmp_path).put("e", E)
    b = Permanent(Limits(memory_on={"0": None}, weight=2))
    assert QuotaStore(tmp_path).load() == {"a": A, "b": b, "e": E}
    assert not path.exists()
    assert (tmp_path / "quotas.json.moved").read_bytes() == before
    QuotaStore(tmp_path).remove("a")
    assert QuotaStore(tmp_path).load() == {"b": b, "e": E}


NOT_EARLIER = ([], {"schema": "v2"}, {"schema": JSON_SCHEMA})


@pytest.mark.parametrize("content", [*NOT_EARLIER, *ROWS[:3]], ids=json.dumps)
def test_a_damaged_file_of_an_earlier_version_is_named(tmp_path: Path, content: object) -> None:
    if content in ROWS:
        content = {"schema": JSON_SCHEMA, "quotas": {"a": content}}
    refused_and_left_alone(QuotaStore(tmp_path), write_earlier(tmp_path, content))
    assert not (tmp_path / "gshare.sqlite").exists()


@pytest.mark.parametrize("earlier", [False, True])
def test_wherever_the_disk_is_full_it_is_the_old_state_or_the_new(folder: Path, earlier: bool) -> None:
    """A file may not grow beyond so much here: what a full disk looks like, at every step of a change."""
    outcomes = set()
    for limit in range(0, 40_960, 1024):
        state = folder / str(limit)
        state.mkdir()
        if earlier:
            write_earlier(state, {"schema": JSON_SCHEMA, "quotas": {"b": {"memory_ppm": 500_000}}})
        else:
            QuotaStore(state).put("b", Permanent(Limits(Memory(None, 500_000))))
        before = QuotaStore(state).load()

        def change(limit: int = limit, state: Path = state) -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            QuotaStore(state).put("e", E)

        code = in_child(change)
        assert code in (0, 3)
        assert QuotaStore(state).load() == (before if code else {**before, "e": E})
        outcomes.add(code)
    assert outcomes == {0, 3}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 128 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(folder)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("may not mount here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_refuses_a_change_and_loses_nothing(small_disk: Path) -> None:
    store = QuotaStore(small_disk / "state")
    store.put("b", B)
    filler = small_disk / "filler"
    with open(filler, "wb", buffering=0) as file:
        for size in (4096, 1):
            try:
                while file.write(b"x" * size) == size:
                    pass
            except OSError:
                continue
    other = QuotaStore(small_disk / "state")
    for attempt in (store, other):
        for change in (lambda to=attempt: to.put("e", E), lambda to=attempt: to.remove("b")):
            with pytest.raises(GshareError, match=r"gshare\.sqlite: cannot be written: .* \(free some space"):
                change()
        assert attempt.load() == {"b": B}
    filler.unlink()
    store.put("e", E)
    assert other.load() == {"b": B, "e": E}
    store.close()
    other.close()


def test_kill_at_any_point_loses_nothing(folder: Path) -> None:
    kill_writers(folder, KILLS)


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_a_thousand_kills_lose_nothing(folder: Path) -> None:
    print(f"{SOAK_KILLS} kills, of which {kill_writers(folder, SOAK_KILLS)} left something to roll back")


def kill_writers(folder: Path, kills: int) -> int:
    """Kill a process that counts up in the store, again and again; each finds all that was written before.

    Returns how often a journal was left, which tells that a kill came in the midst of a change.
    """
    QuotaStore(folder).put("b", B)
    written, rolled_back, chance = 0, 0, random.Random(1)
    for _ in range(kills):
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                store = QuotaStore(folder)
                for number in range(written + 1, 1_000_000):
                    store.put("a", Permanent(Limits(Memory(number, None))))
                    os.write(writing, b"%d\n" % number)
            finally:
                os._exit(1)
        os.close(writing)
        os.read(reading, 1)  # it has written one at least
        time.sleep(chance.random() * 0.01)
        os.kill(child, signal.SIGKILL)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
        said = b"".join(iter(lambda end=reading: os.read(end, 65536), b"")).split()  # type: ignore[misc]
        os.close(reading)
        rolled_back += (folder / "gshare.sqlite-journal").exists()
        found = QuotaStore(folder).load()
        assert found.pop("b") == B
        (last,) = (tenant.limits.memory for tenant in found.values())
        assert last is not None
        assert last.bytes is not None
        assert last.bytes - max(int(said[-1]) if said else 0, written + 1) in (0, 1)
        written = last.bytes
    assert rolled_back
    return rolled_back
