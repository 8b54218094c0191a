"""cuda-core: stream, pool allocation, compilation to a cubin, launch, then pieces of 64 MiB until refused.

usage: core.py [PIECES]   at most that many pieces; prints one line of JSON
"""

import json
import sys
from typing import Any

import numpy as np
from cuda.bindings import driver
from cuda.core import Device, LaunchConfig, Program, ProgramOptions, launch

PIECE_BYTES = 64 << 20
CODE = 'extern "C" __global__ void fill(float *a, int n) { int i = threadIdx.x; if (i < n) a[i] = i; }'


def main(most: int) -> dict[str, Any]:
    device = Device(0)
    device.set_current()
    stream = device.create_stream()
    code, free, total = driver.cuMemGetInfo()
    assert code == driver.CUresult.CUDA_SUCCESS

    options = ProgramOptions(arch=f"sm_{device.arch}")
    kernel = Program(CODE, code_type="c++", options=options).compile("cubin").get_kernel("fill")
    small = device.allocate(4096, stream=stream)
    launch(stream, LaunchConfig(grid=1, block=32), kernel, small, np.int32(32))
    stream.sync()

    kept, refused = [], None
    while len(kept) < most and refused is None:
        try:
            kept.append(device.allocate(PIECE_BYTES, stream=stream))
        except Exception as error:
            words = str(error).replace(":", " ").split()
            refused = next((word for word in words if word.startswith("CUDA_")), str(error))
    stream.sync()
    return {
        "client": "cuda-core",
        "device": device.name,
        "free_bytes": free,
        "total_bytes": total,
        "kernels": 1,
        "pieces": len(kept),
        "refused": refused,
    }


if __name__ == "__main__":
    print(json.dumps(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1 << 20)))
