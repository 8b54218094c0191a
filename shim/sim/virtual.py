"""The virtual clock: programs on a simulated machine whose time passes only when all of them wait.

Hours of scheduling run in seconds, and the same programs do the same at the same nanosecond every time,
however busy the host is.  The process that makes the clock, a test, conducts it: it starts programs, which
join in the order in which it starts them, and lets time pass; in between the machine stands still, and may be
looked at and changed.

A program does not know: a library that it preloads serves clocks, sleeps, locks, semaphores, condition
variables, futexes and the life of threads.  What else it might wait for (a pipe, a socket, a signal, a timer)
is an error that names the call and ends it with status 70.  Children of a program run on the real clock.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any

from gshare.shim import sim
from gshare.shim.sim import machine as _machine

__all__ = ["LIBRARY", "VirtualClock"]

LIBRARY = os.path.join(sim.LIBRARY_DIR, "libsimclock.so")
"""What a program on a virtual clock preloads."""

FOREVER_NS = (1 << 64) - 1
LOOK_NS = 100_000_000
JOIN_TIMEOUT_S = 60.0

_ARGUMENTS: dict[str, tuple[Any, list[Any]]] = {
    "sim_conductor_begin": (ctypes.c_int, [ctypes.c_char_p]),
    "sim_conductor_end": (None, []),
    "sim_conductor_expect": (ctypes.c_uint32, []),
    "sim_conductor_joined": (ctypes.c_int, [ctypes.c_uint32, ctypes.c_uint64]),
    "sim_conductor_give_up": (None, [ctypes.c_uint32]),
    "sim_conductor_now_ns": (ctypes.c_uint64, []),
    "sim_conductor_turns": (ctypes.c_uint64, []),
    "sim_conductor_ended": (ctypes.c_int, [ctypes.c_uint32]),
    "sim_conductor_pass": (None, [ctypes.c_uint64, ctypes.c_uint32]),
    "sim_conductor_wait": (ctypes.c_int, [ctypes.c_uint64]),
    "sim_conductor_bury": (ctypes.c_int, [ctypes.c_uint32]),
}


def _library() -> Any:
    library = ctypes.CDLL(LIBRARY, use_errno=True)
    for name, (result, arguments) in _ARGUMENTS.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


class VirtualClock:
    """A simulated machine on a clock of its own; one per process at a time.

    The machine's file is made at `machine`, which must not exist, and the clock's beside it.
    """

    def __init__(self, machine: str, profile: str = sim.DEFAULT_PROFILE) -> None:
        self.machine = machine
        self._path = f"{machine}.clock"
        self._library = _library()
        self._numbers: dict[int, int] = {}
        self._programs: list[subprocess.Popen[str]] = []
        self._closed = False
        error = self._library.sim_conductor_begin(self._path.encode())
        if error:
            raise sim.SimulationError(f"{self._path}: {os.strerror(error)}")
        try:
            sim.start(machine, profile)
        except BaseException:
            self._end()
            raise

    def __enter__(self) -> VirtualClock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Kill the programs that still run, and forget the machine."""
        if self._closed:
            return
        self._closed = True
        for program in self._programs:
            if program.poll() is None:
                program.kill()
            program.communicate()
        self._end()
        sim.stop(self.machine)

    def _end(self) -> None:
        self._library.sim_conductor_end()
        with suppress(FileNotFoundError):
            os.unlink(self._path)

    @property
    def now_ns(self) -> int:
        """What the programs' CLOCK_MONOTONIC says."""
        now: int = self._library.sim_conductor_now_ns()
        return now

    @property
    def turns(self) -> int:
        """How often the turn went from one thread to another: what a virtual second costs in real time."""
        turns: int = self._library.sim_conductor_turns()
        return turns

    def start(
        self, command: Sequence[str], env: Mapping[str, str] | None = None, **options: Any
    ) -> subprocess.Popen[str]:
        """Start a program, which gets its first turn when time next passes.

        The command must be the program itself: one that a shell starts would not be on the clock.  `options`
        are subprocess.Popen's; by default output goes to pipes, for `communicate` after the program's end.
        """
        number = self._library.sim_conductor_expect()
        if number == 0:
            raise sim.SimulationError(f"{self._path}: no more programs")
        environ = {**(os.environ if env is None else env), **sim.environment(self.machine)}
        environ["LD_PRELOAD"] = ":".join(filter(None, [LIBRARY, environ.get("LD_PRELOAD")]))
        environ["SIMGPU_VIRTUAL_CLOCK"] = self._path
        environ["SIMGPU_VIRTUAL_PROCESS"] = str(number)
        environ.setdefault("PYTHONHASHSEED", "0")  # else the order of sets would differ from run to run
        pipe = subprocess.PIPE
        options = {"stdin": subprocess.DEVNULL, "stdout": pipe, "stderr": pipe, "text": True, **options}
        program: subprocess.Popen[str] = subprocess.Popen(list(command), env=environ, **options)
        self._programs.append(program)
        self._numbers[program.pid] = number
        give_up = time.monotonic() + JOIN_TIMEOUT_S
        while not self._library.sim_conductor_joined(number, LOOK_NS // 10):
            if program.poll() is not None or time.monotonic() > give_up:
                self._library.sim_conductor_give_up(number)
                program.kill()
                raise sim.SimulationError(f"{command[0]} did not come onto the clock (static? setuid?)")
        return program

    def python(
        self, code: str, env: Mapping[str, str] | None = None, **options: Any
    ) -> subprocess.Popen[str]:
        """Start a Python program."""
        return self.start([sys.executable, "-c", code], env, **options)

    def run(self, seconds: float) -> None:
        """Let that much time pass."""
        self._pass(self.now_ns + round(seconds * 1e9), 0)

    def wait(self, *programs: subprocess.Popen[str]) -> list[int]:
        """Let time pass until these programs have ended (default: all); return their exit statuses."""
        wanted = programs or tuple(self._programs)
        for program in wanted:
            number = self._numbers[program.pid]
            if not self._library.sim_conductor_ended(number):
                self._pass(FOREVER_NS, number)
        return [program.wait() for program in wanted]

    def kill(self, program: subprocess.Popen[str]) -> None:
        """Kill a program (kill -9); the others see it gone from this very moment on."""
        program.kill()
        while not self._library.sim_conductor_bury(self._numbers[program.pid]):
            time.sleep(0.0001)

    def stat(self) -> dict[str, Any]:
        """Return what the machine did until now; see gshare.shim.sim.stat."""
        try:
            return _machine.stat(self.machine, self.now_ns)
        except _machine.MachineError as error:
            raise sim.SimulationError(str(error)) from None

    def truth(self) -> dict[str, Any]:
        """Return stat() without what differs from one run to the next: process ids."""
        truth = self.stat()
        for entry in _entries(truth):
            entry.pop("pid", None)
        return truth

    def _pass(self, until_ns: int, number: int) -> None:
        self._library.sim_conductor_pass(until_ns, number)
        while not self._library.sim_conductor_wait(LOOK_NS):
            pass  # back in Python now and then, for its signals


def _entries(value: Any) -> Iterator[dict[str, Any]]:
    """All dictionaries inside a value."""
    if isinstance(value, dict):
        yield value
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _entries(item)
