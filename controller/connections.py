"""How many connections to a socket one user may hold: libzmq accepts all, and tells of each, so we count.

Else whoever opens enough of them, and says nothing, leaves the controller no descriptor for anybody else.
"""

import asyncio
import os
import resource
import socket
import struct
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import zmq

from gshare.controller.identity import Credentials, socket_peer

MOST_EACH = 1024
"""More than a user has programs that start, or wait to be let in."""

PART = 16
"""Of all descriptors, one user's connections take so many times less, where there are few."""

AT_ONCE = 200
"""Events looked at before others have their turn."""

_EVENT = struct.Struct("=Hi")


class Connections:
    """Looks after one bound socket; whose connections are one too many loses that one.

    Our view is a moment late, and a number may be another connection's by then: so it is ended only where the
    kernel says that it is, now, of the user who has too many.
    """

    def __init__(
        self, bound: "zmq.Socket[Any]", name: str, on_refusal: Callable[[Credentials], None], most: int = 0
    ) -> None:
        self._bound = bound
        self._on_refusal = on_refusal
        self._most = most or min(MOST_EACH, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // PART)
        self._users: dict[int, int] = {}
        """Whose each descriptor's connection is."""
        self._count: Counter[int] = Counter()
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
                self._accepted(descriptor)
        self._loop.call_soon(self._look)

    def _ended(self, descriptor: int) -> None:
        uid = self._users.pop(descriptor, None)
        if uid is not None:
            self._count[uid] -= 1
            if not self._count[uid]:
                del self._count[uid]

    def _accepted(self, descriptor: int) -> None:
        with suppress(OSError):  # ended by now
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, fileno=descriptor)
            try:
                self._count_in(connection, socket_peer(connection))
            finally:
                connection.detach()

    def _count_in(self, connection: socket.socket, who: Credentials) -> None:
        if who.uid in (0, os.geteuid()):
            return
        self._users[connection.fileno()] = who.uid
        self._count[who.uid] += 1
        if self._count[who.uid] > self._most:
            connection.shutdown(socket.SHUT_RDWR)
            self._on_refusal(who)
