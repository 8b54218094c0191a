"""Whether a run is let in, with what and on which GPUs: policy's functions on what is promised now."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import msgspec

from gshare.controller import authority, books, host, placement, policy
from gshare.controller.answers import admitted, check_no_other, no_device
from gshare.controller.books import Books, People, Subject
from gshare.controller.budget import Budget, NoRoom, Sees
from gshare.controller.capacities import Capacities, Known, alone, machine_of
from gshare.controller.devices import REAL, nvml
from gshare.controller.errors import GshareError, NoSuchThing, UsageError
from gshare.controller.identity import Peer
from gshare.controller.permanent import Permanent, check_readable
from gshare.controller.policy import Grant
from gshare.controller.processes import Run
from gshare.controller.protocol import Admit, Limits
from gshare.controller.quotas import PermanentTenants
from gshare.controller.replies import Admitted, Granted
from gshare.controller.settings import Settings
from gshare.controller.tenants import Tenant, Tenants
from gshare.controller.units import PLACEMENTS, format_percent, format_size, parse_choice
from gshare.shim import abi

NOTHING_ASKED = Limits()
ALL = "all"
MOST_NAMED = 4
"""GPUs in one refusal."""


class Waits(Protocol):
    """For whom a device may be kept."""

    def described(self, sees: Sees) -> str:
        """Who it is, as far as who asks may know."""


@dataclass(frozen=True)
class Wish:
    """A run that is let in as soon as there is room."""

    request: Admit
    who: Peer
    owner_uid: int
    machine: str
    limits: Limits
    known: Known
    wanted: dict[str, Grant]
    """What it would have on each device."""
    placement: str
    """On all of them, or which one of them."""
    subjects: list[Subject]
    """Whose ceilings it is under."""

    @property
    def run(self) -> Run:
        """The process."""
        return Run(self.request.pid, self.request.start_ticks)


class Admission:
    """Decides about runs; what it refuses, it refuses with nothing changed."""

    def __init__(
        self, tenants: Tenants, permanents: PermanentTenants, capacities: Capacities, settings: Settings
    ) -> None:
        self.tenants = tenants
        self.permanents = permanents
        self.capacities = capacities
        self.settings = settings
        self.people = People()

    def books(self) -> Books:
        """What is promised by now."""
        return Books(self.tenants.by_name, self.permanents.all(), self.settings.config, self.people)

    def subjects(self, who: Peer, tenant: str = "") -> list[Subject]:
        """The ceilings that hold for who asks: none for administrators, nor of permanent tenants."""
        if who.administrator or tenant in self.permanents.all():
            return []
        self.people.note(who.uid, who.groups)
        return self.people.subjects(who.uid, self.settings.config)

    def sees(self, who: Peer) -> Sees:
        """Which tenants' names may be told to who asks."""

        def may(name: str) -> bool:
            owned = self.permanents.ownership(name.removesuffix(books.RESERVED))
            return who.administrator or (owned is not None and authority.may_run(who, owned))

        return may

    def wish(self, request: Admit, who: Peer) -> Wish | Admitted:
        """What a run comes to, whatever there is room for; one that needs none is let in at once.

        Raises GshareError where it could never be let in.
        """
        check_readable(Permanent(request.limits), "run")
        request = msgspec.structs.replace(request, tenant=self.permanents.called(who, request.tenant))
        owned = self.permanents.ownership(request.tenant)
        if owned:
            authority.check_run(who, request.tenant, owned)
        machine = machine_of(request)
        running = self.tenants.by_name.get(request.tenant) if request.tenant else None
        if running:
            return self._join(running, request, machine)
        permanent = self.permanents.all().get(request.tenant)
        if request.tenant and permanent is None and request.limits == NOTHING_ASKED:
            raise NoSuchThing(
                f"--tenant {request.tenant}",
                "no such tenant",
                f"give --mem, --compute or --host-mem, or first gshare quota set {request.tenant} --mem SIZE",
            )
        defaults = self.settings.config.defaults
        limits = permanent.limits if permanent else policy.with_defaults(request.limits, defaults)
        policy.check_host(limits, host.memory_bytes())
        policy.check_weight(limits)
        policy.check_rates(limits)
        known = self.capacities.wanted(request)
        if not known:
            asked = permanent or request.limits != NOTHING_ASKED or request.gpus or machine != REAL
            if asked or nvml.silent:
                raise no_device(machine, request)
            return Admitted("", "", False, [])
        limits = policy.on_devices(limits, alone(known))
        if permanent:
            check_no_other(request, limits, alone(known))
        subjects = self.subjects(who, request.tenant)
        books.check_priority(limits, subjects)
        chosen = self._placement(request, limits)
        wanted = _wanted(limits, request.gpus, known, all_of_them=chosen == ALL)
        owner_uid = owned.uid if owned else who.uid
        return Wish(request, who, owner_uid, machine, limits, known, wanted, chosen, subjects)

    def room(self, wish: Wish, now: Books, kept: Mapping[str, Waits] | None = None) -> dict[str, Grant]:
        """What it has on which devices if it is let in now; `kept` are for somebody else.

        Raises NoRoom, with what is missing in numbers, and GshareError where waiting would not help.
        """
        kept = kept or {}
        if len(self.tenants.by_name) >= abi.MAX_TENANTS:
            raise NoRoom("run", f"{abi.MAX_TENANTS} tenants run already", "wait until one ends")
        now.check_number(wish.subjects)
        capacities = {capacity.uuid: capacity for capacity in alone(wish.known)}
        every = list(capacities.values())
        reservation = now.reservations(wish.machine, every).get(wish.request.tenant, {})
        needed = {uuid: _beyond(grant, reservation.get(uuid)) for uuid, grant in wish.wanted.items()}
        budgets = {uuid: now.budgets(wish.machine, every, capacities[uuid], wish.subjects) for uuid in needed}
        fitting, refusals = dict(needed), list[GshareError]()
        for uuid, grant in needed.items():
            try:
                books.check(budgets[uuid], grant, self.sees(wish.who))
                modes = self.tenants.modes(uuid)
                books.check_mode(capacities[uuid], wish.limits.mode, modes, self.sees(wish.who))
                if uuid in kept and grant != Grant(None, None):
                    whose = kept[uuid].described(self.sees(wish.who))
                    why = f"GPU {capacities[uuid].index} is kept for {whose}"
                    raise NoRoom(_asked(grant), why, "wait, too")
            except GshareError as error:
                refusals.append(error)
                del fitting[uuid]
        if wish.placement == ALL and not refusals:
            return wish.wanted
        chosen = None if wish.placement == ALL else placement.choose(wish.placement, fitting, budgets)
        if chosen is not None:
            return {chosen: wish.wanted[chosen]}
        refusal = refusals[0] if wish.placement == ALL else _nowhere(refusals)
        if isinstance(refusal, NoRoom):
            refusal.nearest = _nearest(wish.placement, needed, budgets, kept)
        raise refusal

    def let_in(self, wish: Wish, grants: dict[str, Grant], now: Books | None = None) -> Admitted:
        """Make the tenant, unless it is only asked about."""
        request, name = wish.request, self._free_name(wish.request)
        if not request.dry_run:
            tenant = self.tenants.create(
                name, wish.machine, request.gpus, wish.limits, grants, wish.known, wish.run, wish.owner_uid
            )
            if now:
                now.promise(tenant)
        directory = str(self.tenants.runtime.tenants / name)
        granted = granted_rows(wish.known, grants, wish.limits)
        restricted = len(grants) < len(wish.known)
        return admitted(name, directory, granted, wish.limits, joined=False, restricted=restricted)

    def _join(self, tenant: Tenant, request: Admit, machine: str) -> Admitted:
        """Let another process into a running tenant: it shares what the tenant has."""
        if tenant.machine != machine:
            where = "a simulated machine" if tenant.machine != REAL else "the real one"
            raise UsageError(
                f"--tenant {tenant.name}", f"runs on {where} now", "one tenant is on one machine"
            )
        known = self.capacities.known(machine)
        if request.limits != NOTHING_ASKED:
            check_no_other(request, tenant.limits, alone(known))
        if request.gpus and request.gpus != tenant.gpus:
            has = ",".join(tenant.gpus) or "all"
            raise UsageError(
                f"--gpu {','.join(request.gpus)}", f"tenant {tenant.name} has GPU {has}", "leave it out"
            )
        if not request.dry_run:
            tenant.update(runs=[*tenant.runs, Run(request.pid, request.start_ticks)])
        granted = granted_rows(known, tenant.grants, tenant.limits)
        directory, restricted = str(tenant.files.directory), len(granted) < len(known)
        return admitted(tenant.name, directory, granted, tenant.limits, joined=True, restricted=restricted)

    def _placement(self, request: Admit, limits: Limits) -> str:
        """As the run asks; what is configured is for runs that do not say which GPUs they want."""
        if request.placement:
            return parse_choice(request.placement, PLACEMENTS, "--placement")
        return ALL if request.gpus or limits.memory_on else self.settings.config.admission.placement

    def _free_name(self, request: Admit) -> str:
        """The tenant's name: as asked, or made of the program's, and not one that is in use."""
        if request.tenant in self.tenants.unusable:
            raise self.tenants.unusable[request.tenant]
        if request.tenant:
            return request.tenant
        program = request.command.split(" ", 1)[0].rpartition("/")[2]
        safe = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in program)[:40]
        name = base = f"{safe.lstrip('._-') or 'program'}-{request.pid}"
        attempt = 1
        while name in self.tenants.by_name or name in self.tenants.unusable or name in self.permanents.all():
            attempt += 1
            name = f"{base}-{attempt}"
        return name


