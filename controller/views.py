"""What the controller shows: processes with what they use, devices with what is promised, its own state."""

import os
from collections.abc import Iterable
from importlib.metadata import version
from operator import itemgetter
from typing import NamedTuple

from gshare.controller import protocol
from gshare.controller.devices import REAL, Found
from gshare.controller.policy import Grant
from gshare.controller.processes import command, host_pid, user
from gshare.controller.region import now_ns
from gshare.controller.registry import Registry
from gshare.controller.replies import ControllerInfo, Device, Devices, Process, Processes, Status
from gshare.controller.tenants import Tenant
from gshare.controller.units import FULL_PPM
from gshare.shim import abi

SAMPLE_NS = 1_000_000_000
"""Shares are measured over about this long."""


class Sample(NamedTuple):
    """What a process had used at one time, on one device."""

    at_ns: int
    gpu_ns: int
    throttled_ns: int


Key = tuple[str, int, int, int]
"""Tenant, slot, start of its process, row of the device: pids may be the same in two PID namespaces."""


class Sampler:
    """Remembers what processes had used about a second ago, so that a share can be told."""

    def __init__(self) -> None:
        self._last: dict[Key, Sample] = {}
        self._before: dict[Key, Sample] = {}

    def take(self, tenants: Iterable[Tenant], at_ns: int) -> None:
        """Remember the present; called once every SAMPLE_NS."""
        self._before, self._last = (
            self._last,
            {
                (tenant.name, slot.slot, slot.start_ticks, row): Sample(
                    at_ns, device.gpu_ns, device.throttled_ns
                )
                for tenant in tenants
                for slot in tenant.files.usage.slots(len(tenant.files.limits.devices))
                for row, device in enumerate(slot.devices)
            },
        )

    def share(self, key: Key, now: Sample) -> tuple[int | None, bool]:
        """Share in ppm since the sample before last (None: no sample), and whether it was throttled."""
        before = self._before.get(key) or self._last.get(key)
        if before is None or now.at_ns - before.at_ns < SAMPLE_NS // 4:
            return None, False
        elapsed_ns = now.at_ns - before.at_ns
        ppm = max(now.gpu_ns - before.gpu_ns, 0) * FULL_PPM // elapsed_ns
        return ppm, now.throttled_ns > before.throttled_ns


def processes(registry: Registry, sampler: Sampler) -> Processes:
    """Every process of every tenant, on each device it uses; one row without device where it uses none."""
    at_ns = now_ns()
    living = registry.tenants.processes()
    rows: list[Process] = []
    for tenant in registry.tenants.by_name.values():
        indices = _indices(registry, tenant)
        owners = [(host_pid(slot), slot) for slot in tenant.files.usage.slots(abi.ROWS)]
        others = living[tenant.name] - {pid for pid, _ in owners}
        for pid, slot in sorted([*owners, *((pid, None) for pid in others)], key=itemgetter(0)):
            shown = [] if slot is None else [
                _on_device(tenant, pid, slot, row, uuid, indices.get(uuid), sampler, at_ns)
                for uuid, row in tenant.files.rows().items()
                if slot.devices[row].held_bytes or slot.devices[row].launches
            ]  # fmt: skip
            rows += shown or [_without_device(tenant, pid, "idle" if slot else "no-cuda")]
    return Processes(at_ns, rows)


def devices(registry: Registry, machine: str) -> Devices:
    """The real devices, those of `machine`, and those of every machine that a tenant runs on."""
    machines = [REAL]
    for other in [machine, *(tenant.machine for tenant in registry.tenants.by_name.values())]:
        if other not in machines:
            machines.append(other)
    return Devices([_device(registry, device) for name in machines for device in registry.inventory(name)])


def status(registry: Registry, started_ns: int, web: str = "") -> Status:
    """The controller, its devices and the numbers of tenants and processes."""
    runtime = registry.tenants.runtime
    living = registry.tenants.processes()
    return Status(
        ControllerInfo(
            os.getpid(),
            version("gshare"),
            protocol.VERSION,
            abi.VERSION,
            started_ns,
            str(runtime.socket),
            runtime.logged,
            web,
        ),
        devices(registry, REAL).devices,
        len(registry.tenants.by_name),
        sum(len(living[name]) for name in registry.tenants.by_name),
    )


