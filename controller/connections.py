"""How many connections to a socket one may hold: libzmq accepts all, and tells of each, so we count.

Else whoever opens enough of them, and says nothing, leaves the controller no descriptor for anybody else.  On
this machine one is a user; beyond it an address, as connections count before they have said whose they are.
"""

import asyncio
import fcntl
import logging
import os
import resource
import socket
import struct
import termios
from array import array
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple

import zmq

from gshare.controller.identity import NOBODY, Credentials, socket_peer
from gshare.controller.inbox import Asked

MOST_EACH = 1024
"""More than a user has programs that start, or wait to be let in."""

PART, PART_OF_ALL_AWAY = 16, 4
"""Of all descriptors, one's connections take so many times less, where there are few; and so do all of other
machines together, of whom anybody may have many addresses."""

MOST_UNREAD_BYTES = 1 << 20
"""Replies to one, in the kernel: who reads none of a few connections has so much, and more behind it."""

AT_ONCE = 200
"""Events looked at before others have their turn."""

log = logging.getLogger(__name__)

_EVENT = struct.Struct("=Hi")

Holder = int | str
"""A user's number, or an address."""


class Kind(NamedTuple):
    """How those who connect to a socket are told from one another."""

    end: Callable[[socket.socket], tuple[Holder, Credentials]]
    """Who is at the other end of a connection; raises OSError where nobody is any more."""
    asker: Callable[[Asked], Holder]
    """The same of a request."""
    part_of_all: int = 1


def _user(connection: socket.socket) -> tuple[Holder, Credentials]:
    who = socket_peer(connection)
    return who.uid, who


def _address(connection: socket.socket) -> tuple[Holder, Credentials]:
    return str(connection.getpeername()[0]), Credentials(NOBODY, NOBODY, 0)


USERS = Kind(_user, lambda asked: asked.sender.uid)
ADDRESSES = Kind(_address, lambda asked: str(asked.data.get("Peer-Address")), PART_OF_ALL_AWAY)


class Connections:
    """Looks after one bound socket; whose connections are one too many loses that one.

    Our view is a moment late, and a number may be another connection's by then: so it is ended only where the
    kernel says that it is, now, of the one who has too many.
    """

    def __init__(
        self,
        bound: "zmq.Socket[Any]",
        name: str,
        on_refusal: Callable[[Holder, Credentials], None],
        kind: Kind = USERS,
    ) -> None:
        self._bound = bound
        self._on_refusal = on_refusal
        self._kind = kind
        self._holders: dict[int, Holder] = {}
        """Whose each descriptor's connection is."""
        self._held: dict[Holder, set[int]] = {}
        """The descriptors of each."""
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

    def relieve(self, asked: Asked) -> None:
        """End those connections of who asks that do not read, where together too much waits for them."""
        holder = self._kind.asker(asked)
        if self.unread_bytes(holder) > MOST_UNREAD_BYTES:
            for descriptor in self._held[holder]:
                if _unread_bytes(descriptor):
                    _with(descriptor, partial(self._hang_up, holder))

    def end(self, *, only_senders: bool) -> int:
        """End all connections, or those from which more has come than was taken in by now; how many."""
        ended = 0
        for holder, descriptors in self._held.items():
            for descriptor in descriptors:
                if not only_senders or _waiting_bytes(descriptor, termios.FIONREAD):
                    _with(descriptor, partial(self._hang_up, holder))
                    ended += 1
                    log.warning("a connection of %s is ended: too much memory is taken", holder)
        return ended

    def unread_bytes(self, holder: Holder) -> int:
        """What waits in the kernel for one to read it."""
        return sum(map(_unread_bytes, self._held.get(holder, ())))

    def _ended(self, descriptor: int) -> None:
        holder = self._holders.pop(descriptor, None)
        if holder is not None:
            self._held[holder].discard(descriptor)
            if not self._held[holder]:
                del self._held[holder]

    def _count_in(self, connection: socket.socket) -> None:
        holder, who = self._kind.end(connection)
        if holder in (0, os.geteuid()):
            return
        self._holders[connection.fileno()] = holder
        held = self._held.setdefault(holder, set())
        held.add(connection.fileno())
        descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        of_all = len(self._holders) > descriptors // self._kind.part_of_all
        if of_all or len(held) > min(MOST_EACH, descriptors // PART):
            self._on_refusal(holder, who)
            self._hang_up(holder, connection)

    def _hang_up(self, holder: Holder, connection: socket.socket) -> None:
        if self._kind.end(connection)[0] == holder:
            connection.shutdown(socket.SHUT_RDWR)


def _with(descriptor: int, does: Callable[[socket.socket], None]) -> None:
    """Do something with a connection, which stays libzmq's, unless it has ended."""
    with suppress(OSError):
        connection = socket.socket(fileno=descriptor)
        try:
            does(connection)
        finally:
            connection.detach()


def _unread_bytes(descriptor: int) -> int:
    """What the other side has not read yet, as far as the kernel has it."""
    return _waiting_bytes(descriptor, termios.TIOCOUTQ)


def _waiting_bytes(descriptor: int, direction: int) -> int:
    size = array("i", [0])
    with suppress(OSError):
        fcntl.ioctl(descriptor, direction, size)
    return size[0]
