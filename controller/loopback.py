"""Who is at the other end of a connection over loopback: the kernel's table of sockets says whose it is."""

import os
import socket
import sys
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice

from gshare.controller.identity import Credentials

TABLE = "/proc/net/tcp"
ESTABLISHED = "01"
"""A socket that nobody holds any more is shown as root's, in other states."""

MOST_FILES = 20_000
"""Of a user are looked at: who opens more keeps nobody else waiting, and is taken to be in no group."""


def peer_credentials(peer: tuple[str, int], own: tuple[str, int]) -> Credentials | None:
    """Whose the other end is; None where it is closed, or not on this machine.

    Where the process cannot be found, pid and group are 0 and -1: then it is in no group.
    """
    wanted = [_hex(*peer), _hex(*own), ESTABLISHED]
    with open(TABLE, encoding="ascii") as table:
        for line in table:
            fields = line.split()
            if fields[1:4] == wanted:
                uid, inode = int(fields[7]), fields[9]
                if uid in (0, os.geteuid()):
                    return Credentials(uid, -1, 0)  # groups tell nothing more
                pid = _holder(uid, f"socket:[{inode}]")
                return Credentials(uid, _group(pid), pid)
    return None


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


def _hex(address: str, port: int) -> str:
    """As the table has it: the address in the machine's byte order."""
    return f"{int.from_bytes(socket.inet_aton(address), sys.byteorder):08X}:{port:04X}"
