"""A CUDA program that breaks its tenant's rules: `cheat.py WORD` says `done`, and waits for stdin to end.

without: takes memory around gshare, as a child that has dropped the preload.  total: writes 0 into what is
held against its tenant's limit.  own: takes memory, and says in its own books that it has none.
"""

import ctypes
import os
import struct
import sys

PIECE_BYTES = 64 << 20
PIECES = 8


def take(pieces: int) -> None:
    driver = ctypes.CDLL("libcuda.so.1")
    device, context, pointer = ctypes.c_int(), ctypes.c_void_p(), ctypes.c_uint64()
    results = [
        driver.cuInit(0),
        driver.cuDeviceGet(ctypes.byref(device), 0),
        driver.cuDevicePrimaryCtxRetain(ctypes.byref(context), device),
        driver.cuCtxSetCurrent(context),
    ]
    for _ in range(pieces):
        results.append(driver.cuMemAlloc_v2(ctypes.byref(pointer), ctypes.c_size_t(PIECE_BYTES)))
    if any(results):
        sys.exit(f"CUDA errors {results}")


SLOTS_AT, SLOT_BYTES, ROWS_AT, ROW_BYTES = 4096 + 128 * 128, 64 + 17 * 128, 64, 128
"""Of abi.h's struct gs_usage."""


def write_total(path: str, used_bytes: int) -> None:
    """What the tenant has, says the first word of it that is found, is nothing."""
    with open(path, "r+b") as usage:
        usage.seek(usage.read().find(struct.pack("Q", used_bytes)))
        usage.write(bytes(8))


def write_own(path: str, slot: int) -> None:
    """What this process has of the first device, and for what, is nothing."""
    row = SLOTS_AT + slot * SLOT_BYTES + ROWS_AT
    with open(path, "r+b") as usage:
        for at, count in ((row, 16), (row + 64, ROW_BYTES - 64)):
            usage.seek(at)
            usage.write(bytes(count))


def main() -> None:
    word = sys.argv[1]
    take(PIECES)
    if word != "without":
        from gshare.shim import abi

        path = os.path.join(os.environ["GSHARE_TENANT_DIR"], "usage")
        with abi.Usage(path) as usage:
            if word == "total":
                write_total(path, usage.device(0).used_bytes)
            else:
                write_own(path, next(slot.slot for slot in usage.slots(1) if slot.pid == os.getpid()))
    print("done", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
