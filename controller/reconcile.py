"""Once a second: what the driver says that processes have is held against what their tenants were charged.

The rest is taken off the tenant's limit, and stays in its quota: the limits file says both, so that the views
show it as used, and a controller that dies leaves it as it was.
"""

import asyncio
import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from gshare.controller.occupants import Occupants
from gshare.controller.owners import NOBODY, owner
from gshare.controller.processes import command, start_ticks
from gshare.controller.residue import BUSY_SAMPLES, Sample, residue_bytes
from gshare.controller.tenants import Tenants
from gshare.shim import abi

log = logging.getLogger(__name__)

PATIENCE_S = 2.0
"""A driver that takes longer is left alone until it has answered."""

Ask = Callable[[str], Occupants | None]
Tell = Callable[[dict[str, Any]], None]

Place = tuple[str, str]
"""A tenant on a device."""

Stranger = tuple[int, int, str]
"""A process (pid, start time) that nobody manages, on a device."""


class Reconciler:
    """Compares, second after second; `ask` says what processes have of a machine, `tell` gets events."""

    def __init__(self, tenants: Tenants, ask: Ask, tell: Tell, patience_s: float = PATIENCE_S) -> None:
        self._tenants = tenants
        self._ask = ask
        self._tell = tell
        self._patience_s = patience_s
        self._asked: set[str] = set()
        """Machines that have not answered yet."""
        self._samples: dict[Place, list[Sample]] = {}
        self.strangers: dict[Stranger, int | None] = {}
        """What nobody manages, as seen last, with the memory that the driver says it has."""
        self._told: set[Stranger] = set()

    async def look(self) -> None:
        """Ask about each machine that a tenant is on, and carry out what the answers come to."""
        machines = {tenant.machine for tenant in self._tenants.by_name.values()}
        found = await asyncio.gather(*map(self._look_at, machines))
        strangers = {stranger: held for part in found for stranger, held in part.items()}
        for stranger in (strangers.keys() & self.strangers.keys()) - self._told:
            self._tell_of(stranger)
        self._told = (self._told | self.strangers.keys()) & strangers.keys()
        self.strangers = strangers
        running = self._tenants.by_name
        self._samples = {place: kept for place, kept in self._samples.items() if place[0] in running}

    async def _look_at(self, machine: str) -> dict[Stranger, int | None]:
        """Take a sample of each tenant on the machine; returns who is none's."""
        before = self._charges(machine)
        occupants = await self._answer(machine)
        if occupants is None:
            return {}
        after = self._charges(machine)
        present: dict[Place, list[int | None]] = {place: [] for place in after if place[1] in occupants}
        strangers: dict[Stranger, int | None] = {}
        for uuid, held in occupants.items():
            for pid, held_bytes in held.items():
                name = self._owner(pid)
                if name == NOBODY:
                    strangers[pid, start_ticks(pid) or 0, uuid] = held_bytes
                elif name and (name, uuid) in present:
                    present[name, uuid].append(held_bytes)
        for place, sizes in present.items():
            known = [size for size in sizes if size is not None]
            if place in before and len(known) == len(sizes):
                quiet = before[place].change == after[place].change
                charged = max(before[place].used_bytes, after[place].used_bytes)
                self._settle(place, Sample(sum(known), charged, quiet))
        return strangers

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

    def _charges(self, machine: str) -> dict[Place, abi.DeviceUsage]:
        return {
            (tenant.name, uuid): tenant.files.usage.device(row)
            for tenant in self._tenants.by_name.values()
            if tenant.machine == machine
            for uuid, row in tenant.files.rows().items()
        }

    def _owner(self, pid: int) -> str | None:
        runs = {run.pid: tenant.name for tenant in self._tenants.by_name.values() for run in tenant.runs}
        return owner(pid, self._tenants.runtime.tenants, runs, self._tenants.may_be_in)

    def _settle(self, place: Place, sample: Sample) -> None:
        name, uuid = place
        files = self._tenants.by_name[name].files
        row = files.rows()[uuid]
        if not files.grant(row).memory_bytes:
            return  # nothing to take it off
        samples = self._samples[place] = [*self._samples.get(place, []), sample][-BUSY_SAMPLES:]
        was = files.residue_bytes(row)
        files.take_off(row, residue_bytes(samples, was))
        now = files.residue_bytes(row)
        if bool(now) != bool(was):
            log.info("%s has %d bytes of %s that nobody was charged for", name, now, uuid)
            self._tell({"what": "residue", "tenant": name, "uuid": uuid, "bytes": now})

    def _tell_of(self, stranger: Stranger) -> None:
        pid, _, uuid = stranger
        log.warning("process %d uses %s without gshare: %s", pid, uuid, command(pid))
        self._tell({"what": "unmanaged", "tenant": "", "uuid": uuid, "pid": pid, "command": command(pid)})
