"""Programs of nvcc run on the simulated GPU's own small runtime library, over the public driver API."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from ctypes.util import find_library
from pathlib import Path

import pytest
from simulated import ROOT, Machine

from gshare.shim import sim

PROGRAM = ROOT / "tests" / "programs" / "runtime.cu"
RUNTIME = ROOT / "shim" / "sim" / "cudart"
TOOLKIT = Path(os.environ.get("CUDA_HOME", "/usr/local/cuda")) / "include"
NVCC = shutil.which("nvcc")

STRUCTURES = """
    cudaDeviceProp cudaPointerAttributes cudaFuncAttributes cudaMemcpy3DParms cudaLaunchConfig_t
    cudaKernelNodeParams cudaMemsetParams cudaHostNodeParams cudaMemAllocNodeParams cudaPitchedPtr cudaExtent
    cudaPos cudaGraphEdgeData cudaGraphExecUpdateResultInfo cudaIpcMemHandle_t cudaIpcEventHandle_t
    cudaMemLocation
""".split()
FIELDS = {
    "cudaPointerAttributes": "device devicePointer hostPointer",
    "cudaFuncAttributes": "maxThreadsPerBlock maxDynamicSharedSizeBytes requiredClusterWidth",
    "cudaMemcpy3DParms": "srcPtr dstArray dstPtr extent kind",
    "cudaLaunchConfig_t": "blockDim dynamicSmemBytes stream attrs numAttrs",
    "cudaKernelNodeParams": "blockDim sharedMemBytes kernelParams extra",
    "cudaMemsetParams": "pitch value elementSize width height",
}


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not NVCC:
        pytest.skip("nvcc is not installed")
    target = tmp_path_factory.mktemp("runtime") / "runtime"
    options = ["-std=c++17", "-cudart", "shared", "-arch=sm_90"]
    clean = {
        name: value for name, value in os.environ.items() if name != "LD_PRELOAD"
    }  # a sanitizer's runtime
    subprocess.run(
        [NVCC, *options, str(PROGRAM), "-o", str(target)], env=clean, check=True, capture_output=True
    )
    return target


@pytest.mark.parametrize("between_processes", [[], ["ipc"]])
def test_what_common_samples_do(
    between_processes: list[str], program: Path, make_machine: Callable[..., Machine]
) -> None:
    machine = make_machine("h200*2")
    done = subprocess.run(
        [program, *between_processes],
        env=machine.environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout, done.returncode) == ("0 failures\n", 0), done.stderr
    record = machine.device()["processes"]
    assert sum(process["kernels"] for process in record) >= 6
    assert all(process["used_bytes"] == 0 for process in record)


def test_without_a_driver_it_says_so(program: Path, tmp_path: Path) -> None:
    """The control: it is our library that runs the program, and it depends on the driver for everything."""
    if find_library("cuda"):
        pytest.skip("this machine has a driver")
    shutil.copy(Path(sim.LIBRARY_DIR, "libcudart.so.13"), tmp_path)
    environ = {"LD_LIBRARY_PATH": str(tmp_path)}
    done = subprocess.run([program], env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0
    assert "cudaErrorInsufficientDriver" in done.stdout


def describe(folder: Path, name: str, headers: list[str], include: list[Path], structures: list[str]) -> str:
    """Return what a compiler makes of the declarations."""
    lines = [
        "#include <stddef.h>",
        "#include <stdio.h>",
        *(f'#include "{h}"' for h in headers),
        "int main(void) {",
    ]
    for structure in structures:
        lines.append(f'printf("{structure} %zu\\n", sizeof({structure}));')
        for field in FIELDS.get(structure, "").split():
            lines.append(f'printf("{structure}.{field} %zu\\n", offsetof({structure}, {field}));')
    fields = re.findall(r"^PROPERTY\((\w+)", (RUNTIME / "properties.def").read_text(), re.M)
    lines += [f'printf("{f} %zu\\n", offsetof(cudaDeviceProp, {f}));' for f in dict.fromkeys(fields)]
    source, target = folder / f"{name}.c", folder / name
    source.write_text("\n".join([*lines, "}"]))
    subprocess.run(["gcc", *(f"-I{i}" for i in include), str(source), "-o", str(target)], check=True)
    return subprocess.run([str(target)], check=True, capture_output=True, text=True).stdout


def test_declarations_have_nvidias_layout(tmp_path: Path) -> None:
    if not (TOOLKIT / "cuda_runtime_api.h").exists():
        pytest.skip(f"no cuda_runtime_api.h in {TOOLKIT} to compare with")
    ours = describe(tmp_path, "ours", ["device.h"], [RUNTIME, RUNTIME.parent / "driver"], STRUCTURES)
    plain = {
        "cudaDeviceProp",
        "cudaPointerAttributes",
        "cudaFuncAttributes",
        "cudaMemcpy3DParms",
        "cudaPitchedPtr",
    }
    plain |= {"cudaKernelNodeParams", "cudaMemsetParams", "cudaHostNodeParams", "cudaMemAllocNodeParams"}
    plain |= {"cudaExtent", "cudaPos", "cudaMemLocation"}
    header = tmp_path / "theirs.h"
    typedefs = [f"typedef struct {name} {name};" for name in sorted(plain)]
    header.write_text("\n".join(["#include <cuda_runtime_api.h>", *typedefs]))
    theirs = describe(tmp_path, "theirs", ["theirs.h"], [TOOLKIT, tmp_path], STRUCTURES)
    assert ours.splitlines() == theirs.splitlines()


def test_error_names_are_nvidias() -> None:
    header = TOOLKIT / "driver_types.h"
    if not header.exists():
        pytest.skip(f"no driver_types.h in {TOOLKIT} to compare with")
    body = re.search(r"enum __device_builtin__ cudaError\b(.*?)\n\}", header.read_text(), re.S)
    assert body
    theirs = dict(re.findall(r"^ *(cuda\w+) *= *(\d+)", body.group(1), re.M))
    rows = re.findall(r"^ERROR\((\d+), (\w+),", (RUNTIME / "errors.def").read_text(), re.M)
    ours = {name: code for code, name in rows}
    assert ours.items() >= {k: v for k, v in theirs.items() if k != "cudaErrorApiFailureBase"}.items()