def granted_rows(known: Known, grants: Mapping[str, Grant], limits: Limits) -> list[Granted]:
    """What is granted on each device, for the answer."""
    return [
        Granted(
            device.index,
            device.uuid,
            *grants[device.uuid],
            capacity.context_bytes,
            limits.ceiling_ppm or limits.compute_ppm,
        )
        for device, capacity in known
        if device.uuid in grants
    ]


def _wanted(limits: Limits, gpus: list[str], known: Known, *, all_of_them: bool) -> dict[str, Grant]:
    """What limits come to on the devices that a run may be on; it may be too large for some of them."""
    found: dict[str, Grant] = {}
    refusals: list[GshareError] = []
    for capacity in policy.accessible(limits, gpus, alone(known)):
        try:
            found[capacity.uuid] = policy.granted(limits, capacity)
        except GshareError as refusal:
            if all_of_them:
                raise
            refusals.append(refusal)
    if not found:
        raise refusals[0]
    return found


def _nearest(
    how: str, needed: dict[str, Grant], budgets: dict[str, list[Budget]], kept: Mapping[str, Waits]
) -> tuple[str, ...]:
    """What has to be kept for a run; nothing where only its own ceiling is in the way."""
    above = {uuid for uuid, grant in needed.items() if any(b.missing(grant) for b in budgets[uuid][1:])}
    free = {uuid: grant for uuid, grant in needed.items() if uuid not in kept and uuid not in above}
    if how == ALL:
        return () if above else tuple(free)
    nearest = placement.nearest(free, budgets)
    return (nearest,) if nearest else ()


def _beyond(wanted: Grant, reserved: Grant | None) -> Grant:
    """What of a grant is not kept for it already."""
    if reserved is None:
        return wanted
    return Grant(
        max((wanted.memory_bytes or 0) - (reserved.memory_bytes or 0), 0) or None,
        max((wanted.compute_ppm or 0) - (reserved.compute_ppm or 0), 0) or None,
    )


def _asked(wanted: Grant) -> str:
    """One of the options that cannot be had now."""
    if wanted.memory_bytes:
        return f"--mem {format_size(wanted.memory_bytes)}"
    return f"--compute {format_percent(wanted.compute_ppm or 0)}"


def _nowhere(refusals: list[GshareError]) -> GshareError:
    """One refusal for a run that fits on none of several devices: waiting helps if it does on one."""
    waitable = [refusal for refusal in refusals if isinstance(refusal, NoRoom)]
    if len(refusals) == 1 or not waitable:
        return refusals[0]
    why = ", or ".join(refusal.why for refusal in waitable[:MOST_NAMED])
    more = f", or {len(waitable) - MOST_NAMED} more" if len(waitable) > MOST_NAMED else ""
    return NoRoom(waitable[0].what, why + more, waitable[0].hint)
