"""Who is at the other end of a connection over loopback: the kernel says whose its socket is."""

import os
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from typing import NamedTuple

from gshare.controller.identity import Credentials

MOST_FILES = 20_000
"""Of a user are looked at: who opens more keeps nobody else waiting, and is taken to be in no group."""

_SOCK_DIAG, _BY_FAMILY, _REQUEST = 4, 20, 1
_ESTABLISHED = 1
"""A socket that nobody holds any more is shown as root's, in other states."""

_HEADER = struct.Struct("=IHHII")
_ASKED = struct.Struct("=BBBxI")
_ENDS = struct.Struct("!HH4s12x4s12x")
_NO_COOKIE = struct.pack("=III", 0, 0xFFFFFFFF, 0xFFFFFFFF)
_TOLD = struct.Struct("=xB62xII")
"""State, uid and inode."""


class End(NamedTuple):
    """A socket, and whose it is."""

    uid: int
    inode: int


def other_end(peer: tuple[str, int], own: tuple[str, int]) -> End | None:
    """The other end of a connection; None where it is closed, or not on this machine.

    The kernel looks up this one socket, however many there are.
    """
    ends = _ENDS.pack(peer[1], own[1], socket.inet_aton(peer[0]), socket.inet_aton(own[0]))
    body = _ASKED.pack(socket.AF_INET, socket.IPPROTO_TCP, 0, 1 << _ESTABLISHED) + ends + _NO_COOKIE
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _SOCK_DIAG) as kernel:
        kernel.send(_HEADER.pack(_HEADER.size + len(body), _BY_FAMILY, _REQUEST, 0, 0) + body)
        answer = kernel.recv(4096)
    if _HEADER.unpack_from(answer)[1] != _BY_FAMILY:
        return None
    state, uid, inode = _TOLD.unpack_from(answer, _HEADER.size)
    return End(uid, inode) if state == _ESTABLISHED else None


def credentials(end: End) -> Credentials:
    """Of the process that has the socket; it takes its time where the user has much open.

    Where the process cannot be found, pid and group are 0 and -1: then it is in no group.
    """
    if end.uid in (0, os.geteuid()):
        return Credentials(end.uid, -1, 0)  # groups tell nothing more
    pid = _holder(end.uid, f"socket:[{end.inode}]")
    return Credentials(end.uid, _group(pid), pid)


def _holder(uid: int, link: str) -> int:
    """The user's process that has the socket; 0 where it is none of the first files."""
    looked_at = islice(_files(uid), MOST_FILES)
    return next((pid for pid, file in looked_at if file == link), 0)


def _files(uid: int) -> Iterator[tuple[int, str]]:
    """What the user's processes have open."""
    for entry in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError):
            if os.stat(f"/proc/{entry}").st_uid == uid:
                for file in os.scandir(f"/proc/{entry}/fd"):
                    with suppress(OSError):
                        yield int(entry), os.readlink(file.path)


def _group(pid: int) -> int:
    try:
        return os.stat(f"/proc/{pid}").st_gid if pid else -1
    except OSError:
        return -1
