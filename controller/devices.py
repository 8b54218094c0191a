"""Which devices a machine has: the real one through NVML, a simulated one through its own statistics."""

import logging
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from gshare.controller.errors import GshareError

REAL = ""
"""The machine that gshare runs on; every other machine is the path of a simulated one."""

PATIENCE_S = 5.0
"""For a driver that has to wake its devices first."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Found:
    """One device; `index` is its place within its machine, as `--gpu` counts."""

    index: int
    uuid: str
    name: str
    driver: str
    machine: str
    memory_bytes: int
    profile: str = ""
    """What a simulated device was made after."""

    @property
    def simulated(self) -> bool:
        """Whether the device is not real."""
        return self.machine != REAL


Inventory = Callable[[str], list[Found]]
"""Lists the devices of a machine; empty where there is none."""


class Nvml:
    """Asked in a thread, and not again before it has answered: a driver may hang for ever."""

    def __init__(self) -> None:
        self._asking: threading.Thread | None = None
        self._found: list[Found] = []

    @property
    def silent(self) -> bool:
        """Whether it has not answered yet: which devices there are is not known."""
        return self._asking is not None and self._asking.is_alive()

    def devices(self) -> list[Found]:
        """What it lists; none while it is silent, for which we wait once."""
        if not self.silent and not self._found:
            self._asking = threading.Thread(target=self._ask, daemon=True)
            self._asking.start()
            self._asking.join(PATIENCE_S)
            if self.silent:
                log.info("NVML has not listed the GPUs for %g s: none is known until it does", PATIENCE_S)
        return self._found

    def _ask(self) -> None:
        self._found = real_devices()


nvml = Nvml()
"""There is one driver."""


class Machines:
    """The inventory of this computer: what NVML lists, and simulated machines by the path of their file."""

    def __init__(self) -> None:
        self._simulated: dict[str, tuple[object, list[Found]]] = {}

    def __call__(self, machine: str) -> list[Found]:
        """List the devices of a machine; the real ones are asked for until there are some, then kept.

        Those of a simulated machine are looked up once a second: they stay for as long as its file does.
        """
        if machine != REAL:
            file = _file(machine)
            if file is None or self._simulated.get(machine, (None, []))[0] != file:
                self._simulated[machine] = file, simulated_devices(machine)
            return self._simulated[machine][1]
        return nvml.devices()


def _file(machine: str) -> tuple[int, ...] | None:
    """What tells a simulated machine's file from one that is put in its place, for a second at most.

    None where there is no file.
    """
    try:
        status = os.stat(machine)
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_ctime_ns, int(time.monotonic())


def real_devices() -> list[Found]:
    """What NVML lists; empty without a driver, or without the binding."""
    try:
        import pynvml
    except ImportError:
        return []
    try:
        pynvml.nvmlInit()
        driver = _text(pynvml.nvmlSystemGetDriverVersion())
        return [_real_device(pynvml, index, driver) for index in range(pynvml.nvmlDeviceGetCount())]
    except pynvml.NVMLError:
        return []


def simulated_devices(machine: str) -> list[Found]:
    """What the simulated machine lists; empty where it has not been started."""
    from gshare.shim import sim

    try:
        statistics = sim.stat(machine)
    except sim.SimulationError:
        return []
    return [
        Found(
            device["index"],
            device["uuid"],
            device["name"],
            "simulated",
            machine,
            device["memory_bytes"],
            device.get("profile", ""),
        )
        for device in statistics["devices"]
    ]


def start_simulated(machine: str, profile: str) -> None:
    """Start the simulated machine unless it runs; raise GshareError where it runs with another profile."""
    from gshare.shim import sim

    try:
        sim.start(machine, profile or None)
    except sim.SimulationError as error:
        raise GshareError("--sim" + (f"={profile}" if profile else ""), str(error)) from None


@contextmanager
def passing_machine(profile: str) -> Iterator[str]:
    """A simulated machine of its own, for questions that must leave no trace on the one that programs use."""
    from gshare.shim import sim

    with tempfile.TemporaryDirectory(prefix="gshare-") as folder:
        machine = os.path.join(folder, "machine")
        start_simulated(machine, profile)
        try:
            yield machine
        finally:
            sim.stop(machine)


def preview_simulated(machine: str, profile: str) -> list[Found]:
    """The devices that a simulated machine would have if it were started."""
    with passing_machine(profile) as passing:
        return [replace(device, machine=machine) for device in simulated_devices(passing)]


def _real_device(pynvml: Any, index: int, driver: str) -> Found:
    handle = pynvml.nvmlDeviceGetHandleByIndex(index)
    try:
        memory = pynvml.nvmlDeviceGetMemoryInfo(handle, version=pynvml.nvmlMemory_v2)
        total = memory.total - memory.reserved  # what programs can have: the driver keeps the rest
    except pynvml.NVMLError:
        total = pynvml.nvmlDeviceGetMemoryInfo(handle).total
    uuid, name = (_text(ask(handle)) for ask in (pynvml.nvmlDeviceGetUUID, pynvml.nvmlDeviceGetName))
    return Found(index, uuid, name, driver, REAL, total)


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
