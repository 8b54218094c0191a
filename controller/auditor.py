"""Carries out what the audit comes to: tells, pauses and stops, as the configuration has it."""

import logging
from collections.abc import Callable, Iterable
from typing import Any

from gshare.controller import sanctions
from gshare.controller.config import Audit
from gshare.controller.errors import GshareError
from gshare.controller.processes import command
from gshare.controller.sanctions import PAUSE, STOP, WARN
from gshare.controller.stopper import Stopper
from gshare.controller.suspicion import Found, Suspect
from gshare.controller.tenants import Tenant, Tenants

log = logging.getLogger(__name__)

FOUND_AGAIN_NS = 10_000_000_000
"""Within that whatever is the matter is found: who was paused goes on only once a driver has answered for so
long, after an earlier controller or while it hung."""

Tell = Callable[[dict[str, Any]], None]


class Auditor:
    """Knows since when who is found, and what has been done about them."""

    def __init__(self, tenants: Tenants, tell: Tell, rules: Callable[[], Audit], stopper: Stopper) -> None:
        self._tenants = tenants
        self._tell = tell
        self._rules = rules
        self._stopper = stopper
        self._since_ns: dict[Suspect, int] = {}
        self._warned: set[Suspect] = set()
        self._answering_ns: dict[str, int] = {}
        """Since when, by machine."""

    def carry_out(self, found: Found, now_ns: int, answered: Iterable[str]) -> None:
        """Go on with all who are found; let go of who is not any more, on machines that have answered."""
        self._answering_ns = {machine: self._answering_ns.get(machine, now_ns) for machine in answered}
        self._since_ns = {suspect: self._since_ns.get(suspect, now_ns) for suspect in found}
        self._warned &= found.keys()
        rules = self._rules()
        steps = {
            suspect: sanctions.step(suspect, rules, since_ns, now_ns)
            for suspect, since_ns in self._since_ns.items()
        }
        for suspect, step in steps.items():
            if step >= WARN and suspect not in self._warned:
                self._warned.add(suspect)
                self._note(suspect, found[suspect], "warned")
        self._pause({s.tenant: s for s, step in steps.items() if step >= PAUSE and s.tenant}, found)
        self._resume({s.tenant for s in found if sanctions.pauses(s, rules)}, now_ns)
        self._stop([suspect for suspect, step in steps.items() if step >= STOP], found, now_ns)

    def _pause(self, wanted: dict[str, Suspect], found: Found) -> None:
        for name, suspect in wanted.items():
            tenant = self._tenants.by_name.get(name)
            if tenant and not tenant.files.limits.paused:
                if not tenant.audit_paused:  # else somebody has let it go on: it does not
                    self._note(suspect, found[suspect], "paused")
                self._set_paused(tenant, paused=True)

    def _resume(self, found: set[str], now_ns: int) -> None:
        """Whom we have paused, or a controller before us, and about whom nothing is found any more."""
        for name, tenant in self._tenants.by_name.items():
            answering_ns = now_ns - self._answering_ns.get(tenant.machine, now_ns)
            if tenant.audit_paused and name not in found and answering_ns >= FOUND_AGAIN_NS:
                self._set_paused(tenant, paused=False)

    def _set_paused(self, tenant: Tenant, *, paused: bool) -> None:
        """Of a controller that ends in between the next one knows whom it is to let go on."""
        if paused:
            self._remember(tenant, paused=True)
        limits = tenant.files.limits
        if limits.paused != paused:
            limits.set_paused(paused)
            self._tenants.apportion()
            self._tenants.on_change("paused" if paused else "resumed", tenant.name)
        if not paused:
            self._remember(tenant, paused=False)

    def _remember(self, tenant: Tenant, *, paused: bool) -> None:
        try:
            tenant.update(audit_paused=paused)
        except GshareError as error:
            log.warning("a later controller will not know of a pause: %s", error)
            tenant.audit_paused = paused

    def _stop(self, suspects: list[Suspect], found: Found, now_ns: int) -> None:
        targets: dict[int, Suspect] = {}
        for suspect in suspects:
            pid = suspect.pid or found[suspect].get("pid")
            pids = {pid} if pid else self._tenants.processes().get(suspect.tenant, set())
            if (
                suspect.tenant
            ):  # slots are the tenant's own to write: nobody else's process ends for what they say
                pids = {one for one, owner in self._tenants.whose(pids).items() if owner == suspect.tenant}
            targets |= dict.fromkeys(pids, suspect)
        self._stopper.keep(set(targets))
        for pid, action in self._stopper.stop(targets, now_ns).items():
            suspect = targets[pid]
            self._note(suspect, {**found[suspect], "pid": pid, "command": command(pid)}, action)

    def _note(self, suspect: Suspect, details: dict[str, Any], action: str) -> None:
        event = {
            "what": suspect.what,
            "tenant": suspect.tenant,
            "uuid": suspect.uuid,
            "pid": suspect.pid,
            "how": suspect.how,
            **details,
            "action": action,
        }
        log.warning("audit: %s", event)
        self._tell(event)
