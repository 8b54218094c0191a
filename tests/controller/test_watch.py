"""What the controller tells of shares: from counters that a test writes in the place of programs."""

import mmap
import struct
from pathlib import Path

import pytest

from gshare.controller.pieces import at_once
from gshare.controller.protocol import Limits
from gshare.controller.region import now_ns
from gshare.controller.watch import Watch
from gshare.shim import abi

from .conftest import House, device

S = 1_000_000_000
MS = 1_000_000
START_NS = now_ns() + 3600 * S
"""Of the test's own clock: after the tenants' lines begin."""

HEADER_BYTES = 4096


def at(second: int) -> int:
    """A time."""
    return START_NS + second * S


class Programs:
    """In the place of tenants' programs: counts their time, and stays busy until told."""

    def __init__(self, house: House) -> None:
        self.house = house
        with open(house.runtime.activity, "r+b") as file:
            self.words = mmap.mmap(file.fileno(), 0)

    def used(self, name: str, gpu_ns: int, throttled_ns: int = 0, busy_until_ns: int = 0) -> None:
        index = self.house.registry.tenants.by_name[name].files.index
        place = index * abi.ACTIVITY_RECORD_BYTES + HEADER_BYTES
        _, gpu, throttled = struct.unpack_from("QQQ", self.words, place)
        struct.pack_into("QQQ", self.words, place, busy_until_ns, gpu + gpu_ns, throttled + throttled_ns)


@pytest.fixture
def admitted(house: House) -> House:
    """Two tenants: a has a cap of 30 %, b 50 % and what it can borrow."""
    for name, limits in (("a", Limits(None, 300_000)), ("b", Limits(None, 500_000, ceiling_ppm=1_000_000))):
        house.registry.admit(house.request(limits, tenant=name))
    return house


def test_who_asked_for_nothing_is_not_watched(house: House) -> None:
    house.registry.admit(house.request(tenant="a", limits=Limits(host_memory_bytes=1 << 30)))
    watch = Watch(house.registry)
    for second in range(3):
        watch.take(at(second))
    (share,) = watch.shares(at(3)).tenants
    assert (share.metered, share.windows, share.seconds_ppm, share.granted_ppm) == (False, [], [], None)
    assert (share.state, share.guarantee_ppm, share.mode) == ("idle", None, "concurrent")


def test_without_tenants_there_is_nothing_to_tell(house: House) -> None:
    watch = Watch(house.registry)
    watch.take(at(1))
    told = watch.shares(at(2))
    assert (told.tenants, [row.index for row in told.devices]) == ([], [0])


def test_shares_are_told_over_three_windows_with_what_was_lent(admitted: House) -> None:
    watch, programs = Watch(admitted.registry), Programs(admitted)
    for second in range(1, 100):
        watch.take(at(second))
        programs.used("a", 200 * MS)
        programs.used("b", 600 * MS, throttled_ns=400 * MS)
    a, b = watch.shares(at(100)).tenants
    assert [(window.seconds, window.share_ppm) for window in a.windows] == [(n, 200_000) for n in (1, 10, 60)]
    assert [window.share_ppm for window in b.windows] == [600_000] * 3
    assert [(window.borrowed_ppm, window.lent_ppm) for window in (a.windows[0], b.windows[0])] == [
        (0, 100_000),
        (100_000, 0),
    ]
    assert (a.state, b.state, b.windows[0].throttled_ppm) == ("busy", "throttled", 400_000)
    assert (a.granted_ppm, a.windows[1].granted_ppm, a.promised_ppm) == (300_000, 300_000, 300_000)
    assert (b.guarantee_ppm, b.ceiling_ppm) == (500_000, 1_000_000)
    assert b.seconds_ppm[-3:] == [600_000] * 3


def test_who_is_paused_or_waits_for_a_higher_priority_is_told(house: House) -> None:
    for name, priority in (("low", "low"), ("high", "high")):
        house.registry.admit(house.request(Limits(priority=priority), tenant=name))
    watch, programs = Watch(house.registry), Programs(house)
    watch.take(at(1))
    programs.used("low", 0, throttled_ns=900 * MS)
    programs.used("high", 800 * MS, busy_until_ns=at(3))
    low, high = watch.shares(at(2)).tenants
    assert (low.state, low.busy_above, low.priority) == ("yielding", ["high"], "low")
    assert (high.state, high.busy_above) == ("busy", [])
    low, _ = watch.shares(at(4)).tenants
    assert low.busy_above == [], "it was busy until 3 s"
    house.registry.tenants.by_name["low"].files.limits.set_paused(True)
    assert watch.shares(at(4)).tenants[0].state == "paused"


def test_a_tenant_on_two_devices_is_told_of_twice(house: House) -> None:
    house.machines[""].append(device(1))
    house.registry.admit(house.request(Limits(None, 300_000), tenant="a"))
    told = Watch(house.registry).shares(at(1))
    assert [(share.tenant, share.index) for share in told.tenants] == [("a", 0), ("a", 1)]
    assert [row.index for row in told.devices] == [0, 1]


@pytest.mark.parametrize("name", ["a", "b"])
@pytest.mark.parametrize("piece", range(10))
def test_who_ends_while_shares_are_told_is_left_out(admitted: House, piece: int, name: str) -> None:
    """Whenever that is; from the sixth piece on it may have been told of."""
    work = Watch(admitted.registry).telling(at(1))
    for _ in range(piece):
        next(work)
    admitted.registry.tenants.remove(name)
    told = {share.tenant for share in at_once(work).tenants}
    assert {"a", "b"} - {name} <= told
    assert piece >= 6 or name not in told


def test_shared_memory_that_is_damaged_does_not_end_the_controller(house: House) -> None:
    Path(house.runtime.activity).write_bytes(b"nothing")
    Watch(house.registry).take(at(1))
