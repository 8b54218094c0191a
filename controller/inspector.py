"""Holds what the driver says of each tenant's processes against what these say of themselves."""

import logging
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from gshare.controller import suspicion
from gshare.controller.occupants import Occupant
from gshare.controller.processes import command, host_pid
from gshare.controller.suspicion import Books, Found, Suspect, Use
from gshare.controller.tenants import Tenant
from gshare.shim import abi

log = logging.getLogger(__name__)

MOST_USES = 64

Place = tuple[str, str]
"""A tenant on a device."""

Key = tuple[int, int, str]
"""A process (pid, start time) on a device."""


class Seen(NamedTuple):
    """A process that the driver has listed, and whose it is; empty for nobody's."""

    key: Key
    tenant: str
    occupant: Occupant


class Inspector:
    """Looks at all tenants of a machine after each answer of its driver."""

    def __init__(self) -> None:
        self._last: dict[Key, tuple[int, int]] = {}
        """GPU time used and charged of each process, as seen last."""
        self._sums: dict[Place, tuple[int, int]] = {}
        self._uses: dict[Place, deque[Use]] = {}

    def books(self, tenants: Iterable[Tenant]) -> dict[Place, dict[Key, Books]]:
        """What each tenant's live processes say, by device."""
        return {(tenant.name, uuid): books for tenant in tenants for uuid, books in _books(tenant).items()}

    def inspect(
        self,
        tenants: Sequence[Tenant],
        seen: Iterable[Seen],
        before: Mapping[Place, Mapping[Key, Books]],
        now_ns: int,
    ) -> Found:
        """Who tampers, and who has more of a device's time than its share; once a look is not yet proof."""
        on: dict[Place, list[Seen]] = {}
        for one in seen:
            if one.tenant:
                on.setdefault((one.tenant, one.key[2]), []).append(one)
        found: Found = {}
        by_name = {tenant.name: tenant for tenant in tenants}
        for place, books in self.books(tenants).items():
            tenant, there = by_name[place[0]], on.get(place, [])
            found |= _tampering(tenant, place[1], there, before.get(place, {}), books)
            found |= self._over_share(tenant, place, there, books, now_ns)
        present = {one.key for those in on.values() for one in those}
        self._last = {key: counted for key, counted in self._last.items() if key in present}
        return found

    def keep(self, tenants: Iterable[str]) -> None:
        """Forget all but these tenants."""
        names = set(tenants)
        self._uses = {place: uses for place, uses in self._uses.items() if place[0] in names}
        self._sums = {place: sums for place, sums in self._sums.items() if place[0] in names}

    def _over_share(
        self, tenant: Tenant, place: Place, there: list[Seen], books: Mapping[Key, Books], now_ns: int
    ) -> Found:
        uuid = place[1]
        row = tenant.files.rows()[uuid]
        if tenant.files.limits.cap_ppm(row) == abi.NO_CAP_PPM:
            self._uses.pop(place, None)
            return {}
        used, charged = self._sums.get(place, (0, 0))
        worst, most_ns = None, 0
        for one in there:
            if one.occupant.gpu_ns is None:
                return {}
            own = books.get(one.key)
            counted = one.occupant.gpu_ns, own.gpu_ns if own else 0
            was_used, was_charged = self._last.get(one.key, counted)
            self._last[one.key] = counted
            more_used, more_charged = max(counted[0] - was_used, 0), max(counted[1] - was_charged, 0)
            used, charged = used + more_used, charged + more_charged
            if more_used - more_charged > most_ns or worst is None:
                worst, most_ns = one, more_used - more_charged
        self._sums[place] = used, charged
        files = tenant.files
        uses = self._uses.setdefault(place, deque(maxlen=MOST_USES))
        spent_ns, allowed_ns = files.usage.device(row).spent_ns, files.limits.allowance_ns(row, now_ns)
        uses.append(Use(now_ns, used, charged, spent_ns, allowed_ns, files.usage.launches(row)))
        how, above_ppm = suspicion.over_share(list(uses))
        if not how:
            return {}
        pid = worst.key[0] if worst else 0
        suspect = Suspect(suspicion.OVER_SHARE, tenant.name, uuid, how=how)
        return {suspect: {"pid": pid, "command": command(pid), "above_ppm": above_ppm}}


def _tampering(
    tenant: Tenant,
    uuid: str,
    there: list[Seen],
    before: Mapping[Key, Books],
    books: Mapping[Key, Books],
) -> Found:
    found: Found = {}
    for one in there:
        own = max(books.get(one.key), before.get(one.key), key=lambda book: book.held_bytes if book else -1)
        how = suspicion.tampers(one.occupant.held_bytes, own)
        if how:
            pid, ticks, _ = one.key
            suspect = Suspect(suspicion.TAMPERING, tenant.name, uuid, pid, ticks, how)
            found[suspect] = {"bytes": one.occupant.held_bytes, "command": command(pid)}
    device = tenant.files.usage.device(tenant.files.rows()[uuid])
    if before == books and suspicion.total_is_too_low(device.used_bytes, list(books.values())):
        pid, ticks = next(iter(books))[:2] if len(books) == 1 else (0, 0)
        suspect = Suspect(suspicion.TAMPERING, tenant.name, uuid, pid, ticks, suspicion.BOOKS_DISAGREE)
        found[suspect] = {"bytes": sum(book.held_bytes for book in books.values()), "command": command(pid)}
    return found


def _books(tenant: Tenant) -> dict[str, dict[Key, Books]]:
    rows = {uuid: row for uuid, row in tenant.files.rows().items() if uuid in tenant.grants}
    said = tenant.files.usage.books(max(rows.values(), default=-1) + 1)
    own = [(host_pid(slot), slot.start_ticks, books) for slot, books in said]
    return {
        uuid: {(pid, ticks, uuid): Books(*books[row]) for pid, ticks, books in own}
        for uuid, row in rows.items()
    }
