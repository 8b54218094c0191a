"""Pinned memory of the host: in a tenant's files, in quotas, and with a controller that comes later."""

import json
from pathlib import Path

import pytest

from gshare.controller import host, policy
from gshare.controller.adopt import adopt
from gshare.controller.errors import GshareError, OverCapacity
from gshare.controller.permanent import Damaged, Permanent, of_row
from gshare.controller.protocol import Change, Limits, SetLimits, SetQuota
from gshare.controller.region import NOTE
from gshare.controller.store import QuotaStore
from gshare.controller.units import Memory
from gshare.shim import abi

from .conftest import GIB, House

ONE = Limits(host_memory_bytes=GIB)


def enforced(directory: str) -> int:
    with abi.Limits(Path(directory) / "limits") as limits:
        row = limits.device(abi.HOST_ROW)
        assert row.memory_quota_bytes == row.memory_limit_bytes
        return row.memory_limit_bytes


def test_without_it_nothing_is_limited(house: House) -> None:
    admitted = house.registry.admit(house.request(Limits(Memory(4 * GIB, None))))
    assert admitted.host_memory_bytes is None
    assert enforced(admitted.directory) == abi.NO_LIMIT_BYTES


def test_it_is_written_changed_and_lifted(house: House) -> None:
    admitted = house.registry.admit(house.request(ONE, tenant="a"))
    assert (admitted.host_memory_bytes, enforced(admitted.directory)) == (GIB, GIB)
    assert [device.memory_bytes for device in admitted.devices] == [None]
    for change, expected in (
        (Change(host_memory_bytes=2 * GIB), 2 * GIB),
        (Change(compute_ppm=5), 2 * GIB),
        (Change(lift_memory=True, lift_compute=True), 2 * GIB),
        (Change(lift_host_memory=True), abi.NO_LIMIT_BYTES),
    ):
        house.registry.set_limits(SetLimits("a", change))
        assert enforced(admitted.directory) == expected


def test_more_than_the_machine_has_is_refused_and_nothing_changes(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host, "memory_bytes", lambda: 4 * GIB)
    admitted = house.registry.admit(house.request(Limits(host_memory_bytes=4 * GIB), tenant="a"))
    too_much = Change(Memory(GIB, None), host_memory_bytes=4 * GIB + 1)
    attempts = (
        lambda: house.registry.admit(house.request(Limits(host_memory_bytes=5 * GIB))),
        lambda: house.registry.set_limits(SetLimits("a", too_much)),
        lambda: house.registry.set_quota(SetQuota("b", too_much)),
    )
    for attempt in attempts:
        with pytest.raises(OverCapacity, match=r"more than the machine has \(4G\)"):
            attempt()
    assert house.registry.permanents.store.load() == {}
    assert house.registry.tenants.by_name["a"].files.grant(0).memory_bytes is None
    assert enforced(admitted.directory) == 4 * GIB
    house.registry.admit(house.request(Limits(host_memory_bytes=4 * GIB)))  # it is promised to nobody


def test_who_joins_may_repeat_it_and_not_change_it(house: House) -> None:
    house.registry.admit(house.request(ONE, tenant="a"))
    assert house.registry.admit(house.request(ONE, tenant="a")).host_memory_bytes == GIB
    with pytest.raises(GshareError, match="has other limits"):
        house.registry.admit(house.request(Limits(host_memory_bytes=GIB + 1), tenant="a"))


def test_a_later_controller_goes_by_the_files(house: House) -> None:
    admitted = house.registry.admit(house.request(ONE, tenant="a"))
    house.registry.set_limits(SetLimits("a", Change(host_memory_bytes=3 * GIB)))
    (Path(admitted.directory) / NOTE).unlink()
    house.program(admitted.directory)
    house.restart()
    assert adopt(house.registry.tenants) == ["a"]
    house.registry.set_limits(SetLimits("a", Change(compute_ppm=5)))
    assert enforced(admitted.directory) == 3 * GIB


def test_quotas_keep_it(tmp_path: Path) -> None:
    both = {"a": Permanent(ONE), "b": Permanent(Limits(Memory(None, 5), 7, {"0": None}, 9))}
    for name, permanent in both.items():
        QuotaStore(tmp_path).put(name, permanent)
    assert QuotaStore(tmp_path).load() == both


@pytest.mark.parametrize("value", [0, -1, True, 1.5, "8G", 1 << 63])
def test_a_damaged_amount_is_named(value: object) -> None:
    with pytest.raises(Damaged, match="host_memory_bytes"):
        of_row(json.dumps({"host_memory_bytes": value}))


def test_a_quota_may_be_of_it_alone(house: House) -> None:
    (row,) = house.registry.set_quota(SetQuota("a", Change(host_memory_bytes=GIB))).quotas
    assert (row.host_memory_bytes, row.memory_bytes, row.compute_ppm) == (GIB, None, None)
    with pytest.raises(GshareError, match="would leave no limit"):
        house.registry.set_quota(SetQuota("a", Change(lift_host_memory=True)))
    assert policy.changed(ONE, Change()) == ONE
    admitted = house.registry.admit(house.request(tenant="a"))
    assert enforced(admitted.directory) == GIB
