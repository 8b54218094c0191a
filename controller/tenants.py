"""The tenants that run now: their files, their processes, and which row of their limits is which device."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path

import msgspec

from gshare.controller import authority, identity, region
from gshare.controller.apportion import Apportioner, Party
from gshare.controller.authority import Ownership
from gshare.controller.devices import Found
from gshare.controller.errors import GshareError, OverCapacity
from gshare.controller.handover import Keeping
from gshare.controller.identity import Credentials
from gshare.controller.owners import owner
from gshare.controller.paths import Runtime
from gshare.controller.pieces import Work, at_once
from gshare.controller.policy import Capacity, Grant
from gshare.controller.processes import Run, host_pid, looking_for_members
from gshare.controller.protocol import Limits
from gshare.controller.region import Note, TenantFiles
from gshare.controller.shares import Seen
from gshare.shim import abi


@dataclass
class Tenant:
    """One tenant; what it may have is in its files, `limits` is how it was asked for."""

    name: str
    machine: str
    gpus: list[str]
    limits: Limits
    files: TenantFiles
    runs: list[Run] = field(default_factory=list)
    owner_uid: int = field(default_factory=os.geteuid)
    grants: dict[str, Grant] = field(default_factory=dict)
    """What it is promised on each device that it may use."""
    audit_paused: bool = False
    """It is the audit that has paused it, and lets it go on."""

    @cached_property
    def rows(self) -> dict[str, int]:
        """The row of each device that it may use, in its own files and in the activity."""
        return {uuid: row for uuid, row in self.files.rows().items() if uuid in self.grants}

    def update(
        self,
        *,
        limits: Limits | None = None,
        runs: list[Run] | None = None,
        audit_paused: bool | None = None,
    ) -> None:
        """Change what is known about the tenant, written down first for a controller that may adopt it."""
        limits = self.limits if limits is None else limits
        runs = self.runs if runs is None else runs
        audit_paused = self.audit_paused if audit_paused is None else audit_paused
        self.files.write_note(Note(self.machine, self.gpus, limits, runs, self.owner_uid, audit_paused))
        self.limits, self.runs, self.audit_paused = limits, runs, audit_paused


class DeviceTable:
    """Which row of every limits file, and of every activity record, is which device.

    Tenants look into each other's activity, so that a row means one device to all of them, real or simulated.
    """

    def __init__(self) -> None:
        self.rows: list[str | None] = []

    def row(self, uuid: str, in_use: set[str]) -> int:
        """The device's row, taken from a device nobody uses any more where the table is full."""
        if uuid in self.rows:
            return self.rows.index(uuid)
        if len(self.rows) < abi.MAX_DEVICES:
            self.rows.append(uuid)
            return len(self.rows) - 1
        for row, other in enumerate(self.rows):
            if other is None or other not in in_use:
                self.rows[row] = uuid
                return row
        raise OverCapacity(uuid, f"{abi.MAX_DEVICES} devices are in use, and no more fit")

    def keep(self, row: int, uuid: str) -> None:
        """Take over a row as an adopted tenant's files have it."""
        self.rows.extend([None] * (row + 1 - len(self.rows)))
        self.rows[row] = uuid


