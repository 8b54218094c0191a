"""`gshare demo`: two tenants share a GPU 30 to 70, a third asks for too much memory; about ten seconds."""

from __future__ import annotations

import contextlib
import json
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import click
from rich.console import Console

from gshare.cli.demo_view import Silent, View
from gshare.cli.sandbox import Sandbox
from gshare.controller.devices import real_devices
from gshare.controller.errors import GshareError
from gshare.controller.units import FULL_PPM, format_size

MIB, GIB = 1 << 20, 1 << 30
TOLERANCE_PPM = 50_000
MEMORY_QUOTA_BYTES, MEMORY_WANTED_BYTES = GIB, 2 * GIB
START_TIMEOUT_S = 60.0
REFRESH_S = 0.1

WORKLOAD = (sys.executable, "-m", "gshare.benchmarks.workload")


@dataclass
class Tenant:
    """One `gshare run` of the workload, and the last that it said of itself."""

    name: str
    asked_ppm: int | None
    process: subprocess.Popen[str]
    errors: Path
    said: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Its last line of each kind: memory, ready, progress, done, error."""

    @property
    def got_ppm(self) -> int:
        """Its share so far by its own count of kernels, each as long as on an empty GPU."""
        progress = self.said.get("progress")
        return round(FULL_PPM * progress["gpu_ns"] / progress["elapsed_ns"]) if progress else 0


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Ctrl-C and SIGTERM take effect at the end: what is started must be known, or nobody stops it."""
    pending: list[int] = []
    handlers = {
        number: signal.signal(number, lambda number, _: pending.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    if pending:
        raise KeyboardInterrupt


class Workloads:
    """The running tenants; their lines are read by one thread each and handed over by a queue."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._lines: queue.SimpleQueue[tuple[Tenant, dict[str, Any]]] = queue.SimpleQueue()
        self.tenants: list[Tenant] = []

    def start(self, name: str, asked_ppm: int | None, limits: list[str], options: list[str]) -> Tenant:
        errors_path = self._sandbox.directory / f"{name}.stderr"
        with uninterrupted(), errors_path.open("w") as errors:
            process = subprocess.Popen(
                self._sandbox.run(limits, [*WORKLOAD, *options]),
                env=self._sandbox.environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                start_new_session=True,  # Ctrl-C is ours to handle
            )
            tenant = Tenant(name, asked_ppm, process, errors_path)
            self.tenants.append(tenant)
        threading.Thread(target=self._read, args=(tenant,), daemon=True).start()
        return tenant

    def _read(self, tenant: Tenant) -> None:
        assert tenant.process.stdout is not None
        for line in tenant.process.stdout:
            self._lines.put((tenant, json.loads(line)))
        self._lines.put((tenant, {"event": "end"}))

    def listen(self, seconds: float) -> None:
        """Take in what the tenants say for `seconds`; raise GshareError if one of them failed."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            try:
                tenant, line = self._lines.get(timeout=left)
            except queue.Empty:
                return
            tenant.said[line["event"]] = line
            if line["event"] == "error":
                raise GshareError(tenant.name, f"{line['call']}: {line['name']}")
            if line["event"] == "end" and tenant.process.wait():
                raise GshareError(tenant.name, self._last_words(tenant), "gshare doctor says what works here")

    def wait_for(self, tenants: list[Tenant], event: str) -> None:
        until = time.monotonic() + START_TIMEOUT_S
        while not all(event in tenant.said for tenant in tenants):
            if time.monotonic() > until:
                raise GshareError("demo", f"a tenant did not say '{event}' within {START_TIMEOUT_S:.0f} s")
            self.listen(REFRESH_S)

    def go(self, tenants: list[Tenant]) -> None:
        """Let the tenants that wait for it begin, all at the same moment."""
        for tenant in tenants:
            assert tenant.process.stdin is not None
            tenant.process.stdin.write("go\n")
            tenant.process.stdin.flush()

    def stop(self) -> None:
        for tenant in self.tenants:
            tenant.process.terminate()
        for tenant in self.tenants:
            try:
                tenant.process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                tenant.process.kill()
                tenant.process.wait()

    def _last_words(self, tenant: Tenant) -> str:
        lines = tenant.errors.read_text().splitlines()
        said = lines[-1].removeprefix("gshare: ") if lines else "said nothing"
        return f"ended with code {tenant.process.returncode}: {said}"


class Truth(Protocol):
    """Who says which share of the GPU a tenant really got."""

    def start(self) -> None: ...
    def shares_ppm(self, tenants: list[Tenant]) -> list[int]: ...


class Simulation:
    """The simulated GPU keeps the books itself: GPU time of each process over elapsed time less switches."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._machine = sandbox.environment["SIMGPU_MACHINE"]
        self._before: dict[str, Any] = {}

    def start(self) -> None:
        self._before = self._device()

    def shares_ppm(self, tenants: list[Tenant]) -> list[int]:
        after = self._device()
        usable_ns = (after["elapsed_ns"] - after["switch_ns"]) - (
            self._before["elapsed_ns"] - self._before["switch_ns"]
        )
        return [
            round(FULL_PPM * (_gpu_ns(after, tenant) - _gpu_ns(self._before, tenant)) / max(usable_ns, 1))
            for tenant in tenants
        ]

    def _device(self) -> dict[str, Any]:
        from gshare.shim import sim

        device: dict[str, Any] = sim.stat(self._machine)["devices"][0]
        return device


class Kernels:
    """On a real GPU: kernels done times their length on an empty GPU, by each tenant's own clock."""

    def start(self) -> None:
        pass

    def shares_ppm(self, tenants: list[Tenant]) -> list[int]:
        return [tenant.got_ppm for tenant in tenants]


def _gpu_ns(device: dict[str, Any], tenant: Tenant) -> int:
    return sum(p["gpu_ns"] for p in device["processes"] if p["pid"] == tenant.process.pid)


def run_demo(sandbox: Sandbox, seconds: float, view: View) -> dict[str, Any]:
    """Run the three tenants in the sandbox, show them, and return what they asked for and got."""
    truth: Truth = Simulation(sandbox) if sandbox.simulated else Kernels()
    workloads = Workloads(sandbox)
    busy = ["--wait", "--alloc-mib=256", f"--seconds={seconds + 5}", f"--report-ms={REFRESH_S * 1000:.0f}"]
    greedy_options = ["--seconds=0", f"--alloc-mib={MEMORY_WANTED_BYTES // MIB}"]
    try:
        sharing = [
            workloads.start("tenant A", 300_000, ["--mem=2G", "--compute=30%"], busy),
            workloads.start("tenant B", 700_000, ["--mem=4G", "--compute=70%"], busy),
        ]
        workloads.wait_for(sharing, "ready")
        view.begin(
            sharing,
            sharing[0].said["ready"]["device"],
            quota_bytes=MEMORY_QUOTA_BYTES,
            wanted_bytes=MEMORY_WANTED_BYTES,
        )
        workloads.go(sharing)
        truth.start()
        start = time.monotonic()
        greedy = workloads.start(
            "tenant C", None, [f"--mem={format_size(MEMORY_QUOTA_BYTES)}"], greedy_options
        )
        with view.live():
            while (elapsed := time.monotonic() - start) < seconds:
                workloads.listen(min(REFRESH_S, seconds - elapsed))
                view.show(sharing, truth.shares_ppm(sharing), greedy, time.monotonic() - start)
        got_ppm = truth.shares_ppm(sharing)
        workloads.wait_for([greedy], "memory")
    finally:
        workloads.stop()
    return _result(sandbox, seconds, sharing, got_ppm, greedy)


def _result(
    sandbox: Sandbox, seconds: float, sharing: list[Tenant], got_ppm: list[int], greedy: Tenant
) -> dict[str, Any]:
    compute = [
        {
            "tenant": tenant.name,
            "asked_ppm": tenant.asked_ppm,
            "got_ppm": got,
            "held": abs(got - (tenant.asked_ppm or 0)) <= TOLERANCE_PPM,
        }
        for tenant, got in zip(sharing, got_ppm, strict=True)
    ]
    memory = greedy.said["memory"]
    refused = memory["refused"] == "CUDA_ERROR_OUT_OF_MEMORY"
    return {
        "schema": "gshare/demo/v1",
        "simulated": sandbox.simulated,
        "device": sharing[0].said["ready"]["device"],
        "seconds": seconds,
        "compute": compute,
        "memory": {
            "tenant": greedy.name,
            "quota_bytes": MEMORY_QUOTA_BYTES,
            "asked_bytes": memory["asked_bytes"],
            "got_bytes": memory["got_bytes"],
            "refused": memory["refused"],
            # Some of the quota goes to the context, never half of it.
            "held": refused and MEMORY_QUOTA_BYTES // 4 < memory["got_bytes"] <= MEMORY_QUOTA_BYTES,
        },
    }


def held(result: dict[str, Any]) -> bool:
    return all(row["held"] for row in [*result["compute"], result["memory"]])


@click.command()
@click.option("--sim", "simulate", is_flag=True, help="On the simulated GPU even where there is a real one.")
@click.option(
    "--seconds", type=click.FloatRange(1, 3600), default=6.0, help="How long the shares are measured."
)
@click.option(
    "--json", "as_json", is_flag=True, help="Print the result as JSON (gshare/demo/v1) and nothing else."
)
def demo(simulate: bool, seconds: float, as_json: bool) -> None:
    """Show it working: two tenants at 30 % and 70 %, and one refused memory over its quota.

    Takes about ten seconds, on the GPU if there is one, else on the simulated GPU. Ends with 1 if a limit did
    not hold.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # end like Ctrl-C: stop the tenants, then leave
    why_simulated = "--sim" if simulate else "" if real_devices() else "there is no GPU here"
    view = Silent() if as_json else View(Console(), why_simulated)
    with Sandbox(simulated=bool(why_simulated)) as sandbox:
        result = run_demo(sandbox, seconds, view)
    if as_json:
        click.echo(json.dumps(result))
    view.end(result)
    if not held(result):
        raise SystemExit(1)
