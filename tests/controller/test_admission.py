"""What an administrator configures, on a made-up machine: ceilings, defaults, reservations, placement."""

import os
from dataclasses import replace

import pytest

from gshare.controller.budget import NoRoom
from gshare.controller.config import EVERYBODY, Admission, Ceiling, Config
from gshare.controller.errors import GshareError, NotPermitted, OverCapacity, UsageError
from gshare.controller.identity import Peer
from gshare.controller.permanent import Permanent
from gshare.controller.protocol import Change, GetQuotas, Limits, RemoveQuota, SetLimits, SetQuota
from gshare.controller.units import Memory

from .conftest import GIB, House, device

ROOT = Peer(os.geteuid(), 0, 1, frozenset({0}), administrator=True)
ALICE = Peer(54321, 54321, 1, frozenset({54321, 700}), administrator=False)
BOB = Peer(54322, 54322, 1, frozenset({54322, 700}), administrator=False)


def gib(size: int) -> Limits:
    return Limits(Memory(size * GIB, None))


def test_a_user_has_a_ceiling_for_all_that_they_run(house: House) -> None:
    house.registry.settings.config = Config(users={str(ALICE.uid): Ceiling(Memory(10 * GIB, None))})
    first = house.registry.admit(house.request(gib(6)), ALICE)
    with pytest.raises(NoRoom) as caught:
        house.registry.admit(house.request(gib(5)), ALICE)
    assert str(caught.value) == (
        f"--mem 5G: user {ALICE.uid} on GPU 0 has 4G left to promise of 10G; {first.tenant} 6G holds the rest"
        " (ask for less, or wait until one ends)"
    )
    assert caught.value.nearest == ()  # nothing is kept for who is only above their own ceiling
    house.registry.admit(house.request(gib(4)), ALICE)
    house.registry.admit(house.request(gib(20)), BOB)  # for whom there is none
    house.registry.admit(house.request(gib(20)), ROOT)
    with pytest.raises(OverCapacity, match="has 10G at most"):
        house.registry.admit(house.request(gib(11)), ALICE)


def test_no_limit_is_above_any_ceiling(house: House) -> None:
    house.registry.settings.config = Config(users={EVERYBODY: Ceiling(Memory(10 * GIB, None), 500_000)})
    for limits, words in (
        (Limits(), "--mem: user 54321 on GPU 0 may have 10G, and no limit would be more"),
        (gib(1), "--compute: user 54321 on GPU 0 may have 50%"),
    ):
        with pytest.raises(UsageError, match=words):
            house.registry.admit(house.request(limits), ALICE)
    house.registry.admit(house.request(Limits(Memory(GIB, None), 500_000)), ALICE)
    house.registry.admit(house.request(), ROOT)
    house.registry.admit(house.request(Limits(Memory(GIB, None), 500_000)), BOB)  # each user has that much


def test_defaults_are_for_what_a_run_does_not_say(house: House) -> None:
    ceiling, defaults = Ceiling(Memory(10 * GIB, None)), Limits(Memory(2 * GIB, None), 100_000, weight=None)
    house.registry.settings.config = Config(users={EVERYBODY: ceiling}, defaults=defaults)
    (granted,) = house.registry.admit(house.request(), ALICE).devices
    assert (granted.memory_bytes, granted.compute_ppm) == (2 * GIB, 100_000)
    (granted,) = house.registry.admit(house.request(Limits(weight=3)), ALICE).devices
    assert (granted.memory_bytes, granted.compute_ppm) == (2 * GIB, None)
    (granted,) = house.registry.admit(house.request(gib(3)), ROOT).devices
    assert (granted.memory_bytes, granted.compute_ppm) == (3 * GIB, 100_000)


def test_a_group_has_a_ceiling_together(house: House) -> None:
    house.registry.settings.config = Config(groups={"700": Ceiling(compute_ppm=500_000, tenants=3)})
    share = Limits(compute_ppm=200_000)
    house.registry.admit(house.request(share), ALICE)
    house.registry.admit(house.request(share), BOB)
    with pytest.raises(NoRoom, match=r"group 700 on GPU 0 has 10% left .*, others 20% hold"):
        house.registry.admit(house.request(share), BOB)  # Alice's are not his to see
    last = Limits(compute_ppm=50_000)
    house.registry.admit(house.request(last), ALICE)
    with pytest.raises(NoRoom, match="a tenant more: group 700 has 3 running, 3 at most"):
        house.registry.admit(house.request(last), BOB)
    house.registry.admit(house.request(last), BOB._replace(uid=5, groups=frozenset({5})))


