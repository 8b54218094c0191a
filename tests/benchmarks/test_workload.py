"""The workload tells the truth: what it says it did is what the simulated GPU saw it do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from gshare.cli.sandbox import Sandbox
from gshare.shim import sim

MIB = 1 << 20


def run(sandbox: Sandbox, *options: str) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """Run it bare; its last line of each kind, and the simulated GPU's record of it."""
    machine = sandbox.environment["SIMGPU_MACHINE"]
    process = subprocess.Popen(
        [sys.executable, "-m", "gshare.benchmarks.workload", *options],
        env=sandbox.environment | sim.environment(machine=machine, profile=sandbox.profile),
        stdout=subprocess.PIPE,
        text=True,
    )
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    said = {line["event"]: line for line in map(json.loads, output.splitlines())}
    (record,) = [p for p in sim.stat(machine)["devices"][0]["processes"] if p["pid"] == process.pid]
    return said, record


@pytest.mark.parametrize(
    "options",
    [
        ["--kernel-us=200"],
        ["--kernel-us=5000"],
        ["--kernel-us=100", "--streams=3"],
        ["--kernel-us=100", "--graph=7"],
        ["--kernel-us=300", "--sync-every=2", "--gap-us=500"],
    ],
    ids=" ".join,
)
def test_every_kernel_it_counts_was_run(sandbox: Sandbox, options: list[str]) -> None:
    said, record = run(sandbox, "--seconds=0.5", *options)
    assert said["done"]["kernels"] > 0
    assert said["done"]["kernels"] == record["kernels"]
    if "--streams=3" not in options:  # kernels of one process may run side by side
        assert said["done"]["gpu_ns"] == pytest.approx(record["gpu_ns"], rel=0.01)


@pytest.mark.alone
def test_alone_and_asking_for_all_of_it_it_keeps_the_gpu_busy(sandbox: Sandbox) -> None:
    said, _ = run(sandbox, "--seconds=1", "--kernel-us=1000")
    assert said["done"]["share"] > 0.8


def test_a_host_that_pauses_leaves_the_gpu_idle(sandbox: Sandbox) -> None:
    said, _ = run(
        sandbox, "--seconds=0.5", "--kernel-us=100", "--in-flight-ms=0.1", "--sync-every=1", "--gap-us=2000"
    )
    assert said["done"]["share"] < 0.3


def test_it_takes_memory_piece_by_piece_until_it_is_refused(sandbox: Sandbox) -> None:
    said, record = run(sandbox, "--seconds=0", "--alloc-mib=32768", "--piece-mib=256")
    memory = said["memory"]
    assert memory["refused"] == "CUDA_ERROR_OUT_OF_MEMORY"
    assert memory["got_bytes"] % (256 * MIB) == 0
    assert 0 < memory["total_bytes"] - memory["got_bytes"] < 1024 * MIB + 256 * MIB
    assert record["peak_bytes"] >= memory["got_bytes"]


def test_it_waits_for_a_word_and_goes_without_one(sandbox: Sandbox) -> None:
    machine = sandbox.environment["SIMGPU_MACHINE"]
    done = subprocess.run(
        [sys.executable, "-m", "gshare.benchmarks.workload", "--seconds=5", "--wait"],
        env=sandbox.environment | sim.environment(machine=machine),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert [json.loads(line)["event"] for line in done.stdout.splitlines()] == ["ready"]


def test_without_a_driver_it_says_so() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "LD_LIBRARY_PATH"}
    program = (
        "import sys; from gshare.benchmarks import driver, workload\n"
        "driver.Driver.__init__.__defaults__ = ('libno-such-driver.so',)\n"
        "sys.exit(workload.main())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert json.loads(done.stdout)["event"] == "error"
