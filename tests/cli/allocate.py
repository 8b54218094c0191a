"""A CUDA program that does what stdin says, and answers on stdout: `take N` pieces of 64 MiB, `info`."""

import ctypes
import sys

PIECE_BYTES = 64 << 20
OUT_OF_MEMORY = 2


def check(result: int) -> None:
    if result != 0:
        sys.exit(f"CUDA error {result}")


def main() -> None:
    driver = ctypes.CDLL("libcuda.so.1")
    device, context = ctypes.c_int(), ctypes.c_void_p()
    check(driver.cuInit(0))
    check(driver.cuDeviceGet(ctypes.byref(device), 0))
    check(driver.cuDevicePrimaryCtxRetain(ctypes.byref(context), device))
    check(driver.cuCtxSetCurrent(context))
    for line in sys.stdin:
        word, *arguments = line.split()
        if word == "take":
            taken, pointer, result = 0, ctypes.c_uint64(), 0
            while taken < int(arguments[0]) and result == 0:
                result = driver.cuMemAlloc_v2(ctypes.byref(pointer), ctypes.c_size_t(PIECE_BYTES))
                taken += result == 0
            if result not in (0, OUT_OF_MEMORY):
                check(result)
            print(taken, flush=True)
        elif word == "info":
            free, total = ctypes.c_size_t(), ctypes.c_size_t()
            check(driver.cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total)))
            print(free.value, total.value, flush=True)


if __name__ == "__main__":
    main()
