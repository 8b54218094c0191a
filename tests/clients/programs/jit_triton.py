"""triton without torch: compile and launch a kernel on our own memory, then pieces of 64 MiB until refused.

usage: jit_triton.py [PIECES]   at most that many pieces; prints one line of JSON

Triton asks an argument for `data_ptr` and `dtype` only, so that is all our memory has.
"""

import ctypes
import json
import os
import sys
from typing import Any

os.environ.setdefault("TRITON_DEFAULT_FP_FUSION", "1")  # or it warns

import triton
import triton.language as tl

PIECE_BYTES = 64 << 20
cuda = ctypes.CDLL("libcuda.so.1")


class Memory:
    dtype = "fp32"

    def __init__(self, size: int) -> None:
        address = ctypes.c_uint64()
        self.code = cuda.cuMemAlloc_v2(ctypes.byref(address), ctypes.c_size_t(size))
        self.address = address.value

    def data_ptr(self) -> int:
        return self.address


@triton.jit
def add(x, y, out, n, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = at < n
    tl.store(out + at, tl.load(x + at, mask=inside) + tl.load(y + at, mask=inside), mask=inside)


def must(code: int) -> None:
    if code:
        raise SystemExit(f"error {code}")


def name_of(code: int) -> str:
    name = ctypes.c_char_p()
    must(cuda.cuGetErrorName(code, ctypes.byref(name)))
    return (name.value or b"").decode()


def main(most: int) -> dict[str, Any]:
    context, name = ctypes.c_void_p(), ctypes.create_string_buffer(64)
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    must(cuda.cuInit(0))
    must(cuda.cuDeviceGetName(name, 64, 0))
    must(cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), 0))
    must(cuda.cuCtxSetCurrent(context))
    must(cuda.cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total)))

    x, y, out = (Memory(4096) for _ in range(3))
    add[(4,)](x, y, out, 1000, BLOCK=256)
    must(cuda.cuCtxSynchronize())

    pieces, refused = 0, None
    while pieces < most and refused is None:
        piece = Memory(PIECE_BYTES)
        if piece.code:
            refused = name_of(piece.code)
        else:
            pieces += 1
    return {
        "client": "triton",
        "device": name.value.decode(),
        "free_bytes": free.value,
        "total_bytes": total.value,
        "kernels": 1,
        "pieces": pieces,
        "refused": refused,
    }


if __name__ == "__main__":
    print(json.dumps(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1 << 20)))
