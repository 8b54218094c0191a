"""Real CUDA clients on the bare simulated GPU, and monitors on its NVML: they see one device and fill it.

The clients are looked for in this Python, or in the one that GSHARE_TEST_CLIENTS names.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gshare.shim import sim

PROGRAMS = Path(__file__).parent / "programs"
PYTHON = os.environ.get("GSHARE_TEST_CLIENTS") or sys.executable
PIECE_BYTES = 64 << 20
CLIENTS = {
    "bindings": ("cuda.bindings", "numpy"),
    "core": ("cuda.core", "cuda.bindings", "numpy", "cuda.pathfinder"),
    "jit_numba": ("numba", "numba_cuda", "numpy"),
    "jit_triton": ("triton",),
}


def installed(module: str) -> bool:
    code = f"import importlib.util as u, sys; sys.exit(u.find_spec({module!r}) is None)"
    return subprocess.run([PYTHON, "-c", code], stderr=subprocess.DEVNULL, check=False).returncode == 0


def require(*modules: str) -> None:
    for module in modules:
        if not installed(module):
            pytest.skip(f"{module} is not installed in {PYTHON}")


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[str]:
    path = str(tmp_path / "machine")
    yield path
    sim.stop(path)


@pytest.fixture
def run(machine: str, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function that runs a command of the clients' Python on the test's machine."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("LD_", "GSHARE_", "SIMGPU_", "CUDA_"))}
    environ = {**clean, **sim.environment(machine, "l4"), "TRITON_CACHE_DIR": str(tmp_path / "triton")}

    def start(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [PYTHON, *arguments], env=environ, capture_output=True, text=True, timeout=100, check=False
        )

    return start


def say(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


@pytest.mark.parametrize("client", CLIENTS)
def test_a_client_computes_and_fills_the_device(
    client: str, machine: str, run: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    require(*CLIENTS[client])
    answer = say(run(str(PROGRAMS / f"{client}.py")))
    (device,) = sim.stat(machine)["devices"]
    (process,) = device["processes"]
    assert answer["device"] == device["name"] == "NVIDIA L4"
    assert answer["total_bytes"] == device["memory_bytes"]
    assert answer["refused"] == "CUDA_ERROR_OUT_OF_MEMORY"
    assert answer.get("same", True)
    assert answer["free_bytes"] - 2 * PIECE_BYTES < answer["pieces"] * PIECE_BYTES <= answer["free_bytes"]
    assert process["ended"]
    assert process["kernels"] == answer["kernels"]
    assert process["gpu_ns"] > 0
    assert process["peak_bytes"] <= device["memory_bytes"]
    assert device["used_bytes"] == 0


def test_a_client_stops_where_it_is_told(
    machine: str, run: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    require(*CLIENTS["bindings"])
    answer = say(run(str(PROGRAMS / "bindings.py"), "3"))
    assert (answer["pieces"], answer["refused"]) == (3, None)


HOLD = """
import ctypes, sys
cuda = ctypes.CDLL("libcuda.so.1")
context, place = ctypes.c_void_p(), ctypes.c_uint64()
def say(word):
    print(word, flush=True)
    sys.stdin.readline()
assert cuda.cuInit(0) == 0
say("initialised")
assert cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), 0) == 0
assert cuda.cuCtxSetCurrent(context) == 0
assert cuda.cuMemAlloc_v2(ctypes.byref(place), ctypes.c_size_t(1 << 30)) == 0
say("holds")
"""


class Holder:
    """A process that gets a context and 1 GiB on the device when it is told to."""

    def __init__(self, environ: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLD],
            env=environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.pid = self.process.pid
        self._expect("initialised")

    def hold(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        self._expect("holds")

    def _expect(self, word: str) -> None:
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == f"{word}\n"


@pytest.fixture
def holder(machine: str) -> Iterator[Holder]:
    holder = Holder({**os.environ, **sim.environment(machine, "l4")})
    yield holder
    holder.process.communicate("\n\n", timeout=30)


def test_gpustat_lists_the_process_once_it_has_a_context(
    holder: Holder, machine: str, run: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    require("gpustat")

    def ask() -> dict[str, Any]:
        done = run("-m", "gpustat", "--json")
        assert done.returncode == 0, done.stderr
        (device,) = json.loads(done.stdout)["gpus"]
        return dict(device)

    assert ask()["processes"] == []
    holder.hold()
    device = ask()
    (process,) = device["processes"]
    used = sim.stat(machine)["devices"][0]["used_bytes"]
    assert used > 1 << 30
    assert device["name"] == "NVIDIA L4"
    assert device["memory.used"] == process["gpu_memory_usage"] == used >> 20
    assert process["pid"] == holder.pid


def test_nvitop_shows_the_process_once_it_has_a_context(
    holder: Holder, machine: str, run: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    require("nvitop")

    def ask() -> tuple[str, list[list[str]]]:
        """What nvitop prints, and the words of its lines about the process."""
        done = run("-m", "nvitop", "-1", "--no-unicode")
        assert done.returncode == 0, done.stderr
        lines = [line.split() for line in done.stdout.splitlines()]
        return done.stdout, [words for words in lines if str(holder.pid) in words]

    shown, mine = ask()
    assert " L4 " in shown
    assert mine == []
    holder.hold()
    used = sim.stat(machine)["devices"][0]["used_bytes"]
    shown, (mine,) = ask()
    assert any(word == f"{used >> 20}MiB" for word in mine), mine
    assert f"{used >> 20}MiB / " in shown
