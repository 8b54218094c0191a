"""Carries out what the audit comes to: tells, pauses and stops, as the configuration has it."""

import logging
from collections.abc import Callable
from typing import Any

from gshare.controller import sanctions
from gshare.controller.config import Audit
from gshare.controller.processes import command
from gshare.controller.sanctions import PAUSE, STOP, WARN
from gshare.controller.stopper import Stopper
from gshare.controller.suspicion import Found, Suspect
from gshare.controller.tenants import Tenants

log = logging.getLogger(__name__)

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
        self._paused: set[str] = set()
        """Tenants that we have paused, and nobody else."""

    def carry_out(self, found: Found, now_ns: int) -> None:
        """Go on with all who are found, and let go of who is not any more."""
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
        self._stop([suspect for suspect, step in steps.items() if step >= STOP], found, now_ns)

    def _pause(self, wanted: dict[str, Suspect], found: Found) -> None:
        running = self._tenants.by_name
        self._paused &= running.keys()
        for name, suspect in wanted.items():
            if name in running and not running[name].files.limits.paused:
                self._set_paused(name, paused=True)
                if name not in self._paused:  # else somebody has let it go on: it does not
                    self._note(suspect, found[suspect], "paused")
                self._paused.add(name)
        for name in self._paused - wanted.keys():
            self._set_paused(name, paused=False)
        self._paused &= wanted.keys()

    def _set_paused(self, name: str, *, paused: bool) -> None:
        limits = self._tenants.by_name[name].files.limits
        if limits.paused != paused:
            limits.set_paused(paused)
            self._tenants.apportion()
            self._tenants.on_change("paused" if paused else "resumed", name)

    def _stop(self, suspects: list[Suspect], found: Found, now_ns: int) -> None:
        targets: dict[int, Suspect] = {}
        for suspect in suspects:
            pid = suspect.pid or found[suspect].get("pid")
            pids = [pid] if pid else self._tenants.processes().get(suspect.tenant, set())
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