def test_a_priority_may_have_a_ceiling(house: House) -> None:
    house.registry.settings.config = Config(users={EVERYBODY: Ceiling(priority="normal")})
    with pytest.raises(NotPermitted, match="--priority high: user 54321 may ask for normal at most"):
        house.registry.admit(house.request(Limits(priority="high")), ALICE)
    admitted = house.registry.admit(house.request(Limits(priority="low")), ALICE)
    with pytest.raises(NotPermitted):
        house.registry.set_limits(SetLimits(admitted.tenant, Change(priority="high")), ALICE)
    house.registry.set_limits(SetLimits(admitted.tenant, Change(priority="high")), ROOT)


def test_a_change_is_held_to_the_ceiling_and_lowering_is_not(house: House) -> None:
    house.registry.settings.config = Config(users={EVERYBODY: Ceiling(Memory(10 * GIB, None))})
    name = house.registry.admit(house.request(gib(8)), ALICE).tenant
    for change in (Change(memory=Memory(11 * GIB, None)), Change(lift_memory=True)):
        with pytest.raises(GshareError, match="10G"):
            house.registry.set_limits(SetLimits(name, change), ALICE)
    house.registry.settings.config = Config(users={EVERYBODY: Ceiling(Memory(2 * GIB, None))})
    for size in (6, 3):
        house.registry.set_limits(SetLimits(name, Change(memory=Memory(size * GIB, None))), ALICE)
    house.registry.set_limits(SetLimits(name, Change(memory=Memory(20 * GIB, None))), ROOT)


def test_a_reservation_is_kept_while_its_tenant_does_not_run(house: House) -> None:
    registry = house.registry
    change = Change(Memory(60 * GIB, None), 500_000)
    registry.set_quota(SetQuota("team-a", change, reserved=True))
    with pytest.raises(NoRoom, match=r"--mem 21G: GPU 0 has 20G left .* team-a \(reserved\) 60G holds"):
        registry.admit(house.request(gib(21)))
    with pytest.raises(OverCapacity, match="left to promise"):
        registry.set_quota(SetQuota("team-b", Change(Memory(21 * GIB, None)), reserved=True))
    registry.set_quota(SetQuota("team-b", Change(Memory(21 * GIB, None))))  # it may come too late
    registry.admit(house.request(gib(20)))
    run = house.request(tenant="team-a")
    (granted,) = registry.admit(run).devices
    assert granted.memory_bytes == 60 * GIB
    with pytest.raises(NoRoom, match="0 left to promise of 80G; team-a 60G"):
        registry.admit(house.request(gib(1)))
    registry.set_quota(SetQuota("team-a", Change(), reserved=False))
    house.end(run.pid)
    registry.admit(house.request(gib(60)))


def test_overcommit_is_of_memory_and_of_time_apart(house: House) -> None:
    house.registry.settings.config = Config(Admission(memory_overcommit=1.5, compute_overcommit=2.0))
    for _ in range(2):
        house.registry.admit(house.request(Limits(Memory(60 * GIB, None), 1_000_000)))
    with pytest.raises(NoRoom, match="0 left to promise of 120G"):
        house.registry.admit(house.request(gib(1)))
    with pytest.raises(NoRoom, match="0% left to promise of 200%"):
        house.registry.admit(house.request(Limits(compute_ppm=1)))


def test_what_is_written_by_hand_is_a_permanent_tenant(house: House) -> None:
    registry = house.registry
    registry.settings.config = Config(tenants={"team-a": Permanent(gib(4), 54321, ("54322",))})
    (shown,) = registry.quotas(GetQuotas()).quotas
    assert (shown.tenant, shown.memory_bytes, shown.by_hand) == ("team-a", 4 * GIB, True)
    assert (shown.owner_uid, shown.members) == (54321, ["54322"])
    for refused in (
        lambda: registry.set_quota(SetQuota("team-a", Change(compute_ppm=1))),
        lambda: registry.remove_quota(RemoveQuota("team-a")),
    ):
        with pytest.raises(GshareError, match=r"is written in .*change it there"):
            refused()
    registry.admit(house.request(tenant="team-a"), ALICE)
    assert registry.admit(house.request(tenant="team-a"), BOB).joined
    with pytest.raises(NotPermitted):
        registry.admit(house.request(tenant="team-a"), BOB._replace(uid=5, groups=frozenset({5})))
    registry.settings.config = Config(tenants={"team-a": Permanent(gib(6), 54321)})
    registry.reconfigure("team-a")
    assert registry.tenants.by_name["team-a"].grants[device(0).uuid].memory_bytes == 6 * GIB
    registry.settings.config = Config(tenants={"team-a": Permanent(gib(81), 54321)})
    with pytest.raises(OverCapacity):
        registry.reconfigure("team-a")
    assert registry.tenants.by_name["team-a"].grants[device(0).uuid].memory_bytes == 6 * GIB


