"""Many tenants at work on many simulated devices, at little cost: what the controller has to look after.

Each tenant is a process with the shipped library, and has a context and has run a kernel on every device.
That all of them go on using the devices at once is left to one more process, `python -m
gshare.benchmarks.crowd FOLDER…`, which counts time in their shared memory as they would: a simulated GPU that
really ran them would need more than a small machine has, and the controller would wait for the rest.
"""

from __future__ import annotations

import mmap
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from gshare.cli.sandbox import Sandbox
from gshare.controller.client import Client
from gshare.controller.errors import GshareError
from gshare.controller.paths import Runtime
from gshare.controller.processes import start_ticks
from gshare.controller.protocol import Admit, Limits, Simulated
from gshare.controller.replies import Admitted
from gshare.controller.units import FULL_PPM, Memory
from gshare.shim import LIBRARY, abi, layout, sim

PROGRAM = Path(__file__).parent / "programs" / "crowd.c"
START = 'read -r GSHARE_TENANT_DIR; export GSHARE_TENANT_DIR LD_PRELOAD="$1"; exec "$2"'
"""A shell that becomes the program once it has been let in."""

PERIOD_S = 0.01
"""The controller looks as often at what may be lent."""

WORD = 8


class Crowd:
    """`count` tenants, each guaranteed a hundredth of every device, and let have what the others leave.

    They are gone after the block.
    """

    def __init__(self, sandbox: Sandbox, where: Runtime, count: int) -> None:
        self.environment = sandbox.environment
        self.machine = sandbox.environment["SIMGPU_MACHINE"]
        self.where = where
        self.programs: list[subprocess.Popen[bytes]] = []
        self.folders: list[str] = []
        self._open = ExitStack()
        self._program = _compiled(sandbox.directory)
        self._client = Client(where)
        try:
            for _ in range(count):
                self._start()
            for program in self.programs:
                assert program.stdout is not None
                if not program.stdout.read(1):
                    raise GshareError("a tenant's program", f"ended with {program.wait()}")
            self._started(subprocess.Popen([sys.executable, "-m", __name__, *self.folders]))
        except BaseException:
            self._open.close()
            raise

    def __enter__(self) -> Crowd:
        return self

    def __exit__(self, *exception: object) -> None:
        self._open.close()

    def _start(self) -> None:
        environment = {**self.environment, **sim.environment(machine=self.machine)}
        command = ["/bin/sh", "-c", START, "sh", str(LIBRARY), str(self._program)]
        pipe = subprocess.PIPE
        program = self._started(subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe))
        self.programs.append(program)
        admitted = self._client.ask(self.admission(program.pid), 60)
        assert isinstance(admitted, Admitted)
        assert program.stdin is not None
        self.folders.append(admitted.directory)
        program.stdin.write(os.fsencode(admitted.directory) + b"\n")
        program.stdin.flush()

    def _started(self, program: subprocess.Popen[bytes]) -> subprocess.Popen[bytes]:
        self._open.callback(program.wait)
        self._open.callback(program.kill)
        return program

    def admission(self, pid: int, *, dry_run: bool = False) -> Admit:
        """What a program asks for."""
        limits = Limits(Memory(2 << 30, None), compute_ppm=FULL_PPM // 100, ceiling_ppm=FULL_PPM)
        ticks = start_ticks(pid) or 0
        return Admit(pid, ticks, "crowd", limits, simulated=Simulated(self.machine), dry_run=dry_run)


def _compiled(directory: Path) -> Path:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if not compiler:
        raise GshareError("gshare bench", "there is no C compiler", "apt-get install gcc")
    program, driver = directory / "crowd", str(Path(sim.LIBRARY_DIR) / "libcuda.so.1")
    subprocess.run([compiler, "-O2", str(PROGRAM), driver, "-o", str(program)], check=True)
    return program


def keep_busy(folders: Sequence[str]) -> None:
    """All tenants use all devices, equally, and would use more of them; until this process is killed."""
    places, activity = [], _words(Path(folders[0]) / "activity")
    for folder in folders:
        with abi.Limits(Path(folder) / "limits") as limits:
            devices = [row for row, device in enumerate(limits.devices) if device.memory_quota_bytes]
            record = limits.tenant_index * abi.ACTIVITY_RECORD_BYTES // WORD
        usage = _words(Path(folder) / "usage")
        for row in devices:
            own, told = layout.places(row)
            places.append((usage, own, [record + at for at in told]))
    before = time.monotonic_ns()
    while True:
        time.sleep(PERIOD_S)
        now = time.monotonic_ns()
        used = (now - before) // len(folders)
        waited, before = now - before - used, now
        for usage, (spent, gpu, launches, throttled), (busy_until, told_gpu, told_throttled) in places:
            for at, more in ((spent, used), (gpu, used), (launches, 1), (throttled, waited)):
                usage[at] += more
            activity[busy_until] = now + int(2e9 * PERIOD_S)
            activity[told_gpu] += used
            activity[told_throttled] += waited


def _words(path: Path) -> memoryview:
    with path.open("r+b") as file:
        return memoryview(mmap.mmap(file.fileno(), 0)).cast("Q")


if __name__ == "__main__":
    keep_busy(sys.argv[1:])
