"""Whose a process is: the tenant that it, or what it descends from, was started in, or is confined to."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from gshare.controller.mounts import confined_to
from gshare.controller.processes import TENANT_DIR_VARIABLE

MOST_ANCESTORS = 64

NOBODY = ""
"""It was started without gshare, as far as can be seen."""

OTHERS = None
"""Another controller's, or what this one started for itself."""


def owner(
    pid: int,
    tenants: Path,
    runs: Mapping[int, str],
    may_be_in: Callable[[str, int], bool] = lambda tenant, pid: True,
    *,
    sole: bool = False,
) -> str | None:
    """The tenant's name, NOBODY or OTHERS; `runs` are the processes that `gshare run` became.

    A process says itself whose it is, and is not believed where it may not be that tenant's; nor that it is
    another controller's where ours is the `sole` one, for all users.
    Who has dropped the variable that names the tenant's folder is known by its ancestors, and, where these
    have ended, by its mounts in strict mode.
    """
    first = pid
    for _ in range(MOST_ANCESTORS):
        if pid == os.getpid():
            return OTHERS
        if pid in runs:
            return runs[pid]
        folder = _tenant_folder(pid)
        if folder and folder.parent != tenants and not sole:
            return OTHERS
        if folder and folder.parent == tenants and may_be_in(folder.name, pid):
            return folder.name
        pid = _parent(pid)
        if pid <= 1:
            break
    confined = confined_to(first, tenants)
    return confined if confined and may_be_in(confined, first) else NOBODY


def _tenant_folder(pid: int) -> Path | None:
    """As the environment had it at the process's last exec; None also for another user's process."""
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return None
    for variable in environment.split(b"\0"):
        if variable.startswith(TENANT_DIR_VARIABLE) and variable != TENANT_DIR_VARIABLE:
            return Path(os.fsdecode(variable[len(TENANT_DIR_VARIABLE) :]))
    return None


def _parent(pid: int) -> int:
    """0 where the process has ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return 0
    return int(stat.rpartition(b")")[2].split()[1])
