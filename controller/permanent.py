"""A permanent tenant, and the row of JSON that it is kept as: whoever reads one checks all of it."""

import json
from typing import Any

import msgspec

from gshare.controller.errors import UsageError
from gshare.controller.protocol import Limits
from gshare.controller.units import DIRECTIONS, FULL_PPM, MAX_BYTES, MAX_WEIGHT, MODES, PRIORITIES, Memory


class Permanent(msgspec.Struct, frozen=True):
    """What outlives a tenant's programs: its limits, and whose it is."""

    limits: Limits
    owner_uid: int | None = None
    """None: of whoever runs the controller."""
    members: tuple[str, ...] = ()
    """Who else may run in it: names of users, and of groups with an `@` before them."""
    reserved: bool = False
    """Its guarantees are kept free while it does not run."""


class Damaged(Exception):
    """Not a row that was ever written."""


def check_readable(tenant: Permanent, what: str) -> None:
    """Raise UsageError for what could not be read again, as only a client that is not ours asks for."""
    try:
        of_row(to_row(tenant))
    except Damaged as damage:
        raise UsageError(what, f"nobody can have {damage}") from None


def to_row(tenant: Permanent) -> str:
    """The tenant as JSON; what has not been said is not in it."""
    limits = tenant.limits
    row: dict[str, Any] = {
        **_amount(limits.memory),
        "compute_ppm": limits.compute_ppm,
        "ceiling_ppm": limits.ceiling_ppm,
        "weight": limits.weight,
        "priority": limits.priority,
        "mode": limits.mode,
        "host_memory_bytes": limits.host_memory_bytes,
        **{f"{way}_bytes_per_s": rate for way, rate in limits.copy_bytes_per_s.items()},
        "devices": {gpu: _amount(memory) for gpu, memory in limits.memory_on.items()} or None,
        "owner_uid": tenant.owner_uid,
        "members": list(tenant.members) or None,
        "reserved": tenant.reserved or None,
    }
    return json.dumps({key: value for key, value in row.items() if value is not None})


def of_row(text: str) -> Permanent:
    """The tenant that was written so; raise Damaged for anything else."""
    try:
        row = json.loads(text)
    except ValueError as error:
        raise Damaged(str(error)) from None
    return checked(row)


def checked(row: object) -> Permanent:
    """The tenant that an object of JSON stands for; raise Damaged for anything that to_row does not write."""
    if not isinstance(row, dict):
        raise Damaged("not an object")
    amounts = {key: row[key] for key in _HIGHEST if key in row}
    others = {key: value for key, value in row.items() if key not in amounts}
    devices, members = others.pop("devices", {}), others.pop("members", [])
    owner_uid, reserved = others.pop("owner_uid", None), others.pop("reserved", False)
    words = {key: others.pop(key) for key in _WORDS if key in others}
    sound = (
        not others
        and _is_sound(amounts, _HIGHEST)
        and isinstance(devices, dict)
        and all(_is_sound(amount, _AMOUNT) for amount in devices.values())
        and all(word in _WORDS[key] for key, word in words.items())
        and amounts.get("ceiling_ppm", FULL_PPM + 1) > amounts.get("compute_ppm", FULL_PPM)
        and (owner_uid is None or (type(owner_uid) is int and 0 <= owner_uid < 1 << 32))
        and isinstance(members, list)
        and all(isinstance(member, str) and member for member in members)
        and isinstance(reserved, bool)
    )
    if not sound:
        raise Damaged(json.dumps(row))
    limits = Limits(
        memory=_memory(amounts),
        memory_on={gpu: _memory(amount) for gpu, amount in devices.items()},
        copy_bytes_per_s={way: amounts[key] for key, way in _RATES.items() if key in amounts},
        **{key: value for key, value in amounts.items() if key not in (*_AMOUNT, *_RATES)},
        **words,
    )
    return Permanent(limits, owner_uid, tuple(members), reserved)


_AMOUNT = {"memory_bytes": MAX_BYTES, "memory_ppm": FULL_PPM}
_RATES = {f"{way}_bytes_per_s": way for way in DIRECTIONS}
_HIGHEST = {
    **_AMOUNT,
    **dict.fromkeys(_RATES, MAX_BYTES),
    "compute_ppm": FULL_PPM,
    "ceiling_ppm": FULL_PPM,
    "weight": MAX_WEIGHT,
    "host_memory_bytes": MAX_BYTES,
}
_WORDS = {"priority": PRIORITIES, "mode": MODES}


def _is_sound(row: object, highest: dict[str, int]) -> bool:
    return isinstance(row, dict) and all(
        key in highest and type(value) is int and 0 < value <= highest[key] for key, value in row.items()
    )


def _amount(memory: Memory | None) -> dict[str, int]:
    amount = {} if memory is None else {"memory_bytes": memory.bytes, "memory_ppm": memory.ppm}
    return {key: value for key, value in amount.items() if value is not None}


def _memory(row: dict[str, int]) -> Memory | None:
    size, ppm = row.get("memory_bytes"), row.get("memory_ppm")
    return Memory(size, ppm) if size or ppm else None
