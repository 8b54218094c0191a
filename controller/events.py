"""What has happened: each event is a line of JSON in a file of bounded size, and a message to who follows.

Numbers count events up without gaps, over restarts of the controller, so that a follower notices what it has
missed.  A controller that is killed, or a full disk, may leave half a line: the next event starts a new one,
and readers leave out what is not JSON.
"""

import json
import logging
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from gshare.controller.region import now_ns

SCHEMA = "gshare/event/v1"
MOST_BYTES = 1 << 20
"""The file is moved aside at this size, in the place of the one moved aside before."""

Event = dict[str, Any]
"""`what` tells the kind: started, ended, limits, paused, resumed, refused, refusals-lost, residue, unmanaged,
over-quota, tampering, over-share, forbidden (what was somebody else's: by `uid`, `request`), forbidden-lost.

What the audit finds has an `action`: warned, paused, stopped, killed or not-permitted.

Other keys depend on it; an unmanaged process has the tenant "".
`at_ns` is of the clock of all limits, `time_ns` since 1970.
"""

log = logging.getLogger(__name__)


class EventLog:
    """The events of one runtime directory; only its controller writes."""

    def __init__(self, path: Path, most_bytes: int = MOST_BYTES) -> None:
        self.path = path
        self.moved_aside = path.with_name(f"{path.name}.1")
        self.most_bytes = most_bytes
        self.on_event: Callable[[str, bytes], None] = lambda what, line: None
        self.owner_of: Callable[[str], int | None] = lambda tenant: None
        """Whose a tenant is: only they and administrators see its events."""
        self._number = next((event["number"] for event in self._backwards()), 0)
        self._failing = False

    def add(self, *events: Event) -> None:
        """Write down events, each with `what` and `tenant`, at once; one without `at_ns` happens now."""
        lines = [(event["what"], self._line(event)) for event in events]
        try:
            self._append(b"".join(line + b"\n" for _, line in lines))
            self._failing = False
        except OSError as error:
            if not self._failing:
                log.warning("events are lost: %s: %s", self.path, error.strerror)
            self._failing = True
        for what, line in lines:
            self.on_event(what, line)

    def latest(
        self,
        most: int,
        tenant: str = "",
        after: int = 0,
        shown: Callable[[Event], bool] = lambda event: True,
    ) -> list[Event]:
        """The latest events, of a tenant where one is named, with numbers above `after`; oldest first."""
        found: list[Event] = []
        for event in self._backwards():
            if len(found) == most or event["number"] <= after:
                break
            if tenant in ("", event["tenant"]) and shown(event):
                found.append(event)
        return found[::-1]

    def _line(self, event: Event) -> bytes:
        self._number += 1
        at_ns = event.get("at_ns", now_ns())
        head = {
            "schema": SCHEMA,
            "number": self._number,
            "time_ns": time.time_ns() - (now_ns() - at_ns),
            "at_ns": at_ns,
        }
        owner_uid = self.owner_of(event["tenant"])
        if owner_uid is not None:
            head["owner_uid"] = owner_uid
        return json.dumps({**head, **event}, separators=(",", ":")).encode()

    def _append(self, data: bytes) -> None:
        if self._size() + len(data) > self.most_bytes and self.path.exists():
            os.replace(self.path, self.moved_aside)
        file = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            size = os.fstat(file).st_size
            if size and os.pread(file, 1, size - 1) != b"\n":
                data = b"\n" + data
            os.write(file, data)
        finally:
            os.close(file)

    def _size(self) -> int:
        try:
            return self.path.stat().st_size
        except FileNotFoundError:
            return 0

    def _backwards(self) -> Iterator[Event]:
        for path in (self.path, self.moved_aside):
            try:
                lines = path.read_bytes().splitlines()
            except OSError:
                continue
            for line in reversed(lines):
                event = _parsed(line)
                if event is not None:
                    yield event


def _parsed(line: bytes) -> Event | None:
    """An event; None for half a line, and for what somebody else has written."""
    try:
        event = json.loads(line)
    except ValueError:
        return None
    sound = (
        isinstance(event, dict)
        and event.get("schema") == SCHEMA
        and type(event.get("number")) is int
        and isinstance(event.get("what"), str)
        and isinstance(event.get("tenant"), str)
    )
    return event if sound else None
