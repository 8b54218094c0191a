"""Requests carried out on a made-up machine: who is let in, with what, and what is left when it ends."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from gshare.controller.config import Admission, Config
from gshare.controller.context_size import HEADROOM_BYTES
from gshare.controller.errors import GshareError, NoSuchThing, OverCapacity, UsageError
from gshare.controller.protocol import Change, GetQuotas, Limits, RemoveQuota, SetLimits, SetQuota, Simulated
from gshare.controller.replies import Admitted
from gshare.controller.units import Memory
from gshare.shim import abi

from .conftest import CONTEXT_BYTES, GIB, House, device

FOUR = Limits(Memory(4 * GIB, None), 300_000)
MACHINE = "/dev/shm/none/machine"


def limits_of(admitted: Admitted) -> abi.DeviceLimits:
    with abi.Limits(Path(admitted.directory) / "limits") as limits:
        return limits.device(0)


def test_a_run_becomes_a_tenant_of_its_own(house: House) -> None:
    request = house.request(FOUR)
    admitted = house.registry.admit(request)
    assert admitted.tenant == f"python3-{request.pid}"
    assert not admitted.joined
    written = limits_of(admitted)
    assert written.memory_limit_bytes == 4 * GIB
    assert written.cap_ppm == 300_000
    assert written.context_bytes == CONTEXT_BYTES + HEADROOM_BYTES
    assert written.device_memory_bytes == 80 * GIB
    assert {path.name for path in Path(admitted.directory).iterdir()} == {
        "limits",
        "usage",
        "activity",
        "tenant.json",
    }


def test_all_tenants_share_one_activity_file(house: House) -> None:
    first, second = (house.registry.admit(house.request(FOUR)) for _ in range(2))
    inodes = {(Path(admitted.directory) / "activity").stat().st_ino for admitted in (first, second)}
    assert inodes == {house.runtime.activity.stat().st_ino}
    with abi.Limits(Path(first.directory) / "limits") as limits:
        assert (limits.tenant_index, limits.tenants_bound) == (0, 2)
    with abi.Limits(Path(second.directory) / "limits") as limits:
        assert (limits.tenant_index, limits.tenants_bound) == (1, 2)


def test_what_is_not_asked_for_is_not_limited(house: House) -> None:
    written = limits_of(house.registry.admit(house.request()))
    assert written.memory_limit_bytes == abi.NO_LIMIT_BYTES
    assert written.cap_ppm == abi.NO_CAP_PPM


def test_a_full_share_is_metered(house: House) -> None:
    written = limits_of(house.registry.admit(house.request(Limits(None, 1_000_000))))
    assert written.cap_ppm == 1_000_000
    assert written.memory_limit_bytes == abi.NO_LIMIT_BYTES


def test_without_a_gpu_an_unlimited_run_is_not_managed_and_a_limited_one_refused(house: House) -> None:
    house.machines[""] = []
    assert house.registry.admit(house.request()) == Admitted("", "", False, [])
    for limits, words in ((FOUR, "--mem 4G"), (Limits(None, 300_000), "--compute 30%")):
        with pytest.raises(GshareError, match=rf"{words}: there is no GPU on this machine \(--sim"):
            house.registry.admit(house.request(limits))
    assert list(house.runtime.tenants.iterdir()) == []


def test_the_tenant_goes_with_its_last_process(house: House) -> None:
    request = house.request(FOUR)
    admitted = house.registry.admit(request)
    child = house.program(admitted.directory)
    house.end(request.pid)
    assert house.registry.tenants.sweep() == []
    house.end(child.pid)
    assert house.registry.tenants.sweep() == [admitted.tenant]
    assert list(house.runtime.tenants.iterdir()) == []


def test_what_a_dead_tenant_held_is_free_at_once(house: House) -> None:
    request = house.request(Limits(Memory(80 * GIB, None)))
    house.registry.admit(request)
    with pytest.raises(OverCapacity, match="hold"):
        house.registry.admit(house.request(FOUR))
    house.end(request.pid)
    house.registry.admit(house.request(FOUR))


def test_guarantees_are_refused_beyond_the_device(house: House) -> None:
    house.registry.admit(house.request(Limits(Memory(None, 600_000), 600_000)))
    before = set(house.runtime.tenants.iterdir())
    with pytest.raises(OverCapacity, match="has 32G left to promise of 80G"):
        house.registry.admit(house.request(Limits(Memory(None, 500_000))))
    with pytest.raises(OverCapacity, match="has 40% left to promise"):
        house.registry.admit(house.request(Limits(None, 500_000)))
    assert set(house.runtime.tenants.iterdir()) == before


def test_a_dry_run_decides_and_leaves_nothing(house: House) -> None:
    admitted = house.registry.admit(house.request(FOUR, dry_run=True))
    assert admitted.devices[0].memory_bytes == 4 * GIB
    assert list(house.runtime.tenants.iterdir()) == []
    assert not house.runtime.activity.exists()


def test_asking_twice_is_being_admitted_once(house: House) -> None:
    request = house.request(Limits(Memory(60 * GIB, None)))
    house.registry.admit(request)
    again = house.registry.admit(request)
    assert list(house.registry.tenants.by_name) == [again.tenant]


@pytest.mark.parametrize("gpus", [["1"], ["GPU-0000aaaa-0000-0000-0000-000000000001"]])
def test_only_the_gpus_that_were_named_are_granted(house: House, gpus: list[str]) -> None:
    house.machines[""] = [device(0), device(1, 40 * GIB)]
    admitted = house.registry.admit(house.request(Limits(Memory(None, 500_000)), gpus=gpus))
    with abi.Limits(Path(admitted.directory) / "limits") as limits:
        assert [row.memory_limit_bytes for row in limits.devices] == [0, 20 * GIB]
    assert [granted.index for granted in admitted.devices] == [1]


def test_real_and_simulated_devices_have_rows_of_their_own(house: House) -> None:
    house.machines[MACHINE] = [device(0, 16 * GIB, MACHINE)]
    real = house.registry.admit(house.request(FOUR))
    simulated = house.registry.admit(house.request(FOUR, simulated=Simulated(MACHINE)))
    with abi.Limits(Path(real.directory) / "limits") as limits:
        assert [row.device_memory_bytes for row in limits.devices] == [80 * GIB]
    with abi.Limits(Path(simulated.directory) / "limits") as limits:
        assert [row.memory_limit_bytes for row in limits.devices] == [0, 4 * GIB]


def test_rows_of_machines_that_are_gone_are_used_again(house: House) -> None:
    for number in range(abi.MAX_DEVICES + 3):
        machine = f"{MACHINE}{number}"
        house.machines[machine] = [
            dataclasses.replace(device(0), uuid=f"GPU-{number + 1:032x}", machine=machine)
        ]
        request = house.request(FOUR, simulated=Simulated(machine))
        admitted = house.registry.admit(request)
        with abi.Limits(Path(admitted.directory) / "limits") as limits:
            assert sum(row.memory_limit_bytes == 4 * GIB for row in limits.devices) == 1
        house.end(request.pid)


def test_a_quota_makes_a_tenant_that_runs_can_join(house: House) -> None:
    house.registry.set_quota(SetQuota("team-a", Change(Memory(4 * GIB, None), 300_000)))
    first = house.registry.admit(house.request(tenant="team-a"))
    second = house.registry.admit(house.request(FOUR, tenant="team-a"))
    assert (first.joined, second.joined) == (False, True)
    assert first.directory == second.directory
    assert limits_of(first).memory_limit_bytes == 4 * GIB


def test_a_run_cannot_bring_other_limits_into_a_tenant(house: House) -> None:
    house.registry.set_quota(SetQuota("team-a", Change(Memory(4 * GIB, None))))
    for _ in range(2):  # before it runs, and when it does
        for limits in (Limits(Memory(5 * GIB, None)), Limits(None, 1)):
            with pytest.raises(UsageError, match="--tenant team-a: has other limits"):
                house.registry.admit(house.request(limits, tenant="team-a"))
        house.registry.admit(house.request(tenant="team-a"))


def test_a_named_tenant_without_quota_needs_limits(house: House) -> None:
    with pytest.raises(NoSuchThing, match="--tenant team-a: no such tenant"):
        house.registry.admit(house.request(tenant="team-a"))
    house.registry.admit(house.request(FOUR, tenant="team-a"))
    assert house.registry.admit(house.request(tenant="team-a")).joined


def test_a_tenant_is_on_one_machine(house: House) -> None:
    house.machines[MACHINE] = [device(0, 16 * GIB, MACHINE)]
    house.registry.admit(house.request(FOUR, tenant="team-a"))
    with pytest.raises(UsageError, match="runs on the real one now"):
        house.registry.admit(house.request(tenant="team-a", simulated=Simulated(MACHINE)))


def test_limits_change_while_it_runs_and_are_read_back(house: House) -> None:
    admitted = house.registry.admit(house.request(FOUR))
    change = Change(Memory(8 * GIB, None), 500_000)
    changed = house.registry.set_limits(SetLimits(admitted.tenant, change))
    row = changed.devices[0]
    assert (row.old_memory_bytes, row.new_memory_bytes) == (4 * GIB, 8 * GIB)
    assert (row.old_compute_ppm, row.new_compute_ppm) == (300_000, 500_000)
    assert limits_of(admitted).memory_limit_bytes == 8 * GIB
    assert limits_of(admitted).cap_ppm == 500_000


def test_beside_a_share_those_without_one_divide_what_is_left(house: House) -> None:
    free = house.registry.admit(house.request())
    capped = house.registry.admit(house.request(Limits(None, 300_000)))
    late = house.registry.admit(house.request())
    for admitted in (free, late):
        assert limits_of(admitted).cap_ppm == abi.METERED_PPM
        assert limits_of(admitted).guarantee_ppm == 350_000
    full = house.registry.admit(house.request(Limits(None, 700_000)))  # nothing is promised to the others
    assert [limits_of(admitted).guarantee_ppm for admitted in (free, late)] == [5_000, 5_000]
    for admitted in (capped, full):
        house.registry.set_limits(SetLimits(admitted.tenant, Change(lift_compute=True)))
    for admitted in (free, capped, late, full):
        assert limits_of(admitted).cap_ppm == abi.NO_CAP_PPM


def test_limits_are_lifted_and_come_back(house: House) -> None:
    admitted = house.registry.admit(house.request(FOUR))
    house.registry.set_limits(SetLimits(admitted.tenant, Change(lift_memory=True, lift_compute=True)))
    assert limits_of(admitted).memory_limit_bytes == abi.NO_LIMIT_BYTES
    assert limits_of(admitted).cap_ppm == abi.NO_CAP_PPM
    house.registry.set_limits(SetLimits(admitted.tenant, Change(compute_ppm=200_000)))
    assert limits_of(admitted).cap_ppm == 200_000


def test_a_change_finds_the_tenant_by_pid(house: House) -> None:
    request = house.request(FOUR)
    admitted = house.registry.admit(request)
    child = house.program(admitted.directory)
    for pid in (request.pid, child.pid):
        assert house.registry.set_limits(SetLimits(str(pid), Change(compute_ppm=1))).tenant == admitted.tenant


@pytest.mark.parametrize(
    "target", ["nobody", "1", "\u00b2", "9" * 5000], ids=["name", "pid", "superscript", "endless"]
)
def test_a_change_of_nobody_is_refused(house: House, target: str) -> None:
    house.registry.admit(house.request(FOUR))
    with pytest.raises(NoSuchThing, match=f"set {target}"):
        house.registry.set_limits(SetLimits(target, Change(compute_ppm=1)))


def test_a_change_that_cannot_be_promised_changes_nothing(house: House) -> None:
    house.registry.admit(house.request(Limits(Memory(70 * GIB, None))))
    admitted = house.registry.admit(house.request(FOUR))
    for change in (
        Change(Memory(11 * GIB, None), 1),
        Change(Memory(81 * GIB, None)),
        Change(Memory(1, None)),
    ):
        with pytest.raises(GshareError):
            house.registry.set_limits(SetLimits(admitted.tenant, change))
    assert limits_of(admitted).memory_limit_bytes == 4 * GIB
    assert limits_of(admitted).cap_ppm == 300_000


def test_lowering_is_always_possible(house: House) -> None:
    house.registry.settings.config = Config(Admission(memory_overcommit=2.0))
    tenants = [house.registry.admit(house.request(Limits(Memory(80 * GIB, None)))) for _ in range(2)]
    house.registry.settings.config = Config()  # configured otherwise while they run
    house.registry.set_limits(SetLimits(tenants[0].tenant, Change(Memory(79 * GIB, None))))


def test_quotas_are_shown_changed_and_forgotten(house: House) -> None:
    registry = house.registry
    registry.set_quota(SetQuota("a", Change(Memory(None, 500_000))))
    registry.set_quota(SetQuota("a", Change(compute_ppm=1)))
    (quota,) = registry.quotas(GetQuotas()).quotas
    assert (quota.memory_ppm, quota.compute_ppm, quota.running) == (500_000, 1, False)
    registry.admit(house.request(tenant="a"))
    assert registry.quotas(GetQuotas("a")).quotas[0].running
    registry.remove_quota(RemoveQuota("a"))
    assert registry.quotas(GetQuotas()).quotas == []
    for missing in (lambda: registry.quotas(GetQuotas("a")), lambda: registry.remove_quota(RemoveQuota("a"))):
        with pytest.raises(NoSuchThing, match="quota a: no such quota"):
            missing()


def test_a_new_quota_reaches_the_tenant_that_runs(house: House) -> None:
    house.registry.set_quota(SetQuota("a", Change(Memory(4 * GIB, None))))
    admitted = house.registry.admit(house.request(tenant="a"))
    house.registry.set_quota(SetQuota("a", Change(Memory(6 * GIB, None))))
    assert limits_of(admitted).memory_limit_bytes == 6 * GIB


def test_a_quota_that_can_never_hold_is_not_written(house: House) -> None:
    for change, words in (
        (Change(Memory(81 * GIB, None)), "more than GPU 0 has"),
        (Change(Memory(1 << 20, None)), "less than one context takes"),
        (Change(lift_memory=True), "would leave no limit"),
    ):
        with pytest.raises(GshareError, match=words):
            house.registry.set_quota(SetQuota("a", change))
    assert not house.registry.permanents.store.path.exists()


def test_names_are_made_of_what_a_folder_may_be_called(house: House) -> None:
    request = house.request(FOUR)
    odd = type(request)(request.pid, request.start_ticks, "./.hidden/ü b/$(x) -v", FOUR)
    name = house.registry.admit(odd).tenant
    assert name == f"hidden-{request.pid}" or name.endswith(f"-{request.pid}")
    assert all(c.isascii() and (c.isalnum() or c in "._-") for c in name)
    assert name[0].isalnum()


def two_devices(house: House) -> None:
    house.machines[""] = [device(0), device(1, 40 * GIB)]


def memory_of(admitted: Admitted) -> list[int]:
    with abi.Limits(Path(admitted.directory) / "limits") as limits:
        return [row.memory_limit_bytes for row in limits.devices]


def test_each_device_has_its_own_amount(house: House) -> None:
    two_devices(house)
    on = {"0": Memory(8 * GIB, None), "1": Memory(None, 500_000)}
    admitted = house.registry.admit(house.request(Limits(None, None, on)))
    assert memory_of(admitted) == [8 * GIB, 20 * GIB]
    assert [granted.memory_bytes for granted in admitted.devices] == [8 * GIB, 20 * GIB]
    assert not admitted.restricted
    with pytest.raises(OverCapacity, match="GPU 1 has 20G left to promise of 40G"):
        house.registry.admit(house.request(Limits(None, None, {"1": Memory(21 * GIB, None)})))
    with pytest.raises(OverCapacity, match=r"--mem 41G: is more than GPU 1 has \(40G\)"):
        house.registry.admit(house.request(Limits(Memory(GIB, None), None, {"1": Memory(41 * GIB, None)})))


def test_a_device_without_an_amount_is_not_granted(house: House) -> None:
    two_devices(house)
    admitted = house.registry.admit(house.request(Limits(None, None, {"1": Memory(4 * GIB, None)})))
    assert memory_of(admitted) == [0, 4 * GIB]
    assert admitted.restricted
    assert [granted.index for granted in admitted.devices] == [1]


def test_one_device_of_a_running_tenant_is_changed(house: House) -> None:
    two_devices(house)
    four = Memory(4 * GIB, None)
    admitted = house.registry.admit(
        house.request(Limits(four, None, {"1": Memory(8 * GIB, None)}), tenant="a")
    )

    def change(**more: object) -> list[int]:
        house.registry.set_limits(SetLimits("a", Change(**more)))  # type: ignore[arg-type]
        return memory_of(admitted)

    assert change(memory_on={"0": Memory(5 * GIB, None)}) == [5 * GIB, 8 * GIB]
    assert change(memory_on={device(1).uuid: None}) == [5 * GIB, abi.NO_LIMIT_BYTES]
    assert change(memory=four) == [4 * GIB, 4 * GIB]
    for name in ("2", "GPU-ffff"):
        with pytest.raises(NoSuchThing, match=f"--mem {name}: no such GPU"):
            change(memory_on={name: four})
    only = house.registry.admit(house.request(Limits(None, None, {"1": four}), tenant="b"))
    with pytest.raises(NoSuchThing, match="tenant b does not have this GPU"):
        house.registry.set_limits(SetLimits("b", Change(memory_on={"0": four})))
    assert memory_of(only) == [0, 4 * GIB]


def test_a_joining_run_may_repeat_what_each_device_has(house: House) -> None:
    two_devices(house)
    on = {"0": Memory(8 * GIB, None), "1": Memory(4 * GIB, None)}
    house.registry.admit(house.request(Limits(None, None, on), tenant="a"))
    same = {device(1).uuid: on["1"], "0": on["0"]}
    assert house.registry.admit(house.request(Limits(None, None, same), tenant="a")).joined
    with pytest.raises(UsageError, match="has other limits than these"):
        house.registry.admit(house.request(Limits(None, None, {"0": on["0"]}), tenant="a"))


def test_a_quota_has_amounts_for_devices(house: House) -> None:
    two_devices(house)
    registry = house.registry
    registry.set_quota(SetQuota("a", Change(memory_on={"0": Memory(8 * GIB, None)})))
    registry.set_quota(SetQuota("a", Change(memory_on={"1": Memory(None, 500_000)})))
    (quota,) = registry.quotas(GetQuotas()).quotas
    assert [(on.gpu, on.memory_bytes, on.memory_ppm) for on in quota.devices] == [
        ("0", 8 * GIB, None),
        ("1", None, 500_000),
    ]
    admitted = registry.admit(house.request(tenant="a"))
    assert memory_of(admitted) == [8 * GIB, 20 * GIB]
    registry.set_quota(SetQuota("a", Change(memory_on={"1": Memory(4 * GIB, None)})))
    assert memory_of(admitted) == [8 * GIB, 4 * GIB]
    for change, words in (
        (Change(memory_on={"7": Memory(GIB, None)}), "--mem 7: no such GPU"),
        (Change(memory_on={"1": Memory(41 * GIB, None)}), "more than GPU 1 has"),
    ):
        for name in ("a", "b"):
            with pytest.raises(GshareError, match=words):
                registry.set_quota(SetQuota(name, change))


def test_amounts_for_devices_outlive_the_controller(house: House) -> None:
    two_devices(house)
    on = {"0": Memory(8 * GIB, None), "1": Memory(4 * GIB, None)}
    admitted = house.registry.admit(house.request(Limits(None, None, on), tenant="a"))
    house.restart()
    house.registry.tenants.adopt("a")
    house.registry.set_limits(SetLimits("a", Change(memory_on={"0": Memory(6 * GIB, None)})))
    assert memory_of(admitted) == [6 * GIB, 4 * GIB]
    assert house.registry.tenants.by_name["a"].limits.memory_on == {
        device(0).uuid: Memory(6 * GIB, None),
        device(1).uuid: on["1"],
    }


NONSENSE: dict[str, dict[str, Any]] = {
    "less than none": {"memory": Memory(-GIB, None)},
    "more than a word holds": {"memory": Memory(1 << 63, None)},
    "more than the device": {"compute_ppm": 1_000_001},
    "a ceiling below": {"compute_ppm": 500_000, "ceiling_ppm": 400_000},
    "of some device": {"memory_on": {"0": Memory(0, 0)}},
    "no pinned memory": {"host_memory_bytes": 0},
    "no weight": {"weight": 0},
    "no such priority": {"priority": "highest"},
    "no such mode": {"mode": "alone"},
    "no such direction": {"copy_bytes_per_s": {"sideways": GIB}},
}


@pytest.mark.parametrize("asked", NONSENSE.values(), ids=list(NONSENSE))
def test_what_could_not_be_read_again_is_refused(house: House, asked: dict[str, Any]) -> None:
    """As no command of ours asks: one row that is damaged would make all of them unreadable."""
    registry = house.registry
    registry.set_quota(SetQuota("a", Change(memory=Memory(GIB, None))))
    registry.admit(house.request(FOUR, tenant="b"))
    with pytest.raises(GshareError):
        registry.admit(house.request(Limits(**asked)))
    for request in (SetQuota("a", Change(**asked)), SetQuota("b", Change(**asked))):
        with pytest.raises(GshareError):
            registry.set_quota(request)
    with pytest.raises(GshareError):
        registry.set_limits(SetLimits("b", Change(**asked)))
    for more in ({"members": [""]}, {"owner_uid": -1}, {"owner_uid": 1 << 32}):
        with pytest.raises(GshareError):
            registry.set_quota(SetQuota("a", Change(), **more))  # type: ignore[arg-type]
    house.restart()
    assert [quota.tenant for quota in house.registry.quotas(GetQuotas()).quotas] == ["a"]
    assert house.registry.tenants.adopt("b").limits == FOUR
