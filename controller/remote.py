"""Asking a controller from another machine: by CURVE, whose keys say who somebody is where no kernel does.

Both ends have a key in a file of their own.  A controller knows clients by the lines of `clients` in its
state directory, `PUBLIC-KEY USER`; who is not there does not get in.
"""

import os
import pwd
from contextlib import suppress
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, NamedTuple, TypeVar

import zmq
from zmq.utils import z85

from gshare.controller.errors import GshareError, UsageError
from gshare.controller.files import cannot_write
from gshare.controller.paths import Runtime, state_directory

CLIENTS = "clients"
KEY = "curve.key"
KEY_BYTES = 32

LISTEN_VARIABLE = "GSHARE_LISTEN"

MOST_SENT_BYTES = 1 << 17
"""Wait in the kernel on one connection, as on a local one: to read slowly is not to read nothing."""

HEARTBEAT_MS = 30_000
"""A machine that does not answer for so long has gone, and its connections end."""

AnySocket = TypeVar("AnySocket", bound="zmq.Socket[Any]")


class Host(NamedTuple):
    """A controller on another machine, as `--host tcp://NAME:PORT#PUBLIC-KEY` names it."""

    address: str
    key: bytes


def parse_host(text: str) -> Host:
    """The address and the controller's public key; raise UsageError for anything else."""
    address, _, key = text.partition("#")
    public = _bytes(key)
    if not address.startswith("tcp://") or public is None:
        raise UsageError(f"--host {text}", "is no other machine's controller", "tcp://NAME:PORT#KEY")
    return Host(address, public)


def own_key(folder: Path) -> bytes:
    """The secret key in a folder, made where there is none."""
    path = folder / KEY
    try:
        secret = _bytes(path.read_text().strip())
    except FileNotFoundError:
        return _make(path)
    except OSError as error:
        raise GshareError(str(path), f"cannot be read: {error.strerror}") from None
    if secret is None:
        raise GshareError(str(path), "damaged: not a key", "remove it, and a new one is made")
    return secret


def public_of(secret: bytes) -> bytes:
    """The public key that goes with a secret one."""
    return z85.decode(zmq.curve_public(z85.encode(secret)))


def client_folder() -> Path:
    """Where the user's own key is."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "gshare"


def uid_of(key: bytes, state: Path) -> int | None:
    """Whose a client's public key is; None: nobody's here."""
    with suppress(OSError):
        for line in (state / CLIENTS).read_text().splitlines():
            words = line.split()
            if len(words) == 2 and words[0] == key.hex():
                return _uid(words[1])
    return None


def protect_server(socket: "zmq.Socket[Any]", secret: bytes) -> None:
    """Let only those speak to the socket who know its key; before it is bound."""
    socket.setsockopt(zmq.CURVE_SERVER, 1)
    socket.setsockopt(zmq.CURVE_SECRETKEY, secret)


def protect_client(socket: "zmq.Socket[Any]", host: Host) -> None:
    """Speak to that host alone, and be known to it by the user's key; before it is connected."""
    secret = own_key(client_folder())
    socket.setsockopt(zmq.CURVE_SERVERKEY, host.key)
    socket.setsockopt(zmq.CURVE_SECRETKEY, secret)
    socket.setsockopt(zmq.CURVE_PUBLICKEY, public_of(secret))


def _make(path: Path) -> bytes:
    """A new key, whole from the first moment; another's, who makes one at the same time, if that is first."""
    _, secret = zmq.curve_keypair()
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with NamedTemporaryFile("w", dir=path.parent, prefix=f"{KEY}.") as file:
            file.write(z85.decode(secret).hex() + "\n")
            file.flush()
            with suppress(FileExistsError):
                os.link(file.name, path)
    except OSError as error:
        raise cannot_write(path, error) from None
    return own_key(path.parent)


def _bytes(text: str) -> bytes | None:
    try:
        key = bytes.fromhex(text)
    except ValueError:
        return None
    return key if len(key) == KEY_BYTES else None


def _uid(user: str) -> int | None:
    if user.isascii() and user.isdigit():
        return int(user)
    try:
        return pwd.getpwnam(user).pw_uid
    except KeyError:
        return None


class Door:
    """Where a controller listens for other machines: nowhere, unless $GSHARE_LISTEN says so."""

    def __init__(self, address: str, state: Path) -> None:
        self.address = address
        self._state = state

    def knows(self, key: bytes) -> int | None:
        """Whose a client's public key is."""
        return uid_of(key, self._state)

    def open(self, socket: AnySocket) -> AnySocket:
        """Listen; who does not know the controller's key is not understood."""
        protect_server(socket, own_key(self._state))
        socket.setsockopt(zmq.HEARTBEAT_IVL, HEARTBEAT_MS)
        socket.setsockopt(zmq.SNDBUF, MOST_SENT_BYTES)
        try:
            socket.bind(self.address)
        except zmq.ZMQError as error:
            raise GshareError(f"{LISTEN_VARIABLE} {self.address}", f"cannot be bound: {error}") from None
        return socket


def door(where: Runtime) -> Door:
    """The one that the environment asks for."""
    address = os.environ.get(LISTEN_VARIABLE, "")
    if address and not address.startswith("tcp://"):
        raise GshareError(f"{LISTEN_VARIABLE} {address}", "is no address", "tcp://ADDRESS:PORT")
    return Door(address, state_directory(machine_wide=where.machine_wide))
