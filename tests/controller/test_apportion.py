"""What tenants ask for of a device's time, as it ends in their files: at each arrival, change and end."""

import mmap
import struct
from pathlib import Path

import pytest

from gshare.controller.adopt import adopt
from gshare.controller.errors import GshareError, NoSuchThing, OverCapacity, UsageError
from gshare.controller.protocol import Change, Limits, Pause, SetLimits, SetQuota
from gshare.controller.replies import Admitted
from gshare.controller.shares import UNBOUNDED_PPM
from gshare.shim import abi

from .conftest import House, device

RANGE = Limits(compute_ppm=300_000, ceiling_ppm=600_000)
LINE_SEQ_AT = 192 + 16 + 24 + 4
"""Of the first device's line_seq, in the limits file."""


def limits_of(admitted: Admitted) -> abi.Limits:
    return abi.Limits(Path(admitted.directory) / "limits")


def guarantee(admitted: Admitted, row: int = 0) -> tuple[int, int | None]:
    with limits_of(admitted) as limits:
        found = limits.device(row)
        return found.cap_ppm, found.guarantee_ppm


def test_a_range_is_a_ceiling_over_a_guarantee(house: House) -> None:
    admitted = house.registry.admit(house.request(RANGE))
    assert guarantee(admitted) == (600_000, 300_000)
    assert (admitted.devices[0].compute_ppm, admitted.devices[0].ceiling_ppm) == (300_000, 600_000)


def test_admission_counts_guarantees_only(house: House) -> None:
    for _ in range(3):
        house.registry.admit(house.request(Limits(compute_ppm=300_000, ceiling_ppm=1_000_000)))
    house.registry.admit(house.request(Limits(weight=1000)))
    with pytest.raises(OverCapacity, match=r"--compute 20%: GPU 0 has 10% left to promise"):
        house.registry.admit(house.request(Limits(compute_ppm=200_000, ceiling_ppm=300_000)))


def test_weights_and_the_others_have_what_guarantees_leave(house: House) -> None:
    heavy = house.registry.admit(house.request(Limits(weight=3)))
    assert guarantee(heavy) == (abi.METERED_PPM, UNBOUNDED_PPM)  # alone
    free = house.registry.admit(house.request())
    assert [guarantee(one) for one in (heavy, free)] == [
        (abi.METERED_PPM, 750_000),
        (abi.METERED_PPM, 250_000),
    ]
    request = house.request(RANGE)
    house.registry.admit(request)
    assert [guarantee(one)[1] for one in (heavy, free)] == [525_000, 175_000]
    house.end(request.pid)
    house.registry.tenants.sweep()
    assert [guarantee(one)[1] for one in (heavy, free)] == [750_000, 250_000]


def test_a_weight_needs_something_to_divide(house: House) -> None:
    with pytest.raises(UsageError, match="--weight 2: a hard cap of 30% borrows nothing"):
        house.registry.admit(house.request(Limits(compute_ppm=300_000, weight=2)))
    admitted = house.registry.admit(house.request(Limits(compute_ppm=300_000)))
    for change in (Change(weight=2),):
        with pytest.raises(UsageError, match="--weight 2"):
            house.registry.set_limits(SetLimits(admitted.tenant, change))
    with pytest.raises(UsageError, match="--weight 2"):
        house.registry.set_quota(SetQuota("team", Change(compute_ppm=300_000, weight=2)))


