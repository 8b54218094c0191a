"""The driver by ctypes, for the programs that tests run: short names, plain integers, codes returned.

Thousands are started, so nothing is imported here that takes long and is rarely needed.
"""

from __future__ import annotations

import ctypes
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Lazy:
    """A module that is imported when something of it is asked for."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        __import__(self._name)
        return getattr(sys.modules[self._name], attribute)


json, signal, threading = Lazy("json"), Lazy("signal"), Lazy("threading")

MIB = 1 << 20
GIB = 1 << 30

cuda = ctypes.CDLL(os.environ.get("DRIVER", "libcuda.so.1"))

u64 = ctypes.c_uint64
size = ctypes.c_size_t


def as_json(value: object) -> str:
    """Return it as JSON, which takes longer to import than to write."""
    if isinstance(value, str):
        plain = (c if c >= " " and c not in '"\\' else f"\\u{ord(c):04x}" for c in value)
        return '"' + "".join(plain) + '"'
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(as_json, value)) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{as_json(str(key))}: {as_json(item)}" for key, item in value.items()) + "}"
    if value is None or isinstance(value, bool):
        return {None: "null", False: "false", True: "true"}[value]
    if isinstance(value, (int, float)):
        return repr(value)
    raise TypeError(f"{value!r}: no JSON")


def out(value: object) -> None:
    """Tell the test: one line of JSON, in one piece, as a child may tell it something as well."""
    sys.stdout.write(as_json(value) + "\n")
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
