"""The simulated GPU: how a program gets onto it, and the truth about what happened there.

A program that finds the libraries in `LIBRARY_DIR` first (`environment`) runs on the simulated machine, which
is one file that all such programs share; the first of them makes it.
"""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from gshare.shim.sim import machine as _machine

__all__ = ["LIBRARY_DIR", "PROFILES", "SimulationError", "environment", "occupants", "start", "stat", "stop"]

Read = TypeVar("Read")

LIBRARY_DIR = str(Path(__file__).resolve().parent)
"""Holds libcuda.so.1 and libnvidia-ml.so.1."""

PROFILES = _machine.PROFILES
"""The devices that can be simulated."""

DEFAULT_PROFILE = "h200"
MAX_DEVICES = 16


class SimulationError(Exception):
    """The simulated machine cannot be had as asked; the message says what to do."""


def environment(machine: str | None = None, profile: str | None = None) -> dict[str, str]:
    """Return the variables that put a program onto the simulated machine, LD_LIBRARY_PATH among them.

    Raises SimulationError where no device has the name `profile`.
    """
    others = [d for d in os.environ.get("LD_LIBRARY_PATH", "").split(":") if d and d != LIBRARY_DIR]
    variables = {
        "LD_LIBRARY_PATH": ":".join([LIBRARY_DIR, *others]),
        "SIMGPU_MACHINE": machine or _machine.default_path(),
    }
    if profile:
        _devices(profile)
        variables["SIMGPU_PROFILE"] = profile
    return variables


def start(machine: str | None = None, profile: str | None = None) -> None:
    """Make the machine unless it runs.

    Raises SimulationError where it runs with other devices than `profile` asks for, or cannot be made.
    """
    path = Path(machine or _machine.default_path())
    wanted = _devices(profile or os.environ.get("SIMGPU_PROFILE") or DEFAULT_PROFILE)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        has = _machine.create(str(path), ",".join(wanted))
    except (OSError, _machine.MachineError) as error:
        raise SimulationError(str(error)) from None
    if profile and has != wanted:
        running = ",".join(has)
        raise SimulationError(f"{profile}: the simulated machine has {running} (gshare sim stop ends it)")


def stat(machine: str | None = None) -> dict[str, Any]:
    """Return what the machine did: times in nanoseconds, memory in bytes; ended processes stay listed.

    Raises SimulationError where no machine runs.
    """
    return _read(machine, _machine.stat)


def occupants(machine: str | None = None) -> dict[str, dict[int, tuple[int, int]]]:
    """Return who has contexts on each device, by UUID and pid: bytes held, and GPU time used.

    Raises SimulationError where no machine runs.
    """
    return _read(machine, _machine.occupants)


def _read(machine: str | None, read: Callable[[str], Read]) -> Read:
    path = machine or _machine.default_path()
    try:
        os.stat(path)
    except PermissionError:
        pass  # there is one, perhaps: what opens it says whose
    except OSError:
        raise SimulationError(f"{path}: no simulated machine runs (gshare sim start)") from None
    try:
        return read(path)
    except _machine.MachineError as error:
        raise SimulationError(str(error)) from None


def stop(machine: str | None = None) -> None:
    """Forget the machine; the next program makes a new one, and those on the old one keep it."""
    path = machine or _machine.default_path()
    try:
        with suppress(FileNotFoundError):
            os.unlink(path)
    except OSError as error:
        raise SimulationError(f"{path}: {error.strerror}") from None


def _devices(profile: str) -> list[str]:
    """The devices that a profile such as "h200*2,l4" stands for."""
    devices: list[str] = []
    for item in profile.split(","):
        name, star, count = item.partition("*")
        if name not in PROFILES or (star and not (count.isdecimal() and int(count) > 0)):
            known = ", ".join(PROFILES)
            raise SimulationError(f"{profile}: no such simulated device ({known}; h200*2 is two)")
        devices += [name] * (int(count) if star else 1)
        if len(devices) > MAX_DEVICES:
            raise SimulationError(f"{profile}: more than {MAX_DEVICES} devices")
    return devices
