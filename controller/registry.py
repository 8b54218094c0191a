"""What is asked of the controller, decided by policy and carried out on tenants, quotas and devices."""

import os
from dataclasses import dataclass

import msgspec

from gshare.controller import authority, host, identity, policy
from gshare.controller.answers import admitted, check_no_other, no_device, no_quota, quota_row
from gshare.controller.authority import Ownership
from gshare.controller.context_size import ContextSizes
from gshare.controller.devices import REAL, Found, Inventory, preview_simulated, start_simulated
from gshare.controller.errors import GshareError, NoSuchThing, UsageError
from gshare.controller.identity import Peer, controller_itself
from gshare.controller.permanent import Permanent
from gshare.controller.policy import Capacity, Grant
from gshare.controller.processes import Run
from gshare.controller.protocol import Admit, GetQuotas, Limits, Pause, RemoveQuota, SetLimits, SetQuota
from gshare.controller.replies import Admitted, Changed, Granted, LimitsSet, Paused, Quotas
from gshare.controller.store import QuotaStore
from gshare.controller.tenants import Tenant, Tenants

NOTHING_ASKED = Limits()


@dataclass
class Plan:
    """A change that policy has agreed to: the tenant, its limits afterwards, and the grant on each device."""

    tenant: Tenant
    limits: Limits
    grants: dict[str, Grant]


