"""Permanent quotas: written whole or not at all, and refused where they were damaged."""

import json
import os
import resource
from pathlib import Path

import pytest

from gshare.controller.errors import GshareError
from gshare.controller.protocol import Limits
from gshare.controller.store import SCHEMA, QuotaStore
from gshare.controller.units import Memory

A = Limits(Memory(1 << 30, None), 300_000)
B = Limits(Memory(None, 500_000), None)
C = Limits(None, 1, {"0": Memory(1 << 30, None), "GPU-1b2c3d4e": Memory(None, 5), "2": None})
D = Limits(compute_ppm=300_000, ceiling_ppm=600_000, weight=2, priority="high", mode="turns")
E = Limits(copy_bytes_per_s={"h2d": 1 << 30, "d2h": 1 << 20})


def test_there_are_none_at_first(tmp_path: Path) -> None:
    assert QuotaStore(tmp_path / "state").load() == {}


def test_quotas_outlive_the_one_who_wrote_them(tmp_path: Path) -> None:
    QuotaStore(tmp_path / "state").put("a", A)
    QuotaStore(tmp_path / "state").put("b", B)
    QuotaStore(tmp_path / "state").put("c", C)
    QuotaStore(tmp_path / "state").put("d", D)
    QuotaStore(tmp_path / "state").put("e", E)
    assert QuotaStore(tmp_path / "state").load() == {"a": A, "b": B, "c": C, "d": D, "e": E}
    QuotaStore(tmp_path / "state").remove("e")
    QuotaStore(tmp_path / "state").remove("d")
    QuotaStore(tmp_path / "state").remove("a")
    assert QuotaStore(tmp_path / "state").load() == {"b": B, "c": C}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"\xff\xfe",
        b'{"schema": "gshare/quotas/v2", "quotas": {}}',
        json.dumps({"schema": SCHEMA}).encode(),
        json.dumps({"schema": SCHEMA, "quotas": {"a": 5}}).encode(),
        json.dumps({"schema": SCHEMA, "quotas": {"a": {"memory_bytes": -1}}}).encode(),
        json.dumps({"schema": SCHEMA, "quotas": {"a": {"compute_ppm": 1_000_001}}}).encode(),
        json.dumps({"schema": SCHEMA, "quotas": {"a": {"memory_bytes": True}}}).encode(),
        json.dumps({"schema": SCHEMA, "quotas": {"a": {"h2d_bytes_per_s": 0}}}).encode(),
        json.dumps({"schema": SCHEMA, "quotas": {"a": {"priority": "urgent"}}}).encode(),
        json.dumps({"schema": SCHEMA, "quotas": {"a": {"mode": []}}}).encode(),
        json.dumps({"schema": SCHEMA, "quotas": {"a": {"ceiling_ppm": 5}}}).encode(),
        json.dumps({"schema": SCHEMA, "quotas": {"a": {"compute_ppm": 5, "ceiling_ppm": 5}}}).encode(),
        json.dumps({"schema": SCHEMA, "quotas": {"a": {"colour": 1}}}).encode(),
        json.dumps({"schema": SCHEMA, "quotas": {"a": {"devices": 5}}}).encode(),
        json.dumps({"schema": SCHEMA, "quotas": {"a": {"devices": {"0": 5}}}}).encode(),
        json.dumps({"schema": SCHEMA, "quotas": {"a": {"devices": {"0": {"memory_ppm": 0}}}}}).encode(),
        json.dumps({"schema": SCHEMA, "quotas": {"a": {"devices": {"0": {"compute_ppm": 1}}}}}).encode(),
    ],
)
def test_a_damaged_file_is_named_and_left_alone(tmp_path: Path, content: bytes) -> None:
    store = QuotaStore(tmp_path)
    store.path.write_bytes(content)
    for access in (store.load, lambda: store.put("a", A), lambda: store.remove("a")):
        with pytest.raises(GshareError, match=r"quotas\.json"):
            access()
    assert store.path.read_bytes() == content


def test_a_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    store = QuotaStore(tmp_path)
    store.put("a", A)
    before = store.path.read_bytes()
    child = os.fork()
    if child == 0:  # a file may not grow beyond 8 bytes here: what a full disk looks like to us
        code = 1
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (8, 8))
            store.put("b", B)
        except GshareError as error:
            code = 0 if "cannot be written" in str(error) and "quotas.json" in str(error) else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert store.path.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["quotas.json"]
