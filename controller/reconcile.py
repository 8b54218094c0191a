"""Once a second: what the driver says that processes have is held against what their tenants were charged.

The rest is taken off the tenant's limit, and stays in its quota: the limits file says both, so that the views
show it as used, and a controller that dies leaves it as it was.

Who is on a device without gshare, has more than it says, or more of its time than the share, is found
here, too; what is done about that is the auditor's.
"""

import asyncio
import logging
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from gshare.controller import suspicion
from gshare.controller.auditor import Auditor
from gshare.controller.config import Audit
from gshare.controller.devices import REAL
from gshare.controller.inspector import Inspector, Place, Seen, Statement, statement
from gshare.controller.occupants import Occupants
from gshare.controller.pieces import Work, by_turns
from gshare.controller.processes import command, start_ticks
from gshare.controller.region import now_ns
from gshare.controller.residue import BUSY_SAMPLES, Sample, residue_bytes
from gshare.controller.stopper import Stopper
from gshare.controller.suspicion import Found, Suspect
from gshare.controller.tenants import Tenant, Tenants
from gshare.shim import abi

log = logging.getLogger(__name__)

PATIENCE_S = 2.0
"""A driver that takes longer is left alone until it has answered."""

SIMULATED_MACHINE = "SIMGPU_MACHINE"
"""Names the simulated machine that a controller for all users looks after beside the real one."""

Ask = Callable[[str], Occupants | None]
Tell = Callable[[dict[str, Any]], None]

LOOK_S, LOOK_AGAIN_S = 1.0, 0.25
"""Between two looks; and after one that found something, which the next one confirms or not."""

Stranger = tuple[int, int, str]
"""A process (pid, start time) that nobody manages, on a device."""


