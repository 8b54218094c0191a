"""Graphs that allocate, for the programs that tests run, over driver_calls.py."""

from __future__ import annotations

import ctypes

from driver_calls import call, info, must, new, size, total, u64

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MS = 1000
"""In microseconds."""
USED, RESERVED = 0, 2
AUTO_FREE, UPLOAD = 1, 2


class Location(ctypes.Structure):
    _fields_ = [("type", ctypes.c_int), ("id", ctypes.c_int)]


class Alloc(ctypes.Structure):
    """CUDA_MEM_ALLOC_NODE_PARAMS."""

    _fields_ = [
        ("type", ctypes.c_int),
        ("handles", ctypes.c_int),
        ("location", Location),
        ("rest", ctypes.c_ubyte * 72),
        ("access", ctypes.c_void_p),
        ("access_count", size),
        ("bytes", size),
        ("address", u64),
    ]


class _Any(ctypes.Union):
    _fields_ = [("alloc", Alloc), ("words", ctypes.c_longlong * 29)]


class Node(ctypes.Structure):
    """CUgraphNodeParams."""

    _fields_ = [("type", ctypes.c_int), ("zero", ctypes.c_int * 3), ("u", _Any), ("tail", ctypes.c_longlong)]


class With(ctypes.Structure):
    """CUDA_GRAPH_INSTANTIATE_PARAMS."""

    _fields_ = [("flags", u64), ("stream", u64), ("node", u64), ("result", ctypes.c_int)]


def graph() -> int:
    return new("cuGraphCreate", 0)[1]


def stream() -> int:
    return new("cuStreamCreate", 1)[1]


def begin(s: int) -> None:
    """Capture the stream."""
    must("cuStreamBeginCapture_v2", s, 2)


def end(s: int) -> int:
    """Returns the graph."""
    g = u64()
    must("cuStreamEndCapture", s, ctypes.byref(g))
    return g.value


def handles(*nodes: int) -> Any:
    return (u64 * len(nodes))(*nodes)


def add(g: int, bytes_: int, *before: int, device: int = 0) -> tuple[int, int]:
    """Add an allocation; returns its node and address."""
    what = Alloc(type=1, location=Location(1, device), bytes=bytes_)
    code, node = new("cuGraphAddMemAllocNode", g, handles(*before), len(before), ctypes.byref(what))
    if code:
        raise RuntimeError(code)
    return node, what.address


def add_by(name: str, g: int, bytes_: int, *more: Any) -> int:
    """Add an allocation by a function that takes any kind of node; returns its address."""
    what = Node(type=10)
    what.u.alloc = Alloc(type=1, location=Location(1, 0), bytes=bytes_)
    must(name, ctypes.byref(u64()), g, None, *more, 0, ctypes.byref(what))
    address: int = what.u.alloc.address
    return address


def add_free(g: int, address: int, *before: int) -> int:
    code, node = new("cuGraphAddMemFreeNode", g, handles(*before), len(before), address)
    if code:
        raise RuntimeError(code)
    return node


def allocating(bytes_: int, device: int = 0) -> tuple[int, int]:
    """A graph with one allocation, which stays; and its address."""
    g = graph()
    return g, add(g, bytes_, device=device)[1]


def executable(g: int, flags: int = 0) -> int:
    code, e = new("cuGraphInstantiateWithFlags", g, flags)
    if code:
        raise RuntimeError(code)
    return e


def passing(bytes_: int, device: int = 0) -> int:
    """An executable graph that frees what it allocates."""
    g = graph()
    node, address = add(g, bytes_, device=device)
    add_free(g, address, node)
    return executable(g)


def upload_at_once(g: int, s: int, name: str = "cuGraphInstantiateWithParams") -> tuple[int, int]:
    """Returns the code, and the reason in the parameters."""
    how = With(UPLOAD, s)
    return new(name, g, ctypes.byref(how))[0], how.result


def launch(e: int, s: int) -> int:
    return call("cuGraphLaunch", e, s)


def delay(us: int, s: int) -> None:
    """Keep the stream busy, by what needs no memory: a function on the host."""
    must("cuLaunchHostFunc", s, ctypes.cast(ctypes.CDLL(None).usleep, ctypes.c_void_p), us)


def of_graphs(attribute: int = RESERVED, device: int = 0) -> int:
    value = u64()
    must("cuDeviceGetGraphMemAttribute", device, attribute, ctypes.byref(value))
    return value.value


def charged() -> int:
    return total() - info()[0]


def sync() -> None:
    must("cuCtxSynchronize")


def trim() -> None:
    must("cuDeviceGraphMemTrim", 0)
