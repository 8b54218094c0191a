"""`python -m gshare.cli.probe`: what the CUDA driver looks like from inside this process, as one JSON object.

`gshare doctor` runs it with and without the preloaded library and compares.
"""

import ctypes
import json
import os
from typing import Any

_HOOKED = b"cuMemAlloc_v2"
_HOOKED_BASE = b"cuMemAlloc"
_ABI_OF_V2 = 3020  # cuMemAlloc_v2 is what cuMemAlloc means since CUDA 3.2


class _Where(ctypes.Structure):
    _fields_ = [
        ("file", ctypes.c_char_p),
        ("base", ctypes.c_void_p),
        ("symbol", ctypes.c_char_p),
        ("address", ctypes.c_void_p),
    ]


def look() -> dict[str, Any]:
    """What was found: `error`, or version and devices; and whose code each road to cuMemAlloc ends in."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        return {"error": str(error), "roads": {}}
    found: dict[str, Any] = {"driver": _mapped("libcuda.so"), "roads": _roads(driver)}
    result = driver.cuInit(0)
    if result != 0:
        return {**found, "error": f"cuInit returns {result}"}
    version, count = ctypes.c_int(), ctypes.c_int()
    driver.cuDriverGetVersion(ctypes.byref(version))
    driver.cuDeviceGetCount(ctypes.byref(count))
    return {
        **found,
        "version": version.value,
        "memory_bytes": [_total(driver, i) for i in range(count.value)],
    }


def _roads(driver: ctypes.CDLL) -> dict[str, str]:
    """The object in which each road's cuMemAlloc lies."""
    own = ctypes.CDLL(None)
    own.dlopen.restype = own.dlsym.restype = ctypes.c_void_p
    own.dlsym.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
    handle = own.dlopen(b"libcuda.so.1", os.RTLD_NOW)
    roads = {"dlsym": own.dlsym(handle, _HOOKED)}
    pointer = ctypes.c_void_p()
    ask = getattr(driver, "cuGetProcAddress_v2", None)
    if ask and ask(_HOOKED_BASE, ctypes.byref(pointer), _ABI_OF_V2, ctypes.c_uint64(0), None) == 0:
        roads["cuGetProcAddress"] = pointer.value
    return {road: _object(own, address) for road, address in roads.items()}


def _object(own: ctypes.CDLL, address: int | None) -> str:
    where = _Where()
    if not address or not own.dladdr(ctypes.c_void_p(address), ctypes.byref(where)):
        return ""
    return os.path.basename((where.file or b"").decode())


def _mapped(name: str) -> str:
    """Path of the library of that name that this process has loaded."""
    with open("/proc/self/maps", encoding="utf-8", errors="replace") as maps:
        paths = {line.split(None, 5)[5].strip() for line in maps if name in line}
    return sorted(paths)[0] if paths else ""


def _total(driver: ctypes.CDLL, index: int) -> int:
    device, total = ctypes.c_int(), ctypes.c_size_t()
    driver.cuDeviceGet(ctypes.byref(device), index)
    driver.cuDeviceTotalMem_v2(ctypes.byref(total), device)
    return total.value


if __name__ == "__main__":
    print(json.dumps(look()))
