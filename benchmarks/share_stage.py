"""One device with tenants on it who have limits and loads, on the real clock or a virtual one.

On the virtual clock there is no controller: its pure parts, which divide a device and lend what is not used,
are called from here, in the controller's stead.
"""

from __future__ import annotations

import mmap
import os
import struct
import subprocess
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gshare.benchmarks.driver import SPIN_PTX
from gshare.benchmarks.share_stats import Sample
from gshare.controller import balance, shares
from gshare.controller.devices import REAL, Found, real_devices, simulated_devices
from gshare.controller.errors import GshareError
from gshare.controller.protocol import Limits
from gshare.controller.shares import Asker
from gshare.controller.units import FULL_PPM
from gshare.shim import abi, preload_environment, sim
from gshare.shim.sim.virtual import VirtualClock

NO_LIMITS = Limits()
START_S = 0.001
START_TIMEOUT_S = 60.0
PROFILE = "h200"

LATENCIES = 16384
BOARD = struct.Struct("<5Q")
BOARD_BYTES = BOARD.size + 8 * LATENCIES
"""struct board of programs/share_load.c."""


@dataclass(frozen=True)
class Tenant:
    """What one tenant asks for and what its program does (options of programs/share_load.c)."""

    load: Mapping[str, Any]
    limits: Limits | None = NO_LIMITS
    """None: it runs without gshare."""
    asked: float | None = None
    """Percent that it must get, if any."""
    starts: bool = True
    name: str = ""
    environ: Callable[[Path, str], Mapping[str, str]] | None = None
    """What another library's limits are started with: of a folder of its own and the device's UUID."""


@dataclass(frozen=True)
class Place:
    """Where the benchmark runs."""

    directory: Path
    program: Path
    simulated: bool
    virtual: bool
    by_work: bool
    """The truth is the sum of what kernels take alone, which is all that a real GPU tells."""
    environment: Mapping[str, str] = field(default_factory=dict)
    seed: int = 0


class Board:
    """What a load says of itself, and is told."""

    def __init__(self, path: Path) -> None:
        path.write_bytes(bytes(BOARD_BYTES))
        self.path = path
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), BOARD_BYTES)

    def close(self) -> None:
        self._map.close()

    def _word(self, index: int) -> int:
        return int(BOARD.unpack_from(self._map)[index])

    @property
    def ready(self) -> bool:
        return self._word(0) != 0

    @property
    def done_ns(self) -> int:
        return self._word(2)

    def tell(self, word: int) -> None:
        """1: go; 2: leave."""
        struct.pack_into("<Q", self._map, 8, word)

    def latencies_ns(self, since: int = 0) -> list[int]:
        """Of the requests from that one on, by their number."""
        count = self._word(4)
        kept = range(max(since, count - LATENCIES), count)
        return [struct.unpack_from("<Q", self._map, BOARD.size + 8 * (i % LATENCIES))[0] for i in kept]


