"""What the registry answers: how admissions and quotas are told, and a request is refused."""

from collections.abc import Iterable

import msgspec

from gshare.controller import policy
from gshare.controller.devices import REAL, nvml
from gshare.controller.errors import GshareError, NoSuchThing, UsageError
from gshare.controller.permanent import Permanent
from gshare.controller.policy import Capacity
from gshare.controller.protocol import Admit, Limits
from gshare.controller.replies import Admitted, Granted, Quota, QuotaOn
from gshare.controller.units import Memory, format_compute, format_memory_each, format_rates, format_size

NO_AMOUNT = Memory(None, None)


def check_no_other(request: Admit, limits: Limits, known: Iterable[Capacity]) -> None:
    """A run that joins a tenant may repeat the tenant's limits, not bring others."""
    asked = policy.on_devices(request.limits, known)
    others = {
        name: value
        for name, value in msgspec.structs.asdict(asked).items()
        if value not in (None, {}) and value != getattr(limits, name)
    }
    if others or (asked.compute_ppm is not None and asked.ceiling_ppm != limits.ceiling_ppm):
        raise UsageError(
            f"--tenant {request.tenant}",
            "has other limits than these",
            f"leave them out; gshare set {request.tenant} or gshare quota set {request.tenant} changes them",
        )


def no_device(machine: str, request: Admit) -> GshareError:
    """The refusal of a run on a machine without devices."""
    if machine != REAL:
        return GshareError(f"simulated machine {machine}", "does not run", "gshare sim start")
    if nvml.silent:
        return GshareError("NVML", "does not answer, and says which GPUs there are", "see nvidia-smi")
    return GshareError(
        _first_asked(request), "there is no GPU on this machine", "--sim runs on a simulated one"
    )


def no_quota(tenant: str) -> NoSuchThing:
    """The refusal to show or remove what is not there."""
    return NoSuchThing(f"quota {tenant}", "no such quota", "see gshare quota show")


def _first_asked(request: Admit) -> str:
    """One of the options that cannot be had without a GPU."""
    limits = request.limits
    memory, compute = format_memory_each(limits.memory, limits.memory_on), limits.compute_ppm
    options = {
        "--mem": memory,
        "--compute": format_compute(compute, limits.ceiling_ppm) if compute else None,
        "--weight": limits.weight,
        "--priority": limits.priority,
        "--mode": limits.mode,
        "--host-mem": format_size(limits.host_memory_bytes) if limits.host_memory_bytes else None,
        "--pcie": format_rates(limits.copy_bytes_per_s),
        "--gpu": ",".join(request.gpus),
        "--tenant": request.tenant,
    }
    return next(f"{option} {value}" for option, value in options.items() if value)


def admitted(
    name: str, directory: str, granted: list[Granted], limits: Limits, *, joined: bool, restricted: bool
) -> Admitted:
    """The answer to a run that is let in."""
    return Admitted(
        tenant=name,
        directory=directory,
        joined=joined,
        devices=granted,
        restricted=restricted,
        host_memory_bytes=limits.host_memory_bytes,
        weight=limits.weight,
        priority=limits.priority,
        mode=limits.mode,
        copy_bytes_per_s=limits.copy_bytes_per_s,
    )


def quota_row(name: str, permanent: Permanent, *, running: bool, by_hand: bool) -> Quota:
    """A permanent quota as it is shown."""
    limits = permanent.limits
    memory = limits.memory or NO_AMOUNT
    devices = [QuotaOn(gpu, *(amount or NO_AMOUNT)) for gpu, amount in limits.memory_on.items()]
    return Quota(
        tenant=name,
        memory_bytes=memory.bytes,
        memory_ppm=memory.ppm,
        compute_ppm=limits.compute_ppm,
        running=running,
        devices=devices,
        owner_uid=permanent.owner_uid,
        members=list(permanent.members),
        reserved=permanent.reserved,
        by_hand=by_hand,
        host_memory_bytes=limits.host_memory_bytes,
        guarantee_ppm=limits.compute_ppm,
        ceiling_ppm=limits.ceiling_ppm or limits.compute_ppm,
        weight=limits.weight,
        priority=limits.priority,
        mode=limits.mode,
        copy_bytes_per_s=limits.copy_bytes_per_s,
    )
