"""Who is at the other end of a connection over loopback: the kernel's table of sockets says whose it is."""

import os
import socket
import sys
from collections.abc import Iterator
from contextlib import suppress

from gshare.controller.identity import Credentials

TABLE = "/proc/net/tcp"
ESTABLISHED = "01"
"""A socket that nobody holds any more is shown as root's, in other states."""


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
                pid = next(_holders(uid, f"socket:[{inode}]"), 0)
                return Credentials(uid, _group(pid), pid)
    return None


def _holders(uid: int, link: str) -> Iterator[int]:
    """The user's processes that have the socket."""
    for entry in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError):
            if os.stat(f"/proc/{entry}").st_uid == uid and any(
                os.readlink(file.path) == link for file in os.scandir(f"/proc/{entry}/fd")
            ):
                yield int(entry)


def _group(pid: int) -> int:
    try:
        return os.stat(f"/proc/{pid}").st_gid if pid else -1
    except OSError:
        return -1


def _hex(address: str, port: int) -> str:
    """As the table has it: the address in the machine's byte order."""
    return f"{int.from_bytes(socket.inet_aton(address), sys.byteorder):08X}:{port:04X}"
