"""What is promised to whom, of each GPU and of what each user and group may have, at one moment."""

import os
import pwd
from collections.abc import Mapping
from typing import NamedTuple

from gshare.controller import identity, policy
from gshare.controller.budget import Budget, NoRoom, Sees
from gshare.controller.config import EVERYBODY, Ceiling, Config
from gshare.controller.errors import GshareError, NotPermitted
from gshare.controller.permanent import Permanent
from gshare.controller.policy import Capacity, Grant
from gshare.controller.processes import user_name
from gshare.controller.protocol import Limits
from gshare.controller.shares import RANKS
from gshare.controller.tenants import Tenant
from gshare.controller.units import FULL_PPM

RESERVED = " (reserved)"
"""After the name of a tenant that does not run, and for which its guarantees are kept."""


class Subject(NamedTuple):
    """Somebody for whom there is a ceiling."""

    name: str
    ceiling: Ceiling


class People:
    """Who has which ceilings; the groups that somebody was in when they asked are remembered."""

    def __init__(self) -> None:
        self._groups: dict[int, frozenset[int]] = {}

    def note(self, uid: int, groups: frozenset[int]) -> None:
        """What the kernel says of somebody who asks."""
        self._groups[uid] = groups

    def subjects(self, uid: int, config: Config) -> list[Subject]:
        """The ceilings that hold for a user: their own, and those of their groups."""
        found = []
        if config.users:
            name = user_name(uid)
            ceiling = config.users.get(name, config.users.get(str(uid), config.users.get(EVERYBODY)))
            found += [Subject(f"user {name}", ceiling)] if ceiling else []
        if config.groups:
            groups = self._groups_of(uid)
            found += [
                Subject(f"group {name}", ceiling)
                for name, ceiling in config.groups.items()
                if not identity.group_ids([name]).isdisjoint(groups)
            ]
        return found

    def _groups_of(self, uid: int) -> frozenset[int]:
        if uid not in self._groups:
            try:
                user = pwd.getpwuid(uid)
                self._groups[uid] = frozenset(os.getgrouplist(user.pw_name, user.pw_gid))
            except KeyError:
                self._groups[uid] = frozenset()
        return self._groups[uid]


