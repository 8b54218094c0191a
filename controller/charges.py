"""Who holds memory, and what for."""

from gshare.controller.devices import REAL
from gshare.controller.processes import host_pid
from gshare.controller.region import now_ns
from gshare.controller.registry import Registry
from gshare.controller.replies import Charged, MemoryUse
from gshare.controller.tenants import Tenant
from gshare.shim import abi

NO_PROCESS = 0
UNCHARGED = "uncharged"
"""What a tenant's processes have that none of them was charged for."""


def charges(registry: Registry) -> MemoryUse:
    """Every process of every tenant, on each device where it holds memory, and the host; what none pays."""
    rows: list[Charged] = []
    for tenant in registry.tenants.by_name.values():
        indices = {device.uuid: device.index for device in registry.inventory(tenant.machine)}
        for slot in sorted(tenant.files.usage.slots(abi.ROWS), key=lambda slot: slot.pid):
            pid = host_pid(slot)
            for uuid, row in [*tenant.files.rows().items(), ("", abi.HOST_ROW)]:
                if slot.devices[row].held_bytes:
                    rows.append(_charged(tenant, pid, slot.devices[row], row, uuid, indices.get(uuid)))
        for uuid, row in tenant.files.rows().items():
            if residue := tenant.files.residue_bytes(row):
                held = abi.SlotDevice(residue, 0, 0, 0, 0, {UNCHARGED: residue})
                rows.append(_charged(tenant, NO_PROCESS, held, row, uuid, indices.get(uuid)))
    return MemoryUse(now_ns(), rows)


def _charged(
    tenant: Tenant, pid: int, held: abi.SlotDevice, row: int, uuid: str, index: int | None
) -> Charged:
    quota = tenant.files.limits.device(row).memory_quota_bytes
    return Charged(
        tenant=tenant.name,
        pid=pid,
        index=index,
        uuid=uuid,
        host=row == abi.HOST_ROW,
        simulated=tenant.machine != REAL,
        used_bytes=held.held_bytes,
        tenant_used_bytes=tenant.files.used_bytes(row),
        memory_limit_bytes=None if quota == abi.NO_LIMIT_BYTES else quota,
        charged_bytes=held.charged_bytes,
    )
