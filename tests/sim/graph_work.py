"""What the programs of the graph tests do, over device_work.py."""

from __future__ import annotations

import ctypes

from device_work import MS, Location, elapsed_ns, event, function, record, spin
from driver_calls import call, must, new, size, u64

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any


class Kernel(ctypes.Structure):
    _fields_ = [
        ("function", u64),
        ("grid", ctypes.c_uint * 3),
        ("block", ctypes.c_uint * 3),
        ("shared", ctypes.c_uint),
        ("params", ctypes.c_void_p),
        ("extra", ctypes.c_void_p),
        ("kernel", u64),
        ("context", u64),
    ]
    keep: Any


class Fill(ctypes.Structure):
    _fields_ = [
        ("destination", u64),
        ("pitch", size),
        ("value", ctypes.c_uint),
        ("element", ctypes.c_uint),
        ("width", size),
        ("height", size),
    ]


class Copy(ctypes.Structure):
    """CUDA_MEMCPY3D."""

    _fields_ = [
        (f"{side}_{name}" if side else name, kind)
        for side, names in (
            ("source", ("x", "y", "z", "level")),
            ("source", (("type", ctypes.c_int), "host", "device", "array", "reserved", "pitch", "height")),
            ("target", ("x", "y", "z", "level")),
            ("target", (("type", ctypes.c_int), "host", "device", "array", "reserved", "pitch", "height")),
            ("", ("width", "height", "depth")),
        )
        for name, kind in (n if isinstance(n, tuple) else (n, size) for n in names)
    ]


class Host(ctypes.Structure):
    _fields_ = [("function", ctypes.c_void_p), ("argument", ctypes.c_void_p)]


class Alloc(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("handles", ctypes.c_int),
        ("location", Location),
        ("windows", ctypes.c_void_p),
        ("max_size", size),
        ("reserved", ctypes.c_ubyte * 56),
        ("access", ctypes.c_void_p),
        ("access_count", size),
        ("bytes", size),
        ("address", u64),
    ]


class Operation(ctypes.Structure):
    """CUstreamBatchMemOpParams, of one value."""

    _fields_ = [
        ("operation", ctypes.c_int),
        ("address", u64),
        ("value", u64),
        ("flags", ctypes.c_uint),
        ("alias", u64),
        ("rest", u64),
    ]


class Batch(ctypes.Structure):
    _fields_ = [
        ("context", u64),
        ("count", ctypes.c_uint),
        ("operations", ctypes.c_void_p),
        ("flags", ctypes.c_uint),
    ]


class Condition(ctypes.Structure):
    _fields_ = [
        ("handle", u64),
        ("kind", ctypes.c_int),
        ("size", ctypes.c_uint),
        ("bodies", ctypes.POINTER(u64)),
        ("context", u64),
    ]


class Child(ctypes.Structure):
    _fields_ = [("graph", u64), ("moved", ctypes.c_int)]


class _Any(ctypes.Union):
    _fields_ = [
        ("words", ctypes.c_longlong * 29),
        ("kernel", Kernel),
        ("child", Child),
        ("alloc", Alloc),
        ("free", u64),
        ("batch", Batch),
        ("condition", Condition),
        ("event", u64),
    ]


class Params(ctypes.Structure):
    """CUgraphNodeParams."""

    _fields_ = [("type", ctypes.c_int), ("zero", ctypes.c_int * 3), ("u", _Any), ("tail", ctypes.c_longlong)]


class Edge(ctypes.Structure):
    _fields_ = [
        ("port", ctypes.c_ubyte),
        ("to", ctypes.c_ubyte),
        ("type", ctypes.c_ubyte),
        ("zero", ctypes.c_ubyte * 5),
    ]


HOST, DEVICE = 1, 2
NODE = {"kernel": 0, "child": 4, "empty": 5, "alloc": 10, "free": 11, "batch": 12, "condition": 13}


def kernel(ns: int, blocks: int = 1) -> Kernel:
    """Parameters of a node that spins."""
    value = u64(ns)
    params = (ctypes.c_void_p * 1)(ctypes.addressof(value))
    made = Kernel(function().value, (blocks, 1, 1), (1, 1, 1), 0, ctypes.addressof(params))
    made.keep = value, params
    return made


def copy(source: int, source_type: int, target: int, target_type: int, bytes_: int) -> Copy:
    made = Copy(source_type=source_type, target_type=target_type, width=bytes_, height=1, depth=1)
    setattr(made, "source_host" if source_type == HOST else "source_device", source)
    setattr(made, "target_host" if target_type == HOST else "target_device", target)
    return made


