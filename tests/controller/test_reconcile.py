"""The controller takes off a tenant's limit what the driver says that it has and nobody was charged for."""

import asyncio
import threading
import time
from typing import Any

import pytest

from gshare.controller.config import Audit as Rules
from gshare.controller.occupants import Occupant, Occupants
from gshare.controller.policy import Grant
from gshare.controller.protocol import Change, Limits, SetLimits
from gshare.controller.reconcile import Reconciler
from gshare.controller.tenants import Tenant
from gshare.controller.units import Memory
from gshare.shim import abi

from .conftest import GIB, House, device

UUID = device(0).uuid
EIGHT = Memory(8 * GIB, None)


class Audit:
    """A reconciler over a made-up driver, in the house's tenants."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.present: dict[str, dict[int, int | None]] | None = {UUID: {}}
        self.rules = Rules(tampering="ignore")  # these programs never call CUDA, and have no books
        self.events: list[dict[str, Any]] = []
        self.reconciler = self.anew()

    def anew(self) -> Reconciler:
        self.reconciler = Reconciler(
            self.house.registry.tenants, self.occupants, self.events.append, rules=lambda: self.rules
        )
        return self.reconciler

    def occupants(self, machine: str) -> Occupants | None:
        if self.present is None:
            return None
        return {
            uuid: {pid: Occupant(size) for pid, size in held.items()} for uuid, held in self.present.items()
        }

    def tenant(self, memory: Memory | None = EIGHT) -> Tenant:
        registry = self.house.registry
        return registry.tenants.by_name[registry.admit(self.house.request(Limits(memory))).tenant]

    def look(self, times: int = 2) -> None:
        async def looks() -> None:
            for _ in range(times):
                await self.reconciler.look()

        asyncio.run(looks())

    def told(self, what: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["what"] == what]


@pytest.fixture
def audit(house: House) -> Audit:
    return Audit(house)


def limits(tenant: Tenant) -> tuple[int, int | None]:
    row = tenant.files.limits.device(0)
    return row.memory_limit_bytes, row.memory_quota_bytes


def test_nothing_changes_while_nobody_has_more_than_was_charged(audit: Audit) -> None:
    tenant = audit.tenant()
    audit.present = {UUID: {tenant.runs[0].pid: 0}}
    audit.look(10)
    assert limits(tenant) == (8 * GIB, 8 * GIB)
    assert audit.events == []


def test_what_nobody_was_charged_for_is_taken_off_the_limit(audit: Audit) -> None:
    tenant = audit.tenant()
    audit.present = {UUID: {tenant.runs[0].pid: GIB}}
    audit.look(1)
    assert limits(tenant) == (8 * GIB, 8 * GIB), "one look is not enough"
    audit.look(1)
    assert limits(tenant) == (7 * GIB, 8 * GIB)
    assert tenant.files.grant(0) == Grant(8 * GIB, None), "what was promised stays"
    audit.present = {UUID: {}}
    audit.look(2)
    assert limits(tenant) == (8 * GIB, 8 * GIB)
    sizes = [(event["tenant"], event["uuid"], event["bytes"]) for event in audit.told("residue")]
    assert sizes == [(tenant.name, UUID, GIB), (tenant.name, UUID, 0)]


def test_all_processes_of_a_tenant_count_together(audit: Audit) -> None:
    """One that was started inside without the shim, and one that dropped the environment, too."""
    tenant = audit.tenant()
    child = audit.house.program(str(tenant.files.directory))
    audit.present = {UUID: {tenant.runs[0].pid: GIB, child.pid: 2 * GIB}}
    audit.look()
    assert limits(tenant) == (5 * GIB, 8 * GIB)


def test_another_tenants_processes_do_not_count(audit: Audit) -> None:
    tenant, other = audit.tenant(), audit.tenant()
    audit.present = {UUID: {other.runs[0].pid: GIB}}
    audit.look()
    assert limits(tenant) == (8 * GIB, 8 * GIB)
    assert limits(other) == (7 * GIB, 8 * GIB)


def test_more_than_the_quota_leaves_nothing_and_does_not_take_the_device_away(audit: Audit) -> None:
    tenant = audit.tenant()
    audit.present = {UUID: {tenant.runs[0].pid: 20 * GIB}}
    audit.look(3)
    assert limits(tenant) == (1, 8 * GIB)
    assert list(tenant.files.grants()) == [UUID]
    assert len(audit.told("residue")) == 1


def test_a_tenant_without_a_memory_limit_loses_nothing(audit: Audit) -> None:
    tenant = audit.tenant(None)
    audit.present = {UUID: {tenant.runs[0].pid: 20 * GIB}}
    audit.look()
    assert limits(tenant) == (abi.NO_LIMIT_BYTES, abi.NO_LIMIT_BYTES)


def test_a_new_limit_keeps_what_was_taken_off(audit: Audit) -> None:
    tenant = audit.tenant()
    audit.present = {UUID: {tenant.runs[0].pid: GIB}}
    audit.look()
    registry = audit.house.registry
    memory = Memory(4 * GIB, None)
    registry.set_limits(SetLimits(tenant.name, Change(memory)))
    assert limits(tenant) == (3 * GIB, 4 * GIB)
    registry.set_limits(SetLimits(tenant.name, Change(lift_memory=True)))
    assert limits(tenant) == (abi.NO_LIMIT_BYTES, abi.NO_LIMIT_BYTES)
    registry.set_limits(SetLimits(tenant.name, Change(memory)))
    assert limits(tenant) == (4 * GIB, 4 * GIB)
    audit.look()
    assert limits(tenant) == (3 * GIB, 4 * GIB)


def test_a_new_controller_finds_what_was_taken_off_and_looks_again(audit: Audit) -> None:
    tenant = audit.tenant()
    name, pid = tenant.name, tenant.runs[0].pid
    audit.present = {UUID: {pid: GIB}}
    audit.look()
    audit.house.registry.tenants.close()
    audit.house.restart()
    adopted = audit.house.registry.tenants.adopt(name)
    audit.anew()
    audit.present = {UUID: {}}
    audit.look(1)
    assert limits(adopted) == (7 * GIB, 8 * GIB), "it holds until something is known"
    audit.look(1)
    assert limits(adopted) == (8 * GIB, 8 * GIB)


@pytest.mark.parametrize("present", [None, {}, {UUID: {}}])
def test_what_the_driver_does_not_tell_changes_nothing(
    audit: Audit, present: dict[str, dict[int, int | None]] | None
) -> None:
    """No NVML, a device that it lacks, or memory that it does not know, as in WSL."""
    tenant = audit.tenant()
    audit.present = {UUID: {tenant.runs[0].pid: GIB}}
    audit.look()
    audit.present = {UUID: {tenant.runs[0].pid: None}} if present == {UUID: {}} else present
    audit.look(5)
    assert limits(tenant) == (7 * GIB, 8 * GIB)


def test_a_driver_that_hangs_keeps_nobody_waiting(audit: Audit) -> None:
    tenant = audit.tenant()
    go_on, asked = threading.Event(), []

    def ask(machine: str) -> Occupants:
        asked.append(machine)
        go_on.wait(60)
        return {UUID: {tenant.runs[0].pid: Occupant(GIB)}}

    async def run() -> None:
        reconciler = Reconciler(audit.house.registry.tenants, ask, audit.events.append, patience_s=0.01)
        await reconciler.look()
        await reconciler.look()
        assert asked == [""], "it is not asked again before it has answered"
        go_on.set()
        deadline = time.monotonic() + 60
        while limits(tenant) == (8 * GIB, 8 * GIB) and time.monotonic() < deadline:
            await asyncio.sleep(0.01)
            await reconciler.look()

    asyncio.run(run())
    assert limits(tenant) == (7 * GIB, 8 * GIB)


def test_a_driver_that_fails_is_asked_again(audit: Audit) -> None:
    tenant = audit.tenant()
    audit.present = {UUID: {tenant.runs[0].pid: GIB}}

    failing: list[str] = []
    answers = [audit.occupants(""), audit.occupants("")]

    def ask(machine: str) -> Occupants | None:
        failing.append(machine)
        if len(failing) == 1:
            raise OSError
        return answers.pop()

    reconciler = Reconciler(audit.house.registry.tenants, ask, audit.events.append)

    async def looks() -> None:
        for _ in range(3):
            await reconciler.look()

    asyncio.run(looks())
    assert limits(tenant) == (7 * GIB, 8 * GIB)


def test_a_tenant_that_ends_meanwhile_is_no_error(audit: Audit) -> None:
    tenant = audit.tenant()
    registry = audit.house.registry

    def ask(machine: str) -> Occupants:
        registry.tenants.remove(tenant.name)
        return {UUID: {tenant.runs[0].pid: Occupant(GIB)}}

    asyncio.run(Reconciler(registry.tenants, ask, audit.events.append).look())
    assert audit.told("residue") == []


def test_who_runs_without_gshare_is_told_of_once(audit: Audit) -> None:
    audit.tenant()
    stranger = 1
    audit.present = {UUID: {stranger: GIB}}
    audit.look(1)
    assert audit.events == []
    audit.look(5)
    (event,) = audit.events
    assert (event["what"], event["pid"], event["uuid"]) == ("unmanaged", stranger, UUID)
    audit.present = {UUID: {}}
    audit.look(1)
    audit.present = {UUID: {stranger: GIB}}
    audit.look(3)
    assert len(audit.events) == 2, "it went and came back"
