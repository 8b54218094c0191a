"""How many connections to a socket one user may hold: libzmq accepts all, and tells of each, so we count.

Else whoever opens enough of them, and says nothing, leaves the controller no descriptor for anybody else.
"""

import asyncio
import fcntl
import os
import resource
import socket
import struct
import termios
from array import array
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import zmq

from gshare.controller.identity import Credentials, socket_peer

MOST_EACH = 1024
"""More than a user has programs that start, or wait to be let in."""

PART = 16
"""Of all descriptors, one user's connections take so many times less, where there are few."""

MOST_UNREAD_BYTES = 1 << 20
"""Replies of one user, in the kernel: who reads none of a few connections has so much, and more behind it."""

AT_ONCE = 200
"""Events looked at before others have their turn."""

_EVENT = struct.Struct("=Hi")


class Connections:
    """Looks after one bound socket; whose connections are one too many loses that one.

    Our view is a moment late, and a number may be another connection's by then: so it is ended only where the
    kernel says that it is, now, of the user who has too many.
    """

    def __init__(
        self, bound: "zmq.Socket[Any]", name: str, on_refusal: Callable[[Credentials], None]
    ) -> None:
        self._bound = bound
        self._on_refusal = on_refusal
        self._users: dict[int, int] = {}
        """Whose each descriptor's connection is."""
        self._held: dict[int, set[int]] = {}
        """The descriptors of each user."""
        address = f"inproc://connections/{name}"
        bound.monitor(address, zmq.EVENT_ACCEPTED | zmq.EVENT_DISCONNECTED)
        self._told = zmq.Socket(bound.context, zmq.PAIR)
        self._told.setsockopt(zmq.RCVHWM, 0)  # libzmq would wait for us, and everybody for libzmq
        self._told.connect(address)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._told.fileno(), self._look)
        self._look()

    def close(self) -> None:
        """Look no more."""
        self._loop.remove_reader(self._told.fileno())
        self._bound.disable_monitor()
        self._told.close(0)

    def _look(self) -> None:
        for _ in range(AT_ONCE):
            try:
                event, descriptor = _EVENT.unpack(self._told.recv_multipart(zmq.NOBLOCK)[0])
            except zmq.ZMQError:  # nothing more, or closed
                return
            self._ended(descriptor)
            if event == zmq.EVENT_ACCEPTED:
                _with(descriptor, self._count_in)
        self._loop.call_soon(self._look)

    def relieve(self, uid: int) -> None:
        """End those of a user's connections that do not read, where together too much waits for them."""
        if self.unread_bytes(uid) > MOST_UNREAD_BYTES:
            for descriptor in self._held[uid]:
                if _unread_bytes(descriptor):
                    _with(descriptor, partial(_hang_up, uid))

    def unread_bytes(self, uid: int) -> int:
        """What waits in the kernel for a user to read it."""
        return sum(map(_unread_bytes, self._held.get(uid, ())))

    def _ended(self, descriptor: int) -> None:
        uid = self._users.pop(descriptor, None)
        if uid is not None:
            self._held[uid].discard(descriptor)
            if not self._held[uid]:
                del self._held[uid]

    def _count_in(self, connection: socket.socket) -> None:
        who = socket_peer(connection)
        if who.uid in (0, os.geteuid()):
            return
        self._users[connection.fileno()] = who.uid
        held = self._held.setdefault(who.uid, set())
        held.add(connection.fileno())
        if len(held) > min(MOST_EACH, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // PART):
            self._on_refusal(who)
            _hang_up(who.uid, connection)


def _with(descriptor: int, does: Callable[[socket.socket], None]) -> None:
    """Do something with a connection, which stays libzmq's, unless it has ended."""
    with suppress(OSError):
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, fileno=descriptor)
        try:
            does(connection)
        finally:
            connection.detach()


def _hang_up(uid: int, connection: socket.socket) -> None:
    if socket_peer(connection).uid == uid:
        connection.shutdown(socket.SHUT_RDWR)


def _unread_bytes(descriptor: int) -> int:
    """What the other side has not read yet, as far as the kernel has it."""
    size = array("i", [0])
    with suppress(OSError):
        fcntl.ioctl(descriptor, termios.TIOCOUTQ, size)
    return size[0]
