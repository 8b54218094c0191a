"""What the controller shows: processes with what they use, devices with what is promised, its own state."""

import os
from collections.abc import Iterable
from importlib.metadata import version
from operator import itemgetter

from gshare.controller import protocol
from gshare.controller.devices import REAL, Found
from gshare.controller.pieces import Work
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


Key = tuple[str, int, int]
"""Tenant, slot, start of its process: pids may be the same in two PID namespaces."""

Times = tuple[tuple[int, int], ...]
"""The time that a process has used of each device, and waited for it, by row."""


class Sampler:
    """Remembers what processes had used about a second ago, so that a share can be told."""

    def __init__(self) -> None:
        self._last: tuple[int, dict[Key, Times]] = 0, {}
        self._before = self._last

    def take(self, tenants: Iterable[Tenant], at_ns: int) -> None:
        """Remember the present; called once every SAMPLE_NS."""
        self._before, self._last = (
            self._last,
            (
                at_ns,
                {
                    (tenant.name, slot, start_ticks): times
                    for tenant in tenants
                    for slot, start_ticks, times in tenant.files.usage.times()
                },
            ),
        )

    def share(self, key: Key, row: int, now: abi.SlotDevice, now_ns: int) -> tuple[int | None, bool]:
        """Share in ppm since the sample before last (None: no sample), and whether it was throttled."""
        at_ns, taken = self._before if key in self._before[1] else self._last
        if key not in taken or now_ns - at_ns < SAMPLE_NS // 4:
            return None, False
        gpu_ns, throttled_ns = taken[key][row]
        ppm = max(now.gpu_ns - gpu_ns, 0) * FULL_PPM // (now_ns - at_ns)
        return ppm, now.throttled_ns > throttled_ns


def processes(registry: Registry, sampler: Sampler) -> Work[Processes]:
    """Every process of every tenant, on each device it uses; one row without device where it uses none."""
    at_ns = now_ns()
    living = yield from registry.tenants.looking()
    rows: list[Process] = []
    for tenant in list(registry.tenants.by_name.values()):
        yield
        if not registry.tenants.runs(tenant):
            continue
        indices = _indices(registry, tenant)
        owners = [(host_pid(slot), slot) for slot in tenant.files.usage.slots(abi.ROWS)]
        others = living.get(tenant.name, set()) - {pid for pid, _ in owners}
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


def status(registry: Registry, started_ns: int, web: str = "") -> Work[Status]:
    """The controller, its devices and the numbers of tenants and processes."""
    runtime = registry.tenants.runtime
    living = yield from registry.tenants.looking()
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
        sum(len(living.get(name, ())) for name in registry.tenants.by_name),
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
    share, throttled = sampler.share((tenant.name, slot.slot, slot.start_ticks), row, used, at_ns)
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