def nodes(*handles: int) -> Any:
    return (u64 * len(handles))(*handles)


def graph() -> int:
    return new("cuGraphCreate", 0)[1]


def try_add(g: int, what: Any, before: Sequence[int] = ()) -> tuple[int, int]:
    """Add a node with those parameters; returns the code and the node."""
    place = (g, nodes(*before), len(before))
    if isinstance(what, Kernel):
        return new("cuGraphAddKernelNode_v2", *place, ctypes.byref(what))
    if isinstance(what, Fill):
        return new("cuGraphAddMemsetNode", *place, ctypes.byref(what), None)
    if isinstance(what, Copy):
        return new("cuGraphAddMemcpyNode", *place, ctypes.byref(what), None)
    if isinstance(what, Host):
        return new("cuGraphAddHostNode", *place, ctypes.byref(what))
    if isinstance(what, Params):
        return new("cuGraphAddNode", *place, ctypes.byref(what))
    return new("cuGraphAddEmptyNode", *place)


def add(g: int, what: Any, before: Sequence[int] = ()) -> int:
    code, node = try_add(g, what, before)
    if code:
        raise RuntimeError(f"adding a node: {code}")
    return node


def params(kind: str, value: Any = None) -> Params:
    made = Params(type=NODE[kind])
    if value is not None:
        setattr(made.u, kind, value)
    return made


def add_alloc(g: int, bytes_: int, before: Sequence[int] = ()) -> tuple[int, int]:
    """Add an allocation; returns the node and the address."""
    what = params("alloc", Alloc(type=1, location=Location(1, 0), bytes=bytes_))
    node = add(g, what, before)
    return node, what.u.alloc.address


def try_free(g: int, address: int, before: Sequence[int] = ()) -> tuple[int, int]:
    return new("cuGraphAddMemFreeNode", g, nodes(*before), len(before), address)


def add_condition(
    g: int, value: int, kind: int, count: int, before: Sequence[int] = ()
) -> tuple[int, list[int]]:
    """Add a conditional node whose handle has that default; returns the node and its bodies."""
    handle = new("cuGraphConditionalHandleCreate", g, None, value, 1)[1]
    what = params("condition", Condition(handle, kind, count))
    node = add(g, what, before)
    return node, what.u.condition.bodies[:count]


def count(name: str, handle: int) -> int:
    n = size()
    must(name, handle, None, ctypes.byref(n))
    return n.value


def executable(g: int, flags: int = 0) -> int:
    code, e = new("cuGraphInstantiateWithFlags", g, flags)
    if code:
        raise RuntimeError(f"cuGraphInstantiateWithFlags: {code}")
    return e


def measured(s: int, work: Callable[[], Any]) -> int:
    """Device time of what `work` queues in a stream: it is all there before the stream begins with it."""
    a, b = event(), event()
    spin(50 * MS, s)
    record(a, s)
    work()
    record(b, s)
    must("cuStreamSynchronize", s)
    return elapsed_ns(a, b)


def run_time(e: int, s: int) -> int:
    """Device time of one launch, ns."""
    return measured(s, lambda: must("cuGraphLaunch", e, s))


def update(e: int, g: int) -> list[int]:
    """Update; returns the code, why not, the node at fault and the node before it."""
    info = (u64 * 3)(99, 99, 99)
    code = call("cuGraphExecUpdate_v2", e, g, info)
    return [code, info[0] & 0xFFFFFFFF, info[1], info[2]]


def begin(s: int, mode: int = 0) -> int:
    return call("cuStreamBeginCapture_v2", s, mode)


def end(s: int) -> tuple[int, int]:
    g = u64(99)
    return call("cuStreamEndCapture", s, ctypes.byref(g)), g.value


def captured(s: int, work: Callable[[], Any]) -> int:
    """Capture what `work` does in a stream; returns the graph."""
    must("cuStreamBeginCapture_v2", s, 0)
    work()
    code, g = end(s)
    if code:
        raise RuntimeError(f"cuStreamEndCapture: {code}")
    return g


def status(s: int) -> tuple[int, int]:
    found = ctypes.c_int(-1)
    return call("cuStreamIsCapturing", s, ctypes.byref(found)), found.value


def graph_memory() -> list[int]:
    """Bytes of the device's graph memory: used, used at most, reserved, reserved at most."""
    values = []
    for attribute in range(4):
        value = u64()
        must("cuDeviceGetGraphMemAttribute", 0, attribute, ctypes.byref(value))
        values.append(value.value)
    return values
