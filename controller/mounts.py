"""Which tenant's directory a process has at SELF: who is confined to a tenant, whatever its environment says.

The kernel's table of mounts is read, and no path of the process's: what lies there may be anything.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from gshare.shim.layout import HANDOVER_SOCKET

SELF = "/run/gshare/self"
"""Where strict mode and containers have it."""


class Mount(NamedTuple):
    """A line of the table."""

    device: str
    root: str
    """What of the device is mounted."""
    point: str


def confined() -> bool:
    """Whether this process has one there: its limits, or the socket at which it is handed them."""
    return any(os.path.exists(f"{SELF}/{name}") for name in ("limits", HANDOVER_SOCKET))


def confined_to(pid: int, tenants: Path) -> str:
    """The name of the tenant whose folder under `tenants` the process has there; empty for none of those."""
    device, root = _place(os.path.realpath(tenants))
    found = [mount for mount in _mounts(pid) if mount.point == SELF]
    if not found or found[-1].device != device:
        return ""
    folder, _, name = found[-1].root.rpartition("/")
    return name if folder == root else ""


def _place(path: str) -> tuple[str, str]:
    """The device that a path is on, and where on it."""
    above = [m for m in _mounts(os.getpid()) if os.path.commonpath((m.point, path)) == m.point]
    mount = max(reversed(above), key=lambda mount: len(mount.point), default=Mount("", "", ""))
    return mount.device, os.path.normpath(
        f"{mount.root.rstrip('/')}/{os.path.relpath(path, mount.point or '/')}"
    )


def _mounts(pid: int) -> Iterator[Mount]:
    """All that a process sees, later ones over earlier ones; none where it has ended."""
    with suppress(OSError), open(f"/proc/{pid}/mountinfo", encoding="utf-8", errors="replace") as table:
        for line in table:
            yield Mount(*line.split(" ", 5)[2:5])
