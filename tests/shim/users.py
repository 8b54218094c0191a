"""Processes of other users, which act on a test's behalf: real users, as far as the kernel goes."""

import os
import pickle
import signal
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

ALICE, BOB, CAROL = 20001, 20002, 20003
"""Numbers that stand for nobody on any machine that a test runs on."""

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="becoming other users needs root")

_LENGTH = struct.Struct("!I")


class User:
    """A process of a user's that calls functions on demand, and lives until it is told to end."""

    def __init__(self, uid: int, groups: tuple[int, ...] = ()) -> None:
        self.uid = uid
        ours, theirs = socket.socketpair()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                ours.close()
                os.setgroups(groups)
                os.setresgid(uid, uid, uid)
                os.setresuid(uid, uid, uid)
                _serve(theirs)
            finally:
                os._exit(0)
        theirs.close()
        self._channel = ours
        self.call(os.getpid)  # it has become the user

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """What the function returns there; what it raises is raised here."""
        _send(self._channel, (function, arguments))
        raised, result = _receive(self._channel)
        if raised:
            raise result
        return result

    def end(self) -> None:
        """End the process, and wait for it."""
        os.kill(self.pid, signal.SIGKILL)
        self._channel.close()
        os.waitpid(self.pid, 0)


@contextmanager
def users(*them: tuple[int, tuple[int, ...]]) -> Iterator[list[User]]:
    """A process of each user, with these groups, until the block ends."""
    started = [User(uid, groups) for uid, groups in them]
    try:
        yield started
    finally:
        for user in started:
            user.end()


def _serve(channel: socket.socket) -> None:
    while True:
        function, arguments = _receive(channel)
        try:
            answer = False, function(*arguments)
        except Exception as error:
            answer = True, error
        _send(channel, answer)


def _send(channel: socket.socket, what: Any) -> None:
    data = pickle.dumps(what)
    channel.sendall(_LENGTH.pack(len(data)) + data)


def _receive(channel: socket.socket) -> Any:
    (length,) = _LENGTH.unpack(_exactly(channel, _LENGTH.size))
    return pickle.loads(_exactly(channel, length))


def _exactly(channel: socket.socket, length: int) -> bytes:
    data = b""
    while len(data) < length:
        part = channel.recv(length - len(data))
        if not part:
            raise EOFError
        data += part
    return data
