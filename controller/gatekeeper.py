"""Lets users in at the sockets: libzmq asks for every connection, and without an answer nobody gets in.

libzmq's own default is the other way round: where nobody answers, everybody is let in.  ZAP_ENFORCE_DOMAIN
mends that, and each message is looked at again: one that did not come past here has no user.
"""

from collections.abc import Callable
from typing import Any

import zmq
import zmq.asyncio

from gshare.controller import identity
from gshare.controller.identity import Credentials

HANDLER = "inproc://zeromq.zap.01"
VERSION = b"1.0"
LOCAL = "localhost:"
"""What libzmq puts before the credentials of who is on this machine."""

REQUESTS, EVENTS, REMOTE = "requests", "events", "remote"
"""The domains of the sockets; at that for other machines a key is whose it is."""

NO_GROUP = 65534

Admits = Callable[[str, Credentials], bool]
"""Whether a user may connect to the socket of a domain."""

Knows = Callable[[bytes], int | None]
"""Whose a client's public key is."""


def guard(socket: "zmq.Socket[Any]", domain: str) -> None:
    """Let nobody connect who has not been let in; before the socket is bound."""
    socket.setsockopt(zmq.ZAP_DOMAIN, domain.encode())
    socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)


class Gatekeeper:
    """Answers libzmq for all guarded sockets of a context; to be made before they are bound."""

    def __init__(self, context: zmq.asyncio.Context, admits: Admits, knows: Knows = lambda key: None) -> None:
        self._admits = admits
        self._knows = knows
        self._asked = context.socket(zmq.ROUTER)
        self._asked.setsockopt(zmq.LINGER, 0)
        self._asked.bind(HANDLER)

    async def serve(self) -> None:
        """Answer until cancelled."""
        while True:
            await self._asked.send_multipart(self._answer(await self._asked.recv_multipart()))

    def _answer(self, frames: list[bytes]) -> list[bytes]:
        route, (_, number, domain, address, _, mechanism, *keys) = frames[:2], frames[2:]
        user = self._user(domain.decode(), address.decode(errors="replace"), mechanism, keys)
        if user is None:
            return [*route, VERSION, number, b"400", b"not let in", b"", b""]
        return [*route, VERSION, number, b"200", b"OK", user.encode(), b""]

    def _user(self, domain: str, address: str, mechanism: bytes, keys: list[bytes]) -> str | None:
        """What who connects is called in their messages; None: they do not get in."""
        if domain == REMOTE:
            uid = self._knows(keys[0]) if mechanism == b"CURVE" and len(keys) == 1 else None
            return None if uid is None else f"{REMOTE}:{uid}"
        credentials = credentials_of(address)
        if mechanism != b"NULL" or credentials is None or not self._admits(domain, credentials):
            return None
        return address.removeprefix(LOCAL)


def credentials_of(address: str) -> Credentials | None:
    """Who is at the other end of a local connection, as libzmq names it."""
    return identity.parse(address.removeprefix(LOCAL)) if address.startswith(LOCAL) else None


def sender(frame: zmq.Frame) -> Credentials | None:
    """Who sent a message: as the gatekeeper let them in and as the socket says; None where these differ."""
    try:
        address, user = frame.get("Peer-Address"), frame.get("User-Id")
    except zmq.ZMQError:
        return None
    assert isinstance(address, str)
    return credentials_of(address) if address == f"{LOCAL}{user}" else None


def remote_sender(frame: zmq.Frame) -> Credentials | None:
    """Who sent a message from another machine, by the key: nobody whose process or groups are known here."""
    try:
        domain, _, uid = str(frame.get("User-Id")).partition(":")
    except zmq.ZMQError:
        return None
    return Credentials(int(uid), NO_GROUP, 0) if domain == REMOTE else None
