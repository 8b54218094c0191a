"""`python -m gshare.controller.keeper`: holds the tenants' memory while controllers come and go.

It hands a tenant's memory to who may run in it and connects to the tenant's socket, so that neither the end
of a controller nor its upgrade is noticed by programs that start meanwhile.  It decides nothing and reads
nothing of what it holds: a controller tells it who may have what, and a later one is given it all back.  It
ends when there is neither a tenant nor a controller, or nobody could find it any more.
"""

import json
import os
import selectors
import socket
import struct
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from gshare.controller.identity import socket_peer
from gshare.shim import layout

MOST_BYTES = 1 << 16
PATIENCE_S = 5.0
LOOK_S = 2.0
TENANT, SEGMENT = "tenant/", "segment/"
"""What keys begin with: a tenant's name, with its listening socket, limits and usage; a segment's number."""

_PEER_GROUPS = 59
_MOST_GROUPS = 65536


class Kept(NamedTuple):
    """Descriptors, and what a controller noted about them."""

    meta: dict[str, Any]
    descriptors: list[int]


class Keeper:
    """All that is kept, and the sockets at which it is asked for."""

    def __init__(self, listener: socket.socket) -> None:
        self._kept: dict[str, Kept] = {}
        self._readable: dict[str, list[int]] = {}
        """By key: for reading only, what is handed over so."""
        self._selector = selectors.DefaultSelector()
        self._listener = listener
        self._control: socket.socket | None = None
        self._selector.register(listener, selectors.EVENT_READ, self._meet)

    def serve(self) -> None:
        """Until nobody needs it, from when a controller has come."""
        self._meet()
        while self._control or (self._can_be_found() and any(key.startswith(TENANT) for key in self._kept)):
            for ready, _ in self._selector.select(LOOK_S):
                ready.data()

    def _can_be_found(self) -> bool:
        """Whether a controller could still come: the directory may be gone."""
        return os.path.exists(self._listener.getsockname())

    def _meet(self) -> None:
        """A controller: the one before has ended, or is about to."""
        connection, _ = self._listener.accept()
        if socket_peer(connection).uid not in (0, os.geteuid()):
            connection.close()
            return
        self._part()
        connection.settimeout(PATIENCE_S)
        self._control = connection
        self._selector.register(connection, selectors.EVENT_READ, self._obey)
        self._tell_all()

    def _part(self) -> None:
        if self._control:
            self._selector.unregister(self._control)
            self._control.close()
            self._control = None

    def _tell_all(self) -> None:
        for key, kept in self._kept.items():
            self._tell({"key": key, "meta": kept.meta}, kept.descriptors)
        self._tell({"all": len(self._kept)})

    def _tell(self, message: dict[str, Any], descriptors: Sequence[int] = (), flags: int = 0) -> None:
        if self._control:
            with suppress(OSError):  # then it has gone, which we shall hear
                socket.send_fds(self._control, [json.dumps(message).encode()], list(descriptors), flags)

    def _obey(self) -> None:
        assert self._control
        try:
            data, descriptors, _, _ = socket.recv_fds(self._control, MOST_BYTES, 8)
        except OSError:
            data, descriptors = b"", []
        if not data:
            self._part()
            return
        message = json.loads(data)
        self._let_go(message["key"])
        if "meta" in message:
            self._keep(message["key"], Kept(message["meta"], descriptors))
        self._tell({"done": message["key"]})

    def _keep(self, key: str, kept: Kept) -> None:
        self._kept[key] = kept
        if key.startswith(SEGMENT):
            self._readable[key] = [_reopened(kept.descriptors[0], os.O_RDONLY)]
            return
        self._readable[key] = [_reopened(kept.descriptors[1], os.O_RDONLY)]
        self._selector.register(kept.descriptors[0], selectors.EVENT_READ, lambda: self._hand_over(key))

    def _let_go(self, key: str) -> None:
        kept = self._kept.pop(key, None)
        if kept is None:
            return
        if key.startswith(TENANT):
            self._selector.unregister(kept.descriptors[0])
        for descriptor in (*kept.descriptors, *self._readable.pop(key)):
            os.close(descriptor)

    def _hand_over(self, key: str) -> None:
        """To one who has connected to a tenant's socket, and waits for nothing else."""
        kept = self._kept[key]
        listener = socket.socket(fileno=os.dup(kept.descriptors[0]))
        with listener, suppress(OSError):
            listener.setblocking(False)
            connection, _ = listener.accept()
            with connection:
                connection.setblocking(False)
                uid, gid, pid = socket_peer(connection)
                if not _may_have(kept.meta, uid, {gid, *_groups(connection)}):
                    refused = {"refused": key.removeprefix(TENANT), "uid": uid, "gid": gid, "pid": pid}
                    self._tell(refused, flags=socket.MSG_DONTWAIT)  # nobody waits for a controller
                    connection.send(layout.not_yours())
                    return
                self._send(connection, key, kept)

    def _send(self, connection: socket.socket, key: str, kept: Kept) -> None:
        segments = kept.meta["segments"]
        usage = _reopened(kept.descriptors[2], os.O_RDWR)  # with locks of its own
        try:
            socket.send_fds(
                connection,
                [bytes.fromhex(kept.meta["handed"])],
                [
                    *self._readable[key],
                    usage,
                    *self._kept[kept.meta["segment"]].descriptors,
                    *(self._readable[name][0] for name in segments),
                ],
            )
        finally:
            os.close(usage)


def _may_have(meta: dict[str, Any], uid: int, groups: set[int]) -> bool:
    allowed = uid in (0, meta["owner"]) or uid in meta["members"]
    return allowed or not groups.isdisjoint(meta["groups"])


def _groups(connection: socket.socket) -> list[int]:
    try:
        data = connection.getsockopt(socket.SOL_SOCKET, _PEER_GROUPS, _MOST_GROUPS)
    except OSError:
        return []
    return [group for (group,) in struct.iter_unpack("I", data)]


def _reopened(descriptor: int, flags: int) -> int:
    """The same memory, opened anew."""
    return os.open(f"/proc/self/fd/{descriptor}", flags | os.O_CLOEXEC)


def main() -> None:
    """Serve at the socket that is our standard input."""
    listener = socket.socket(fileno=os.dup(0))
    os.dup2(os.open(os.devnull, os.O_RDWR), 0)
    keeper = Keeper(listener)
    keeper.serve()


if __name__ == "__main__":
    main()
