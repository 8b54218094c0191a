"""Which processes have memory of a machine's devices, and how much: the driver's word, not the shim's."""

import os
from contextlib import suppress

from gshare.controller.devices import REAL

Occupants = dict[str, dict[int, int | None]]
"""By the device's UUID what each process has, by its pid; None where the driver does not say."""

FIRST_PID_NAMESPACE = 0xEFFFFFFC
"""The inode of the machine's own one, the same on every Linux."""


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
            return {
                _text(pynvml.nvmlDeviceGetUUID(device)): {
                    process.pid: process.usedGpuMemory
                    for process in pynvml.nvmlDeviceGetComputeRunningProcesses(device)
                }
                for device in devices
            }
        finally:
            pynvml.nvmlShutdown()
    except pynvml.NVMLError:
        return None


def simulated_occupants(machine: str) -> Occupants | None:
    """What the simulated machine has in its books."""
    from gshare.shim import sim

    try:
        devices = sim.stat(machine)["devices"]
    except sim.SimulationError:
        return None
    return {
        device["uuid"]: {
            process["pid"]: process["used_bytes"]
            for process in device["processes"]
            if process["contexts"] and not process["ended"]
        }
        for device in devices
    }


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
