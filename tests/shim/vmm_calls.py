"""Physical memory, imports and the machine's truth by ctypes, for the programs that tests run."""

from __future__ import annotations

import ctypes
import os

from driver_calls import Lazy, call, info, must, new, start, total, u64

socket, sim = Lazy("socket"), Lazy("gshare.shim.sim")
UINT = ctypes.c_uint


class Location(ctypes.Structure):
    _fields_ = [("type", ctypes.c_int), ("id", ctypes.c_int)]


class Prop(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("handles", ctypes.c_int),
        ("location", Location),
        ("windows", ctypes.c_void_p),
        ("compression", ctypes.c_ubyte),
        ("rdma", ctypes.c_ubyte),
        ("usage", ctypes.c_ushort),
        ("reserved", ctypes.c_ubyte * 4),
    ]


class PoolProps(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("handles", ctypes.c_int),
        ("location", Location),
        ("windows", ctypes.c_void_p),
        ("reserved", ctypes.c_ubyte * 64),
    ]


class External(ctypes.Structure):
    _fields_ = [("type", u64), ("fd", u64), ("pad", u64), ("size", u64), ("flags", UINT), ("zero", UINT * 16)]


class Buffer(ctypes.Structure):
    _fields_ = [("offset", u64), ("size", u64), ("flags", UINT), ("zero", UINT * 16)]


def create(bytes_: int, place: int = 0, kind: int = 1, handles: int = 1, usage: int = 0) -> tuple[int, int]:
    prop = Prop(type=1, handles=handles, location=Location(kind, place), usage=usage)
    return new("cuMemCreate", bytes_, ctypes.byref(prop), 0)


def release(handle: int) -> int:
    return call("cuMemRelease", handle)


def retain(address: int) -> tuple[int, int]:
    return new("cuMemRetainAllocationHandle", address)


def reserve(bytes_: int) -> int:
    return new("cuMemAddressReserve", bytes_, 0, 0, 0)[1]


def map_at(address: int, bytes_: int, handle: int) -> int:
    return call("cuMemMap", address, bytes_, 0, handle, 0)


def mapped(handle: int, bytes_: int) -> int:
    """Map it at an address of its own."""
    address = reserve(bytes_)
    must("cuMemMap", address, bytes_, 0, handle, 0)
    return address


def unmap(address: int, bytes_: int) -> int:
    return call("cuMemUnmap", address, bytes_)


def export(handle: int) -> int:
    fd = ctypes.c_int(-1)
    must("cuMemExportToShareableHandle", ctypes.byref(fd), handle, 1, 0)
    return fd.value


def bring(fd: int) -> tuple[int, int]:
    return new("cuMemImportFromShareableHandle", fd, 1)


def bring_external(fd: int, bytes_: int) -> tuple[int, int]:
    return new("cuImportExternalMemory", ctypes.byref(External(1, fd, 0, bytes_)))


def buffer_of(external: int, bytes_: int) -> tuple[int, int]:
    return new("cuExternalMemoryGetMappedBuffer", external, ctypes.byref(Buffer(0, bytes_)))


def charged() -> int:
    """What the tenant is charged beyond what it was at the beginning."""
    return total() - info()[0] - base[0]


def taken() -> int:
    """What all programs have of the device beyond what they had at the beginning, by the machine's books."""
    used: int = sim.stat(os.environ["SIMGPU_MACHINE"])["devices"][0]["used_bytes"]
    return used - base[1]


def both() -> list[int]:
    return [charged(), taken()]


base = [0, 0]


def begin(device: int = 0) -> None:
    start(device)
    base[:] = both()


# -------- descriptors between programs --------


def listen(path: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    return listener


def take(listener: socket.socket) -> int:
    peer = listener.accept()[0]
    fd: int = socket.recv_fds(peer, 1, 1)[1][0]
    peer.close()
    return fd


def give(path: str, fd: int) -> None:
    peer = socket.socket(socket.AF_UNIX)
    peer.connect(path)
    socket.send_fds(peer, [b"x"], [fd])
    peer.close()
