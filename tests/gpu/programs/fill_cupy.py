"""CuPy with one of its pools: FILL_POOL is default, async or managed."""

import os
from typing import Any

import cupy
from filling import run

POOL = os.environ.get("FILL_POOL", "default")


class Client:
    errors = (cupy.cuda.memory.OutOfMemoryError, cupy.cuda.runtime.CUDARuntimeError)

    def __init__(self) -> None:
        if POOL == "async":
            self.pool: Any = cupy.cuda.MemoryAsyncPool()
        elif POOL == "managed":
            self.pool = cupy.cuda.MemoryPool(cupy.cuda.malloc_managed)
        else:
            self.pool = cupy.get_default_memory_pool()
        cupy.cuda.set_allocator(self.pool.malloc)

    def take(self, size: int) -> Any:
        memory = cupy.empty(size, dtype=cupy.uint8)
        memory.data.memset(0, size)  # managed memory takes none of the device's before it is written
        cupy.cuda.runtime.deviceSynchronize()
        return memory

    def give_back(self) -> None:
        cupy.cuda.runtime.deviceSynchronize()
        self.pool.free_all_blocks()

    def check(self) -> bool:
        count = 1 << 20
        values = cupy.arange(count, dtype=cupy.float64)
        return float((values * 2).sum()) == count * (count - 1)

    def total(self) -> int:
        return int(cupy.cuda.runtime.memGetInfo()[1])


if __name__ == "__main__":
    run(Client, version=cupy.__version__, pool=POOL)
