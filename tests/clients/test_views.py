"""Under `gshare run` everybody is told the same of a device's memory, whoever asks, and that is the truth."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import pytest
from test_clients_limited import GIB, PROGRAMS, PYTHON, require, tenant

from gshare.cli.sandbox import GSHARE, Sandbox
from gshare.shim import sim

MIB = 1 << 20
TAKEN_BYTES = 100 * MIB
EVERYBODY = ["cuda-bindings", "numba", "nvml", "gpustat", "nvitop"]
MONITORS = ["nvml", "gpustat", "nvitop"]
MODULES = ["cuda.bindings", "numba_cuda", "pynvml", "gpustat", "nvitop"]


class Program:
    """Runs views.py."""

    def __init__(self, sandbox: Sandbox, limits: Sequence[str] | None, views: Sequence[str]) -> None:
        program = [PYTHON, str(PROGRAMS / "views.py"), *views]
        environ = {**sandbox.environment, **sim.environment(sandbox.environment["SIMGPU_MACHINE"])}
        self.process = (
            tenant(sandbox, limits, program)
            if limits is not None
            else subprocess.Popen(
                program,
                env=environ,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        self.pid = self.process.pid

    def ask(self, what: str = "") -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(what, file=self.process.stdin, flush=True)
        line = self.process.stdout.readline()
        if not line:
            pytest.fail(self.process.communicate()[1])
        said: dict[str, Any] = json.loads(line)
        return said

    def end(self) -> None:
        self.process.communicate(timeout=60)


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    require(*MODULES)
    with Sandbox(simulated=True, profile="l4") as sandbox:
        yield sandbox


@pytest.fixture
def start(sandbox: Sandbox) -> Iterator[Callable[..., Program]]:
    """Return a function that starts views.py as a tenant, or without gshare where `limits` is None."""
    with ExitStack() as ends:

        def run(limits: Sequence[str] | None, views: Sequence[str]) -> Program:
            program = Program(sandbox, limits, views)
            ends.callback(program.end)
            program.ask()
            return program

        yield run


def shown(sandbox: Sandbox, *command: str) -> Any:
    done = subprocess.run(
        [*GSHARE, *command, "--json"], env=sandbox.environment, capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


class House:
    """A tenant `a` with two programs, a monitor in it that never touches CUDA, and others beside it."""

    def __init__(self, sandbox: Sandbox, start: Callable[..., Program], order: Sequence[str]) -> None:
        self.sandbox = sandbox
        self.programs = [start(["--tenant=a", "--mem=2G"], order), start(["--tenant=a"], ["cuda-bindings"])]
        self.monitor = start(["--tenant=a"], MONITORS)
        self.beside = [start(["--tenant=b", "--mem=1G"], ["nvml", "cuda-bindings"]), start(None, ["numba"])]

    def truth(self) -> dict[int, int]:
        """What each of the tenant's programs has, as only the simulated GPU knows."""
        (device,) = sim.stat(self.sandbox.environment["SIMGPU_MACHINE"])["devices"]
        pids = [program.pid for program in self.programs]
        return {
            process["pid"]: process["used_bytes"] for process in device["processes"] if process["pid"] in pids
        }

    def check(self, total: int) -> None:
        """All say the same now."""
        truth = self.truth()
        used = sum(truth.values())
        free = max(total - used, 0)
        for program, views in (self.programs[0], EVERYBODY), (self.monitor, MONITORS):
            said = program.ask()
            assert sorted(said) == sorted(views)
            for name, (memory, processes) in said.items():
                unit = MIB if name == "gpustat" else 1
                assert memory[0] == total // unit, name
                assert memory[1] in (None, used // unit), name
                assert memory[2] == free // unit, name
                if processes is not None:
                    expected = {str(pid): held // unit for pid, held in truth.items()}
                    assert processes == expected, name
        rows = {row["pid"]: row for row in shown(self.sandbox, "ps")["processes"] if row["tenant"] == "a"}
        assert {pid: row["used_bytes"] for pid, row in rows.items() if row["index"] is not None} == truth
        assert {row["tenant_used_bytes"] for row in rows.values() if row["index"] is not None} == {used}
        assert {row["memory_limit_bytes"] for row in rows.values()} == {total}


@pytest.mark.parametrize("order", [EVERYBODY, EVERYBODY[::-1]], ids=["CUDA first", "NVML first"])
def test_everybody_is_told_the_same(
    sandbox: Sandbox, start: Callable[..., Program], order: list[str]
) -> None:
    house = House(sandbox, start, order)
    house.check(2 * GIB)
    for program, bytes_ in zip(house.programs, (TAKEN_BYTES, 3 * TAKEN_BYTES), strict=True):
        program.ask(f"take {bytes_}")
    house.check(2 * GIB)
    shown(sandbox, "set", "a", "--mem", "512M")
    assert sum(house.truth().values()) > 512 * MIB, "more is in use than the limit allows now"
    house.check(512 * MIB)
    for program in house.programs:
        program.ask("give")
    house.check(512 * MIB)
    shown(sandbox, "set", "a", "--mem", "3G")
    house.check(3 * GIB)


def test_without_limits_everybody_is_told_what_the_device_says(
    sandbox: Sandbox, start: Callable[..., Program]
) -> None:
    inside, outside = start([], EVERYBODY), start(None, EVERYBODY)
    assert inside.ask() == outside.ask()
