"""What every tenant has asked for, may have and gets of each device: counters read, kept and told."""

from contextlib import suppress
from typing import NamedTuple

from gshare.controller import minute, views
from gshare.controller.devices import REAL
from gshare.controller.errors import GshareError
from gshare.controller.history import WINDOWS_NS, Loan, Reading, Window, loans
from gshare.controller.minute import Counter
from gshare.controller.pieces import Work, at_once
from gshare.controller.region import TenantFiles
from gshare.controller.registry import Registry
from gshare.controller.replies import Shares
from gshare.controller.share_replies import ShareWindow, TenantShare, Totals
from gshare.controller.shares import UNBOUNDED_PPM, Seen
from gshare.controller.tenants import Tenant
from gshare.controller.units import DIRECTIONS, FULL_PPM
from gshare.shim import abi

THROTTLED_PPM = 10_000
"""Who waited for more of the last second than this is throttled."""

BUSY_PPM = 1_000

Key = tuple[str, str]
"""Tenant and device."""

Windows = dict[tuple[Key, int], Window | None]


class Place(NamedTuple):
    """A tenant on one of the devices that it may use."""

    tenant: Tenant
    uuid: str
    row: int
    counter: Counter

    @property
    def key(self) -> Key:
        return self.tenant.name, self.uuid

    @property
    def is_metered(self) -> bool:
        """Whether anything is known of the tenant's GPU time."""
        return self.tenant.files.limits.cap_ppm(self.row) != abi.NO_CAP_PPM

    @property
    def promised_ppm(self) -> int:
        """Its guarantee, or the part that its weight comes to."""
        return self.counter.guarantee_ppm()


class Watch:
    """Keeps a reading of all tenants a second, and tells what came of them."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self._known: dict[str, list[Place]] = {}
        """Where each tenant is, for as long as it runs: its devices stay the same."""

    def take(self, now_ns: int) -> None:
        """Read all counters; called once a second."""
        with suppress(GshareError):  # shared memory that cannot be used: who asks for it is told so
            minute.keep((place.counter for place in self._places()), now_ns)

    def seen(self) -> dict[str, list[Seen]]:
        """What the tenants on each device did in the last second."""
        found: dict[str, list[Seen]] = {}
        for places in self._known.values():
            for place in places:
                used_ppm, throttled_ppm = place.counter.last_second()
                found.setdefault(place.uuid, []).append(Seen(used_ppm, place.promised_ppm, throttled_ppm))
        return found

    def shares(self, now_ns: int) -> Shares:
        """What all have, by tenant and device."""
        return at_once(self.telling(now_ns))

    def telling(self, now_ns: int) -> Work[Shares]:
        """The same in pieces: whoever ends meanwhile is left out."""
        places = self._places()
        readings = {place.key: place.counter.reading(now_ns) for place in places}
        metered: dict[str, list[Place]] = {}
        windows: Windows = {}
        for place in places:
            if self.registry.tenants.runs(place.tenant) and place.is_metered:
                metered.setdefault(place.uuid, []).append(place)
                for length_ns in WINDOWS_NS:
                    windows[place.key, length_ns] = place.counter.window(readings[place.key], length_ns)
            yield
        lent: dict[tuple[Key, int], Loan] = {}
        for on in metered.values():
            lent |= _loans(on, windows)
            yield
        processes = yield from self.registry.tenants.looking()
        indices = {
            machine: {device.uuid: device.index for device in self.registry.inventory(machine)}
            for machine in {place.tenant.machine for place in places}
        }
        rows = []
        for place in places:
            yield
            if self.registry.tenants.runs(place.tenant):
                index = indices[place.tenant.machine].get(place.uuid)
                count = len(processes.get(place.tenant.name, ()))
                rows.append(self._share(place, windows, lent, readings[place.key], index, now_ns, count))
        yield
        devices = views.devices(self.registry, REAL).devices
        yield
        return Shares(now_ns, devices, rows)

    def _places(self) -> list[Place]:
        known, self._known = self._known, {}
        for name, tenant in self.registry.tenants.by_name.items():
            places = known.get(name)
            if not places or places[0].tenant is not tenant:
                activity = self.registry.tenants.open_activity()
                places = [
                    Place(tenant, uuid, row, counter(tenant.files, row, activity))
                    for uuid, row in tenant.rows.items()
                ]
            self._known[name] = places
        return [place for places in self._known.values() for place in places]

    def _share(
        self,
        place: Place,
        windows: Windows,
        lent: dict[tuple[Key, int], Loan],
        counted: Reading,
        index: int | None,
        now_ns: int,
        processes: int,
    ) -> TenantShare:
        tenant, files, row = place.tenant, place.tenant.files, place.row
        limits, grant, promised_ppm = files.limits.device(row), files.grant(row), place.promised_ppm
        is_bounded = place.is_metered and promised_ppm < UNBOUNDED_PPM
        period_ns, turns = files.limits.turns(row)
        told = [
            _window(length_ns, window, lent[place.key, length_ns], is_bounded)
            for length_ns in WINDOWS_NS
            if (window := windows.get((place.key, length_ns))) is not None
        ]
        above = self._busy_above(place, now_ns)
        return TenantShare(
            tenant=tenant.name,
            index=index,
            uuid=place.uuid,
            simulated=tenant.machine != REAL,
            processes=processes,
            state=_state(files, told, above),
            mode="turns" if period_ns else "concurrent",
            metered=place.is_metered,
            guarantee_ppm=grant.compute_ppm,
            ceiling_ppm=files.ceiling_ppm(row),
            weight=tenant.limits.weight,
            priority=tenant.limits.priority or "normal",
            promised_ppm=promised_ppm if is_bounded else None,
            granted_ppm=_rate_ppm(files.limits.line(row), now_ns) if is_bounded else None,
            busy_above=above,
            turn_ns=_turn_ns(period_ns, turns, files.index) if period_ns else None,
            period_ns=period_ns or None,
            used_bytes=files.used_bytes(row),
            memory_limit_bytes=grant.memory_bytes,
            copy_bytes_per_s={
                way: rate for way, rate in zip(DIRECTIONS, limits.copy_bytes_per_s, strict=True) if rate
            },
            windows=told,
            seconds_ppm=place.counter.shares_ppm() if place.is_metered else [],
            totals=_totals(counted),
            uncharged_bytes=files.residue_bytes(row),
        )

    def _busy_above(self, place: Place, now_ns: int) -> list[str]:
        """Those of higher priority for whom the tenant waits on a device."""
        above = set(place.tenant.files.limits.above)
        if not above:
            return []
        activity = self.registry.tenants.open_activity()
        return sorted(
            tenant.name
            for tenant in self.registry.tenants.by_name.values()
            if tenant.files.index in above
            and activity.device(tenant.files.index, place.row).busy_until_ns > now_ns
        )


def counter(files: TenantFiles, row: int, activity: abi.Activity) -> Counter:
    """Of a tenant on the device in `row`."""
    return Counter(files.limits.memory(), files.usage.memory(), activity.memory(), files.index, row)


def _totals(counted: Reading) -> Totals:
    to_device, to_host = counted.copied_bytes
    return Totals(
        gpu_ns=counted.gpu_ns,
        throttled_ns=counted.throttled_ns,
        h2d_bytes=to_device,
        d2h_bytes=to_host,
        copy_waited_ns=counted.copy_waited_ns,
    )


def _rate_ppm(line: abi.Line, now_ns: int) -> int:
    leased = line.lease_until_ns == 0 or now_ns < line.lease_until_ns
    return line.rate_ppm if leased else line.guarantee_ppm


def _turn_ns(period_ns: int, turns: list[tuple[int, int]], index: int) -> int:
    """How long a tenant's turns of a period are."""
    ends = [from_ns for from_ns, _ in turns[1:]] + [period_ns]
    return sum(end - begin for (begin, who), end in zip(turns, ends, strict=True) if who == index)


