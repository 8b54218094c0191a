"""The hooks are live on the machine at hand by every road that a program takes to the driver."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Gpu

pytestmark = pytest.mark.gpu

QUOTA = 2 << 30

PROGRAM = """
import ctypes, json, os, sys

road = sys.argv[1]
libc = ctypes.CDLL(None)
libc.dlopen.restype = libc.dlsym.restype = libc.dlvsym.restype = libc.dlmopen.restype = ctypes.c_void_p
libc.dlsym.argtypes = libc.dlvsym.argtypes = None
NOW, DEEPBIND = 2, 8


def loaded_path():
    ctypes.CDLL("libcuda.so.1")
    for line in open("/proc/self/maps"):
        if "/libcuda.so" in line:
            return line.split()[-1]


def handle():
    if road == "absolute path":
        return libc.dlopen(loaded_path().encode(), NOW)
    if road == "deepbind":
        return libc.dlopen(b"libcuda.so.1", NOW | DEEPBIND)
    if road == "libcuda.so":
        return libc.dlopen(b"libcuda.so", NOW)
    return libc.dlopen(b"libcuda.so.1", NOW)


driver = handle()
if not driver:
    print(json.dumps({"absent": road}))
    raise SystemExit


def find(name, exported):
    if road.startswith("cuGetProcAddress"):
        lookup, flags = (b"cuGetProcAddress_v2", 0) if road.endswith("v2") else (b"cuGetProcAddress", 0)
        ask = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_uint64,
                               ctypes.c_void_p)(libc.dlsym(ctypes.c_void_p(driver), lookup))
        found, status = ctypes.c_void_p(), ctypes.c_int()
        assert ask(name, ctypes.byref(found), 12000, flags, ctypes.byref(status)) == 0
        return found.value
    return libc.dlsym(ctypes.c_void_p(driver), exported)


def call(name, exported, *args):
    result = ctypes.CFUNCTYPE(ctypes.c_int, *(type(a) for a in args))(find(name, exported))(*args)
    assert result == 0, (name, result)


def address(value):
    return ctypes.cast(ctypes.byref(value), ctypes.c_void_p)


device, context = ctypes.c_int(), ctypes.c_void_p()
free, total = ctypes.c_size_t(), ctypes.c_size_t()
call(b"cuInit", b"cuInit", ctypes.c_uint(0))
call(b"cuDeviceGet", b"cuDeviceGet", address(device), ctypes.c_int(0))
call(b"cuDevicePrimaryCtxRetain", b"cuDevicePrimaryCtxRetain", address(context), device)
call(b"cuCtxSetCurrent", b"cuCtxSetCurrent", context)
call(b"cuMemGetInfo", b"cuMemGetInfo_v2", address(free), address(total))
print(json.dumps({"total_bytes": total.value}))
"""


@pytest.mark.parametrize(
    "road",
    ["soname", "libcuda.so", "absolute path", "deepbind", "cuGetProcAddress v1", "cuGetProcAddress v2"],
)
def test_a_quota_is_seen_by_every_road(gpu: Gpu, road: str) -> None:
    (said,) = gpu.run(["--mem=2G"], "-c", PROGRAM, road)
    if "absent" in said:
        pytest.skip(f"this machine has no {road}")
    assert said["total_bytes"] == QUOTA
    (bare,) = gpu.run(None, "-c", PROGRAM, road)
    assert bare["total_bytes"] > QUOTA