class Registry:
    """Carries out requests; each method answers one of them or raises GshareError, with nothing changed."""

    def __init__(
        self,
        tenants: Tenants,
        store: QuotaStore,
        contexts: ContextSizes,
        inventory: Inventory,
        overcommit: float = 1.0,
    ) -> None:
        self.tenants = tenants
        self.store = store
        self.contexts = contexts
        self.inventory = inventory
        self.overcommit = overcommit

    async def prepare(self, request: Admit) -> None:
        """Start the simulated machine that a run asks for; measure a context, which programs will be charged.

        A run without limits on a real device does not wait for that: what it is charged limits nothing.
        """
        if request.simulated and not request.dry_run:
            start_simulated(request.simulated.machine, request.simulated.profile)
        if request.simulated or request.tenant or request.limits != NOTHING_ASKED:
            for device in self._devices(request):
                await self.contexts.measure(device)

    async def measure_contexts(self, machine: str) -> None:
        """Measure, where that has not been done yet, what a context takes on the machine's devices."""
        for device in self.inventory(machine):
            await self.contexts.measure(device)

    def ownership(self, name: str) -> Ownership | None:
        """Whose a tenant is, running or permanent; None where there is none of this name."""
        running, permanent = self.tenants.by_name.get(name), self.store.load().get(name)
        if permanent is None:
            return Ownership(running.owner_uid) if running else None
        uid = os.geteuid() if permanent.owner_uid is None else permanent.owner_uid
        return Ownership(uid, True, *identity.user_and_group_ids(permanent.members))

    def called(self, who: Peer, name: str) -> str:
        """The tenant that a user means: a permanent one, or their own of that name."""
        return name if name in self.store.load() else authority.own_name(who, name)

    def admit(self, request: Admit, who: Peer | None = None) -> Admitted:
        """Decide about a run and, unless it is only asked about, make its tenant or let it join."""
        who = who or controller_itself()
        request = msgspec.structs.replace(request, tenant=self.called(who, request.tenant))
        if owned := self.ownership(request.tenant):
            authority.check_run(who, request.tenant, owned)
        run = Run(request.pid, request.start_ticks)
        if not request.dry_run:
            self._forget_run(run)
            self.tenants.sweep()  # what has ended meanwhile neither holds a promise nor a name
        machine = request.simulated.machine if request.simulated else REAL
        running = self.tenants.by_name.get(request.tenant) if request.tenant else None
        if running:
            return self._join(running, request, machine)
        quota = self._quota(request.tenant) if request.tenant else NOTHING_ASKED
        if request.tenant and quota == request.limits == NOTHING_ASKED:
            raise NoSuchThing(
                f"--tenant {request.tenant}",
                "no such tenant",
                f"give --mem, --compute or --host-mem, or first gshare quota set {request.tenant} --mem SIZE",
            )
        limits = request.limits if quota == NOTHING_ASKED else quota
        policy.check_host(limits, host.memory_bytes())
        policy.check_weight(limits)
        policy.check_rates(limits)
        known = self._with_capacity(self._devices(request))
        if not known:
            if limits != NOTHING_ASKED or request.gpus or machine != REAL:
                raise no_device(machine, request)
            return Admitted("", "", False, [])
        limits = policy.on_devices(limits, _capacities(known))
        if quota != NOTHING_ASKED:
            check_no_other(request, limits, _capacities(known))
        grants = self._grants(known, request.gpus, limits)
        name = self._free_name(request)
        if not request.dry_run:
            owner_uid = owned.uid if owned else who.uid
            self.tenants.create(name, machine, request.gpus, limits, grants, known, run, owner_uid)
        directory = str(self.tenants.runtime.tenants / name)
        granted = self._granted(known, grants, limits)
        restricted = len(grants) < len(known)
        return admitted(name, directory, granted, limits, joined=False, restricted=restricted)

    def set_limits(self, request: SetLimits) -> LimitsSet:
        """Change a running tenant's limits and read them back."""
        tenant = self._find(request.target)
        amounts = policy.by_uuid(request.change.memory_on, _capacities(self._known(tenant.machine)))
        if strange := set(amounts) - set(tenant.files.grants()):
            raise NoSuchThing(f"--mem {min(strange)}", f"tenant {tenant.name} does not have this GPU")
        change = msgspec.structs.replace(request.change, memory_on=amounts)
        return self._apply(self._plan(tenant, policy.changed(tenant.limits, change)))

    def set_quota(self, request: SetQuota) -> Quotas:
        """Check that a permanent quota can hold, write it down, and give it to the tenant if it runs."""
        limits = policy.changed(self._quota(request.tenant), request.change)
        policy.check_host(limits, host.memory_bytes())
        policy.check_weight(limits)
        policy.check_rates(limits)
        if limits == NOTHING_ASKED:
            raise UsageError(
                f"quota set {request.tenant}",
                "would leave no limit",
                f"gshare quota rm {request.tenant} forgets it",
            )
        running = self.tenants.by_name.get(request.tenant)
        plan = None
        if running:
            plan = self._plan(running, policy.on_devices(limits, _capacities(self._known(running.machine))))
        else:
            self._check_possible(limits)
        permanent = self.store.load().get(request.tenant, Permanent(NOTHING_ASKED))
        self.store.put(request.tenant, msgspec.structs.replace(permanent, limits=limits))
        if plan:
            self._apply(plan)
        return Quotas([quota_row(request.tenant, limits, running=request.tenant in self.tenants.by_name)])

    def quotas(self, request: GetQuotas) -> Quotas:
        """The permanent quotas, or the one asked for."""
        quotas = self.store.load()
        if request.tenant and request.tenant not in quotas:
            raise no_quota(request.tenant)
        names = [request.tenant] if request.tenant else sorted(quotas)
        running = self.tenants.by_name
        return Quotas([quota_row(name, quotas[name].limits, running=name in running) for name in names])

    def remove_quota(self, request: RemoveQuota) -> Quotas:
        """Forget a permanent quota; the reply tells what it was."""
        permanent = self.store.load().get(request.tenant)
        if permanent is None:
            raise no_quota(request.tenant)
        self.store.remove(request.tenant)
        running = request.tenant in self.tenants.by_name
        return Quotas([quota_row(request.tenant, permanent.limits, running=running)])

    def target(self, target: str, command: str = "set", who: Peer | None = None) -> Tenant:
        """The running tenant that is meant by its name, short for a user's own, or by one of its pids."""
        if who and not target.isdigit() and target not in self.tenants.by_name:
            target = self.called(who, target)
        return self._find(target, command)

    def pause(self, request: Pause) -> Paused:
        """Let a tenant launch nothing, or go on."""
        what = "pause" if request.paused else "resume"
        tenant = self._find(request.target, what)
        if tenant.files.limits.paused != request.paused:
            tenant.files.limits.set_paused(request.paused)
            self.tenants.apportion()
            self.tenants.on_change(f"{what}d", tenant.name)
        processes = len(self.tenants.processes()[tenant.name])
        return Paused(tenant.name, tenant.files.limits.paused, processes)

    def machine_of(self, request: SetLimits | SetQuota) -> str:
        """The machine on which a change will take effect."""
        if isinstance(request, SetLimits):
            return self._find(request.target).machine
        running = self.tenants.by_name.get(request.tenant)
        return running.machine if running else REAL

    def capacity(self, device: Found) -> Capacity:
        """A device as policy sees it."""
        return Capacity(device.index, device.uuid, device.memory_bytes, self.contexts.known(device))

    def _join(self, tenant: Tenant, request: Admit, machine: str) -> Admitted:
        """Let another process into a running tenant: it shares what the tenant has."""
        if tenant.machine != machine:
            where = "a simulated machine" if tenant.machine != REAL else "the real one"
            raise UsageError(
                f"--tenant {tenant.name}", f"runs on {where} now", "one tenant is on one machine"
            )
        known = self._known(machine)
        if request.limits != NOTHING_ASKED:
            check_no_other(request, tenant.limits, _capacities(known))
        if request.gpus and request.gpus != tenant.gpus:
            has = ",".join(tenant.gpus) or "all"
            raise UsageError(
                f"--gpu {','.join(request.gpus)}", f"tenant {tenant.name} has GPU {has}", "leave it out"
            )
        if not request.dry_run:
            tenant.update(runs=[*tenant.runs, Run(request.pid, request.start_ticks)])
        granted = self._granted(known, tenant.files.grants(), tenant.limits)
        directory, restricted = str(tenant.files.directory), len(granted) < len(known)
        return admitted(tenant.name, directory, granted, tenant.limits, joined=True, restricted=restricted)

    def _forget_run(self, run: Run) -> None:
        """A process is in one tenant: where it asks twice, the first admission is void."""
        for tenant in self.tenants.by_name.values():
            if run in tenant.runs:
                tenant.runs.remove(run)

    def _plan(self, tenant: Tenant, limits: Limits) -> Plan:
        policy.check_host(limits, host.memory_bytes())
        policy.check_weight(limits)
        policy.check_rates(limits)
        held = tenant.files.grants()
        granted: dict[str, Grant] = {}
        for device, capacity in self._known(tenant.machine):
            if device.uuid not in held:
                continue
            grant = granted[device.uuid] = policy.granted(limits, capacity)
            others = self.tenants.grants(device.uuid, but=tenant.name)
            policy.check_promises(capacity, _raised(grant, held[device.uuid]), others, self.overcommit)
            policy.check_mode(capacity, limits.mode, self.tenants.modes(device.uuid, but=tenant.name))
        if not granted:
            raise GshareError(
                f"tenant {tenant.name}", "none of its devices is there any more", "end its programs"
            )
        return Plan(tenant, limits, granted)

    def _apply(self, plan: Plan) -> LimitsSet:
        tenant, rows = plan.tenant, plan.tenant.files.rows()
        index = {device.uuid: device.index for device, _ in self._known(tenant.machine)}
        files, before = tenant.files, tenant.limits
        old = {uuid: (*files.grant(rows[uuid]), files.ceiling_ppm(rows[uuid])) for uuid in plan.grants}
        old_host = files.host_memory_bytes
        tenant.update(limits=plan.limits)
        for uuid, grant in plan.grants.items():
            files.change_memory(rows[uuid], grant)
        files.host_memory_bytes = plan.limits.host_memory_bytes
        files.change_copy_rates(plan.limits.copy_bytes_per_s)
        self.tenants.apportion()
        new = {uuid: (*files.grant(rows[uuid]), files.ceiling_ppm(rows[uuid])) for uuid in plan.grants}
        self.tenants.on_change("limits", tenant.name)
        return LimitsSet(
            tenant=tenant.name,
            processes=len(self.tenants.processes()[tenant.name]),
            devices=[
                Changed(
                    index[uuid],
                    uuid,
                    *(word for both in zip(old[uuid], new[uuid], strict=True) for word in both),
                )
                for uuid in plan.grants
            ],
            old_host_memory_bytes=old_host,
            new_host_memory_bytes=files.host_memory_bytes,
            old_weight=before.weight,
            new_weight=tenant.limits.weight,
            old_priority=before.priority or "normal",
            new_priority=tenant.limits.priority or "normal",
            old_mode=before.mode or "auto",
            new_mode=tenant.limits.mode or "auto",
            old_copy_bytes_per_s=before.copy_bytes_per_s,
            new_copy_bytes_per_s=files.copy_rates(),
        )

    def _find(self, target: str, command: str = "set") -> Tenant:
        """A running tenant by its name, or by the pid of one of its processes."""
        if target in self.tenants.by_name:
            return self.tenants.by_name[target]
        if target in self.tenants.unusable:
            raise self.tenants.unusable[target]
        if target.isdigit():
            for name, pids in self.tenants.processes().items():
                if int(target) in pids and name in self.tenants.by_name:
                    return self.tenants.by_name[name]
            raise NoSuchThing(f"{command} {target}", "no process of a tenant has this pid", "see gshare ps")
        raise NoSuchThing(f"{command} {target}", "no tenant of this name runs", "see gshare ps")

    def _check_possible(self, limits: Limits) -> None:
        """Refuse a quota that no device here could ever hold; without devices nothing can be said."""
        devices = _capacities(self._known(REAL))
        if not devices:
            return
        limits = policy.on_devices(limits, devices)
        refusals = []
        for capacity in policy.accessible(limits, [], devices):
            try:
                policy.granted(limits, capacity)
            except GshareError as error:
                if capacity.uuid in limits.memory_on:
                    raise
                refusals.append(error)
        if refusals and len(refusals) == len(devices):
            raise refusals[0]

    def _grants(
        self, known: list[tuple[Found, Capacity]], gpus: list[str], limits: Limits
    ) -> dict[str, Grant]:
        grants = {}
        for capacity in policy.accessible(limits, gpus, _capacities(known)):
            grants[capacity.uuid] = policy.granted(limits, capacity)
            others = self.tenants.grants(capacity.uuid)
            policy.check_promises(capacity, grants[capacity.uuid], others, self.overcommit)
            policy.check_mode(capacity, limits.mode, self.tenants.modes(capacity.uuid))
        return grants

    def _known(self, machine: str) -> list[tuple[Found, Capacity]]:
        return self._with_capacity(self.inventory(machine))

    def _devices(self, request: Admit) -> list[Found]:
        """The devices of the machine that a run is for; for a dry run, those it would have if started."""
        machine = request.simulated.machine if request.simulated else REAL
        found = self.inventory(machine)
        if not found and request.dry_run and request.simulated:
            return preview_simulated(machine, request.simulated.profile)
        return found

    def _with_capacity(self, devices: list[Found]) -> list[tuple[Found, Capacity]]:
        return [(device, self.capacity(device)) for device in devices]

    def _granted(
        self, known: list[tuple[Found, Capacity]], grants: dict[str, Grant], limits: Limits
    ) -> list[Granted]:
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

    def _quota(self, tenant: str) -> Limits:
        permanent = self.store.load().get(tenant)
        return permanent.limits if permanent else NOTHING_ASKED

    def _free_name(self, request: Admit) -> str:
        """The tenant's name: as asked, or made of the program's, and not one that is in use."""
        if request.tenant in self.tenants.unusable:
            raise self.tenants.unusable[request.tenant]
        if request.tenant:
            return request.tenant
        program = request.command.split(" ", 1)[0].rpartition("/")[2]
        safe = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in program)[:40]
        name = base = f"{safe.lstrip('._-') or 'program'}-{request.pid}"
        taken = {*self.tenants.by_name, *self.tenants.unusable, *self.store.load()}
        attempt = 1
        while name in taken:
            attempt += 1
            name = f"{base}-{attempt}"
        return name


def _raised(new: Grant, old: Grant) -> Grant:
    """What of a new grant needs to be promised afresh: lowering one is always possible."""
    return Grant(
        new.memory_bytes if (new.memory_bytes or 0) > (old.memory_bytes or 0) else None,
        new.compute_ppm if (new.compute_ppm or 0) > (old.compute_ppm or 0) else None,
    )


def _capacities(known: list[tuple[Found, Capacity]]) -> list[Capacity]:
    return [capacity for _, capacity in known]
