"""The shared memory's layout is pinned, its files are whole or not there, its line is only re-based."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gshare.shim import abi

UUID = bytes(range(16))
DEVICE = abi.DeviceLimits(
    uuid=UUID,
    device_memory_bytes=100,
    memory_limit_bytes=50,
    context_bytes=3,
    memory_quota_bytes=50,
    guarantee_ppm=0,
)


@pytest.fixture
def limits_path(tmp_path: Path) -> Path:
    abi.create_limits(tmp_path / "limits", "tenant", 7, [DEVICE, DEVICE], now_ns=1000, tenants_bound=8)
    return tmp_path / "limits"


def test_numbers_of_version_4() -> None:
    """Whoever changes one of these raises GS_ABI_VERSION, and starts a new list."""
    assert abi.VERSION == 4
    assert (abi.LIMITS_BYTES, abi.USAGE_BYTES, abi.ACTIVITY_RECORD_BYTES) == (35648, 1167360, 12288)
    assert (abi.MAX_DEVICES, abi.MAX_SLOTS, abi.MAX_TENANTS, abi.MAX_LANES) == (16, 512, 256, 54)
    assert (abi.NO_LIMIT_BYTES, abi.NO_CAP_PPM, abi.FULL_PPM) == (2**64 - 1, 2**32 - 1, 1_000_000)


def test_limits_are_where_they_were_in_version_4(limits_path: Path) -> None:
    content = limits_path.read_bytes()
    magic, version, kind, size, ready = struct.unpack_from("<QIIQI", content)
    assert (magic, version, kind, size, ready) == (0x3165726168736721, 4, 1, 35648, 1)
    assert content[64:128].rstrip(b"\0") == b"tenant"
    assert struct.unpack_from("<IIII", content, 128) == (7, 8, 2, 0)
    assert content[192:208] == UUID
    assert struct.unpack_from("<QQQ", content, 208) == (50, 100, 3)


def test_what_is_written_is_read(limits_path: Path) -> None:
    with abi.Limits(limits_path) as limits:
        assert (limits.tenant, limits.tenant_index, limits.tenants_bound) == ("tenant", 7, 8)
        assert limits.devices == (DEVICE, DEVICE)
        assert limits.device(0).memory_limit_bytes == 50
        with pytest.raises(IndexError):
            limits.device(2)
        with pytest.raises(ValueError, match="reading"):
            limits.set_memory_limit(0, 1)
    with pytest.raises(ValueError, match="closed"):
        limits.device(0)


def test_a_change_is_seen_by_other_mappings(limits_path: Path) -> None:
    with abi.Limits(limits_path, writable=True) as ours, abi.Limits(limits_path) as theirs:
        ours.set_memory_limit(1, 2**63)
        ours.set_context_bytes(1, 99)
        ours.tenants_bound = 200
        assert theirs.device(1)[:4] == (UUID, 100, 2**63, 99)
        assert theirs.device(0) == DEVICE
        assert theirs.tenants_bound == 200


def test_a_cap_starts_afresh_and_goes_on_from_where_its_line_is(limits_path: Path) -> None:
    with abi.Limits(limits_path, writable=True) as limits:
        with pytest.raises(ValueError, match="spent_ns"):
            limits.set_cap(0, 300_000, 2000)
        limits.set_cap(0, 300_000, 2000, spent_ns=500, burst_ns=10, resume_ns=20, in_flight_ns=30)
        assert limits.line(0) == abi.Line(2000, 500, rate_ppm=300_000, guarantee_ppm=300_000)
        assert limits.device(0)[4:8] == (300_000, 10, 20, 30)
        limits.set_cap(0, 600_000, 3000)
        assert limits.line(0) == abi.Line(3000, 800, rate_ppm=600_000, guarantee_ppm=600_000)
        assert limits.device(0)[4:8] == (600_000, 10, 20, 30)
        limits.set_cap(0, 600_000, 3500, rate_ppm=900_000, guarantee_ppm=200_000, lease_until_ns=4500)
        assert limits.line(0) == abi.Line(3500, 1100, 900_000, 200_000, 4500)
        limits.set_cap(0, abi.NO_CAP_PPM, 4000)
        assert limits.device(0).cap_ppm == abi.NO_CAP_PPM
        with pytest.raises(ValueError, match="ppm"):
            limits.set_cap(0, 1_000_001, 5000, spent_ns=0)


@given(changes=st.lists(st.tuples(st.integers(0, 10**10), st.integers(0, 10**6)), min_size=1, max_size=20))
def test_however_often_the_rate_changes_debt_is_never_rescaled(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[int, int]]
) -> None:
    """The allowance is the sum of every rate times how long it was in force."""
    path = tmp_path_factory.mktemp("line") / "limits"
    abi.create_limits(path, "t", 0, [DEVICE], now_ns=0)
    with abi.Limits(path, writable=True) as limits:
        limits.set_cap(0, 0, 0, spent_ns=-(10**9))
        now, rate, exact = 0, 0, -(10.0**9)
        for elapsed, following in changes:
            now, exact = now + elapsed, exact + elapsed * rate / 1e6
            limits.set_cap(0, following, now)
            rate = following
        assert abs(limits.line(0).at(now) - exact) <= len(changes)


def test_usage_starts_empty(tmp_path: Path) -> None:
    abi.create_usage(tmp_path / "usage")
    with abi.Usage(tmp_path / "usage") as usage:
        assert usage.device(15) == (0, 0, 0, 0)
        assert usage.slots() == ()
        assert not usage.is_live(511)
        assert usage.device(abi.HOST_ROW) == (0, 0, 0, 0)
        assert (usage.refusals, usage.refusals_since(0)) == (0, ())
        for call in (lambda: usage.device(17), lambda: usage.is_live(512), lambda: usage.slots(18)):
            with pytest.raises(IndexError):
                call()


def test_the_latest_refusals_are_read_whole_or_not_at_all(tmp_path: Path) -> None:
    """Two more than the ring holds; of those that remain one was being written when its writer died."""
    path, ring = tmp_path / "usage", 4096
    abi.create_usage(path)
    with open(path, "r+b") as file:
        file.seek(64 + 17 * 128 + 64)
        file.write(struct.pack("<Q", abi.MAX_REFUSALS + 2))
        for number in range(1, abi.MAX_REFUSALS + 3):
            stamp = 2 * number - (number == 50)
            file.seek(ring + (number - 1) % abi.MAX_REFUSALS * 128)
            file.write(struct.pack("<QQQQQIIi60s", stamp, number, 100, 7, 106, 42, 3, 0, b"cuMemAlloc_v2"))
    with abi.Usage(path) as usage:
        assert usage.refusals == abi.MAX_REFUSALS + 2
        found = usage.refusals_since(0)
        assert [note.number for note in found] == [n for n in range(3, abi.MAX_REFUSALS + 3) if n != 50]
        assert found[0] == abi.Refusal(3, 3, "cuMemAlloc_v2", 0, 100, 7, 106, 42, 3)
        assert usage.refusals_since(abi.MAX_REFUSALS + 1) == found[-1:]
        assert usage.refusals_since(abi.MAX_REFUSALS + 2) == ()


def test_a_record_of_activity_is_cleared_for_its_next_tenant(tmp_path: Path) -> None:
    path = tmp_path / "activity"
    abi.create_activity(path)
    with open(path, "r+b") as file:
        file.seek(5 * abi.ACTIVITY_RECORD_BYTES + 4096)
        file.write(struct.pack("<QQQ", 1, 2, 3))
    with abi.Activity(path, writable=True) as activity:
        assert activity.device(5, 0) == (1, 2, 3)
        activity.clear(5)
        assert activity.device(5, 0) == (0, 0, 0)
        with pytest.raises(IndexError):
            activity.clear(256)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        pytest.param(lambda c: c[:10], "too few", id="short"),
        pytest.param(lambda c: c[:-1], "instead of", id="cut"),
        pytest.param(lambda c: b"x" * len(c), "not a", id="foreign"),
        pytest.param(lambda c: c[:8] + b"\x63" + c[9:], "version 99", id="version"),
        pytest.param(lambda c: c[:12] + b"\x02" + c[13:], "in the place of", id="kind"),
        pytest.param(lambda c: c[:24] + b"\0" + c[25:], "never finished", id="ready"),
    ],
)
def test_a_bad_file_is_named_with_the_way_out(limits_path: Path, damage: object, says: str) -> None:
    limits_path.write_bytes(damage(limits_path.read_bytes()))  # type: ignore[operator]
    with pytest.raises(abi.AbiError, match=says) as caught:
        abi.Limits(limits_path)
    message = str(caught.value)
    assert message.startswith(f"{limits_path}: ")
    assert "gshare run" in message
    assert "\n" not in message


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(abi.AbiError, match="cannot open: No such file"):
        abi.Usage(tmp_path / "nothing")


def test_a_full_disk_leaves_no_half_file(tmp_path: Path) -> None:
    """Files may have no more than 100 kB here: the old one stays, and nothing else."""
    code = f"""
import os, resource, signal
from gshare.shim import abi
path = {str(tmp_path / "usage")!r}
abi.create_usage(path)
before = os.stat(path).st_ino
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    abi.create_usage(path)
except OSError as error:
    assert os.stat(path).st_ino == before
    print(os.listdir({str(tmp_path)!r}))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "['usage']\n"


def test_no_byte_of_a_file_is_a_hole(tmp_path: Path) -> None:
    """A hole that the disk cannot fill later would kill the program that touches it."""
    for name, create in (("usage", abi.create_usage), ("activity", abi.create_activity)):
        create(tmp_path / name)
        status = os.stat(tmp_path / name)
        assert status.st_blocks * 512 >= status.st_size
        assert status.st_mode & 0o777 == 0o600
