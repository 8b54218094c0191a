"""Where trials run: starts programs in an arm, on the clock that there is, and says what they truly took."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from gshare.benchmarks.share_stage import Place, Stage, Tenant
from gshare.benchmarks.suite import arms as arms_
from gshare.benchmarks.suite.arms import Arm
from gshare.benchmarks.suite.metrics import Probe
from gshare.benchmarks.suite.rivals import Ask, daemon
from gshare.benchmarks.suite.within import OVER
from gshare.cli.sandbox import GSHARE, Sandbox
from gshare.controller.devices import Found as Device
from gshare.controller.errors import GshareError
from gshare.shim import sim

WORKER = (sys.executable, "-m", "gshare.benchmarks.suite.worker")
TIMEOUT_S = 60
NO_LIMITS = Ask()
GIB = 1 << 30

Load = Mapping[str, Any]
"""Options of programs/share_load.c."""


def prefer_turns(tenants: Sequence[tuple[Load, Ask]]) -> bool:
    """As `--mode auto` would have it: two could use all they have, and nobody has priority."""
    even = 100 / len(tenants)
    hungry = [ask for load, ask in tenants if 100 * _wanted(load) >= (ask.percent or even)]
    return len(hungry) > 1 and not any(ask.priority for _, ask in tenants)


def _wanted(load: Load) -> float:
    """The part of the device's time that a load would use alone."""
    if "batch" not in load:
        return 1.0
    busy_ns = load["batch"] * load["ns"]
    return float(
        busy_ns / (1000 * load["period_us"] if "period_us" in load else busy_ns + 1000 * load["gap_us"])
    )


@dataclass
class Ground:
    """A simulated or real GPU, and the sandbox on it."""

    sandbox: Sandbox
    place: Place
    device: Device
    quick: bool
    _numbers: Iterator[int] = field(default_factory=itertools.count)
    held_after_s: dict[tuple[str, Probe], float] = field(default_factory=dict)
    """By arm: how long it lets a probe run as it likes before it holds it."""
    _context: int | None = None
    _idle: int = field(init=False)
    """What a real device had in use before any of this ran."""

    def __post_init__(self) -> None:
        self._idle = 0 if self.simulated else _nvml_used(self.device.uuid)

    @property
    def simulated(self) -> bool:
        return self.place.simulated

    # -------- tenants that share GPU time --------

    @contextmanager
    def stage(self, arm: Arm, tenants: Sequence[tuple[Load, Ask]], block: int) -> Iterator[Stage]:
        """All of them ready on a device of their own; `go`, `watch`."""
        place = self.place
        if arm.rival and not arm.rival.on_virtual_clock:
            place = replace(place, virtual=False)
        found = [self._tenant(arm, load, ask, 100 * block + i + 1) for i, (load, ask) in enumerate(tenants)]
        turns = arm.is_gshare and prefer_turns(tenants)
        with daemon(arm.rival, arm.library), Stage(place, found, turns=turns) as stage:
            yield stage

    def _tenant(self, arm: Arm, load: Load, ask: Ask, seed: int) -> Tenant:
        load = {"per_sm": 4, "sigma": 0.25, "seed": seed, **load}
        if arm.is_gshare:
            return Tenant(load, arms_.limits(ask), asked=ask.percent)
        if arm.is_control:
            return Tenant(load, None, asked=ask.percent)

        def environ(folder: Path, uuid: str) -> Mapping[str, str]:
            return arm.environment(ask, folder, uuid)

        return Tenant(load, None, asked=ask.percent, environ=environ)

    # -------- programs by themselves, under the very command line that people use --------

    def folder(self) -> Path:
        """A new one, for a tenant's own files."""
        path = self.sandbox.directory / f"tenant-{next(self._numbers)}"
        path.mkdir()
        return path

    def start(
        self, arm: Arm, ask: Ask, case: Sequence[str], folder: Path, tenant: str = "", **options: Any
    ) -> subprocess.Popen[str]:
        """Start the worker, in text mode with pipes; `tenant` has processes that share a quota."""
        command, environ = [*WORKER, *case], arms_.plain_environment()
        pipe = subprocess.PIPE
        options = {"stdin": pipe, "stdout": pipe, "stderr": subprocess.DEVNULL, "text": True, **options}
        if arm.is_gshare:
            named = [f"--tenant={tenant}"] if tenant else []
            command = self.sandbox.run([*arms_.options(ask), *named], command)
            environ = dict(self.sandbox.environment)
        elif self.simulated:
            environ |= sim.environment(machine=self.machine, profile=self.sandbox.profile or None)
        if not arm.is_gshare:
            environ |= arm.environment(ask, folder, self.device.uuid)
        return subprocess.Popen(command, env=environ, **options)

    @property
    def machine(self) -> str:
        """The simulated one's file."""
        return self.sandbox.environment["SIMGPU_MACHINE"]

    def ask(self, arm: Arm, ask: Ask, *case: str) -> dict[str, Any]:
        """Run the worker to its end; what it said last."""
        with daemon(arm.rival, arm.library):
            program = self.start(arm, ask, case, self.folder(), stderr=subprocess.PIPE)
            try:
                said, errors = program.communicate(timeout=TIMEOUT_S)
            except subprocess.TimeoutExpired:
                program.kill()
                program.communicate()
                raise TimeoutError(f"{OVER} {TIMEOUT_S} s: {' '.join(case)}") from None
        answer: dict[str, Any] = json.loads(said.splitlines()[-1]) if said.strip() else {}
        if program.returncode or "error" in answer:
            words = answer.get("error") or (errors.strip().splitlines() or ["it said nothing"])[-1]
            raise GshareError(
                f"bench: {arm.name}", f"{' '.join(case)} ended with {program.returncode}", words
            )
        return answer

    def context_bytes(self) -> int:
        """What one context takes, without any library."""
        if self._context is None:
            with self.start(arms_.NATIVE, NO_LIMITS, ["hold", "0"], self.folder()) as program:
                assert program.stdout is not None
                program.stdout.readline()
                self._context = self.taken_bytes(program.pid)
                program.kill()
        return self._context

    def controller(self, *command: str) -> None:
        """`gshare COMMAND` of the sandbox."""
        subprocess.run(
            [*GSHARE, *command],
            env=self.sandbox.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=True,
            timeout=TIMEOUT_S,
        )

    def taken_bytes(self, pid: int) -> int:
        """The most that a process has had on the device, by the simulated GPU; what it has, by NVML.

        In a container NVML may not know its pid: then it is what all have more than before any of this ran.
        """
        if self.simulated:
            processes = sim.stat(self.machine)["devices"][0]["processes"]
            return max((p["peak_bytes"] for p in processes if p["pid"] == pid), default=0)
        import pynvml

        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByUUID(self.device.uuid)
        listed = []
        with suppress(pynvml.NVMLError):  # some containers do not tell
            listed = pynvml.nvmlDeviceGetComputeRunningProcesses(handle)
        mine = [int(p.usedGpuMemory) for p in listed if p.pid == pid and p.usedGpuMemory]
        return max(mine) if mine else max(0, _nvml_used(self.device.uuid) - self._idle)


def _nvml_used(uuid: str) -> int:
    import pynvml

    pynvml.nvmlInit()
    return int(pynvml.nvmlDeviceGetMemoryInfo(pynvml.nvmlDeviceGetHandleByUUID(uuid)).used)
