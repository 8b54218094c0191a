"""The controller's sockets: bounded in what one client can do to them, and guarded by the gatekeeper."""

import os
from typing import Any, TypeVar

import zmq

from gshare.controller import wire
from gshare.controller.errors import GshareError
from gshare.controller.gatekeeper import guard

AnySocket = TypeVar("AnySocket", bound="zmq.Socket[Any]")

SEND_TIMEOUT_MS = 1000
LINGER_MS = 200
HANDSHAKE_MS = 5000
QUEUED_REPLIES, QUEUED_EVENTS = 4, 64
"""A client that stops reading loses its replies, or events, beyond these; nobody else waits for it."""


def bounded(socket: AnySocket, domain: str) -> AnySocket:
    """The socket before it is bound; `domain` is what the gatekeeper knows it by."""
    guard(socket, domain)
    socket.setsockopt(zmq.LINGER, LINGER_MS)
    socket.setsockopt(zmq.MAXMSGSIZE, wire.MAX_MESSAGE_BYTES)
    socket.setsockopt(zmq.SNDTIMEO, SEND_TIMEOUT_MS)
    socket.setsockopt(zmq.SNDHWM, QUEUED_EVENTS if socket.type == zmq.PUB else QUEUED_REPLIES)
    socket.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)
    return socket


def bind(socket: AnySocket, path: str, *, for_all: bool) -> AnySocket:
    """Bind it to a path; `for_all`: who is let in is decided by the credentials alone."""
    try:
        socket.bind(f"ipc://{path}")
        if for_all:
            os.chmod(path, 0o666)
    except zmq.ZMQError as error:
        raise GshareError(
            path, f"cannot be bound: {error}", "GSHARE_RUNTIME_DIR names another directory"
        ) from None
    return socket
