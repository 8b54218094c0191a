"""Loads of frameworks beside torch for load.py: a few passes over arrays, a millisecond or so of a GPU."""

from __future__ import annotations

import ctypes
import warnings
from collections.abc import Callable
from typing import Any

from filling import Driver

COUNT = 1 << 26
PASSES = 4
BLOCK = 1024
NO_TIMING = 2


class DriverEvent:
    """An event behind what is in the default stream."""

    def __init__(self, driver: Driver) -> None:
        self.driver = driver
        self.handle = ctypes.c_void_p()
        driver.must("cuEventCreate", ctypes.byref(self.handle), NO_TIMING)

    def record(self) -> DriverEvent:
        self.driver.must("cuEventRecord", self.handle, None)
        return self

    def synchronize(self) -> None:
        self.driver.must("cuEventSynchronize", self.handle)

    def __del__(self) -> None:
        self.driver.code("cuEventDestroy_v2", self.handle)


def triton() -> Callable[[], Any]:
    from fill_triton import Array, add

    driver = Driver()
    driver.primary_context()
    x, y, out = (Array(driver, 4 * COUNT) for _ in range(3))

    def launch() -> DriverEvent:
        for _ in range(PASSES):
            add[(COUNT // BLOCK,)](x, y, out, COUNT, BLOCK=BLOCK)
        return DriverEvent(driver).record()

    return launch


def numba() -> Callable[[], Any]:
    warnings.simplefilter("ignore")
    import numpy as np
    from fill_numba import add_one
    from numba import cuda

    values = cuda.device_array(COUNT, np.float32)

    def launch() -> Any:
        for _ in range(PASSES):
            add_one[COUNT // BLOCK, BLOCK](values)
        event = cuda.event(timing=False)
        event.record()
        return event

    return launch


def cupy() -> Callable[[], Any]:
    import cupy as cp

    values = cp.zeros(COUNT, cp.float32)

    def launch() -> Any:
        for _ in range(PASSES):
            cp.add(values, 1, out=values)
        event = cp.cuda.Event(disable_timing=True)
        event.record()
        return event

    return launch


class Result:
    """What JAX has promised."""

    def __init__(self, array: Any) -> None:
        self.array = array

    def synchronize(self) -> None:
        self.array.block_until_ready()


def jax() -> Callable[[], Any]:
    import jax as framework
    import jax.numpy as jnp

    product = framework.jit(lambda a: a @ a)
    square = jnp.ones((4096, 4096), jnp.bfloat16)

    def launch() -> Result:
        for _ in range(PASSES):
            result = product(square)
        return Result(result)

    return launch
