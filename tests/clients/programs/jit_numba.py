"""numba-cuda: compile and launch a kernel, copy there and back, then pieces of 64 MiB until refused.

usage: jit_numba.py [PIECES]   at most that many pieces; prints one line of JSON
"""

import json
import sys
import warnings
from typing import Any

import numpy as np

warnings.simplefilter("ignore")  # about grids too small to be fast

from numba import cuda  # noqa: E402

PIECE_BYTES = 64 << 20


@cuda.jit  # type: ignore[untyped-decorator, unused-ignore]
def add_one(values: Any) -> None:
    i = cuda.grid(1)
    if i < values.size:
        values[i] += 1


def main(most: int) -> dict[str, Any]:
    free, total = cuda.current_context().get_memory_info()
    values = np.arange(64, dtype=np.float32)
    there = cuda.to_device(values)
    back = there.copy_to_host()
    add_one[1, 64](there)
    cuda.synchronize()

    kept, refused = [], None
    while len(kept) < most and refused is None:
        try:
            kept.append(cuda.device_array(PIECE_BYTES, dtype=np.uint8))
        except Exception as error:
            words = str(error).replace("[", " ").replace("]", " ").split()
            refused = next((word for word in words if word.startswith("CUDA_")), str(error))
    return {
        "client": "numba-cuda",
        "device": str(cuda.get_current_device().name),
        "free_bytes": free,
        "total_bytes": total,
        "same": bool((back == values).all()),
        "kernels": 1,
        "pieces": len(kept),
        "refused": refused,
    }


if __name__ == "__main__":
    print(json.dumps(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1 << 20)))
