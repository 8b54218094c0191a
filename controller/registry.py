"""What is asked of the controller, decided by policy and carried out on tenants, quotas and devices."""

from dataclasses import dataclass

import msgspec

from gshare.controller import books, host, policy
from gshare.controller.admission import NOTHING_ASKED, Admission, Wish
from gshare.controller.authority import Ownership
from gshare.controller.capacities import Capacities, Known, alone
from gshare.controller.context_size import ContextSizes
from gshare.controller.devices import REAL, Inventory
from gshare.controller.errors import GshareError, NoSuchThing, UsageError
from gshare.controller.identity import Peer, controller_itself
from gshare.controller.permanent import Permanent, check_readable
from gshare.controller.policy import Grant
from gshare.controller.processes import Run
from gshare.controller.protocol import Admit, GetQuotas, Limits, Pause, RemoveQuota, SetLimits, SetQuota
from gshare.controller.quotas import PermanentTenants
from gshare.controller.replies import Admitted, Changed, LimitsSet, Paused, Quotas
from gshare.controller.settings import Settings
from gshare.controller.store import QuotaStore
from gshare.controller.tenants import Tenant, Tenants
from gshare.controller.units import parse_tenant


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
        settings: Settings | None = None,
    ) -> None:
        self.tenants = tenants
        self.inventory = inventory
        self.settings = settings or Settings()
        self.capacities = Capacities(inventory, contexts)
        self.permanents = PermanentTenants(store, self.settings, tenants)
        self.admission = Admission(tenants, self.permanents, self.capacities, self.settings)

    def ownership(self, name: str) -> Ownership | None:
        """Whose a tenant is, running or permanent; None where there is none of this name."""
        return self.permanents.ownership(name)

    def admit(self, request: Admit, who: Peer | None = None) -> Admitted:
        """Decide about a run and, unless it is only asked about, make its tenant or let it join."""
        if not request.dry_run:
            self.forget_run(Run(request.pid, request.start_ticks))
            self.tenants.sweep()  # what has ended meanwhile neither holds a promise nor a name
        wish = self.admission.wish(request, who or controller_itself())
        if not isinstance(wish, Wish):
            return wish
        return self.admission.let_in(wish, self.admission.room(wish, self.admission.books()))

    def set_limits(self, request: SetLimits, who: Peer | None = None) -> LimitsSet:
        """Change a running tenant's limits and read them back."""
        tenant = self._find(request.target)
        amounts = policy.by_uuid(request.change.memory_on, alone(self._known(tenant)))
        if strange := set(amounts) - set(tenant.grants):
            raise NoSuchThing(f"--mem {min(strange)}", f"tenant {tenant.name} does not have this GPU")
        change = msgspec.structs.replace(request.change, memory_on=amounts)
        return self._apply(self._plan(tenant, policy.changed(tenant.limits, change), who))

    def set_quota(self, request: SetQuota) -> Quotas:
        """Check that a permanent quota can hold, write it down, and give it to the tenant if it runs."""
        parse_tenant(request.tenant, "quota set")
        permanent = self.permanents.changed(request)
        if permanent.limits == NOTHING_ASKED:
            raise UsageError(
                f"quota set {request.tenant}",
                "would leave no limit",
                f"gshare quota rm {request.tenant} forgets it",
            )
        plan = self._plan_permanent(request.tenant, permanent)
        self.permanents.put(request.tenant, permanent)
        if plan:
            self._apply(plan)
        return self.permanents.rows([request.tenant])

    def quotas(self, request: GetQuotas) -> Quotas:
        """The permanent quotas, or the one asked for."""
        return self.permanents.shown(request)

    def remove_quota(self, request: RemoveQuota) -> Quotas:
        """Forget a permanent quota; the reply tells what it was."""
        return self.permanents.remove(request.tenant)

    def reconfigure(self, name: str) -> None:
        """Give a tenant that runs what the configuration now says; on GshareError it keeps what it has."""
        permanent = self.settings.config.tenants.get(name)
        running = self.tenants.by_name.get(name)
        if permanent and running:
            plan = self._plan_permanent(name, permanent)
            if plan and plan.limits != running.limits:
                self._apply(plan)

    def target(self, target: str, command: str = "set", who: Peer | None = None) -> Tenant:
        """The running tenant that is meant by its name, short for a user's own, or by one of its pids."""
        if who and not target.isdigit() and target not in self.tenants.by_name:
            target = self.permanents.called(who, target)
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

    def forget_run(self, run: Run) -> None:
        """A process is in one tenant: where it asks twice, the first admission is void."""
        for tenant in self.tenants.by_name.values():
            if run in tenant.runs:
                tenant.runs.remove(run)

    def _plan(self, tenant: Tenant, limits: Limits, who: Peer | None = None) -> Plan:
        _check(Permanent(limits))
        asker = who or controller_itself()
        known, subjects = self._known(tenant), self.admission.subjects(asker, tenant.name)
        books.check_priority(limits, subjects)
        granted: dict[str, Grant] = {}
        now = self.admission.books()
        for _, capacity in known:
            if capacity.uuid not in tenant.grants:
                continue
            grant = granted[capacity.uuid] = policy.granted(limits, capacity)
            budgets = now.budgets(tenant.machine, alone(known), capacity, subjects)
            now.without(tenant.name)
            raised = _raised(grant, tenant.grants[capacity.uuid])
            books.check(budgets, raised, self.admission.sees(asker))
            modes = self.tenants.modes(capacity.uuid, but=tenant.name)
            books.check_mode(capacity, limits.mode, modes, self.admission.sees(asker))
        if not granted:
            raise GshareError(
                f"tenant {tenant.name}", "none of its devices is there any more", "end its programs"
            )
        return Plan(tenant, limits, granted)

    def _plan_permanent(self, name: str, permanent: Permanent) -> Plan | None:
        """What a permanent tenant's limits come to where it runs, else None: only whether they can be."""
        _check(permanent)
        running = self.tenants.by_name.get(name)
        if running:
            return self._plan(running, policy.on_devices(permanent.limits, alone(self._known(running))))
        self._check_possible(permanent.limits)
        if permanent.reserved:
            self._check_reservation(name, permanent.limits)
        return None

    def _check_reservation(self, name: str, limits: Limits) -> None:
        """Refuse to keep more than is left: what others run on and have reserved stays theirs."""
        known = alone(self.capacities.known(REAL))
        grants, now = books.reserved(limits, known), self.admission.books()
        for capacity in known:
            if capacity.uuid in grants:
                budgets = now.budgets(REAL, known, capacity, [])
                now.without(name)
                books.check(budgets, grants[capacity.uuid], lambda name: True)

    def _apply(self, plan: Plan) -> LimitsSet:
        tenant, rows = plan.tenant, plan.tenant.files.rows()
        index = {device.uuid: device.index for device, _ in self._known(tenant)}
        files, before = tenant.files, tenant.limits
        old = {uuid: (*files.grant(rows[uuid]), files.ceiling_ppm(rows[uuid])) for uuid in plan.grants}
        old_host = files.host_memory_bytes
        tenant.update(limits=plan.limits)
        for uuid, grant in plan.grants.items():
            files.change_memory(rows[uuid], grant)
            tenant.grants[uuid] = grant
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
                if target in map(str, pids) and name in self.tenants.by_name:
                    return self.tenants.by_name[name]
            raise NoSuchThing(f"{command} {target}", "no process of a tenant has this pid", "see gshare ps")
        raise NoSuchThing(f"{command} {target}", "no tenant of this name runs", "see gshare ps")

    def _check_possible(self, limits: Limits) -> None:
        """Refuse a quota that no device here could ever hold; without devices nothing can be said."""
        devices = alone(self.capacities.known(REAL))
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

    def _known(self, tenant: Tenant) -> Known:
        return self.capacities.known(tenant.machine)


def _check(permanent: Permanent) -> None:
    """Raise GshareError for what no tenant can have."""
    check_readable(permanent, "limits")
    limits = permanent.limits
    policy.check_host(limits, host.memory_bytes())
    policy.check_weight(limits)
    policy.check_rates(limits)


def _raised(new: Grant, old: Grant) -> Grant:
    """What of a new grant needs to be promised afresh: lowering one is always possible, lifting is not."""
    return Grant(*(_raised_one(after, before) for after, before in zip(new, old, strict=True)))


def _raised_one(after: int | None, before: int | None) -> int | None:
    if after is None:
        return 0 if before is None else None
    return after if after > (before or 0) else 0
