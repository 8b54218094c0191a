"""Messages as bytes: MessagePack of `[version, number, body]`, the body a request or a reply."""

from functools import cache
from typing import Any

import msgspec

from gshare.controller.errors import GshareError, error_from_code
from gshare.controller.protocol import VERSION, Request
from gshare.controller.replies import Fault, Reply

MAX_MESSAGE_BYTES = 1 << 20

MAX_REPLY_BYTES = 1 << 24
"""Shares of as many tenants and devices as there can be are several times as long as any request."""


class _Envelope(msgspec.Struct, array_like=True, frozen=True):
    version: int
    message: int
    """Chosen by the client and given back with the reply, so that a late reply is not taken for another."""
    body: msgspec.Raw


class BadMessage(Exception):
    """Not a message of ours; `message` is its number where that much could be read."""

    def __init__(self, why: str, message: int = 0) -> None:
        super().__init__(why)
        self.message = message


def pack(message: int, body: Request | Reply, version: int = VERSION) -> bytes:
    """Encode one message."""
    return msgspec.msgpack.encode((version, message, body))


def unpack_request(data: bytes) -> tuple[int, Request]:
    """Decode what a client sent; raise BadMessage for anything that is not a request of this version."""
    return _unpack(data, Request)


def unpack_reply(data: bytes) -> tuple[int, Reply]:
    """Decode what the controller sent; raise BadMessage for anything that is not a reply of this version."""
    return _unpack(data, Reply)


@cache
def _decoder(kind: Any) -> "msgspec.msgpack.Decoder[Any]":
    """Made at its first use, which takes longer than many messages."""
    return msgspec.msgpack.Decoder(kind)


def _unpack(data: bytes, kind: Any) -> tuple[int, Any]:
    try:
        envelope = _decoder(_Envelope).decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadMessage(f"not a gshare message: {error}") from None
    if envelope.version != VERSION:
        raise BadMessage(
            f"speaks protocol {envelope.version}, this gshare speaks {VERSION}", envelope.message
        )
    try:
        return envelope.message, _decoder(kind).decode(envelope.body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadMessage(f"not understood: {error}", envelope.message) from None


def fault(error: GshareError) -> Fault:
    """The reply that carries an error."""
    return Fault(error.code, error.what, error.why, error.hint)


def misunderstood(error: BadMessage) -> Fault:
    """The reply to what is not a message of ours."""
    return Fault("failed", "controller", str(error), "gshare controller upgrade; tenants keep their limits")


def error_of(reply: Fault) -> GshareError:
    """The error that a reply carries."""
    return error_from_code(reply.code, reply.what, reply.why, reply.hint)
