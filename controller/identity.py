"""Who asks: the kernel's word about the process at the other end of a socket, never the message's."""

import grp
import os
import pwd
import socket
import struct
import time
from collections.abc import Collection
from functools import lru_cache
from typing import NamedTuple

ADMINISTRATORS = "gshare-admin"
"""Who is in this group may do everything, where there is one."""

NOBODY = (1 << 32) - 1
"""Users and groups have lower numbers."""

_CREDENTIALS = struct.Struct("iII")


class Credentials(NamedTuple):
    """What the kernel noted when the peer connected."""

    uid: int
    gid: int
    pid: int
    """As this process sees it; 0 for one that it does not see."""


class Peer(NamedTuple):
    """Who asks, and whether everything is theirs to see and to change."""

    uid: int
    gid: int
    pid: int
    groups: frozenset[int]
    administrator: bool


def socket_peer(connection: socket.socket) -> Credentials:
    """Who connected to a unix socket; raise OSError for what is none."""
    data = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, gid = _CREDENTIALS.unpack(data)
    return Credentials(uid, gid, pid)


def controller_itself() -> Peer:
    """The user that this process runs as, to whom everything here belongs."""
    return Peer(os.geteuid(), os.getegid(), os.getpid(), frozenset(os.getgroups()), True)


def peer(credentials: Credentials, administrators: Collection[int] = (), users: Collection[int] = ()) -> Peer:
    """Who has these credentials; root, the controller's own user, the groups and users named administrate.

    Who administrates by their number is in whatever groups: nobody asks.
    """
    if credentials.uid in (0, os.geteuid(), *users):
        return Peer(*credentials, frozenset({credentials.gid}), True)
    groups = frozenset({credentials.gid, *_groups(credentials)})
    return Peer(*credentials, groups, not groups.isdisjoint(administrators))


@lru_cache(maxsize=1024)
def parse(text: str) -> Credentials | None:
    """`UID:GID:PID` as libzmq has it; None for anything else."""
    words = text.split(":")
    if len(words) != 3 or not all(word.isascii() and word.isdigit() for word in words):
        return None
    return Credentials(*map(int, words))


def group_ids(names: Collection[str]) -> frozenset[int]:
    """The numbers of the groups that exist."""
    return frozenset(found for name in names if (found := _group_id(name)) is not None)


def user_and_group_ids(members: Collection[str]) -> tuple[frozenset[int], frozenset[int]]:
    """The numbers of users, and of groups where an `@` is before the name; a number stands for itself."""
    groups = [member[1:] for member in members if member.startswith("@")]
    users = [_user_id(member) for member in members if not member.startswith("@")]
    return frozenset(uid for uid in users if uid is not None), group_ids(groups)


def _user_id(name: str) -> int | None:
    return _number(name) if name.isascii() and name.isdigit() else _looked_up_user(name, _minute())


def _group_id(name: str) -> int | None:
    return _number(name) if name.isascii() and name.isdigit() else _looked_up_group(name, _minute())


def _number(text: str) -> int | None:
    return int(text) if len(text) <= len(str(NOBODY)) and int(text) < NOBODY else None


def _minute() -> int:
    """A directory service is asked about a name once in each."""
    return int(time.monotonic() // 60)


@lru_cache(maxsize=1024)
def _looked_up_user(name: str, minute: int) -> int | None:
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        return None


@lru_cache(maxsize=1024)
def _looked_up_group(name: str, minute: int) -> int | None:
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        return None


def _groups(credentials: Credentials) -> list[int]:
    """The process's supplementary groups: none where it has ended, or the number is another user's by now.

    A directory service is not asked: it may not answer.
    """
    if credentials.pid <= 0:
        return []
    try:
        with open(f"/proc/{credentials.pid}/status", "rb") as file:
            lines = dict(line.split(b":", 1) for line in file if line.startswith((b"Uid:", b"Groups:")))
    except OSError:
        return []
    uids = {int(uid) for uid in lines.get(b"Uid", b"").split()}
    return [int(gid) for gid in lines.get(b"Groups", b"").split()] if uids == {credentials.uid} else []
