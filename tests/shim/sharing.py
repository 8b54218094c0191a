"""Several tenants on one simulated device of their own, and the truth about who got what of it."""

from __future__ import annotations

import os
import subprocess
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import starting
from share_core import MS

from gshare.shim import abi, preload_environment, sim
from gshare.shim.sim.virtual import VirtualClock

HERE = Path(__file__).resolve().parent
POINTS = 5.0
"""How far a share over a second may be off."""
TRIES = 10
SETTLE_S = 0.7
START_S = 0.001
"""What a program takes until it launches: a few calls, on the virtual clock."""
FULL = abi.FULL_PPM

# What every Python program starts with: see starting.py.
PREAMBLE = (
    starting.PREAMBLE
    + """
PTX = b".version 6.0\\n.target sm_50\\n.address_size 64\\n.visible .entry spin(.param .u64 ns) { ret; }\\n"
MS = 1_000_000
found = {}
def kernel():
    context = new("cuCtxGetCurrent")[1]
    if context not in found:
        found[context] = u64(new("cuModuleGetFunction", new("cuModuleLoadData", PTX)[1], b"spin")[1])
    return found[context]
def spin(ns, stream=0, name="cuLaunchKernel", threads=1):
    value = u64(ns)
    params = (ctypes.c_void_p * 1)(ctypes.addressof(value))
    more = () if "Cooperative" in name else (None,)
    return getattr(cuda, name)(kernel(), 1, 1, 1, threads, 1, 1, 0, u64(stream), params, *more)
def sync():
    return call("cuCtxSynchronize")
"""
)


class Device:
    """One simulated device; tenant i may have caps_ppm[i] of it.

    On a virtual clock time passes only in `wait`, `start` and `shares`, and repeats exactly.
    """

    def __init__(
        self,
        folder: Path,
        environ: dict[str, str],
        program: Path,
        caps_ppm: Sequence[int],
        *,
        virtual: bool = False,
        **limits: int,
    ) -> None:
        self.machine = str(folder / "machine")
        self.program = program
        self.clock = VirtualClock(self.machine, "h200") if virtual else None
        sim.start(self.machine, "h200")
        self.bare = {
            **environ,
            **sim.environment(self.machine),
            **starting.VARIABLES,
            "PYTHONPATH": str(HERE),
        }
        truth = self.truth()
        settings = {"burst_ns": 20 * MS, "resume_ns": 5 * MS, "in_flight_ns": 2 * MS, **limits}
        abi.create_activity(folder / "activity")
        self.activity = abi.Activity(folder / "activity")
        self.limits: list[abi.Limits] = []
        self.usage: list[abi.Usage] = []
        self.folders: list[Path] = []
        self.programs: list[subprocess.Popen[str]] = []
        for index, cap in enumerate(caps_ppm):
            own = folder / f"tenant-{index}"
            own.mkdir()
            device = abi.DeviceLimits(
                uuid=uuid.UUID(truth["uuid"].removeprefix("GPU-")).bytes,
                device_memory_bytes=truth["memory_bytes"],
                memory_limit_bytes=truth["memory_bytes"],
                cap_ppm=cap,
                **settings,
            )
            abi.create_limits(
                own / "limits",
                f"t{index}",
                index,
                [device],
                now_ns=self.now_ns(),
                tenants_bound=len(caps_ppm),
            )
            abi.create_usage(own / "usage")
            os.link(folder / "activity", own / "activity")
            self.folders.append(own)
            self.limits.append(abi.Limits(own / "limits", writable=True))
            self.usage.append(abi.Usage(own / "usage"))

    def close(self) -> None:
        if self.clock:
            self.clock.close()
        for program in self.programs:
            if program.poll() is None:
                program.kill()
            if not self.clock:
                program.communicate()
        for file in (*self.limits, *self.usage, self.activity):
            file.close()
        sim.stop(self.machine)

    def now_ns(self) -> int:
        return self.clock.now_ns if self.clock else time.monotonic_ns()

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        if self.clock:
            self.clock.run(seconds)
        else:
            time.sleep(seconds)

    def truth(self) -> dict[str, Any]:
        stat = self.clock.stat() if self.clock else sim.stat(self.machine)
        device: dict[str, Any] = stat["devices"][0]
        return device

    def environ(self, tenant: int | None) -> dict[str, str]:
        return self.bare if tenant is None else preload_environment(self.folders[tenant], self.bare)

    def _start(self, command: list[str], tenant: int | None) -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        environ = self.environ(tenant)
        program = (
            self.clock.start(command, environ)
            if self.clock
            else subprocess.Popen(command, env=environ, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
        )
        self.programs.append(program)
        return program

    def start(
        self, tenant: int | None, kind: str, ns: int, *more: int, seconds: float = 60
    ) -> subprocess.Popen[str]:
        """Start tests/programs/share.c as a tenant (None: without gshare), and wait until it launches."""
        command = [str(self.program), kind, str(seconds), str(ns), *map(str, more)]
        program = self._start(command, tenant)
        assert program.stdout is not None
        if self.clock:
            self.wait(START_S)
        assert program.stdout.readline() == "ready\n", program.communicate()
        return program

    def python(self, tenant: int | None, code: str) -> subprocess.Popen[str]:
        """Start a Python program; see PREAMBLE."""
        return self._start([*starting.PYTHON, PREAMBLE + code], tenant)

    def charged_ns(self, tenant: int) -> int:
        return self.activity.device(tenant, 0).gpu_ns

    def shares(self, programs: Sequence[subprocess.Popen[str]], seconds: float = 1) -> list[float]:
        """Share of each program, in percent of the time that switches left."""
        before = self.truth()
        self.wait(seconds)
        after = self.truth()
        elapsed = after["elapsed_ns"] - before["elapsed_ns"] - (after["switch_ns"] - before["switch_ns"])

        def used(truth: dict[str, Any], pid: int) -> int:
            return sum(process["gpu_ns"] for process in truth["processes"] if process["pid"] == pid)

        return [100 * (used(after, p.pid) - used(before, p.pid)) / elapsed for p in programs]


def hold(
    what: str, measure: Callable[[], list[float]], expected: Sequence[float], points: float = POINTS
) -> None:
    """Assert that a measurement on the real clock is as expected in one of some tries, all printed."""
    for attempt in range(TRIES):
        got = measure()
        print(f"{what}, try {attempt + 1}: got {[round(g, 1) for g in got]}, expected {list(expected)}")
        if near(got, expected, points):
            return
    raise AssertionError(f"{what}: not within {points} points of {list(expected)} in {TRIES} tries")


def near(got: Sequence[float], expected: Sequence[float], points: float = 1.0) -> bool:
    """Are all shares as expected?  On a virtual clock, where they are the same each time, within a point."""
    print(f"got {[round(g, 2) for g in got]}, expected {[round(e, 2) for e in expected]}")
    return all(abs(g - e) <= points for g, e in zip(got, expected, strict=True))
