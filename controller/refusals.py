"""Refused allocations, from the rings that tenants' processes write, made into events.

A ring has the latest ones: what was overwritten before anybody looked is counted in an event `refusals-lost`.
Refusals that are equal (same process, function, device and bytes) and found together, about a second's, are
one event with a `count`; its other numbers are the last one's.
"""

from collections import Counter

from gshare.controller.devices import REAL, Inventory
from gshare.controller.events import Event, EventLog
from gshare.controller.processes import host_pid
from gshare.controller.region import now_ns
from gshare.controller.tenants import Tenant
from gshare.shim import abi

NOT_GRANTED: Event = {"index": None, "uuid": "", "host": False, "simulated": False}


MEMORY, UNCHARGED, HOST_MEMORY, NO_ACCESS, UNTOLD = CAUSES = (
    "memory", "uncharged", "host-memory", "not-granted", "untold",
)  # fmt: skip
"""Why calls are refused: the quota; less of it, where there is memory that nobody was charged for; pinned
memory of the host; a device that is not granted.  Of some only the number is known.
"""


class Refusals:
    """How far each tenant's ring has been read, and how much was refused in it."""

    def __init__(self, events: EventLog, inventory: Inventory) -> None:
        self.events = events
        self.inventory = inventory
        self._seen: dict[str, int] = {}
        self._counts: dict[str, Counter[tuple[str, str]]] = {}
        for event in events.latest(-1):
            self._remember(event)
        self._unfinished: dict[str, int] = {}
        """A number begun and without a note at the last look: its writer is at it, or was killed at it."""

    def counts(self, tenant: str) -> Counter[tuple[str, str]]:
        """How many calls of a tenant were refused since it began, by device ("": none's) and cause."""
        return self._counts.get(tenant, Counter())

    def _remember(self, event: Event) -> None:
        """What an event says of refusals, which may be one of an earlier controller's."""
        tenant = event["tenant"]
        if event["what"] in ("started", "ended"):
            self._seen.pop(tenant, None)
            self._counts.pop(tenant, None)
        elif type(event.get("refusals")) is int:
            self._seen[tenant] = event["refusals"]
            what = str(event.get("uuid", "")), str(event.get("cause", UNTOLD))
            count = event.get("count")
            self._counts.setdefault(tenant, Counter())[what] += count if type(count) is int else 1

    def collect(self, tenant: Tenant, *, ended: bool = False) -> None:
        """Make events of what is new; `ended`: nobody writes any more, and this is the last look."""
        usage = tenant.files.usage
        seen, total = self._seen.get(tenant.name, 0), usage.refusals
        if total != seen:
            if seen > total:  # the log is of another tenant of this name
                seen = 0
                self._counts.pop(tenant.name, None)
            notes, seen, lost = self._read(tenant, seen, total, ended)
            self._tell(tenant, notes, seen, lost)
            self._seen[tenant.name] = seen
        if ended:
            self._seen.pop(tenant.name, None)
            self._counts.pop(tenant.name, None)
            self._unfinished.pop(tenant.name, None)

    def _read(self, tenant: Tenant, seen: int, total: int, ended: bool) -> tuple[list[abi.Refusal], int, int]:
        """New notes, the last number that is settled, and how many up to it are lost."""
        found: list[abi.Refusal] = []
        start = seen
        seen = max(seen, total - abi.MAX_REFUSALS)
        before = self._unfinished.pop(tenant.name, 0)
        for note in tenant.files.usage.refusals_since(seen):
            if note.number > seen + 1 and not ended and seen + 1 != before:
                self._unfinished[tenant.name] = seen + 1
                break
            found.append(note)
            seen = note.number
        if ended:
            seen = max(seen, total)
        elif seen < total:
            seen += seen + 1 == before
            self._unfinished[tenant.name] = seen + 1
        return found, seen, seen - start - len(found)

    def _tell(self, tenant: Tenant, notes: list[abi.Refusal], seen: int, lost: int) -> None:
        groups: dict[tuple[object, ...], list[abi.Refusal]] = {}
        for note in notes:
            groups.setdefault((note.pid, note.slot, note.api, note.row, note.bytes), []).append(note)
        pids = {} if not notes else {
            (slot.slot, slot.pid): host_pid(slot)
            for slot in tenant.files.usage.slots(0)
            if (slot.slot, slot.pid) in {(note.slot, note.pid) for note in notes}
        }  # fmt: skip
        places = self._places(tenant) if notes else {}
        events: list[Event] = [
            {
                "what": "refused",
                "tenant": tenant.name,
                "pid": pids.get((note.slot, note.pid), note.pid),
                "api": note.api if note.api.isidentifier() else "?",
                "bytes": note.bytes,
                **places.get(note.row, NOT_GRANTED),
                "cause": _cause(tenant, note),
                "used_bytes": note.used_bytes,
                "limit_bytes": None if note.limit_bytes == abi.NO_LIMIT_BYTES else note.limit_bytes,
                "count": count,
                "refusals": seen,
                "at_ns": min(note.time_ns, now_ns()),
            }
            for note, count in sorted((equal[-1], len(equal)) for equal in groups.values())
        ]
        if lost:
            events.append({"what": "refusals-lost", "tenant": tenant.name, "count": lost, "refusals": seen})
        if events:
            self.events.add(*events)
        for event in events:
            self._remember(event)

    def _places(self, tenant: Tenant) -> dict[int | None, Event]:
        """What an event says of the row of a note: which GPU that is, or the host."""
        indices = {device.uuid: device.index for device in self.inventory(tenant.machine)}
        places: dict[int | None, Event] = {
            row: {
                **NOT_GRANTED,
                "index": indices.get(uuid),
                "uuid": uuid,
                "simulated": tenant.machine != REAL,
            }
            for uuid, row in tenant.files.rows().items()
        }
        return {**places, abi.HOST_ROW: {**NOT_GRANTED, "host": True}}


def _cause(tenant: Tenant, note: abi.Refusal) -> str:
    if note.row == abi.HOST_ROW:
        return HOST_MEMORY
    if note.row is None or note.row not in tenant.files.rows().values():
        return NO_ACCESS
    quota_bytes = tenant.files.grant(note.row).memory_bytes
    if quota_bytes == 0:
        return NO_ACCESS
    fits = quota_bytes is not None and note.used_bytes + note.bytes <= quota_bytes
    return UNCHARGED if fits else MEMORY
