"""Ends processes: asked to first, then made to; and only those that this controller has the right to end."""

import os
import signal
from collections.abc import Iterable
from contextlib import suppress

from gshare.controller.processes import start_ticks

GRACE_NS = 10_000_000_000
"""From being asked to end, to the end."""

FIRST_PROCESS = 1


class Stopper:
    """Keeps in mind who was asked to end, and when."""

    def __init__(self, *, machine_wide: bool = False) -> None:
        self.machine_wide = machine_wide
        self._asked: dict[tuple[int, int], int] = {}

    def may_stop(self, pid: int) -> bool:
        """Whether it is our user's, or we look after the whole machine; never ourselves."""
        if pid in (FIRST_PROCESS, os.getpid()):
            return False
        try:
            return self.machine_wide or os.stat(f"/proc/{pid}").st_uid == os.geteuid()
        except OSError:
            return False

    def stop(self, pids: Iterable[int], now_ns: int) -> dict[int, str]:
        """Go on with ending these; what was newly done to whom: `stopped`, `killed` or `not-permitted`."""
        done = {}
        for pid in pids:
            ticks = start_ticks(pid)
            if ticks is None:
                continue
            asked_ns = self._asked.get((pid, ticks))
            if asked_ns is None:
                self._asked[pid, ticks] = now_ns
                done[pid] = "stopped" if self._send(pid, ticks, signal.SIGTERM) else "not-permitted"
            elif now_ns - asked_ns >= GRACE_NS and self._send(pid, ticks, signal.SIGKILL):
                done[pid] = "killed"
        return done

    def keep(self, pids: set[int]) -> None:
        """Forget all but these."""
        self._asked = {key: at_ns for key, at_ns in self._asked.items() if key[0] in pids}

    def _send(self, pid: int, ticks: int, number: int) -> bool:
        """To that process, and not to one that has its number by now."""
        if not self.may_stop(pid):
            return False
        with suppress(OSError):
            descriptor = os.pidfd_open(pid)
            try:
                if start_ticks(pid) == ticks:
                    signal.pidfd_send_signal(descriptor, number)
                    return True
            finally:
                os.close(descriptor)
        return False
