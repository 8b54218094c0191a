"""numba-cuda: arrays of its own, and a kernel that it compiles."""

import os
import warnings
from typing import Any

import numpy as np
from filling import run
from numba import cuda

warnings.simplefilter("ignore")  # about grids too small to be fast


@cuda.jit  # type: ignore[untyped-decorator, unused-ignore]
def add_one(values: Any) -> None:
    i = cuda.grid(1)
    if i < values.size:
        values[i] += 1


class Client:
    errors = (Exception,)  # its own hierarchy has changed its names; the refusal's words are looked at

    def take(self, size: int) -> Any:
        return cuda.device_array(size, np.uint8)

    def give_back(self) -> None:
        cuda.current_context().deallocations.clear()

    def check(self) -> "bool | None":
        values = np.arange(64, dtype=np.float32)
        there = cuda.to_device(values)
        add_one[1, 64](there)
        cuda.synchronize()
        if os.environ.get("GSHARE_GPU_REHEARSAL") == "1":
            return None  # simulated kernels compute nothing
        return bool((there.copy_to_host() == values + 1).all())

    def total(self) -> int:
        return int(cuda.current_context().get_memory_info().total)


if __name__ == "__main__":
    run(Client)
