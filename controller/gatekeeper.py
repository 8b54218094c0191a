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

Admits = Callable[[str, Credentials], bool]
"""Whether a user may connect to the socket of a domain."""


def guard(socket: "zmq.Socket[Any]", domain: str) -> None:
    """Let nobody connect who has not been let in; before the socket is bound."""
    socket.setsockopt(zmq.ZAP_DOMAIN, domain.encode())
    socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)


class Gatekeeper:
    """Answers libzmq for all guarded sockets of a context; to be made before they are bound."""

    def __init__(self, context: zmq.asyncio.Context, admits: Admits) -> None:
        self._admits = admits
        self._asked = context.socket(zmq.ROUTER)
        self._asked.setsockopt(zmq.LINGER, 0)
        self._asked.bind(HANDLER)

    async def serve(self) -> None:
        """Answer until cancelled."""
        while True:
            await self._asked.send_multipart(self._answer(await self._asked.recv_multipart()))

    def _answer(self, frames: list[bytes]) -> list[bytes]:
        route, (_, number, domain, address, *_) = frames[:2], frames[2:]
        credentials = credentials_of(address.decode(errors="replace"))
        if credentials and self._admits(domain.decode(), credentials):
            user = address.removeprefix(LOCAL.encode())
            return [*route, VERSION, number, b"200", b"OK", user, b""]
        return [*route, VERSION, number, b"400", b"not let in", b"", b""]


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
