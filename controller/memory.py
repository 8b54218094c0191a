"""Bounds what hostile users have libzmq keep for us.

It holds the parts of a message until the last one has come, with no bound for how many there are: one that
does not end would take all memory there is.
"""

import ctypes
import os
from collections.abc import Sequence

from gshare.controller.connections import Connections

MOST_BYTES = 256 << 20
"""Several times as much as a controller needs."""

_PAGE_BYTES = os.sysconf("SC_PAGESIZE")


PATIENCE = 2
"""Looks at which nobody sends, before all are ended."""


class Memory:
    """To be looked at once a second."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most_bytes = self.bound_bytes = most_bytes
        self._quiet = 0

    def look(self, connections: Sequence[Connections]) -> None:
        """Where there is too much: end who sends just now, or, where nobody does, all users' connections.

        As after a controller's restart those that wait ask again.  What is left even then is needed.
        """
        if own_bytes() <= self.bound_bytes:
            self._quiet = 0
            return
        trim()
        if own_bytes() <= self.bound_bytes:
            return
        senders = sum(one.end(only_senders=True) for one in connections)
        self._quiet = 0 if senders else self._quiet + 1
        if self._quiet == PATIENCE:
            for one in connections:
                one.end(only_senders=False)
        elif self._quiet > PATIENCE:
            self.bound_bytes = own_bytes() + self._most_bytes


def own_bytes() -> int:
    """What this process alone has in memory."""
    with open("/proc/self/statm", "rb") as file:
        _, resident, shared, *_ = map(int, file.read().split())
    return (resident - shared) * _PAGE_BYTES


def trim() -> None:
    """Give back what was freed, where the C library can."""
    give = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if give:
        give(0)
