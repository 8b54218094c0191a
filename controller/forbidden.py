"""What was refused because it was somebody else's: each an event, and many of one user's a count.

So is the log, which a user could fill a disk with.
"""

import logging
from collections.abc import Callable
from typing import Any

from gshare.controller.identity import Peer

log = logging.getLogger(__name__)

WINDOW_NS = 10_000_000_000
MOST = 10
"""So many events of one user in a window; the rest is counted, or a user could drive all other events out."""

MOST_USERS = 1024


class Forbidden:
    """Tells of refusals through `add`, an event's sink; time is an argument."""

    def __init__(self, add: Callable[[dict[str, Any]], None]) -> None:
        self._add = add
        self._seen: dict[int, tuple[int, int]] = {}
        """By uid: since when, and how many since."""

    def note(self, who: Peer, request: str, why: str, now_ns: int) -> None:
        """One refusal."""
        since_ns, count = self._seen.pop(who.uid, (now_ns, 0))
        if now_ns - since_ns >= WINDOW_NS:
            self._tell_rest(who.uid, count)
            since_ns, count = now_ns, 0
        if len(self._seen) >= MOST_USERS:
            oldest = next(iter(self._seen))
            self._tell_rest(oldest, self._seen.pop(oldest)[1])
        self._seen[who.uid] = since_ns, count + 1
        if count < MOST:
            event = {"what": "forbidden", "tenant": "", "uid": who.uid, "pid": who.pid}
            self._add({**event, "request": request, "why": why})
            log.warning("uid %d, pid %d: %s refused: %s", who.uid, who.pid, request, why)

    def _tell_rest(self, uid: int, count: int) -> None:
        if count > MOST:
            self._add({"what": "forbidden-lost", "tenant": "", "uid": uid, "count": count - MOST})
