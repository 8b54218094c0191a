"""Real CUDA clients under `gshare run --sim`: each meets its quota as it would meet the end of a smaller GPU.

The clients are looked for in this Python, or in the one that GSHARE_TEST_CLIENTS names.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from gshare.cli.sandbox import GSHARE, Sandbox
from gshare.shim import sim

PROGRAMS = Path(__file__).parent / "programs"
PYTHON = os.environ.get("GSHARE_TEST_CLIENTS") or sys.executable
CLIENTS = {
    "bindings": ("cuda.bindings",),
    "core": ("cuda.core", "numpy"),
    "jit_numba": ("numba_cuda", "numpy"),
    "jit_triton": ("triton",),
}
GIB, PIECE_BYTES = 1 << 30, 64 << 20
ENOUGH = 48  # pieces: 3 GiB

LIVE = """
import json, sys
from cuda.bindings import driver

def fill():
    pieces = 0
    while True:
        code, _ = driver.cuMemAlloc(64 << 20)
        if code != driver.CUresult.CUDA_SUCCESS:
            print(json.dumps([pieces, code.name, int(driver.cuMemGetInfo()[2])]), flush=True)
            return
        pieces += 1

driver.cuInit(0)
driver.cuCtxSetCurrent(driver.cuDevicePrimaryCtxRetain(0)[1])
fill()
sys.stdin.readline()
fill()
"""

Run = Callable[..., "tuple[dict[str, Any], dict[str, Any]]"]


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with Sandbox(simulated=True) as sandbox:
        sandbox.environment["TRITON_CACHE_DIR"] = str(tmp_path_factory.mktemp("triton"))
        yield sandbox


@pytest.fixture
def run(sandbox: Sandbox) -> Run:
    """Return a function that runs a client as a tenant: what it said, and the simulated GPU's record."""

    def start(client: str, *limits: str) -> tuple[dict[str, Any], dict[str, Any]]:
        require(*CLIENTS[client])
        program = [PYTHON, str(PROGRAMS / f"{client}.py"), str(ENOUGH)]
        process = tenant(sandbox, limits, program)
        output, errors = process.communicate(timeout=100)
        assert process.returncode == 0, errors
        records = sim.stat(sandbox.environment["SIMGPU_MACHINE"])["devices"][0]["processes"]
        (record,) = [record for record in records if record["pid"] == process.pid]
        return json.loads(output.splitlines()[-1]), record

    return start


def require(*modules: str) -> None:
    for module in modules:
        code = f"import importlib.util as u, sys; sys.exit(u.find_spec({module!r}) is None)"
        if subprocess.run([PYTHON, "-c", code], stderr=subprocess.DEVNULL, check=False).returncode:
            pytest.skip(f"{module} is not installed in {PYTHON}")


def tenant(sandbox: Sandbox, limits: Sequence[str], program: Sequence[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        sandbox.run(limits, program),
        env=sandbox.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("client", CLIENTS)
def test_a_client_is_stopped_at_its_quota(client: str, run: Run) -> None:
    answer, record = run(client, "--mem=1G")
    assert answer["refused"] == "CUDA_ERROR_OUT_OF_MEMORY"
    assert answer["total_bytes"] == GIB
    assert 0 < answer["pieces"] * PIECE_BYTES <= answer["free_bytes"] < GIB
    assert answer["free_bytes"] - answer["pieces"] * PIECE_BYTES < 2 * PIECE_BYTES
    assert answer["pieces"] * PIECE_BYTES < record["peak_bytes"] <= GIB
    assert record["kernels"] == answer["kernels"]


@pytest.mark.parametrize("client", CLIENTS)
def test_without_a_quota_it_goes_on(client: str, run: Run) -> None:
    answer, record = run(client)
    assert answer["refused"] is None
    assert answer["pieces"] == ENOUGH
    assert answer["total_bytes"] > 64 * GIB
    assert record["peak_bytes"] > ENOUGH * PIECE_BYTES


@pytest.mark.parametrize("client", CLIENTS)
def test_it_launches_under_a_share(client: str, run: Run) -> None:
    answer, record = run(client, "--compute=30%")
    assert answer["pieces"] == ENOUGH
    assert record["kernels"] == answer["kernels"] > 0
    assert answer.get("same", True)


def test_a_quota_raised_from_outside_is_there_at_once(sandbox: Sandbox) -> None:
    require(*CLIENTS["bindings"])
    process = tenant(sandbox, ["--tenant=live", "--mem=1G"], [PYTHON, "-c", LIVE])
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, process.communicate()[1]
    first, refused, total_bytes = json.loads(line)
    assert (refused, total_bytes) == ("CUDA_ERROR_OUT_OF_MEMORY", GIB)
    subprocess.run([*GSHARE, "set", "live", "--mem", "2G"], env=sandbox.environment, check=True)
    output, errors = process.communicate("go on\n", timeout=60)
    assert process.returncode == 0, errors
    more, refused, total_bytes = json.loads(output)
    assert (refused, total_bytes) == ("CUDA_ERROR_OUT_OF_MEMORY", 2 * GIB)
    assert more == GIB // PIECE_BYTES
    assert GIB < (first + more) * PIECE_BYTES < 2 * GIB
