"""Who may have how much: pure functions, time is an argument.

No socket, file, clock or global here; the registry brings the facts and carries out the decision.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from gshare.controller.errors import NoSuchThing, OverCapacity, UsageError
from gshare.controller.protocol import Change, Limits
from gshare.controller.units import (
    DIRECTIONS,
    LEAST_RATE,
    MAX_BYTES,
    Memory,
    format_percent,
    format_size,
)


@dataclass(frozen=True)
class Capacity:
    """A device, as far as admission is concerned."""

    index: int
    uuid: str
    memory_bytes: int
    context_bytes: int


class Grant(NamedTuple):
    """What a tenant is promised on one device: None is no limit, memory 0 is no access."""

    memory_bytes: int | None
    compute_ppm: int | None
    """Its guarantee."""


NO_ACCESS = Grant(0, None)

Amounts = dict[str, Memory | None]
"""Memory on devices that are named; None is no limit."""


def select(devices: Iterable[Capacity], wanted: Iterable[str], option: str = "--gpu") -> list[Capacity]:
    """The devices that a run named, by index or UUID (or its beginning); all of them where it named none.

    Raises NoSuchThing for a name that fits no device, or several.
    """
    known = list(devices)
    chosen: list[Capacity] = []
    for name in wanted:
        if name.isdigit():
            fitting = [device for device in known if str(device.index) == name]
        else:
            fitting = [device for device in known if device.uuid.lower().startswith(name.lower())]
        if len(fitting) != 1:
            there = ", ".join(str(device.index) for device in known) or "none"
            why = "fits several GPUs" if fitting else f"no such GPU; there is {there}"
            raise NoSuchThing(f"{option} {name}", why, "see gshare devices")
        if fitting[0] not in chosen:
            chosen.append(fitting[0])
    return chosen or known


def by_uuid(amounts: Amounts, devices: Iterable[Capacity]) -> Amounts:
    """Amounts of memory by the UUIDs of the devices that they were asked for by index or UUID.

    Raises NoSuchThing for a name that fits no device, or several, and UsageError for a device named twice.
    """
    known = list(devices)
    found: Amounts = {}
    for name, amount in amounts.items():
        (device,) = select(known, [name], "--mem")
        if device.uuid in found:
            raise UsageError(f"--mem {name}", f"GPU {device.index} is named twice")
        found[device.uuid] = amount
    return found


def on_devices(limits: Limits, devices: Iterable[Capacity]) -> Limits:
    """The limits with their devices by UUID; see by_uuid."""
    return msgspec.structs.replace(limits, memory_on=by_uuid(limits.memory_on, devices))


def accessible(limits: Limits, gpus: Iterable[str], devices: Iterable[Capacity]) -> list[Capacity]:
    """The devices that a run gets: those that it named with --gpu, or else with --mem, or else all.

    Raises UsageError where one option names a device and the other leaves its memory, or the device, out.
    """
    known = list(devices)
    named = list(gpus)
    chosen = select(known, named)
    amounts = [device for device in known if device.uuid in limits.memory_on]
    if not named:
        return amounts if amounts and limits.memory is None else chosen
    asked = f"--gpu {','.join(named)}"
    for device in amounts:
        if device not in chosen:
            raise UsageError(asked, f"leaves out GPU {device.index}, for which --mem has an amount")
    for device in chosen:
        if amounts and limits.memory is None and device not in amounts:
            hint = f"add {device.index}=SIZE to --mem, or one SIZE for all others"
            raise UsageError(asked, f"names GPU {device.index}, for which --mem has no amount", hint)
    return chosen


def granted(limits: Limits, device: Capacity) -> Grant:
    """What the limits, their devices by UUID, come to on one device.

    Raises OverCapacity for more memory than the device has, UsageError for less than one context takes.
    """
    memory = limits.memory_on.get(device.uuid, limits.memory)
    if memory is None:
        return Grant(None, limits.compute_ppm)
    size = memory.on(device.memory_bytes)
    asked = f"--mem {_as_asked(memory, size)}"
    if size > device.memory_bytes:
        has = format_size(device.memory_bytes)
        raise OverCapacity(asked, f"is more than GPU {device.index} has ({has})", "try --mem 100%")
    if size < device.context_bytes:
        takes = format_size(device.context_bytes)
        raise UsageError(
            asked, f"is less than one context takes on GPU {device.index} ({takes})", "ask for more"
        )
    return Grant(size, limits.compute_ppm)


def check_host(limits: Limits, host_bytes: int) -> None:
    """Raise OverCapacity for more pinned memory than the machine has; it is promised to nobody."""
    asked = limits.host_memory_bytes
    if asked is not None and asked > host_bytes:
        has = format_size(host_bytes)
        raise OverCapacity(
            f"--host-mem {format_size(asked)}", f"is more than the machine has ({has})", "try --host-mem 100%"
        )


def check_weight(limits: Limits) -> None:
    """Raise UsageError for a weight that could have no effect."""
    if limits.weight is not None and limits.compute_ppm is not None and limits.ceiling_ppm is None:
        cap = format_percent(limits.compute_ppm)
        raise UsageError(
            f"--weight {limits.weight}",
            f"a hard cap of {cap} borrows nothing that a weight could divide",
            f"give a range, as {cap}..100%, or only the weight",
        )


def check_rates(limits: Limits) -> None:
    """Raise UsageError for a limit on copies that cannot be carried out."""
    for way, rate in limits.copy_bytes_per_s.items():
        if way not in DIRECTIONS or not LEAST_RATE <= rate <= MAX_BYTES:
            raise UsageError(f"--pcie {way}={rate}", "not a rate", "as h2d=4G/s,d2h=2G/s")


def changed(limits: Limits, change: Change) -> Limits:
    """The limits after a change; what it does not mention stays.

    An amount for every device replaces what some devices had of their own.
    """
    anew = change.lift_memory or change.memory is not None
    compute_anew = change.lift_compute or change.compute_ppm is not None
    host_anew = change.lift_host_memory or change.host_memory_bytes is not None
    weight_anew = change.lift_weight or change.weight is not None
    return Limits(
        memory=change.memory if anew else limits.memory,
        compute_ppm=change.compute_ppm if compute_anew else limits.compute_ppm,
        memory_on={**({} if anew else limits.memory_on), **change.memory_on},
        host_memory_bytes=change.host_memory_bytes if host_anew else limits.host_memory_bytes,
        ceiling_ppm=change.ceiling_ppm if compute_anew else limits.ceiling_ppm,
        weight=change.weight if weight_anew else limits.weight,
        priority=change.priority or limits.priority,
        mode=change.mode or limits.mode,
        copy_bytes_per_s={
            way: rate
            for way, rate in {**limits.copy_bytes_per_s, **change.copy_bytes_per_s}.items()
            if rate is not None
        },
    )


def _as_asked(memory: Memory, size_bytes: int) -> str:
    return format_size(size_bytes) if memory.ppm is None else format_percent(memory.ppm)


def with_defaults(limits: Limits, defaults: Limits) -> Limits:
    """The limits, and where they say nothing of a thing, the defaults; share and weight are one thing."""
    if defaults == Limits():
        return limits
    has_memory = limits.memory is not None or bool(limits.memory_on)
    has_share = limits.compute_ppm is not None or limits.weight is not None
    memory, share = (limits if has else defaults for has in (has_memory, has_share))
    pinned = limits.host_memory_bytes
    return Limits(
        memory=memory.memory,
        memory_on=memory.memory_on,
        compute_ppm=share.compute_ppm,
        ceiling_ppm=share.ceiling_ppm,
        weight=share.weight,
        host_memory_bytes=defaults.host_memory_bytes if pinned is None else pinned,
        priority=limits.priority or defaults.priority,
        mode=limits.mode or defaults.mode,
        copy_bytes_per_s={**defaults.copy_bytes_per_s, **limits.copy_bytes_per_s},
    )
