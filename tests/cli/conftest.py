"""A gshare of a test's own: runtime, state and simulated machine in a folder that goes with the test."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from gshare.controller.lock import controller_lives, controller_pid

from .warm import Warm

GSHARE = (sys.executable, "-m", "gshare.cli")
TIMEOUT_S = 60

ALLOCATE = Path(__file__).with_name("allocate.py")
"""A program that allocates device memory on command; see there."""


class Home:
    """Where one test's gshare lives."""

    def __init__(self, folder: Path, warm: Warm) -> None:
        self.folder = folder
        self.warm = warm
        self.run_dir = folder / "run"
        self.state_dir = folder / "state"
        self.machine = folder / "machine"
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("GSHARE_", "SIMGPU_", "XDG_")) and name != "LD_PRELOAD"
        }
        self.environment = {
            **inherited,
            "GSHARE_RUNTIME_DIR": str(self.run_dir),
            "GSHARE_STATE_DIR": str(self.state_dir),
            "SIMGPU_MACHINE": str(self.machine),
        }
        self.children: list[subprocess.Popen[str]] = []

    def gshare(self, *arguments: str, **more: Any) -> subprocess.CompletedProcess[str]:
        """Run the command line to its end; quickly, where nothing is asked for but that."""
        if more:
            return self.cold_gshare(*arguments, **more)
        return self.warm.run(arguments, self.environment, TIMEOUT_S)

    def cold_gshare(self, *arguments: str, **more: Any) -> subprocess.CompletedProcess[str]:
        """The same, as who types it does: a new process, with options of subprocess.run()."""
        options = {"env": self.environment, "stdin": subprocess.DEVNULL, "timeout": TIMEOUT_S} | more
        return subprocess.run([*GSHARE, *arguments], capture_output=True, text=True, check=False, **options)

    def start(self, *arguments: str, env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        """Start the command line; it is killed at the end of the test, if not before."""
        child = subprocess.Popen(
            [*GSHARE, *arguments],
            env=env or self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.children.append(child)
        return child

    def allocator(self, *options: str) -> "Allocator":
        """A program under `gshare run --sim OPTIONS` that allocates on command."""
        return Allocator(self.start("run", "--sim", *options, "--", sys.executable, str(ALLOCATE)))

    def written(self) -> set[str]:
        """Tenants and state as they are on disk."""
        folders = (self.run_dir / "tenants", self.state_dir)
        return {str(path) for folder in folders if folder.exists() for path in folder.rglob("*")}

    def close(self) -> None:
        """End what the test left running."""
        for child in self.children:
            child.kill()
            child.communicate()
        lock = self.run_dir / "controller.lock"
        pid = controller_pid(lock) if controller_lives(lock) else None
        if pid:
            os.kill(pid, signal.SIGTERM)
            os.kill(pid, signal.SIGCONT)  # some tests stop it
            until = time.monotonic() + TIMEOUT_S
            while controller_lives(lock) and time.monotonic() < until:
                time.sleep(0.005)


class Allocator:
    """Talks to allocate.py."""

    def __init__(self, child: subprocess.Popen[str]) -> None:
        self.child = child
        self.pid = child.pid

    def ask(self, *words: object) -> str:
        """Give one command and return its answer."""
        assert self.child.stdin is not None
        assert self.child.stdout is not None
        print(*words, file=self.child.stdin, flush=True)
        answer = self.child.stdout.readline().strip()
        if not answer:
            _, errors = self.child.communicate(timeout=TIMEOUT_S)
            raise AssertionError(f"ended with {self.child.returncode}: {errors}")
        return answer

    def pieces(self, most: int) -> int:
        """Take pieces of 64 MiB until refused, or `most`; return how many it got."""
        return int(self.ask("take", most))

    def memory(self) -> tuple[int, int]:
        """What cuMemGetInfo says: free and total."""
        free, total = self.ask("info").split()
        return int(free), int(total)


@pytest.fixture(scope="session")
def warm() -> Iterator[Warm]:
    """What starts `gshare` quickly."""
    made = Warm()
    yield made
    made.close()


@pytest.fixture
def home(warm: Warm) -> Iterator[Home]:
    """A new Home."""
    with tempfile.TemporaryDirectory(prefix="gshare-") as folder:
        made = Home(Path(folder), warm)
        yield made
        made.close()