def test_a_quota_has_an_owner_and_members(house: House) -> None:
    registry = house.registry
    registry.set_quota(SetQuota("team-a", Change(Memory(4 * GIB, None)), 54321, ["54322"]))
    registry.set_quota(SetQuota("team-a", Change(compute_ppm=5)))
    (shown,) = registry.quotas(GetQuotas("team-a")).quotas
    assert (shown.owner_uid, shown.members, shown.compute_ppm) == (54321, ["54322"], 5)
    registry.admit(house.request(tenant="team-a"), BOB)
    assert registry.tenants.by_name["team-a"].owner_uid == 54321
    registry.set_quota(SetQuota("team-a", Change(), members=[]))
    with pytest.raises(NotPermitted):
        registry.admit(house.request(tenant="team-a"), BOB)


def test_a_permanent_tenant_is_apart_from_its_owners_ceiling(house: House) -> None:
    registry = house.registry
    registry.settings.config = Config(users={EVERYBODY: Ceiling(Memory(10 * GIB, None))})
    registry.set_quota(SetQuota("team-a", Change(Memory(40 * GIB, None)), 54321))
    registry.admit(house.request(tenant="team-a"), ALICE)
    registry.admit(house.request(gib(10)), ALICE)


def test_one_of_several_gpus(house: House) -> None:
    house.machines[""] = [device(0), device(1, 40 * GIB), replace(device(2), memory_bytes=80 * GIB)]

    def on(limits: Limits, placement: str, **more: object) -> list[int]:
        request = house.request(limits, placement=placement, **more)
        return [granted.index for granted in house.registry.admit(request).devices]

    assert on(gib(30), "best-fit") == [0]  # all are empty: the lowest number of the least
    assert on(gib(30), "best-fit") == [0]
    assert on(gib(30), "best-fit") == [1]
    assert on(gib(5), "spread") == [2]
    assert on(gib(5), "spread", gpus=["0", "1"]) == [0]
    assert on(gib(60), "best-fit") == [2]
    with pytest.raises(NoRoom) as caught:
        on(gib(50), "spread")
    assert "GPU 0 has 15G left" in str(caught.value)
    assert ", or GPU 2 has 15G left" in str(caught.value)
    assert "GPU 1" not in str(caught.value)  # it is too small in any case
    assert caught.value.nearest == (device(0).uuid,)
    with pytest.raises(OverCapacity, match=r"is more than GPU 0 has \(80G\)"):
        on(gib(90), "spread")
    house.registry.settings.config = Config(Admission(placement="best-fit"))
    assert on(gib(5), "") == [0]
    assert on(gib(5), "", gpus=["0", "2"]) == [0, 2]
    assert on(Limits(memory_on={"2": Memory(5 * GIB, None)}), "") == [2]
    with pytest.raises(UsageError, match="--placement here"):
        on(gib(5), "here")


def test_a_gpu_that_is_kept_is_not_taken(house: House) -> None:
    class Patient:
        def described(self, sees: object) -> str:
            return "somebody"

    house.machines[""] = [device(0), device(1)]
    admission = house.registry.admission
    wish = admission.wish(house.request(gib(4), placement="best-fit"), ROOT)
    assert not hasattr(wish, "tenant")
    kept = {device(0).uuid: Patient()}
    assert set(admission.room(wish, admission.books(), kept)) == {device(1).uuid}  # type: ignore[arg-type]
    everywhere = admission.wish(house.request(gib(4)), ROOT)
    with pytest.raises(NoRoom, match="--mem 4G: GPU 0 is kept for somebody"):
        admission.room(everywhere, admission.books(), kept)  # type: ignore[arg-type]
    unlimited = admission.wish(house.request(Limits(weight=2)), ROOT)
    admission.room(unlimited, admission.books(), kept)  # type: ignore[arg-type]