def _indices(registry: Registry, tenant: Tenant) -> dict[str, int]:
    return {device.uuid: device.index for device in registry.inventory(tenant.machine)}


def _on_device(
    tenant: Tenant,
    pid: int,
    slot: abi.SlotUsage,
    row: int,
    uuid: str,
    index: int | None,
    sampler: Sampler,
    at_ns: int,
) -> Process:
    used = slot.devices[row]
    share, throttled = sampler.share(
        (tenant.name, slot.slot, slot.start_ticks, row), Sample(at_ns, used.gpu_ns, used.throttled_ns)
    )
    grant, ceiling_ppm = tenant.files.grant(row), tenant.files.ceiling_ppm(row)
    return Process(
        tenant=tenant.name,
        pid=pid,
        user=user(pid),
        index=index,
        uuid=uuid,
        simulated=tenant.machine != REAL,
        used_bytes=used.held_bytes,
        tenant_used_bytes=tenant.files.used_bytes(row),
        tenant_residue_bytes=tenant.files.residue_bytes(row),
        memory_limit_bytes=grant.memory_bytes,
        compute_limit_ppm=ceiling_ppm,
        compute_ppm=share,
        gpu_ns=used.gpu_ns,
        launches=used.launches,
        throttled_ns=used.throttled_ns,
        denied=used.denied,
        state=_state(tenant, "throttled" if throttled else "busy" if share else "idle"),
        command=command(pid),
        host_used_bytes=slot.devices[abi.HOST_ROW].held_bytes,
        host_memory_limit_bytes=tenant.files.host_memory_bytes,
        guarantee_ppm=grant.compute_ppm,
        ceiling_ppm=ceiling_ppm,
        weight=tenant.limits.weight,
        priority=tenant.limits.priority or "normal",
        copy_bytes_per_s=tenant.files.copy_rates(),
    )


def _without_device(tenant: Tenant, pid: int, state: str) -> Process:
    grants = set(tenant.files.grants().values())
    alike = grants.pop() if len(grants) == 1 else Grant(None, None)
    guarantee_ppm, ceiling_ppm = tenant.files.compute()
    return Process(
        tenant=tenant.name,
        pid=pid,
        user=user(pid),
        index=None,
        uuid="",
        simulated=tenant.machine != REAL,
        used_bytes=0,
        tenant_used_bytes=0,
        tenant_residue_bytes=0,
        memory_limit_bytes=alike.memory_bytes,
        compute_limit_ppm=ceiling_ppm,
        compute_ppm=None,
        gpu_ns=0,
        launches=0,
        throttled_ns=0,
        denied=0,
        state=_state(tenant, state),
        command=command(pid),
        host_memory_limit_bytes=tenant.files.host_memory_bytes,
        guarantee_ppm=guarantee_ppm,
        ceiling_ppm=ceiling_ppm,
        weight=tenant.limits.weight,
        priority=tenant.limits.priority or "normal",
        copy_bytes_per_s=tenant.files.copy_rates(),
    )


def _state(tenant: Tenant, state: str) -> str:
    return "paused" if tenant.files.limits.paused else state


def _device(registry: Registry, device: Found) -> Device:
    grants = registry.tenants.grants(device.uuid)
    used, turning = 0, False
    for tenant in registry.tenants.by_name.values():
        row = tenant.files.rows().get(device.uuid)
        used += tenant.files.used_bytes(row) if row is not None else 0
        turning |= row is not None and tenant.files.takes_turns(row)
    return Device(
        index=device.index,
        uuid=device.uuid,
        name=device.name,
        driver=device.driver,
        simulated=device.simulated,
        machine=device.machine,
        memory_bytes=device.memory_bytes,
        promised_memory_bytes=sum(grant.memory_bytes or 0 for grant in grants.values()),
        promised_compute_ppm=sum(grant.compute_ppm or 0 for grant in grants.values()),
        used_bytes=used,
        tenants=sorted(grants),
        mode="turns" if turning else "concurrent",
    )