class Reconciler:
    """Compares, second after second; `ask` says what processes have of a machine, `tell` gets events."""

    def __init__(
        self,
        tenants: Tenants,
        ask: Ask,
        tell: Tell,
        patience_s: float = PATIENCE_S,
        rules: Callable[[], Audit] = Audit,
        clock: Callable[[], int] = now_ns,
    ) -> None:
        self._tenants = tenants
        self._ask = ask
        self._tell = tell
        self._patience_s = patience_s
        self._asked: set[str] = set()
        """Machines that have not answered yet."""
        self._samples: dict[Place, list[Sample]] = {}
        self.strangers: dict[Stranger, int | None] = {}
        """What nobody manages, as seen last, with the memory that the driver says it has."""
        self.rules = rules
        self._clock = clock
        self._inspector = Inspector()
        stopper = Stopper(machine_wide=tenants.runtime.machine_wide)
        self._auditor = Auditor(tenants, tell, self._current_rules, stopper)
        self._found: Found = {}
        """In the last look."""
        self.next_look_s = LOOK_S

    async def look(self) -> None:
        """Ask about each machine that a tenant is on, and carry out what the answers come to."""
        machines = {tenant.machine for tenant in self._tenants.by_name.values()}
        if self._tenants.runtime.machine_wide:
            machines |= {REAL, os.environ.get(SIMULATED_MACHINE, REAL)}
        answers = zip(machines, await asyncio.gather(*map(self._look_at, machines)), strict=True)
        parts = {machine: part for machine, part in answers if part is not None}
        found = {suspect: details for part in parts.values() for suspect, details in part.items()}
        self.strangers = {
            (suspect.pid, suspect.start_ticks, suspect.uuid): details["bytes"]
            for suspect, details in found.items()
            if suspect.what == suspicion.UNMANAGED
        }
        self._auditor.carry_out(suspicion.confirmed(found, self._found), self._clock(), parts)
        self.next_look_s = LOOK_AGAIN_S if found.keys() - self._found.keys() else LOOK_S
        self._found = found
        running = self._tenants.by_name
        self._samples = {place: kept for place, kept in self._samples.items() if place[0] in running}
        self._inspector.keep(running)

    async def _look_at(self, machine: str) -> Found | None:
        """Take a sample of each tenant on the machine; returns about whom something is found.

        None where its driver does not say.
        """
        before = await by_turns(self._stating(machine))
        occupants = await self._answer(machine)
        return None if occupants is None else await by_turns(self._comparing(machine, before, occupants))

    def _stating(self, machine: str) -> Work[dict[str, Statement]]:
        """What all tenants on the machine say of themselves."""
        said: dict[str, Statement] = {}
        for tenant in self._on(machine):
            yield
            if self._tenants.runs(tenant):
                said[tenant.name] = statement(tenant)
        return said

    def _comparing(self, machine: str, before: dict[str, Statement], occupants: Occupants) -> Work[Found]:
        """Hold the driver's answer against that, and against what they say now."""
        found: Found = {}
        there: dict[Place, list[Seen]] = {}
        for one in self._seen(occupants):
            yield
            pid, ticks, uuid = one.key
            if one.tenant:
                there.setdefault((one.tenant, uuid), []).append(one)
            else:
                details = {"bytes": one.occupant.held_bytes, "command": command(pid)}
                found[Suspect(suspicion.UNMANAGED, "", uuid, pid, ticks)] = details
        for tenant in self._on(machine):
            yield
            said = before.get(tenant.name)
            if said and self._tenants.runs(tenant):
                found |= self._hold(tenant, said, occupants, there)
        return found

    def _hold(
        self, tenant: Tenant, before: Statement, occupants: Occupants, there: Mapping[Place, Sequence[Seen]]
    ) -> Found:
        """The same of one tenant."""
        found: Found = {}
        after, now_ns = statement(tenant, before), self._clock()
        for uuid, total in after.totals.items():
            seen = there.get((tenant.name, uuid), ())
            if uuid in occupants:
                sizes = [one.occupant.held_bytes for one in seen]
                if None not in sizes:
                    was = before.totals[uuid]
                    charged = max(was.used_bytes, total.used_bytes)
                    sample = Sample(sum(filter(None, sizes)), charged, was.change == total.change)
                    found |= self._settle(tenant, uuid, sample)
            found |= self._inspector.inspect(tenant, uuid, seen, before, after, now_ns)
        return found

    def _current_rules(self) -> Audit:
        return self.rules()

    def _on(self, machine: str) -> list[Tenant]:
        return [tenant for tenant in self._tenants.by_name.values() if tenant.machine == machine]

    def _seen(self, occupants: Occupants) -> Iterator[Seen]:
        """Who is there, and whose they are, without those who have ended and another controller's."""
        whose = self._tenants.whose({pid for those in occupants.values() for pid in those})
        known = {pid: (tenant, start_ticks(pid)) for pid, tenant in whose.items()}
        for uuid, those in occupants.items():
            for pid, occupant in those.items():
                tenant, ticks = known[pid]
                if tenant is not None and ticks is not None:
                    yield Seen((pid, ticks, uuid), tenant, occupant)

    async def _answer(self, machine: str) -> Occupants | None:
        """Ask in a thread, and no second time before the first answer: a driver may hang for ever."""
        if machine in self._asked:
            return None
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Occupants | None] = loop.create_future()

        def settle(occupants: Occupants | None) -> None:
            self._asked.discard(machine)
            if not answer.done():
                answer.set_result(occupants)

        def ask() -> None:
            occupants = None
            try:
                occupants = self._ask(machine)
            except Exception:
                log.exception("processes on the GPUs cannot be listed")
            with suppress(RuntimeError):  # the controller has ended meanwhile
                loop.call_soon_threadsafe(settle, occupants)

        self._asked.add(machine)
        threading.Thread(target=ask, daemon=True).start()
        try:
            return await asyncio.wait_for(answer, self._patience_s)
        except asyncio.TimeoutError:
            log.warning(
                "the driver has not listed processes for %g s: limits stay as they are", self._patience_s
            )
            return None

    def _settle(self, tenant: Tenant, uuid: str, sample: Sample) -> Found:
        name, files, row = tenant.name, tenant.files, tenant.rows[uuid]
        place = name, uuid
        limits = files.limits.device(row)
        quota_bytes = limits.memory_quota_bytes
        if not quota_bytes or quota_bytes == abi.NO_LIMIT_BYTES:
            return {}  # nothing to take it off
        samples = self._samples[place] = [*self._samples.get(place, []), sample][-BUSY_SAMPLES:]
        was = quota_bytes - limits.memory_limit_bytes
        now = residue_bytes(samples, was) if was or sample.excess_bytes else 0
        if now != was:
            files.take_off(row, now)
            now = files.residue_bytes(row)
        if bool(now) != bool(was):
            log.info("%s has %d bytes of %s that nobody was charged for", name, now, uuid)
            self._tell({"what": "residue", "tenant": name, "uuid": uuid, "bytes": now})
        if not sample.excess_bytes or sample.present_bytes <= quota_bytes:
            return {}
        details = {"bytes": sample.present_bytes, "quota_bytes": quota_bytes}
        return {Suspect(suspicion.OVER_QUOTA, name, uuid): details}