def _loans(on: list[Place], windows: Windows) -> dict[tuple[Key, int], Loan]:
    """Of the tenants that are metered on one device."""
    found: dict[tuple[Key, int], Loan] = {}
    for length_ns in WINDOWS_NS:
        used = []
        for place in on:
            window = windows[place.key, length_ns]
            used.append((window.share_ppm if window else 0, min(place.promised_ppm, FULL_PPM)))
        for place, loan in zip(on, loans(used), strict=True):
            found[place.key, length_ns] = loan
    return found


def _window(length_ns: int, window: Window, loan: Loan, is_bounded: bool) -> ShareWindow:
    to_device, to_host = window.copied_bytes_per_s
    return ShareWindow(
        seconds=length_ns // 1_000_000_000,
        elapsed_ns=window.elapsed_ns,
        share_ppm=window.share_ppm,
        granted_ppm=min(window.allowed_ppm, FULL_PPM) if is_bounded else None,
        throttled_ppm=window.throttled_ppm,
        queue_wait_ns=window.queue_wait_ns,
        borrowed_ppm=loan.borrowed_ppm,
        lent_ppm=loan.lent_ppm,
        h2d_bytes_per_s=to_device,
        d2h_bytes_per_s=to_host,
        copy_waited_ppm=window.copy_waited_ppm,
    )


def _state(files: TenantFiles, windows: list[ShareWindow], busy_above: list[str]) -> str:
    if files.limits.paused:
        return "paused"
    if not windows:
        return "idle"
    last = windows[0]
    if max(last.throttled_ppm, last.copy_waited_ppm) > THROTTLED_PPM:
        return "yielding" if busy_above else "throttled"
    return "busy" if last.share_ppm > BUSY_PPM or last.h2d_bytes_per_s or last.d2h_bytes_per_s else "idle"
