"""What the programs of these tests do on the device, over driver_calls.py."""

from __future__ import annotations

import ctypes
import sys
import time

from driver_calls import call, cuda, must, new, size, u64

MS = 1_000_000
PTX = b""".version 6.0
.target sm_50
.address_size 64
.visible .entry spin(.param .u64 ns) { ret; }
.visible .entry other(.param .u64 a, .param .u32 b) { ret; }
"""
_functions: dict[str, ctypes.c_uint64] = {}


def wait() -> None:
    """Wait for the test."""
    sys.stdin.readline()


def function(name: str = "spin") -> ctypes.c_uint64:
    if name not in _functions:
        _, module = new("cuModuleLoadData", PTX)
        _functions[name] = u64(new("cuModuleGetFunction", module, name.encode())[1])
    return _functions[name]


def launch(ns: int, stream: int = 0, blocks: int = 1, name: str = "cuLaunchKernel") -> int:
    """Launch `spin`; returns the code."""
    value = u64(ns)
    params = (ctypes.c_void_p * 1)(ctypes.addressof(value))
    code: int = getattr(cuda, name)(function(), blocks, 1, 1, 1, 1, 1, 0, u64(stream), params, None)
    return code


def spin(ns: int, stream: int = 0, blocks: int = 1) -> None:
    code = launch(ns, stream, blocks)
    if code:
        raise RuntimeError(f"cuLaunchKernel: {code}")


def plug(stream: int = 0) -> None:
    """Keep the stream busy while the rest is queued: what follows then is timed by the device alone."""
    function()
    spin(80 * MS, stream)


def stream(flags: int = 1) -> int:
    return new("cuStreamCreate", flags)[1]


def event(flags: int = 0) -> int:
    return new("cuEventCreate", flags)[1]


def record(event: int, stream: int = 0) -> int:
    must("cuEventRecord", event, stream)
    return event


def elapsed_ns(first: int, last: int) -> int:
    ms = ctypes.c_float()
    must("cuEventElapsedTime", ctypes.byref(ms), first, last)
    return round(ms.value * 1e6)


def sync() -> None:
    must("cuCtxSynchronize")


def busy(seconds: float, ns: int, ahead: int = 8) -> None:
    """Keep the device busy with kernels of `ns`, that many launched ahead, for that long."""
    marks = [event(2) for _ in range(ahead)]
    lane = stream()
    end = time.monotonic() + seconds
    launched = 0
    while time.monotonic() < end:
        mark = marks[launched % ahead]
        if launched >= ahead:
            must("cuEventSynchronize", mark)
        spin(ns, lane)
        record(mark, lane)
        launched += 1
    sync()


def pool_attribute(pool: int, attribute: int) -> int:
    value = u64()
    must("cuMemPoolGetAttribute", pool, attribute, ctypes.byref(value))
    return value.value


class Location(ctypes.Structure):
    _fields_ = [("type", ctypes.c_int), ("id", ctypes.c_int)]


class AllocationProp(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("handles", ctypes.c_int),
        ("location", Location),
        ("windows", ctypes.c_void_p),
        ("flags", ctypes.c_ubyte * 8),
    ]


class PoolProps(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("handles", ctypes.c_int),
        ("location", Location),
        ("windows", ctypes.c_void_p),
        ("max_size", size),
        ("reserved", ctypes.c_ubyte * 56),
    ]


class Access(ctypes.Structure):
    _fields_ = [("location", Location), ("flags", ctypes.c_int)]


def on_device(device: int = 0) -> Location:
    return Location(1, device)


def physical(bytes_: int, device: int = 0) -> tuple[int, int]:
    """Create VMM memory: the code and the handle."""
    prop = AllocationProp(type=1, location=on_device(device))
    handle = u64()
    code = call("cuMemCreate", ctypes.byref(handle), bytes_, ctypes.byref(prop), 0)
    return code, handle.value


def open_access(address: int, bytes_: int) -> None:
    access = Access(on_device(), 3)
    must("cuMemSetAccess", address, bytes_, ctypes.byref(access), 1)


def to_device(address: int, data: bytes) -> int:
    code: int = cuda.cuMemcpyHtoD_v2(u64(address), data, size(len(data)))
    return code


def from_device(address: int, bytes_: int) -> tuple[int, bytes]:
    data = ctypes.create_string_buffer(bytes_)
    code: int = cuda.cuMemcpyDtoH_v2(data, u64(address), size(bytes_))
    return code, data.raw
