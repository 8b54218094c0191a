"""Requests that were heard and not begun: their users take turns, however many connections each has."""

from collections import deque
from typing import NamedTuple

import zmq

from gshare.controller.identity import Credentials

MOST_EACH = 1024
MOST_BYTES_EACH = 4 << 20
"""Of one user; what is more is not kept."""


class Asked(NamedTuple):
    """A request as it came."""

    sender: Credentials
    client: bytes
    """Which connection."""
    data: zmq.Frame


class Inbox:
    """By user; who has had a turn is behind all others."""

    def __init__(self) -> None:
        self._lines: dict[int, deque[Asked]] = {}
        self._bytes: dict[int, int] = {}

    def __bool__(self) -> bool:
        return bool(self._lines)

    def put(self, asked: Asked) -> bool:
        """Keep a request; False for what is one too many of its user's."""
        uid = asked.sender.uid
        size = self._bytes.get(uid, 0) + len(asked.data)
        line = self._lines.get(uid, ())
        if len(line) >= MOST_EACH or size > MOST_BYTES_EACH:
            return False
        self._lines.setdefault(uid, deque()).append(asked)
        self._bytes[uid] = size
        return True

    def take(self) -> Asked:
        """The oldest of whose turn it is."""
        uid = next(iter(self._lines))
        line = self._lines.pop(uid)
        asked = line.popleft()
        if line:
            self._lines[uid] = line
            self._bytes[uid] -= len(asked.data)
        else:
            del self._bytes[uid]
        return asked
