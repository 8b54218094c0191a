"""Holds what the driver says of each tenant's processes against what these say of themselves."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from gshare.controller import suspicion
from gshare.controller.occupants import Occupant
from gshare.controller.processes import command, host_pid
from gshare.controller.suspicion import Books, Found, Suspect
from gshare.controller.tenants import Tenant
from gshare.controller.uses import Uses
from gshare.shim import abi

Place = tuple[str, str]
"""A tenant on a device."""

Key = tuple[int, int, str]
"""A process (pid, start time) on a device."""


class Seen(NamedTuple):
    """A process that the driver has listed, and whose it is; empty for nobody's."""

    key: Key
    tenant: str
    occupant: Occupant


class Statement(NamedTuple):
    """What a tenant and its live processes say of themselves."""

    totals: dict[str, abi.DeviceUsage]
    """By device."""
    books: dict[tuple[int, int], Sequence[tuple[int, int, int]]]
    """Of each process (pid, start time), by the device's row: see Books."""
    pids: dict[abi.SlotUsage, int]

    def of(self, key: Key, row: int) -> tuple[int, int, int]:
        """What a process says of the device in a row; less than anything where it says nothing."""
        books = self.books.get(key[:2])
        return books[row] if books else NOTHING

    def held_bytes(self, row: int) -> int:
        """What all processes together say to have of the device in a row."""
        return sum([books[row][0] for books in self.books.values()])

    def contradicts_itself(self, uuid: str, row: int) -> bool:
        """Whether they say to have more of a device than is held against the tenant's limit."""
        return suspicion.total_is_too_low(self.totals[uuid].used_bytes, self.held_bytes(row))


NOTHING = -1, 0, 0


def statement(tenant: Tenant, before: Statement | None = None) -> Statement:
    """Read it; whose pids were looked up `before`, a moment ago, still has the same."""
    rows, usage = tenant.rows, tenant.files.usage
    totals = {uuid: usage.device(row) for uuid, row in rows.items()}
    said = usage.books(max(rows.values(), default=-1) + 1)
    known = before.pids if before else {}
    pids = {slot: known.get(slot) or host_pid(slot) for slot, _ in said}
    return Statement(totals, {(pids[slot], slot.start_ticks): books for slot, books in said}, pids)


@dataclass
class Account:
    """How a tenant has used a device so far."""

    uses: Uses = field(default_factory=Uses)
    last: dict[Key, tuple[int, int]] = field(default_factory=dict)
    """GPU time used and charged of each process, as seen last."""


class Inspector:
    """Looks at each tenant on each device after each answer of its driver."""

    def __init__(self) -> None:
        self._accounts: dict[Place, Account] = {}

    def inspect(
        self,
        tenant: Tenant,
        uuid: str,
        there: Sequence[Seen],
        before: Statement,
        after: Statement,
        now_ns: int,
    ) -> Found:
        """Whether it tampers, or has more of a device's time than its share; once a look is not yet proof."""
        row = tenant.rows[uuid]
        found = _tampering(tenant, uuid, row, there, before, after)
        return found | self._over_share(tenant, uuid, row, there, after, now_ns)

    def keep(self, tenants: Iterable[str]) -> None:
        """Forget all but these tenants."""
        names = set(tenants)
        self._accounts = {place: account for place, account in self._accounts.items() if place[0] in names}

    def _over_share(
        self, tenant: Tenant, uuid: str, row: int, there: Sequence[Seen], said: Statement, now_ns: int
    ) -> Found:
        place, files = (tenant.name, uuid), tenant.files
        if files.limits.cap_ppm(row) == abi.NO_CAP_PPM:
            self._accounts.pop(place, None)
            return {}
        account = self._accounts.get(place) or self._accounts.setdefault(place, Account())
        used = charged = 0
        worst, most_ns = 0, -1
        last, account.last = account.last, {}
        for one in there:
            gpu_ns = one.occupant.gpu_ns
            if gpu_ns is None:
                return {}
            counted = account.last[one.key] = gpu_ns, said.of(one.key, row)[2]
            was = last.get(one.key, counted)
            more_used, more_charged = max(counted[0] - was[0], 0), max(counted[1] - was[1], 0)
            used, charged = used + more_used, charged + more_charged
            if more_used - more_charged > most_ns:
                worst, most_ns = one.key[0], more_used - more_charged
        spent_ns, allowed_ns = said.totals[uuid].spent_ns, files.limits.allowance_ns(row, now_ns)
        account.uses.add(now_ns, used, charged, spent_ns, allowed_ns, files.usage.launches(row))
        how, above_ppm = account.uses.over_share()
        if not how:
            return {}
        suspect = Suspect(suspicion.OVER_SHARE, tenant.name, uuid, how=how)
        return {suspect: {"pid": worst, "command": command(worst), "above_ppm": above_ppm}}


def _tampering(
    tenant: Tenant, uuid: str, row: int, there: Sequence[Seen], before: Statement, after: Statement
) -> Found:
    found: Found = {}
    for one in there:
        own = max(before.of(one.key, row), after.of(one.key, row))
        how = suspicion.tampers(one.occupant.held_bytes, None if own == NOTHING else Books(*own))
        if how:
            pid, ticks, _ = one.key
            suspect = Suspect(suspicion.TAMPERING, tenant.name, uuid, pid, ticks, how)
            found[suspect] = {"bytes": one.occupant.held_bytes, "command": command(pid)}
    quiet = before.totals[uuid].change == after.totals[uuid].change
    if quiet and after.contradicts_itself(uuid, row) and before.contradicts_itself(uuid, row):
        pid, ticks = next(iter(after.books)) if len(after.books) == 1 else (0, 0)
        suspect = Suspect(suspicion.TAMPERING, tenant.name, uuid, pid, ticks, suspicion.BOOKS_DISAGREE)
        found[suspect] = {"bytes": after.held_bytes(row), "command": command(pid)}
    return found
