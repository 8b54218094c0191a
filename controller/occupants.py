"""Which processes use a machine's devices, and how much: the driver's word, not the shim's."""

import os
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, NamedTuple

from gshare.controller.devices import REAL


class Occupant(NamedTuple):
    """What a process has of a device; None where the driver does not say."""

    held_bytes: int | None
    gpu_ns: int | None = None
    """The device's time that it has used: only differences mean something."""


Occupants = dict[str, dict[int, Occupant]]
"""By the device's UUID and by pid."""

FIRST_PID_NAMESPACE = 0xEFFFFFFC
"""The inode of the machine's own one, the same on every Linux."""

MOST_SAMPLED_NS = 2_000_000_000
"""A sample of NVML's stands for no longer than this."""


class Utilisation:
    """Adds up what NVML samples of each process: percentages of the time since the last sample."""

    def __init__(self) -> None:
        self.seen_us = 0
        self._used: dict[int, int] = {}
        self._sampled_us: dict[int, int] = {}

    def take(self, samples: Iterable[tuple[int, int, int]]) -> None:
        """Samples as (pid, time in us, percentage)."""
        for pid, at_us, percent in samples:
            since_us = self._sampled_us.get(pid, at_us)
            self._sampled_us[pid] = max(since_us, at_us)
            elapsed_ns = min(max(at_us - since_us, 0) * 1000, MOST_SAMPLED_NS)
            self._used[pid] = self._used.get(pid, 0) + elapsed_ns * percent // 100
            self.seen_us = max(self.seen_us, at_us)

    def keep(self, pids: set[int]) -> None:
        """Forget the processes that are not there any more."""
        self._used = {pid: used for pid, used in self._used.items() if pid in pids}
        self._sampled_us = {pid: at for pid, at in self._sampled_us.items() if pid in pids}

    def used_ns(self, pid: int) -> int:
        return self._used.get(pid, 0)


_utilisation: dict[str, Utilisation] = {}
"""Of each device that NVML samples; asked from one thread at a time."""


def occupants(machine: str) -> Occupants | None:
    """Ask NVML, or a simulated machine's books; None where nothing can be told. It may take its time."""
    if machine != REAL:
        return simulated_occupants(machine)
    return real_occupants() if sees_all_pids() else None


def sees_all_pids() -> bool:
    """Whether NVML's pids are ours: in a container, the machine's own mean others, or nobody."""
    with suppress(OSError):
        return os.stat("/proc/self/ns/pid").st_ino == FIRST_PID_NAMESPACE
    return False


def real_occupants() -> Occupants | None:
    """What NVML lists."""
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
        try:
            devices = map(pynvml.nvmlDeviceGetHandleByIndex, range(pynvml.nvmlDeviceGetCount()))
            return {_text(pynvml.nvmlDeviceGetUUID(device)): _on_device(pynvml, device) for device in devices}
        finally:
            pynvml.nvmlShutdown()
    except pynvml.NVMLError:
        return None


def _on_device(pynvml: Any, device: Any) -> dict[int, Occupant]:
    held = {
        process.pid: process.usedGpuMemory for process in pynvml.nvmlDeviceGetComputeRunningProcesses(device)
    }
    used = _utilisation.setdefault(_text(pynvml.nvmlDeviceGetUUID(device)), Utilisation())
    try:
        samples = pynvml.nvmlDeviceGetProcessUtilization(device, used.seen_us)
    except pynvml.NVMLError_NotFound:
        samples = []  # nobody has used it since
    except pynvml.NVMLError:
        return {pid: Occupant(size) for pid, size in held.items()}
    used.take((sample.pid, sample.timeStamp, sample.smUtil) for sample in samples)
    used.keep(set(held))
    return {pid: Occupant(size, used.used_ns(pid)) for pid, size in held.items()}


def simulated_occupants(machine: str) -> Occupants | None:
    """What the simulated machine has in its books."""
    from gshare.shim import sim

    try:
        found = sim.occupants(machine)
    except sim.SimulationError:
        return None
    return {uuid: {pid: Occupant(*has) for pid, has in those.items()} for uuid, those in found.items()}


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
