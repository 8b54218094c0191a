"""Where the hardware programs run, bare or as tenants: the real GPU, or in a rehearsal the simulated one.

`python place.py COMMAND…` becomes that command, bare.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from gshare.benchmarks.results import Row, result
from gshare.cli.sandbox import Sandbox
from gshare.controller.devices import real_devices, simulated_devices

REHEARSAL = os.environ.get("GSHARE_GPU_REHEARSAL") == "1"
PYTHON = os.environ.get("GSHARE_TEST_CLIENTS") or sys.executable
"""The Python with the frameworks."""
PROGRAMS = Path(__file__).parent / "programs"
SAMPLE_S = 0.005
END_S = 10.0
NO_RUNTIME = "NVIDIA's runtime library asks a real driver for private tables, which the simulated GPU has not"

LOOK = """
import importlib.util, sys

def there(module):
    parent = module.rpartition(".")[0]
    return (not parent or there(parent)) and importlib.util.find_spec(module) is not None

print(*[module for module in sys.argv[1:] if not there(module)])
"""


class Books(Protocol):
    """What a device says of its memory."""

    def read(self) -> tuple[int, dict[int, int]]:
        """Bytes in use on the first device, and those of each process that it tells of."""


class NvmlBooks:
    def __init__(self) -> None:
        import pynvml

        self.nvml = pynvml
        pynvml.nvmlInit()
        first = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")[0]
        if first.startswith("GPU-"):
            self.handle = pynvml.nvmlDeviceGetHandleByUUID(first)
        else:
            self.handle = pynvml.nvmlDeviceGetHandleByIndex(int(first) if first.isdecimal() else 0)

    def read(self) -> tuple[int, dict[int, int]]:
        used = int(self.nvml.nvmlDeviceGetMemoryInfo(self.handle).used)
        try:
            processes = self.nvml.nvmlDeviceGetComputeRunningProcesses(self.handle)
        except self.nvml.NVMLError:  # some containers do not tell
            processes = []
        return used, {p.pid: int(p.usedGpuMemory) for p in processes if p.usedGpuMemory is not None}


class SimulatedBooks:
    def __init__(self, machine: str) -> None:
        self.machine = machine

    def read(self) -> tuple[int, dict[int, int]]:
        from gshare.shim import sim

        with suppress(sim.SimulationError):
            device = sim.stat(self.machine)["devices"][0]
            processes = {p["pid"]: p["used_bytes"] for p in device["processes"] if p["used_bytes"]}
            return sum(processes.values()), processes
        return 0, {}


class Place:
    """`with Place() as place:` and programs can be started."""

    def __init__(self) -> None:
        self.sandbox = Sandbox(simulated=REHEARSAL)
        self.simulated = REHEARSAL

    def __enter__(self) -> Place:
        self.sandbox.__enter__()
        if self.simulated:
            from gshare.shim import sim

            sim.start(self.machine)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.sandbox.__exit__(kind, error, trace)

    @property
    def machine(self) -> str:
        return self.sandbox.environment["SIMGPU_MACHINE"] if self.simulated else ""

    def driver(self) -> str:
        """The library with which this very process joins the machine."""
        if not self.simulated:
            return "libcuda.so.1"
        from gshare.shim import sim

        os.environ["SIMGPU_MACHINE"] = self.machine
        return str(Path(sim.LIBRARY_DIR, "libcuda.so.1"))

    def books(self) -> Books:
        return SimulatedBooks(self.machine) if self.simulated else NvmlBooks()

    def identity(self) -> dict[str, str]:
        """Device and driver, for results."""
        found = simulated_devices(self.machine) if self.simulated else real_devices()
        return {"device": found[0].name, "driver": found[0].driver} if found else {"device": "", "driver": ""}

    def start(
        self,
        limits: Sequence[str] | None,
        command: Sequence[str],
        environment: Mapping[str, str] | None = None,
    ) -> subprocess.Popen[str]:
        """Start a program as a tenant with `limits`, or bare where they are None."""
        variables = dict(self.sandbox.environment) | dict(environment or {})
        if limits is None and self.simulated:
            from gshare.shim import sim

            variables |= sim.environment(machine=self.machine)
        return subprocess.Popen(
            command if limits is None else self.sandbox.run(limits, command),
            env=variables,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def write(self, bench: str, rows: Iterable[Row], output: Path) -> dict[str, Any]:
        """Store what was measured so far, in the form of every benchmark's results."""
        answer = result(bench, list(rows), simulated=self.simulated, smoke=self.simulated, **self.identity())
        scratch = output.with_suffix(".new")
        scratch.write_text(json.dumps(answer, indent=1) + "\n")
        scratch.replace(output)
        return answer


class Watch(threading.Thread):
    """Samples the memory of a process and all that it started, from outside, until the block ends."""

    def __init__(self, books: Books, pid: int) -> None:
        super().__init__(daemon=True)
        self.books = books
        self.pid = pid
        self.before, others = books.read()
        self.others = frozenset(others)
        self.process_peak_bytes = 0
        self.device_peak_bytes = 0
        """Above what was in use before."""
        self.samples = 0
        self._over = threading.Event()

    def __enter__(self) -> Watch:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self.join()

    def run(self) -> None:
        while not self._over.wait(SAMPLE_S):
            used, processes = self.books.read()
            # In a container pids may differ: then those who were not there before are meant.
            own = processes.keys() & family(self.pid) or processes.keys() - self.others
            self.process_peak_bytes = max(self.process_peak_bytes, sum(processes[pid] for pid in own))
            self.device_peak_bytes = max(self.device_peak_bytes, used - self.before)
            self.samples += 1


def family(pid: int) -> list[int]:
    """A process and those that descend from it."""
    found = [pid]
    for parent in found:
        with suppress(OSError):
            for thread in Path(f"/proc/{parent}/task").iterdir():
                found += map(int, (thread / "children").read_text().split())
    return found


def kill(process: subprocess.Popen[str]) -> None:
    """With all that it has started."""
    for pid in reversed(family(process.pid)) if process.poll() is None else ():
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def end(process: subprocess.Popen[str]) -> tuple[str, str]:
    """Kill a program, and return what it had printed.

    Who has its pipes may outlive it, and a driver may keep one that hangs in it: nobody waits for these.
    """
    kill(process)
    try:
        return process.communicate(timeout=END_S)
    except subprocess.TimeoutExpired as over:
        return text_of(over.stdout), text_of(over.stderr)


def text_of(output: bytes | str | None) -> str:
    return output.decode(errors="replace") if isinstance(output, bytes) else output or ""


def missing(modules: Sequence[str], python: str = PYTHON) -> str:
    """Why a program that needs these modules cannot run; empty where it can."""
    done = subprocess.run([python, "-c", LOOK, *modules], capture_output=True, text=True, check=False)
    absent = done.stdout.split() if done.returncode == 0 else list(modules)
    return f"not installed: {', '.join(absent)}" if absent else ""


def said(output: str) -> list[dict[str, Any]]:
    """The JSON objects among the lines that a program printed; frameworks print others."""
    found = []
    for line in output.splitlines():
        if line.startswith("{"):
            with suppress(ValueError):
                found.append(json.loads(line))
    return found


if __name__ == "__main__":
    if REHEARSAL:
        from gshare.shim import sim

        os.environ.update(sim.environment(machine=os.environ["SIMGPU_MACHINE"]))
    os.execvp(sys.argv[1], sys.argv[1:])