def test_every_knob_changes_and_is_read_back(house: House) -> None:
    admitted = house.registry.admit(house.request(Limits(compute_ppm=200_000)))
    other = house.registry.admit(house.request())
    change = Change(compute_ppm=400_000, ceiling_ppm=800_000, weight=4, priority="high", mode="concurrent")
    told = house.registry.set_limits(SetLimits(admitted.tenant, change))
    row = told.devices[0]
    assert (row.old_compute_ppm, row.new_compute_ppm) == (200_000, 400_000)
    assert (row.old_ceiling_ppm, row.new_ceiling_ppm) == (200_000, 800_000)
    assert (told.old_weight, told.new_weight) == (None, 4)
    assert (told.old_priority, told.new_priority) == ("normal", "high")
    assert (told.old_mode, told.new_mode) == ("auto", "concurrent")
    assert guarantee(admitted) == (800_000, 400_000)
    assert guarantee(other) == (abi.METERED_PPM, 600_000)
    back = Change(lift_compute=True, lift_weight=True, priority="normal", mode="auto")
    house.registry.set_limits(SetLimits(admitted.tenant, back))
    assert guarantee(admitted)[0] == guarantee(other)[0] == abi.NO_CAP_PPM


def test_debt_and_savings_outlive_a_change(house: House) -> None:
    admitted = house.registry.admit(house.request(Limits(compute_ppm=200_000)))
    with limits_of(admitted) as limits:
        before = limits.line(0)
        house.registry.set_limits(SetLimits(admitted.tenant, Change(compute_ppm=800_000)))
        after = limits.line(0)
        assert after.allowance_ns == before.at(after.t0_ns)
        house.registry.set_limits(SetLimits(admitted.tenant, Change(priority="normal")))
        assert limits.line(0) == after  # what does not change is not written


def test_priorities_are_told_to_whom_they_concern(house: House) -> None:
    house.machines[""] = [device(0), device(1)]
    high = house.registry.admit(house.request(Limits(priority="high"), gpus=["0"]))
    low = house.registry.admit(house.request(Limits(priority="low")))
    aside = house.registry.admit(house.request(gpus=["1"]))
    with limits_of(high) as top, limits_of(low) as bottom, limits_of(aside) as middle:
        assert (top.above, bottom.above, middle.above) == ([], [0, 2], [])
        assert (top.below, bottom.below, middle.below) == (True, False, True)
        assert bottom.device(0).in_flight_ns == 500_000
        assert [limits.device(0).cap_ppm for limits in (top, bottom)] == [abi.METERED_PPM] * 2
        house.registry.set_limits(SetLimits(low.tenant, Change(priority="high")))
        assert (bottom.above, top.below, middle.above) == ([], False, [1])
        assert bottom.device(0).cap_ppm == abi.NO_CAP_PPM


def test_one_that_is_gone_is_above_nobody(house: House) -> None:
    request = house.request(Limits(priority="high"))
    house.registry.admit(request)
    low = house.registry.admit(house.request(Limits(priority="low")))
    house.end(request.pid)
    house.registry.tenants.sweep()
    with limits_of(low) as limits:
        assert limits.above == []


def test_a_paused_tenant_is_measured_so_that_it_looks(house: House) -> None:
    admitted = house.registry.admit(house.request())
    told = house.registry.pause(Pause(admitted.tenant, True))
    assert (told.tenant, told.paused, told.processes) == (admitted.tenant, True, 1)
    with limits_of(admitted) as limits:
        assert (limits.paused, limits.device(0).cap_ppm) == (True, abi.METERED_PPM)
        house.restart()
        adopt(house.registry.tenants)
        assert (limits.paused, limits.device(0).cap_ppm) == (True, abi.METERED_PPM)
        house.registry.pause(Pause(admitted.tenant, False))
        assert (limits.paused, limits.device(0).cap_ppm) == (False, abi.NO_CAP_PPM)
    with pytest.raises(NoSuchThing, match="pause nobody"):
        house.registry.pause(Pause("nobody", True))


def test_turns_are_the_same_for_all_and_end_with_the_last_but_one(house: House) -> None:
    first = house.registry.admit(house.request(Limits(compute_ppm=300_000)))
    request = house.request(Limits(compute_ppm=700_000, mode="turns"))
    second = house.registry.admit(request)
    with limits_of(first) as one, limits_of(second) as two:
        assert one.turns(0) == two.turns(0) == (20_000_000, [(0, 0), (6_000_000, 1)])
        assert one.device(0).resume_ns == 0
        house.end(request.pid)
        house.registry.tenants.sweep()
        assert one.turns(0) == (0, [])
        assert one.device(0).resume_ns > 0


