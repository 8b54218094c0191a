"""The simulator's own declarations have the layout of NVIDIA's, where a toolkit is there to compare with."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from simulated import ROOT

TOOLKIT = Path(os.environ.get("CUDA_HOME", "/usr/local/cuda")) / "include"

FIELDS = {
    "CUDA_MEMCPY2D": "srcY srcMemoryType srcHost srcDevice srcArray srcPitch dstXInBytes dstHost Height",
    "CUDA_MEMCPY3D": "srcLOD srcMemoryType srcHost srcPitch srcHeight dstLOD dstHost dstHeight Depth",
    "CUDA_MEMCPY3D_PEER": "srcContext srcPitch dstContext dstPitch Depth",
    "CUlaunchConfig": "blockDimX sharedMemBytes hStream attrs numAttrs",
    "CUlaunchAttribute": "id value",
    "CUmemAllocationProp": "type requestedHandleTypes location win32HandleMetaData allocFlags",
    "CUmemAccessDesc": "location flags",
    "CUmemPoolProps": "allocType handleTypes location win32SecurityAttributes maxSize usage",
    "CUctxCreateParams": "execAffinityParams numExecAffinityParams cigParams",
    "CUstreamBatchMemOpParams": "operation pad",
}
VALUES = """
    CUDA_ERROR_SYSTEM_NOT_READY
    CUDA_ERROR_INVALID_CONTEXT CUDA_ERROR_CONTEXT_IS_DESTROYED CUDA_ERROR_NOT_PERMITTED
    CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED CUDA_ERROR_CAPTURED_EVENT
    CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED CUDA_ERROR_UNSUPPORTED_LIMIT
    CU_LAUNCH_ATTRIBUTE_COOPERATIVE CU_LAUNCH_ATTRIBUTE_PRIORITY CU_LAUNCH_ATTRIBUTE_LAUNCH_COMPLETION_EVENT
    CU_MEMPOOL_ATTR_RELEASE_THRESHOLD CU_MEMPOOL_ATTR_USED_MEM_HIGH CU_MEM_ACCESS_FLAGS_PROT_READWRITE
    CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL CU_POINTER_ATTRIBUTE_MEMORY_BLOCK_ID CU_LIMIT_PERSISTING_L2_CACHE_SIZE
    CU_STREAM_WAIT_VALUE_NOR CU_STREAM_MEM_OP_WAIT_VALUE_64 CU_STREAM_MEM_OP_WRITE_VALUE_64
    CU_STREAM_MEM_OP_BARRIER CU_EVENT_INTERPROCESS CU_CTX_FLAGS_MASK CU_MEM_LOCATION_TYPE_HOST_NUMA_CURRENT
""".split()


def describe(folder: Path, header: str, include: Path) -> str:
    """Return what a compiler makes of the declarations in a header."""
    lines = [f'#include "{header}"', "#include <stddef.h>", "#include <stdio.h>", "int main(void) {"]
    for name, fields in FIELDS.items():
        lines.append(f'printf("{name} %zu\\n", sizeof({name}));')
        lines += [f'printf("{name}.{f} %zu\\n", offsetof({name}, {f}));' for f in fields.split()]
    lines += [f'printf("{name} %d\\n", (int){name});' for name in VALUES]
    source, program = folder / f"{header}.c", folder / f"{header}.out"
    source.write_text("\n".join([*lines, "}"]))
    subprocess.run(["gcc", f"-I{include}", str(source), "-o", str(program)], check=True)
    return subprocess.run([str(program)], check=True, capture_output=True, text=True).stdout


def test_declarations_have_nvidias_layout(tmp_path: Path) -> None:
    if not (TOOLKIT / "cuda.h").exists():
        pytest.skip(f"no cuda.h in {TOOLKIT} to compare with")
    ours = describe(tmp_path, "cuda_types.h", ROOT / "shim" / "sim" / "driver")
    assert ours.splitlines() == describe(tmp_path, "cuda.h", TOOLKIT).splitlines()
