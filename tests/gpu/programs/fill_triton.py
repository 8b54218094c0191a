"""Triton without torch: a kernel that it compiles, over memory of the driver."""

import ctypes
import os

os.environ.setdefault("TRITON_DEFAULT_FP_FUSION", "1")  # or it warns

import triton
import triton.language as tl
from filling import DriverClient, DriverMemory, run


class Array(DriverMemory):
    """Triton asks an argument for these two only."""

    dtype = "fp32"

    def data_ptr(self) -> int:
        return self.address


@triton.jit
def add(x, y, out, n, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = at < n
    tl.store(out + at, tl.load(x + at, mask=inside) + tl.load(y + at, mask=inside), mask=inside)


class Client(DriverClient):
    def check(self) -> "bool | None":
        count = 1000
        x, y, out = (Array(self.driver, 4096) for _ in range(3))
        values = (ctypes.c_float * count)(*range(count))
        for array in x, y:
            self.driver.must("cuMemcpyHtoD_v2", ctypes.c_uint64(array.address), values, ctypes.c_size_t(4000))
        add[(4,)](x, y, out, count, BLOCK=256)
        sums = (ctypes.c_float * count)()
        self.driver.must("cuCtxSynchronize")
        self.driver.must("cuMemcpyDtoH_v2", sums, ctypes.c_uint64(out.address), ctypes.c_size_t(4000))
        if os.environ.get("GSHARE_GPU_REHEARSAL") == "1":
            return None  # simulated kernels compute nothing
        return list(sums) == [2.0 * i for i in range(count)]


if __name__ == "__main__":
    run(Client)