def test_two_that_insist_on_different_modes(house: House) -> None:
    house.registry.admit(house.request(Limits(compute_ppm=300_000, mode="turns"), tenant="a"))
    with pytest.raises(GshareError, match="--mode concurrent: tenant a on GPU 0 asked for turns"):
        house.registry.admit(house.request(Limits(mode="concurrent")))
    admitted = house.registry.admit(house.request())
    with pytest.raises(GshareError, match="--mode concurrent: tenant a on GPU 0 asked for turns"):
        house.registry.set_limits(SetLimits(admitted.tenant, Change(mode="concurrent")))


def test_a_quota_keeps_all_of_it(house: House) -> None:
    change = Change(compute_ppm=300_000, ceiling_ppm=600_000, weight=2, priority="low", mode="turns")
    (quota,) = house.registry.set_quota(SetQuota("team", change)).quotas
    assert (quota.guarantee_ppm, quota.ceiling_ppm, quota.weight) == (300_000, 600_000, 2)
    assert (quota.priority, quota.mode) == ("low", "turns")
    house.restart()
    admitted = house.registry.admit(house.request(tenant="team"))
    assert (admitted.weight, admitted.priority, admitted.mode) == (2, "low", "turns")
    assert guarantee(admitted) == (600_000, 300_000)
    with pytest.raises(UsageError, match="has other limits than these"):
        house.registry.admit(house.request(Limits(compute_ppm=300_000), tenant="team"))
    assert house.registry.admit(house.request(RANGE, tenant="team")).joined


def test_a_new_controller_keeps_what_was_asked(house: House) -> None:
    asked = Limits(compute_ppm=300_000, ceiling_ppm=600_000, weight=2, priority="high", mode="turns")
    admitted = house.registry.admit(house.request(asked, tenant="a"))
    other = house.registry.admit(house.request(Limits(weight=5), tenant="b"))
    before = [guarantee(one) for one in (admitted, other)]
    with limits_of(admitted) as limits:
        table = limits.turns(0)
        house.restart()
        adopt(house.registry.tenants)
        assert limits.turns(0) == table
    assert house.registry.tenants.by_name["a"].limits == asked
    assert house.registry.tenants.by_name["b"].limits == Limits(weight=5)
    assert [guarantee(one) for one in (admitted, other)] == before


def test_chosen_turns_go_on_under_a_new_controller(house: House) -> None:
    admitted = house.registry.admit(house.request(Limits(compute_ppm=300_000)))
    house.registry.admit(house.request(Limits(compute_ppm=700_000)))
    table = (20_000_000, [(0, 0), (6_000_000, 1)])
    for tenant in house.registry.tenants.by_name.values():
        tenant.files.limits.set_turns(0, *table)  # as --mode auto has found
    house.restart()
    adopt(house.registry.tenants)
    with limits_of(admitted) as limits:
        assert limits.turns(0) == table


def test_a_half_written_line_is_mended(house: House) -> None:
    """A controller was killed in the middle: the tenant goes on in balance, at its guarantee."""
    admitted = house.registry.admit(house.request(RANGE))
    with open(Path(admitted.directory) / "limits", "r+b") as file, mmap.mmap(file.fileno(), 0) as words:
        (sequence,) = struct.unpack_from("I", words, LINE_SEQ_AT)
        assert sequence % 2 == 0
        struct.pack_into("I", words, LINE_SEQ_AT, sequence + 1)
    with limits_of(admitted) as limits:
        assert limits.is_torn(0)
        house.restart()
        assert adopt(house.registry.tenants) == [admitted.tenant]
        assert not limits.is_torn(0)
        assert limits.line(0).allowance_ns == 0
        assert guarantee(admitted) == (600_000, 300_000)
