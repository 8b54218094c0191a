"""The hardware tests' machine: the real GPU, or with GSHARE_GPU_REHEARSAL=1 the simulated one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from gshare.cli.sandbox import Sandbox
from gshare.controller.devices import real_devices

REHEARSAL = os.environ.get("GSHARE_GPU_REHEARSAL") == "1"


class Gpu:
    """Runs programs bare or as tenants, on the machine under test."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.simulated = sandbox.simulated
        self.bare_environment = dict(sandbox.environment)
        if self.simulated:
            from gshare.shim import sim

            self.bare_environment |= sim.environment(machine=sandbox.environment["SIMGPU_MACHINE"])

    def start(self, limits: Sequence[str] | None, *command: str) -> subprocess.Popen[str]:
        """Start Python with `command` as a tenant with `limits`, or bare where they are None."""
        program = [sys.executable, *command]
        return subprocess.Popen(
            program if limits is None else self.sandbox.run(limits, program),
            env=self.bare_environment if limits is None else self.sandbox.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    @property
    def device_count(self) -> int:
        if not self.simulated:
            return len(real_devices())
        from gshare.shim import sim

        sim.start(self.sandbox.environment["SIMGPU_MACHINE"])
        return len(sim.stat(self.sandbox.environment["SIMGPU_MACHINE"])["devices"])

    def used_by(self, *pids: int) -> int:
        """Device memory of processes by the device's own books."""
        if self.simulated:
            from gshare.shim import sim

            devices: list[dict[str, Any]] = sim.stat(self.sandbox.environment["SIMGPU_MACHINE"])["devices"]
            return sum(p["used_bytes"] for device in devices for p in device["processes"] if p["pid"] in pids)
        import pynvml

        pynvml.nvmlInit()
        handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
        running = [
            process for handle in handles for process in pynvml.nvmlDeviceGetComputeRunningProcesses(handle)
        ]
        running = [process for process in running if process.usedGpuMemory is not None]
        own = [p for p in running if p.pid in pids] or running  # in a container pids may differ
        if not 1 <= len(own) <= len(pids):
            pytest.skip(f"NVML does not show {pids}, and lists {len(running)} processes")
        return sum(int(process.usedGpuMemory) for process in own)

    def finish(self, process: subprocess.Popen[str], timeout: float = 90) -> list[dict[str, Any]]:
        """Wait for the end; the JSON objects it printed, one a line."""
        try:
            output, errors = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            output, errors = process.communicate()
        assert process.returncode == 0, f"code {process.returncode}: {output}{errors}"
        return [json.loads(line) for line in output.splitlines()]

    def run(self, limits: Sequence[str] | None, *command: str) -> list[dict[str, Any]]:
        return self.finish(self.start(limits, *command))

    def workload(self, limits: Sequence[str] | None, *options: str) -> dict[str, dict[str, Any]]:
        """Run the workload; its last line of each kind."""
        return {
            line["event"]: line for line in self.run(limits, "-m", "gshare.benchmarks.workload", *options)
        }


@pytest.fixture(scope="session")
def gpu() -> Iterator[Gpu]:
    if not REHEARSAL and not real_devices():
        pytest.skip("no NVIDIA GPU here (GSHARE_GPU_REHEARSAL=1 takes the simulated one)")
    with Sandbox(simulated=REHEARSAL) as sandbox:
        yield Gpu(sandbox)
