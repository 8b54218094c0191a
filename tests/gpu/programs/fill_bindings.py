"""cuda-bindings, as Python programs and NVIDIA's own libraries for Python use it."""

from typing import Any

from cuda.bindings import driver
from filling import run


class Refused(Exception):
    """A call that did not return CUDA_SUCCESS."""


def must(answer: tuple[Any, ...]) -> Any:
    code, *values = answer
    if code != driver.CUresult.CUDA_SUCCESS:
        raise Refused(code.name)
    return values[0] if len(values) == 1 else values


class Memory:
    def __init__(self, size: int) -> None:
        self.address = must(driver.cuMemAlloc(size))
        must(driver.cuMemsetD8(self.address, 0, size))

    def __del__(self) -> None:
        if hasattr(self, "address"):
            driver.cuMemFree(self.address)


class Client:
    errors = (Refused,)

    def __init__(self) -> None:
        must(driver.cuInit(0))
        self.device = must(driver.cuDeviceGet(0))
        must(driver.cuCtxSetCurrent(must(driver.cuDevicePrimaryCtxRetain(self.device))))

    def take(self, size: int) -> Memory:
        return Memory(size)

    def give_back(self) -> None:
        pass

    def check(self) -> bool:
        data, back = bytes(range(256)), bytearray(256)
        memory = Memory(256)
        must(driver.cuMemcpyHtoD(memory.address, data, 256))
        must(driver.cuMemcpyDtoH(back, memory.address, 256))
        return bytes(back) == data

    def total(self) -> int:
        return int(must(driver.cuDeviceTotalMem(self.device)))


if __name__ == "__main__":
    run(Client)
