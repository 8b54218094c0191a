"""The driver by ctypes, for the programs that tests run: short names, plain integers, codes returned."""

from __future__ import annotations

import ctypes
import json
import os
import sys
from typing import Any

MIB = 1 << 20
GIB = 1 << 30

cuda = ctypes.CDLL(os.environ.get("DRIVER", "libcuda.so.1"))

u64 = ctypes.c_uint64
size = ctypes.c_size_t


def out(value: object) -> None:
    """Tell the test: one line of JSON, in one piece, as a child may tell it something as well."""
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def call(name: str, *args: Any) -> int:
    """Call the driver; integers go as 64-bit numbers."""
    code: int = getattr(cuda, name)(*(u64(a) if isinstance(a, int) else a for a in args))
    return code


def must(name: str, *args: Any) -> None:
    code = call(name, *args)
    if code:
        raise RuntimeError(f"{name}: {code}")


def start(device: int = 0) -> int:
    """Begin with the device's primary context current; returns the context."""
    must("cuInit", 0)
    context = u64()
    must("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
    must("cuCtxSetCurrent", context)
    return context.value


def new(name: str, *args: Any) -> tuple[int, int]:
    """Call a function that writes a handle to its first argument; returns its code and the handle."""
    handle = u64()
    return call(name, ctypes.byref(handle), *args), handle.value


def alloc(bytes_: int) -> tuple[int, int]:
    return new("cuMemAlloc_v2", bytes_)


def free(pointer: int) -> int:
    return call("cuMemFree_v2", pointer)


def info() -> tuple[int, int]:
    """Free and total bytes of the current context's device."""
    free_bytes, total_bytes = size(), size()
    must("cuMemGetInfo_v2", ctypes.byref(free_bytes), ctypes.byref(total_bytes))
    return free_bytes.value, total_bytes.value


def total(device: int = 0) -> int:
    value = size()
    must("cuDeviceTotalMem_v2", ctypes.byref(value), device)
    return value.value


def fill(piece_bytes: int, name: str = "cuMemAlloc_v2", *more: Any, most: int = 200) -> tuple[list[int], int]:
    """Allocate pieces until the driver says no or `most` are there; return the pointers and the last code."""
    pointers = []
    code = 0
    while len(pointers) < most:
        code, pointer = new(name, piece_bytes, *more)
        if code:
            break
        pointers.append(pointer)
    return pointers, code
