"""Where files are: sockets and shared memory in the runtime directory, the lasting in the state directory."""

import os
import stat
from pathlib import Path

from gshare.controller.errors import GshareError

SUN_PATH_BYTES = 107
"""Longest path of a unix socket: sun_path less its NUL."""

MACHINE_WIDE = "machine-wide"
"""A file of this name in a runtime directory says so of its controller."""

_LONGEST_SOCKET = "controller.sock"

MACHINE_DIRECTORY = "/run/gshare"
MACHINE_STATE = Path("/var/lib/gshare")
"""Of the machine-wide controller, where there is one."""


class Runtime:
    """The runtime directory (R) of one controller and the names in it."""

    def __init__(self, directory: str | Path) -> None:
        self.directory = Path(directory)
        self.socket = self.directory / "controller.sock"
        self.events = self.directory / "events.sock"
        self.event_log = self.directory / "events.jsonl"
        self.lock = self.directory / "controller.lock"
        self.log = self.directory / "controller.log"
        self.activity = self.directory / "activity"
        self.tenants = self.directory / "tenants"
        self.keeper = self.directory / "keeper.sock"

    @property
    def machine_wide(self) -> bool:
        """Whether the controller here, running or not, is for all users."""
        return (self.directory / MACHINE_WIDE).exists()

    @property
    def logged(self) -> str:
        """Where to read what the controller had to say: that of a service is systemd's."""
        return "journalctl -u gshare" if self.machine_wide and not self.log.exists() else str(self.log)

    def check(self) -> None:
        """Refuse a directory of another user's, who would be taken for the machine's controller, or ours."""
        try:
            owner = os.lstat(self.directory).st_uid
        except FileNotFoundError:
            return
        if owner not in (0, os.geteuid()):
            why = f"belongs to uid {owner}, who is neither root nor you"
            raise GshareError(str(self.directory), why, "GSHARE_RUNTIME_DIR names another directory")

    def create(self, *, machine_wide: bool = False) -> None:
        """Make the directory, ours, and 0700 unless it is for all; refuse one of another user's.

        Raises GshareError where it cannot be used, naming the variable that moves it.
        """
        hint = "GSHARE_RUNTIME_DIR names another directory"
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            status = os.lstat(self.directory)
        except OSError as error:
            raise GshareError(str(self.directory), f"cannot be made: {error.strerror}", hint) from None
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o022:
            raise GshareError(str(self.directory), "is not a directory that only this user can write", hint)
        try:
            self.tenants.mkdir(mode=0o700, exist_ok=True)
            if machine_wide:  # others reach the sockets, and see no names
                self.directory.chmod(0o755)
                self.tenants.chmod(0o711)
                (self.directory / MACHINE_WIDE).touch(mode=0o600)
        except OSError as error:
            raise GshareError(str(self.tenants), f"cannot be made: {error.strerror}", hint) from None


def runtime() -> Runtime:
    """The machine's runtime directory where gshare is installed for all, else the user's; checked to be short
    enough for its sockets."""
    machine, named = Runtime(MACHINE_DIRECTORY), os.environ.get("GSHARE_RUNTIME_DIR")
    found = Runtime(
        named
        or (machine.directory if machine.machine_wide else None)
        or _under(_writable(os.environ.get("XDG_RUNTIME_DIR")))
        or _under(_writable(f"/run/user/{os.getuid()}"))
        or f"/tmp/gshare-{os.getuid()}"
    )
    if not found.directory.is_absolute():
        raise GshareError(f"GSHARE_RUNTIME_DIR {found.directory}", "must be an absolute path")
    length = len(os.fsencode(found.directory / _LONGEST_SOCKET))
    if length > SUN_PATH_BYTES:
        raise GshareError(
            str(found.socket),
            f"socket path too long: {length} bytes, {SUN_PATH_BYTES} at most",
            "GSHARE_RUNTIME_DIR names a shorter directory",
        )
    if not named or found.machine_wide:  # else whose it is was for whoever named it to know
        found.check()
    return found


def machine_runtime() -> Runtime:
    """The directory of the controller that this process is to be, for all users."""
    return Runtime(os.environ.get("GSHARE_RUNTIME_DIR") or MACHINE_DIRECTORY)


def state_directory(*, machine_wide: bool = False) -> Path:
    """Where permanent quotas and measured context sizes are kept; not made by this call."""
    named = os.environ.get("GSHARE_STATE_DIR")
    if named:
        return Path(named)
    if machine_wide:
        return MACHINE_STATE
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "gshare"


def _under(parent: str | None) -> Path | None:
    return Path(parent) / "gshare" if parent else None


def _writable(directory: str | None) -> str | None:
    return directory if directory and os.access(directory, os.W_OK | os.X_OK) else None