class Tenants:
    """All tenants of one runtime directory."""

    def __init__(self, runtime: Runtime, keeping: Keeping | None = None) -> None:
        self.runtime = runtime
        self.keeping = keeping
        """Where limits and usage are on a machine-wide controller; None: in files."""
        self.ownership: Callable[[str], Ownership | None] = lambda name: None
        """Whose a tenant is, running or permanent."""
        self.table = DeviceTable()
        self.by_name: dict[str, Tenant] = {}
        self.owners: dict[str, int] = {}
        """Whose each is, until everybody has been told that it has ended."""
        self.unusable: dict[str, GshareError] = {}
        """Folders that could not be adopted, and in which something still runs: their names are taken."""
        self.on_change: Callable[[str, str], None] = lambda what, tenant: None
        self.on_ending: Callable[[Tenant], None] = lambda tenant: None
        """Called while a tenant's files are still there."""
        self.apportioner = Apportioner()
        self._activity: abi.Activity | None = None
        self._together = 0
        self._unsettled = False

    def grants(self, uuid: str) -> dict[str, Grant]:
        """What each tenant may have on a device."""
        return {name: tenant.grants[uuid] for name, tenant in self.by_name.items() if uuid in tenant.grants}

    def modes(self, uuid: str, *, but: str = "") -> dict[str, str | None]:
        """What mode each tenant on a device, except one, has asked for."""
        return {
            name: tenant.limits.mode
            for name, tenant in self.by_name.items()
            if name != but and uuid in tenant.grants
        }

    def create(
        self, name: str, machine: str, gpus: list[str], limits: Limits, grants: dict[str, Grant],
        known: list[tuple[Found, Capacity]], run: Run, owner_uid: int,
    ) -> Tenant:  # fmt: skip
        """Make a tenant with its first process; where that fails, nothing is left behind."""
        taken = {tenant.files.index for tenant in self.by_name.values()}
        index = self._index(name, taken, owner_uid)
        in_use = {uuid for tenant in self.by_name.values() for uuid in tenant.grants} | set(grants)
        for device, _ in known:
            self.table.row(device.uuid, in_use)
        capacities = {device.uuid: capacity for device, capacity in known}
        table = [capacities.get(uuid) if uuid else None for uuid in self.table.rows]
        self.open_activity().clear(index)
        note = Note(machine, gpus, limits, [run], owner_uid)
        keep = partial(self.keeping.put, name, index, self._owned(name, owner_uid)) if self.keeping else None
        try:
            files = region.create_tenant(self.runtime, name, index, table, grants, note, keep)
        except BaseException:
            if self.keeping:
                self.keeping.drop(name)
            raise
        tenant = Tenant(name, machine, gpus, limits, files, [run], owner_uid, dict(grants))
        self.by_name[name] = tenant
        self.owners[name] = owner_uid
        self._settle()
        self.on_change("started", name)
        return tenant

    def adopt(self, name: str) -> Tenant:
        """Take over a tenant of an earlier controller; raise GshareError for files that cannot be used."""
        parts = self.keeping.parts(name) if self.keeping else None
        files = TenantFiles(self.runtime.tenants / name, parts)
        for uuid, row in files.rows().items():
            self.table.keep(row, uuid)
        note = files.note()
        compute_ppm, ceiling_ppm = files.compute()
        limits = msgspec.structs.replace(
            note.limits,
            host_memory_bytes=files.host_memory_bytes,
            compute_ppm=compute_ppm,
            ceiling_ppm=ceiling_ppm if ceiling_ppm != compute_ppm else None,
            copy_bytes_per_s=files.copy_rates(),
        )
        owner_uid = os.geteuid() if note.owner_uid is None else note.owner_uid
        tenant = Tenant(
            name,
            note.machine,
            note.gpus,
            limits,
            files,
            note.runs,
            owner_uid,
            files.grants(),
            note.audit_paused,
        )
        self.by_name[name] = tenant
        self.owners[name] = owner_uid
        self._tell_bound()
        return tenant

    def processes(self) -> dict[str, set[int]]:
        """The live processes of every tenant: those that run was, their children, and who holds a slot."""
        return at_once(self.looking())

    def looking(self) -> Work[dict[str, set[int]]]:
        """The same in pieces."""
        started = yield from looking_for_members(self.runtime.tenants)
        found = {name: set(pids) for name, pids in started.items()}
        for name, tenant in list(self.by_name.items()):
            yield
            if not self.runs(tenant):
                continue
            pids = found.get(name, set())
            pids.update(host_pid(slot) for slot in tenant.files.usage.slots(0))
            pids = {pid for pid in pids if self.may_be_in(name, pid)}  # both are what they say of themselves
            found[name] = pids.union(run.pid for run in tenant.runs if run.alive())
        return found

    def runs(self, tenant: Tenant) -> bool:
        """Whether it has not ended, nor another one of its name begun."""
        return self.by_name.get(tenant.name) is tenant

    def whose(self, pids: Iterable[int]) -> dict[int, str | None]:
        """Whose each process is (owners.owner), whatever slots say of it."""
        runs = {run.pid: tenant.name for tenant in self.by_name.values() for run in tenant.runs}
        where, sole = self.runtime.tenants, self.runtime.machine_wide
        return {pid: owner(pid, where, runs, self.may_be_in, sole=sole) for pid in pids}

    def let_in(self, name: str) -> None:
        """Let those have a tenant's memory, from now on, who may run in it."""
        if self.keeping and name in self.by_name:
            tenant = self.by_name[name]
            self.keeping.allow(name, self._owned(name, tenant.owner_uid), tenant.files.directory)

    def _owned(self, name: str, owner_uid: int) -> Ownership:
        return self.ownership(name) or Ownership(owner_uid)

    def may_be_in(self, name: str, pid: int) -> bool:
        """Whether a process that says so can be a tenant's; on a user's own controller all are the user's."""
        if self.keeping is None:
            return True
        try:
            uid = os.stat(f"/proc/{pid}").st_uid
        except OSError:
            return False
        owner_uid = self.owners.get(name, os.geteuid())
        return authority.may_run(identity.peer(Credentials(uid, uid, pid)), self._owned(name, owner_uid))

    def _index(self, name: str, taken: set[int], owner_uid: int) -> int:
        """The place of a new tenant's record in the activity file."""
        if self.keeping:
            if not taken and not self.unusable and self.keeping.renew():
                self._close_activity()
            return self.keeping.index(taken, name, self._owned(name, owner_uid))
        index = next((free for free in range(abi.MAX_TENANTS) if free not in taken), None)
        if index is None:
            raise OverCapacity(
                f"tenant {name}", f"{abi.MAX_TENANTS} tenants run already", "wait until one ends"
            )
        return index

    def sweep(self) -> list[str]:
        """Remove the tenants whose last process has ended, and return their names."""
        for tenant in self.by_name.values():
            tenant.runs = [run for run in tenant.runs if run.alive()]
        suspects = [name for name, tenant in self.by_name.items() if not tenant.runs]
        if not suspects and not self.unusable:
            return []
        living = self.processes()
        gone = [name for name in suspects if not living.get(name)]
        with self.together():
            for name in gone:
                self.remove(name)
        for name in [name for name in self.unusable if not living.get(name)]:
            self.forget(name)
            del self.unusable[name]
        return gone

    def remove(self, name: str) -> None:
        """Forget a tenant and remove its files."""
        tenant = self.by_name.pop(name)
        self.on_ending(tenant)
        tenant.files.close()
        self.forget(name)
        self._settle()
        self.on_change("ended", name)
        del self.owners[name]

    def forget(self, name: str) -> None:
        """Remove the files of a tenant in which nobody runs any more."""
        region.remove_tenant(self.runtime.tenants / name)
        if self.keeping:
            self.keeping.drop(name)

    @contextmanager
    def together(self) -> Iterator[None]:
        """Let many come or go, and tell those who stay once, at the end: before anybody is answered."""
        self._together += 1
        try:
            yield
        finally:
            self._together -= 1
            if self._unsettled:
                self._settle()

    def _settle(self) -> None:
        """Tell all tenants what follows from one that came or went."""
        self._unsettled = self._together > 0
        if self._unsettled:
            return
        self._tell_bound()
        self.apportion()

    def close(self) -> None:
        """Let go of all files; tenants and their limits stay."""
        self.apportioner.lender.close()
        for tenant in self.by_name.values():
            tenant.files.close()
        self._close_activity()
        if self.keeping:
            self.keeping.close()

    def _close_activity(self) -> None:
        if self._activity:
            self._activity.close()
            self._activity = None

    def open_activity(self) -> abi.Activity:
        """The activity file that all tenants share, made at its first use."""
        if self._activity is None:
            self._activity = self.keeping.activity() if self.keeping else region.open_activity(self.runtime)
        return self._activity

    def apportion(self) -> None:
        """Give every tenant its share of each of its devices, as it follows from what all have asked for."""
        if self.by_name and self._activity is None:
            with suppress(abi.AbiError):  # then nothing is lent: who borrowed could not be seen
                self._activity = (
                    self.keeping.activity()
                    if self.keeping
                    else abi.Activity(self.runtime.activity, writable=True)
                )
        self.apportioner.apply(self._parties(), self._activity)

    def reconsider(self, seen: Mapping[str, Sequence[Seen]]) -> None:
        """Decide, once a second, whether tenants had better take turns, where they leave that to gshare."""
        if self.apportioner.reconsider(self._parties(), seen, region.now_ns()):
            self.apportion()

    def _parties(self) -> list[Party]:
        return [Party(tenant.files, tenant.limits, tenant.rows) for tenant in self.by_name.values()]

    def _tell_bound(self) -> None:
        """Tell every tenant how far it has to look for neighbours."""
        bound = 1 + max((tenant.files.index for tenant in self.by_name.values()), default=-1)
        for tenant in self.by_name.values():
            tenant.files.limits.tenants_bound = bound


def folders(tenants: Path) -> list[str]:
    """The tenants whose files are there; what was left half built is not among them."""
    with os.scandir(tenants) as entries:
        found = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    return sorted(name for name in found if not name.startswith("."))