class Stage:
    """`with Stage(place, tenants) as stage:` and all tenants are ready; `go`, `wait`, `sample`."""

    def __init__(
        self,
        place: Place,
        tenants: Sequence[Tenant],
        *,
        turns: bool = False,
        slice_ns: int = 0,
    ) -> None:
        self.place = place
        self.tenants = tenants
        self.clock: VirtualClock | None = None
        self._folder = _new_folder(place.directory)
        self._machine = str(self._folder / "machine") if place.simulated else REAL
        self._programs: list[list[subprocess.Popen[str]]] = [[] for _ in tenants]
        self._boards: list[list[Board]] = [[] for _ in tenants]
        if place.simulated:
            settings = {"SIMGPU_SLICE_NS": str(slice_ns)} if slice_ns else {}
            self._make_machine(settings)
        self.device = _device(self._machine)
        abi.create_activity(self._folder / "activity")
        self.activity = abi.Activity(self._folder / "activity")
        self.limits: list[abi.Limits] = []
        self.usage: list[abi.Usage] = []
        self._turns = turns
        self._asked: dict[int, Limits] = {}
        self._lender: balance.Device | None = None
        self._lent_ns = 0
        for index in range(len(tenants)):
            self._make_files(index)
        self._started_ns = self.now_ns()
        self._is_full = sum(_most_ppm(t.limits) for t in tenants if "batch" not in t.load) >= FULL_PPM

    def _make_machine(self, settings: Mapping[str, str]) -> None:
        before = {name: os.environ.get(name) for name in settings}
        os.environ.update(settings)
        try:
            if self.place.virtual:
                self.clock = VirtualClock(self._machine, PROFILE)
            else:
                sim.start(self._machine, PROFILE)
        finally:
            for name, value in before.items():
                os.environ.pop(name)
                if value is not None:
                    os.environ[name] = value

    def _make_files(self, index: int) -> None:
        own = self._folder / f"tenant-{index}"
        own.mkdir()
        limits = abi.DeviceLimits(
            uuid=uuid.UUID(self.device.uuid.removeprefix("GPU-")).bytes,
            device_memory_bytes=self.device.memory_bytes,
            memory_limit_bytes=self.device.memory_bytes,
        )
        bound = len(self.tenants)
        abi.create_limits(
            own / "limits", f"t{index}", index, [limits], now_ns=self.now_ns(), tenants_bound=bound
        )
        abi.create_usage(own / "usage")
        os.link(self._folder / "activity", own / "activity")
        self.limits.append(abi.Limits(own / "limits", writable=True))
        self.usage.append(abi.Usage(own / "usage"))

    # -------- what a controller does --------

    def ask(self, index: int, limits: Limits) -> None:
        """Give a tenant other limits."""
        self._asked[index] = limits
        self._apportion()

    def _apportion(self) -> None:
        """Divide the device among those who are there, by what they ask for."""
        askers = [Asker(index, limits) for index, limits in self._asked.items()]
        found = dict(zip(self._asked, shares.shares(askers, self._turns), strict=True))
        guarantees = {index: share.guarantee_ppm for index, share in found.items()}
        in_turns = self._turns and len(askers) > 1
        period_ns, table = shares.places(guarantees) if in_turns else (0, [])
        order = shares.above({asker.tenant: shares.rank(asker.limits) for asker in askers}, [self._asked])
        for index, share in found.items():
            self._set_share(index, share)
            limits = self.limits[index]
            limits.set_turns(0, period_ns, table)
            limits.set_above(order[index])
            limits.set_below(any(index in above for above in order.values()))
        self._lender = None
        if any(share.weight for share in found.values()):
            self._lender = balance.Device([self._sharer(*one) for one in found.items()])

    def _set_share(self, index: int, share: shares.Share) -> None:
        device = self.limits[index].device(0)
        guarantee_ppm = 0 if share.cap_ppm == abi.NO_CAP_PPM else share.guarantee_ppm
        has = device.cap_ppm, device.guarantee_ppm, device.in_flight_ns, device.resume_ns
        if has == (share.cap_ppm, guarantee_ppm, share.in_flight_ns, share.resume_ns):
            return
        afresh = device.cap_ppm == abi.NO_CAP_PPM or device.guarantee_ppm == shares.UNBOUNDED_PPM
        self.limits[index].set_cap(
            0,
            share.cap_ppm,
            self.now_ns(),
            spent_ns=self.usage[index].device(0).spent_ns if afresh else None,
            rate_ppm=guarantee_ppm,
            burst_ns=shares.BURST_NS,
            resume_ns=share.resume_ns,
            in_flight_ns=share.in_flight_ns,
        )

    def _sharer(self, index: int, share: shares.Share) -> balance.Sharer:
        maps = self.limits[index].memory(), self.usage[index].memory(), self.activity.memory()
        return (*maps, index, 0, share.guarantee_ppm, share.ceiling_ppm, share.weight, False)

    def __enter__(self) -> Stage:
        try:
            for index, tenant in enumerate(self.tenants):
                if tenant.starts:
                    self.prepare(index)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        if self.clock:
            self.clock.close()
        for program in (program for programs in self._programs for program in programs):
            if program.poll() is None:
                program.kill()
            if not self.clock:
                program.communicate()
        self._lender = None  # else it holds the files
        for file in (*self.limits, *self.usage, self.activity):
            file.close()
        for board in (board for boards in self._boards for board in boards):
            board.close()
        if self.place.simulated:
            with suppress(sim.SimulationError):
                sim.stop(self._machine)

    # -------- programs --------

    def prepare(self, index: int) -> None:
        """Start a tenant's program; it waits for `go`."""
        tenant = self.tenants[index]
        if tenant.limits is not None:
            self.ask(index, tenant.limits)
        board = Board(self._folder / f"board-{index}-{len(self._boards[index])}")
        self._boards[index].append(board)
        options = {
            "seed": 1000 * self.place.seed + index + 1,
            "count": int(self.place.by_work),
            **tenant.load,
        }
        command = [str(self.place.program), str(SPIN_PTX), str(board.path)]
        command += [f"{name}={value}" for name, value in options.items()]
        environ = dict(self.place.environment)
        if self.place.simulated:
            environ |= sim.environment(self._machine)
        if tenant.environ:
            environ |= tenant.environ(self._folder / f"tenant-{index}", self.device.uuid)
        if tenant.limits is not None:
            environ = preload_environment(self._folder / f"tenant-{index}", environ)
        pipe = subprocess.PIPE
        program: subprocess.Popen[str] = (
            self.clock.start(command, environ)
            if self.clock
            else subprocess.Popen(
                command, env=environ, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True
            )
        )
        self._programs[index].append(program)
        give_up = time.monotonic() + START_TIMEOUT_S
        while not board.ready:
            self.wait(START_S)
            if program.poll() is not None or time.monotonic() > give_up:
                program.kill()
                said = program.communicate()[1].strip()
                raise GshareError("gshare bench shares", "a load did not start", said)

    def go(self, *indices: int) -> None:
        """Let the prepared loads of these tenants begin (default: of all)."""
        for index in indices or range(len(self.tenants)):
            for board in self._boards[index][-1:]:
                board.tell(1)

    def leave(self, index: int) -> None:
        """Let a tenant's program end by itself."""
        self._boards[index][-1].tell(2)

    def kill(self, index: int) -> None:
        """Kill -9."""
        program = self._programs[index][-1]
        if self.clock:
            self.clock.kill(program)
        else:
            program.kill()

    def latencies_ns(self, index: int, since: int = 0) -> list[int]:
        return self._boards[index][-1].latencies_ns(since)

    def work_ns(self, index: int) -> int:
        """What a tenant's programs that count have done, had each launch been alone."""
        return sum(board.done_ns for board in self._boards[index])

    # -------- time and truth --------

    def now_ns(self) -> int:
        return self.clock.now_ns if self.clock else time.monotonic_ns()

    def wait(self, seconds: float) -> None:
        """Let time pass, and lend now and then what tenants do not use."""
        until_ns = self.now_ns() + round(seconds * 1e9)
        while (left_ns := until_ns - self.now_ns()) > 0:
            if self._lender is None:
                self._pass(left_ns / 1e9)
                continue
            tick_ns = self._lent_ns + balance.PERIOD_NS - self.now_ns()
            self._pass(max(min(left_ns, tick_ns), 0) / 1e9)
            if self.now_ns() >= self._lent_ns + balance.PERIOD_NS:
                self._lent_ns = self.now_ns()
                self._lender.tick(self._lent_ns)

    def _pass(self, seconds: float) -> None:
        if self.clock:
            self.clock.run(seconds)
        else:
            time.sleep(seconds)

    def sample(self) -> Sample:
        charged = tuple(self.activity.device(i, 0).gpu_ns for i in range(len(self.tenants)))
        if self.place.by_work:
            gpu_ns = tuple(self.work_ns(index) for index in range(len(self.tenants)))
            elapsed_ns = self.now_ns() - self._started_ns
            left_ns = sum(gpu_ns) if self._is_full else elapsed_ns  # switches are not seen
            return Sample(elapsed_ns, left_ns, sum(gpu_ns), gpu_ns, charged)
        stat = self.clock.stat() if self.clock else sim.stat(self._machine)
        device = stat["devices"][0]
        used = {process["pid"]: process["gpu_ns"] for process in device["processes"]}
        gpu_ns = tuple(sum(used.get(p.pid, 0) for p in programs) for programs in self._programs)
        left_ns = device["elapsed_ns"] - device["switch_ns"]
        return Sample(device["elapsed_ns"], left_ns, device["busy_ns"], gpu_ns, charged)

    def watch(self, seconds: float, step_s: float = 0.1) -> list[Sample]:
        """Samples over that time, the first one now."""
        samples = [self.sample()]
        for _ in range(round(seconds / step_s)):
            self.wait(step_s)
            samples.append(self.sample())
        return samples


def _new_folder(directory: Path) -> Path:
    number = len(list(directory.glob("stage-*")))
    folder = directory / f"stage-{number}"
    folder.mkdir()
    return folder


def _most_ppm(limits: Limits | None) -> int:
    return (limits and (limits.ceiling_ppm or limits.compute_ppm)) or FULL_PPM


def _device(machine: str) -> Found:
    found = simulated_devices(machine) if machine else real_devices()
    if not found:
        raise GshareError("gshare bench shares", "no GPU is found", "add --sim")
    return found[0]
