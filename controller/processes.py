"""What /proc tells about processes: alive or not, whose, and in which tenant."""

import os
import pwd
from pathlib import Path
from typing import NamedTuple

from gshare.controller.pieces import Work, at_once
from gshare.shim import abi

TENANT_DIR_VARIABLE = b"GSHARE_TENANT_DIR="


class Run(NamedTuple):
    """A process that `gshare run` became; the start time tells it from a later one of the same pid."""

    pid: int
    start_ticks: int

    def alive(self) -> bool:
        """Whether it still runs (a zombie does not)."""
        return start_ticks(self.pid) == self.start_ticks


def start_ticks(pid: int) -> int | None:
    """When the process started, in clock ticks since boot; None where it has ended."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return None
    return None if fields[0] in (b"Z", b"X") else int(fields[19])


def is_own_child(pid: int, parent: int) -> bool:
    """Whether a process was started by the other one, and both are the same user's throughout."""
    words = _status(pid)
    return bool(words) and words["PPid"] == [str(parent)] and words["Uid"] == _status(parent).get("Uid")


def _status(pid: int) -> dict[str, list[str]]:
    """/proc/PID/status, each line's words by its name; empty where the process has ended."""
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:
            lines = (line.partition(":") for line in file)
            return {name: words.split() for name, _, words in lines}
    except OSError:
        return {}


MOST_REMEMBERED = 4096

_host_pids: dict[tuple[int, int, int], int] = {}
"""What was found for slots with a pid, PID namespace and start time: it stays so until the process ends."""


def host_pid(slot: abi.SlotUsage) -> int:
    """The number, outside its PID namespace, of the process that has the slot.

    As the process calls itself, where it has ended.
    """
    key = slot.pid, slot.pid_space, slot.start_ticks
    found = _host_pids.get(key)
    if found is None or start_ticks(found) != slot.start_ticks:
        found = _find_host_pid(slot)
        if len(_host_pids) >= MOST_REMEMBERED:
            _host_pids.clear()
        _host_pids[key] = found
    return found


def _find_host_pid(slot: abi.SlotUsage) -> int:
    if _has(slot.pid, slot):
        return slot.pid
    others = (int(entry) for entry in os.listdir("/proc") if entry.isdigit())
    return next((pid for pid in others if _has(pid, slot)), slot.pid)


def _has(pid: int, slot: abi.SlotUsage) -> bool:
    """Two processes of two namespaces may have the same number and may have been started in the same tick."""
    return (
        start_ticks(pid) == slot.start_ticks
        and (not slot.pid_space or _pid_space(pid) in (slot.pid_space, None))
        and _own_number(pid) == slot.pid
    )


def _pid_space(pid: int) -> int | None:
    """The inode of the process's PID namespace; None for another user's process."""
    try:
        return os.stat(f"/proc/{pid}/ns/pid").st_ino
    except OSError:
        return None


def _own_number(pid: int) -> int | None:
    """What the process calls itself; `pid` where the kernel is too old to say, None where it has ended."""
    try:
        with open(f"/proc/{pid}/status", "rb") as file:
            lines = [line for line in file if line.startswith(b"NSpid:")]
    except OSError:
        return None
    return int(lines[0].split()[-1]) if lines else pid


def command(pid: int) -> str:
    """The command line in one line; empty where the process has ended."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            words = file.read(4096).rstrip(b"\0").split(b"\0")
    except OSError:
        return ""
    return " ".join(" ".join(word.decode(errors="replace") for word in words).split())


def user(pid: int) -> str:
    """The name of the process's user, or the number where it has none."""
    try:
        return user_name(os.stat(f"/proc/{pid}").st_uid)
    except OSError:
        return ""


def user_name(uid: int) -> str:
    """What a user is called, or the number where they have no name."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def members(tenants: Path) -> dict[str, list[int]]:
    """The processes that were started into each tenant, by the name of the tenant's folder under `tenants`.

    The environment is what a process had at its last exec: children that ran something else are found too.
    """
    return at_once(looking_for_members(tenants))


def looking_for_members(tenants: Path) -> Work[dict[str, list[int]]]:
    """The same in pieces."""
    prefix = TENANT_DIR_VARIABLE + os.fsencode(tenants) + b"/"
    found: dict[str, list[int]] = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            with open(f"/proc/{entry}/environ", "rb") as file:
                environment = file.read()
        except OSError:
            continue  # ended, or another user's
        yield
        for variable in environment.split(b"\0"):
            if variable.startswith(prefix):
                name = variable[len(prefix) :].decode(errors="replace")
                found.setdefault(name, []).append(int(entry))
                break
    return found
