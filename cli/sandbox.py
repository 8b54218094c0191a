"""A gshare of its own: controller, state and simulated machine in temporary directories, gone at the end.

`gshare demo` and `gshare bench` run in one, so that they neither disturb nor are disturbed by what the user
runs.  On a real GPU there is nothing to keep apart, since the hardware is shared anyway: there they ask the
user's own controller, whose admission says what is still free.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType

GSHARE = (sys.executable, "-m", "gshare.cli")
"""This very gshare, whatever $PATH says."""

MACHINES = Path("/dev/shm")
MACHINE_PREFIX = "simgpu-sandbox-"
NEW_S = 10.0
"""So long a sandbox may take to lock the directory that it has made."""


class Sandbox:
    """`environment` for child processes; leave the block and what it started is gone."""

    def __init__(self, *, simulated: bool, profile: str = "") -> None:
        self.simulated = simulated
        self.profile = profile
        self.environment = dict(os.environ)
        self.directory = Path()
        """Free for files; short, since sockets lie below it."""
        self._directories: list[Path] = []
        self._machine = ""
        self._lock = -1

    def __enter__(self) -> Sandbox:
        self.directory = home = self._directory("gshare-", None)
        if self.simulated:
            # Device memory is host memory: keep it off the disk where there is a /dev/shm.
            sweep()
            directory = self._directory(MACHINE_PREFIX, str(MACHINES))
            self._lock = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
            fcntl.flock(self._lock, fcntl.LOCK_EX)
            self._machine = str(directory / "machine")
            self.environment["GSHARE_RUNTIME_DIR"] = str(home / "run")
            self.environment["GSHARE_STATE_DIR"] = str(home / "state")
            self.environment["SIMGPU_MACHINE"] = self._machine
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.simulated:
            self._quietly("controller", "stop")
            self._quietly("sim", "stop")
            os.close(self._lock)
        for directory in self._directories:
            shutil.rmtree(directory, ignore_errors=True)

    def run(self, limits: Sequence[str], command: Sequence[str]) -> list[str]:
        """The command line that runs `command` as a tenant with `limits` (options of `gshare run`)."""
        where = [f"--sim={self.profile}" if self.profile else "--sim"] if self.simulated else []
        return [*GSHARE, "run", *where, *limits, "--", *command]

    def _directory(self, prefix: str, parent: str | None) -> Path:
        if parent and not os.access(parent, os.W_OK | os.X_OK):
            parent = None
        path = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        self._directories.append(path)
        return path

    def _quietly(self, *command: str) -> None:
        subprocess.run(
            [*GSHARE, *command],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )


def sweep() -> None:
    """Remove the simulated machines of killed sandboxes: nobody holds their directories' locks any more."""
    for path in MACHINES.glob(MACHINE_PREFIX + "*"):
        with suppress(OSError):
            if time.time() - path.stat().st_mtime < NEW_S:
                continue
            lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path, ignore_errors=True)
            finally:
                os.close(lock)