class Books:
    """Budgets, filled once from who runs, and kept up as more is promised; good until somebody ends."""

    def __init__(
        self,
        tenants: Mapping[str, Tenant],
        permanents: Mapping[str, Permanent],
        config: Config,
        people: People,
    ) -> None:
        self._tenants = tenants
        self._permanents = permanents
        self._config = config
        self._people = people
        self._devices: dict[str, Budget] = {}
        self._ceilings: dict[tuple[str, str], Budget] = {}
        self._reservations: dict[str, dict[str, dict[str, Grant]]] = {}
        self._subjects: dict[int, list[Subject]] = {}

    def subjects(self, uid: int) -> list[Subject]:
        """The ceilings that hold for a user."""
        if uid not in self._subjects:
            self._subjects[uid] = self._people.subjects(uid, self._config)
        return self._subjects[uid]

    def budgets(
        self, machine: str, known: list[Capacity], capacity: Capacity, subjects: list[Subject]
    ) -> list[Budget]:
        """What there must be room in for more on a device: its own budget first, then those of ceilings."""
        if capacity.uuid not in self._devices:
            self._devices[capacity.uuid] = self._device(machine, known, capacity)
        found = [self._devices[capacity.uuid]]
        for subject in subjects:
            key = subject.name, capacity.uuid
            if key not in self._ceilings:
                self._ceilings[key] = self._ceiling(subject, capacity)
            found.append(self._ceilings[key])
        return found

    def promise(self, tenant: Tenant) -> None:
        """Enter a tenant that has just been made."""
        for uuid, grant in tenant.grants.items():
            self._enter(self._devices.get(uuid), tenant.name, grant)
            for subject in self._counted(tenant):
                self._enter(self._ceilings.get((subject.name, uuid)), tenant.name, grant)

    def without(self, name: str) -> None:
        """Leave out what a tenant holds, or has reserved: it is about to hold something else."""
        for budget in (*self._devices.values(), *self._ceilings.values()):
            budget.remove(name)
            budget.remove(name + RESERVED)

    def check_number(self, subjects: list[Subject]) -> None:
        """Raise NoRoom for who runs as many tenants as they may."""
        for subject in subjects:
            most = subject.ceiling.tenants
            running = sum(subject in self._counted(tenant) for tenant in self._tenants.values())
            if most is not None and running >= most:
                has = f"{subject.name} has {running} running, {most} at most"
                raise NoRoom("a tenant more", has, "wait until one ends")

    def reservations(self, machine: str, known: list[Capacity]) -> dict[str, dict[str, Grant]]:
        """What is kept on a machine's devices for tenants that do not run there, by their names."""
        if machine not in self._reservations:
            self._reservations[machine] = {
                name: reserved(permanent.limits, known)
                for name, permanent in self._permanents.items()
                if permanent.reserved
                and not (name in self._tenants and self._tenants[name].machine == machine)
            }
        return self._reservations[machine]

    def _enter(self, budget: Budget | None, name: str, grant: Grant) -> None:
        if budget is not None:
            budget.remove(name)
            budget.add(name, grant)

    def _counted(self, tenant: Tenant) -> list[Subject]:
        """Whose ceilings a tenant counts under; a permanent one is an administrator's word, and apart."""
        return [] if tenant.name in self._permanents else self.subjects(tenant.owner_uid)

    def _device(self, machine: str, known: list[Capacity], capacity: Capacity) -> Budget:
        admission = self._config.admission
        budget = Budget(
            f"GPU {capacity.index}",
            int(capacity.memory_bytes * admission.memory_overcommit),
            int(FULL_PPM * admission.compute_overcommit),
        )
        for tenant in self._tenants.values():
            if grant := tenant.grants.get(capacity.uuid):
                budget.add(tenant.name, grant)
        for name, grants in self.reservations(machine, known).items():
            if capacity.uuid in grants:
                budget.add(name + RESERVED, grants[capacity.uuid])
        return budget

    def _ceiling(self, subject: Subject, capacity: Capacity) -> Budget:
        memory = subject.ceiling.memory
        name = f"{subject.name} on GPU {capacity.index}"
        total = None if memory is None else memory.on(capacity.memory_bytes)
        budget = Budget(name, total, subject.ceiling.compute_ppm, strict=True)
        for tenant in self._tenants.values():
            grant = tenant.grants.get(capacity.uuid)
            if grant and subject in self._counted(tenant):
                budget.add(tenant.name, grant)
        return budget


def check_priority(limits: Limits, subjects: list[Subject]) -> None:
    """Raise NotPermitted for a higher priority than somebody may ask for."""
    asked = limits.priority or "normal"
    for subject in subjects:
        highest = subject.ceiling.priority
        if highest is not None and RANKS[asked] > RANKS[highest]:
            raise NotPermitted(
                f"--priority {asked}",
                f"{subject.name} may ask for {highest} at most",
                f"--priority {highest}",
            )


def check_mode(device: Capacity, mode: str | None, others: Mapping[str, str | None], sees: Sees) -> None:
    """Raise NoRoom where another tenant on the device insists on the other mode: for as long as it runs."""
    opposite = {"turns": "concurrent", "concurrent": "turns"}.get(mode or "")
    opposed = [name for name, other in others.items() if opposite and other == opposite]
    if opposed:
        who = next((f"tenant {name}" for name in opposed if sees(name)), "another user's tenant")
        why = f"{who} on GPU {device.index} asked for {opposite}"
        raise NoRoom(f"--mode {mode}", why, "leave it out, change the other one's, or wait until it ends")


def check(budgets: list[Budget], grant: Grant, sees: Sees) -> None:
    """Raise NoRoom, or what else is the matter, where a grant does not fit into one of them."""
    for budget in reversed(budgets):  # one's own ceiling says more than a device that is full besides
        budget.check(grant, sees)


def reserved(limits: Limits, known: list[Capacity]) -> dict[str, Grant]:
    """What limits come to on each device, as far as it can have them at all."""
    found: dict[str, Grant] = {}
    try:
        limits = policy.on_devices(limits, known)
    except GshareError:  # of devices that are not on this machine
        return found
    for capacity in policy.accessible(limits, [], known):
        try:
            found[capacity.uuid] = policy.granted(limits, capacity)
        except GshareError:
            continue
    return found
