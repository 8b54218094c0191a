"""A program of nvcc on a shared runtime library, under `gshare run --sim`: its own error at its quota."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from gshare.cli.sandbox import Sandbox

PROGRAM = r"""
#include <cstdio>
#include <cuda_runtime.h>

int main()
{
    size_t free_bytes, total_bytes;
    int pieces = 0;
    char *piece;
    cudaError_t error = cudaSuccess;
    while (pieces < 48 && (error = cudaMalloc(&piece, 64 << 20)) == cudaSuccess)
        pieces++;
    cudaMemGetInfo(&free_bytes, &total_bytes);
    printf("%d %s %zu\n", pieces, cudaGetErrorName(error), total_bytes >> 20);
}
"""
NVCC = shutil.which("nvcc")


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> str:
    if not NVCC:
        pytest.skip("nvcc is not installed")
    folder = tmp_path_factory.mktemp("nvcc")
    Path(folder, "fill.cu").write_text(PROGRAM)
    target = str(folder / "fill")
    subprocess.run([NVCC, "-cudart", "shared", str(folder / "fill.cu"), "-o", target], check=True)
    return target


def answer(program: str, *limits: str) -> tuple[int, str, int]:
    with Sandbox(simulated=True) as sandbox:
        done = subprocess.run(
            sandbox.run(limits, [program]),
            env=sandbox.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    pieces, error, total_mib = done.stdout.split()
    return int(pieces), error, int(total_mib)


def test_it_is_stopped_at_its_quota(program: str) -> None:
    pieces, error, total_mib = answer(program, "--mem=1G")
    assert (error, total_mib) == ("cudaErrorMemoryAllocation", 1024)
    assert 0 < pieces < 16


def test_without_a_quota_it_goes_on(program: str) -> None:
    pieces, error, total_mib = answer(program)
    assert (pieces, error) == (48, "cudaSuccess")
    assert total_mib > 64 << 10
