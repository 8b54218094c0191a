"""A machine-wide controller of a test's own, for real users, over a simulated GPU that all may use."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from users import User
from waiting import PATIENCE_S

from gshare.controller.client import Client
from gshare.controller.paths import Runtime
from gshare.controller.protocol import Admit, GetEvents, Limits, Simulated
from gshare.controller.units import Memory
from gshare.shim import LIBRARY, sim

GIB = 1 << 30


class Everybodys:
    """The controller's process, directory and simulated machine."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.runtime = Runtime(folder / "run")
        self.machine = str(folder / "machine")
        self.state = folder / "state"
        self.environment = {
            **os.environ,
            **environment,
            "GSHARE_RUNTIME_DIR": str(self.runtime.directory),
            "GSHARE_STATE_DIR": str(self.state),
            "SIMGPU_MACHINE": self.machine,
        }
        self.begin()

    def begin(self) -> None:
        """Start it."""
        reading, writing = os.pipe()
        command = [sys.executable, "-m", "gshare.controller", "--machine-wide", "--ready-fd", str(writing)]
        with open(self.runtime.directory.parent / "log", "ab") as log:
            self.process = subprocess.Popen(command, env=self.environment, pass_fds=[writing], stderr=log)
        os.close(writing)
        with open(reading) as outcome:
            said = outcome.read()
        assert said == "ready", said

    def restart(self, number: int = signal.SIGTERM) -> None:
        """End it, in one way or another, and start the next one."""
        self.end(number)
        self.begin()

    def end(self, number: int = signal.SIGTERM) -> None:
        """End it."""
        self.process.send_signal(number)
        self.process.wait(20)

    def ask(self, request: Any, user: User | None = None) -> Any:
        """What it answers to a user, or else to us, who administrate."""
        where = str(self.runtime.directory)
        return user.call(ask, where, request) if user else ask(where, request)

    def program(self, source: str) -> list[str]:
        """One of tests/programs, compiled, where every user can read it and the libraries beside it."""
        folder = self.runtime.directory.parent / "lib"
        folder.mkdir(exist_ok=True)
        for library in (LIBRARY, LIBRARY.parent / "sim" / "libcuda.so.1"):
            shutil.copy(library, folder)
        built, programs = folder / Path(source).stem, Path(__file__).parents[1] / "programs"
        build = ["cc", "-o", str(built), str(programs / source), str(folder / "libcuda.so.1")]
        subprocess.run([*build, f"-Wl,-rpath,{folder}"], check=True)
        for entry in (folder, *folder.iterdir()):
            entry.chmod(0o755)
        return [str(built)]

    def keepers(self) -> list[int]:
        """The keepers of this machine; one, but while one takes another's place."""
        name = f"GSHARE_RUNTIME_DIR={self.runtime.directory}".encode()
        pids = []
        for entry in Path("/proc").iterdir():
            with suppress(OSError):
                if b"gshare.controller.keeper" in (entry / "cmdline").read_bytes():
                    found = name in (entry / "environ").read_bytes().split(b"\0")
                    pids += [int(entry.name)] if found else []
        return pids

    def admission(self, tenant: str = "", memory_bytes: int = GIB, **more: Any) -> Admit:
        """A run on the simulated GPU; the pid is a lie, which must not matter."""
        limits = Limits(Memory(memory_bytes, None))
        return Admit(1, 1, "train", limits, tenant=tenant, simulated=Simulated(self.machine), **more)

    def events(self, what: str) -> list[dict[str, Any]]:
        """The events of a kind, as an administrator sees them."""
        return [event for event in self.ask(GetEvents(1000)).events if event["what"] == what]


def ask(directory: str, request: Any) -> Any:
    """What the controller answers to whoever calls this."""
    return Client(Runtime(directory)).ask(request, timeout_s=PATIENCE_S)


@contextmanager
def everybodys(**environment: str) -> Iterator[Everybodys]:
    """A machine-wide controller, with more in its environment; all of it is gone after the block."""
    with tempfile.TemporaryDirectory(prefix="gshare-") as folder:
        os.chmod(folder, 0o711)
        machine = f"{folder}/machine"
        sim.start(machine, "h200")
        os.chmod(machine, 0o666)
        (Path(folder) / "run").mkdir()
        made = Everybodys(Path(folder), environment)
        try:
            yield made
        finally:
            made.end(signal.SIGKILL)
            for keeper in made.keepers():
                os.kill(keeper, signal.SIGKILL)
            sim.stop(machine)
