"""The simulator's own declarations have the layout of NVIDIA's, where a toolkit is there to compare with."""

from __future__ import annotations

import os
import re
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
    "CUDA_ARRAY_DESCRIPTOR": "Height Format NumChannels",
    "CUDA_ARRAY3D_DESCRIPTOR": "Depth Format NumChannels Flags",
    "CUDA_ARRAY_SPARSE_PROPERTIES": "tileExtent.depth miptailFirstLevel miptailSize flags",
    "CUDA_ARRAY_MEMORY_REQUIREMENTS": "size alignment",
    "CUarrayMapInfo": "resource subresourceType subresource.sparseLevel.extentDepth subresource.miptail.size"
    " memOperationType memHandleType memHandle offset deviceBitMask flags reserved",
    "CUDA_RESOURCE_DESC": "res.array res.linear.sizeInBytes res.pitch2D.pitchInBytes flags",
    "CUDA_TEXTURE_DESC": "filterMode flags maxAnisotropy mipmapFilterMode maxMipmapLevelClamp borderColor",
    "CUDA_RESOURCE_VIEW_DESC": "width depth firstMipmapLevel lastLayer",
    "CUmemcpyAttributes": "srcAccessOrder srcLocHint dstLocHint flags",
    "CUDA_MEMCPY3D_BATCH_OP": "src.op.ptr.locHint src.op.array.offset dst extent.depth srcAccessOrder flags",
    "CUDA_MEMCPY2D_v1": "srcHost srcDevice srcPitch dstHost dstArray Height",
    "CUDA_MEMCPY3D_v1": "srcHost srcArray srcHeight dstHost dstArray dstHeight Depth",
    "CUDA_ARRAY_DESCRIPTOR_v1": "Height NumChannels",
    "CUDA_ARRAY3D_DESCRIPTOR_v1": "Depth Flags",
}
OURS = ["cuda_types.h", "memory_types.h", "array_types.h", "legacy.h", "managed.h"]
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
    CUDA_ERROR_ARRAY_IS_MAPPED CU_AD_FORMAT_SIGNED_INT32 CU_AD_FORMAT_HALF CUDA_ARRAY3D_VIDEO_ENCODE_DECODE
    CUDA_ARRAY3D_DEFERRED_MAPPING CU_RESOURCE_TYPE_PITCH2D CU_ARRAY_SPARSE_SUBRESOURCE_TYPE_MIPTAIL
    CU_MEM_OPERATION_TYPE_UNMAP CU_MEM_CREATE_USAGE_TILE_POOL CU_TRSF_SEAMLESS_CUBEMAP CU_TRSA_OVERRIDE_FORMAT
    CU_TR_ADDRESS_MODE_BORDER CU_TR_FILTER_MODE_LINEAR CU_MEMCPY_SRC_ACCESS_ORDER_ANY CU_DEVICE_INVALID
    CU_MEMCPY_OPERAND_TYPE_ARRAY CU_MEM_ATTACH_SINGLE CU_MEM_ADVISE_UNSET_ACCESSED_BY
""".split()


def describe(folder: Path, headers: list[str], include: list[Path]) -> str:
    """Return what a compiler makes of the declarations in headers."""
    lines = ["#define __CUDA_API_VERSION_INTERNAL", *(f'#include "{header}"' for header in headers)]
    lines += ["#include <stddef.h>", "#include <stdio.h>", "int main(void) {"]
    for name, fields in FIELDS.items():
        lines.append(f'printf("{name} %zu\\n", sizeof({name}));')
        lines += [f'printf("{name}.{f} %zu\\n", offsetof({name}, {f}));' for f in fields.split()]
    lines += [f'printf("{name} %d\\n", (int){name});' for name in VALUES]
    source, program = folder / f"{headers[0]}.c", folder / f"{headers[0]}.out"
    source.write_text("\n".join([*lines, "}"]))
    subprocess.run(["gcc", *(f"-I{path}" for path in include), str(source), "-o", str(program)], check=True)
    return subprocess.run([str(program)], check=True, capture_output=True, text=True).stdout


def cuda_h() -> Path:
    if not (TOOLKIT / "cuda.h").exists():
        pytest.skip(f"no cuda.h in {TOOLKIT} to compare with")
    return TOOLKIT / "cuda.h"


def test_declarations_have_nvidias_layout(tmp_path: Path) -> None:
    theirs = describe(tmp_path, [cuda_h().name], [TOOLKIT])
    folders = [ROOT / "shim" / "sim" / name for name in ("core", "driver", "memory")]
    assert describe(tmp_path, OURS, folders).splitlines() == theirs.splitlines()


def test_array_formats_have_nvidias_values() -> None:
    text = (ROOT / "shim" / "sim" / "memory" / "formats.def").read_text()
    ours = {name: int(value, 16) for value, name in re.findall(r"^FORMAT\((0x\w+), (\w+),", text, re.M)}
    found = re.findall(r"CU_AD_FORMAT_(\w+)\s*= (0x\w+)", cuda_h().read_text())
    theirs = {name: int(value, 16) for name, value in found if name != "MAX"}
    assert theirs.items() <= ours.items()
