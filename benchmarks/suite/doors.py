"""The doors to device memory, one function each: it takes one more piece, and returns the driver's code."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any

from cffi import FFI

MIB = 1 << 20
PIECE = 64 * MIB

SUCCESS, OUT_OF_MEMORY = 0, 2
ABSENT = -1
"""The driver has no such function."""

_FLOAT, _CHANNELS = 0x20, 4
_HEAP = 2
_WORDS = 12

ffi = FFI()
_FUNCTION = "int(*)(" + ",".join(["uint64_t"] * _WORDS) + ")"

_VARIABLES = f"""
.version 6.0
.target sm_50
.address_size 64
.visible .global .align 8 .b8 big[{PIECE}];
"""

Lookup = Callable[[str], int]
"""Of a function's name: its address, or 0."""


class Doors:
    """The driver's functions, found in one way, and called with every argument as a word."""

    def __init__(self, lookup: Lookup) -> None:
        self.lookup = lookup
        self.kept: list[Any] = []
        self.out = ffi.new("uint64_t[2]")
        self.calls: dict[str, int] = {}

    def call(self, name: str, *words: int) -> int:
        address = self.calls.get(name)
        if address is None:
            address = self.calls[name] = self.lookup(name)
        if not address:
            return ABSENT
        function = ffi.cast(_FUNCTION, address)
        return int(function(*words, *[0] * (_WORDS - len(words))))

    def at(self, data: bytes | int) -> int:
        """The address of so many bytes, which stay."""
        self.kept.append(ffi.new("char[]", data))
        return int(ffi.cast("uintptr_t", self.kept[-1]))

    @property
    def first(self) -> int:
        """The address of where an answer goes."""
        return int(ffi.cast("uintptr_t", self.out))

    @property
    def answer(self) -> int:
        return int(self.out[0])

    def begin(self) -> int:
        """The primary context of the first device."""
        return (
            self.call("cuInit", 0)
            or self.call("cuDevicePrimaryCtxRetain", self.first, 0)
            or self.call("cuCtxSetCurrent", self.answer)
        )

    def total_bytes(self) -> int:
        code = self.call("cuMemGetInfo_v2", self.first, self.first + 8)
        return -1 if code else int(self.out[1])


def linear(d: Doors, of_bytes: int = PIECE) -> int:
    return d.call("cuMemAlloc_v2", d.first, of_bytes)


def pitched(d: Doors) -> int:
    """Rows of four bytes, each of which takes a whole pitch."""
    return d.call("cuMemAllocPitch_v2", d.first, d.first + 8, 4, PIECE // 512, 4)


def managed(d: Doors) -> int:
    code = d.call("cuMemAllocManaged", d.first, PIECE, 1)
    return code or d.call("cuMemPrefetchAsync", d.answer, PIECE, 0, 0)


def stream_ordered(d: Doors) -> int:
    return d.call("cuMemAllocAsync", d.first, PIECE, 0) or d.call("cuCtxSynchronize")


def stream_ordered_ptsz(d: Doors) -> int:
    return d.call("cuMemAllocAsync_ptsz", d.first, PIECE, 0) or d.call("cuCtxSynchronize")


def own_pool(d: Doors) -> int:
    if not d.kept:
        code = d.call("cuMemPoolCreate", d.first, d.at(struct.pack("<4i72x", 1, 0, 1, 0)))
        if code:
            return code
        d.kept.append(d.answer)
    return d.call("cuMemAllocFromPoolAsync", d.first, PIECE, d.kept[-1], 0) or d.call("cuCtxSynchronize")


def physical(d: Doors) -> int:
    return d.call("cuMemCreate", d.first, PIECE, d.at(struct.pack("<4i16x", 1, 0, 1, 0)), 0)


def array(d: Doors) -> int:
    return d.call("cuArrayCreate_v2", d.first, d.at(struct.pack("<2Q2I", 4096, 1024, _FLOAT, _CHANNELS)))


def array_3d(d: Doors) -> int:
    what = struct.pack("<3Q3I4x", 256, 256, 64, _FLOAT, _CHANNELS, 0)
    return d.call("cuArray3DCreate_v2", d.first, d.at(what))


def mipmap(d: Doors) -> int:
    what = struct.pack("<3Q3I4x", 4096, 1024, 0, _FLOAT, _CHANNELS, 0)
    return d.call("cuMipmappedArrayCreate", d.first, d.at(what), 1)


def captured(d: Doors) -> int:
    """An allocation that a graph makes when it is launched."""
    return d.call("cuStreamCreate", d.first, 1) or _captured_in(d, d.answer)


def _captured_in(d: Doors, stream: int) -> int:
    code = (
        d.call("cuStreamBeginCapture_v2", stream, 1)
        or d.call("cuMemAllocAsync", d.first, PIECE, stream)
        or d.call("cuStreamEndCapture", stream, d.first)
        or d.call("cuGraphInstantiateWithFlags", d.first, d.answer, 0)
    )
    return code or d.call("cuGraphLaunch", d.answer, stream) or d.call("cuCtxSynchronize")


def graph_node(d: Doors) -> int:
    code = d.call("cuGraphCreate", d.first, 0)
    graph = d.answer
    node = d.at(struct.pack("<4i72x", 1, 0, 1, 0) + struct.pack("<4Q", 0, 0, PIECE, 0))
    code = (
        code
        or d.call("cuGraphAddMemAllocNode", d.first, graph, 0, 0, node)
        or d.call("cuGraphInstantiateWithFlags", d.first, graph, 0)
    )
    return code or d.call("cuGraphLaunch", d.answer, 0) or d.call("cuCtxSynchronize")


def module(d: Doors) -> int:
    """A module's variables."""
    return d.call("cuModuleLoadData", d.first, d.at(_VARIABLES.encode()))


def heap(d: Doors) -> int:
    """What kernels allocate from, at once."""
    return d.call("cuCtxSetLimit", _HEAP, 8 << 30)


def contexts(d: Doors) -> int:
    code = d.call("cuCtxCreate_v2", d.first, 0, 0)
    return d.call("cuCtxCreate", d.first, 0, 0) if code == ABSENT else code


DOORS: dict[str, Callable[[Doors], int]] = {
    "cuMemAlloc": linear,
    "cuMemAllocPitch, narrow rows": pitched,
    "cuMemAllocManaged": managed,
    "cuMemAllocAsync": stream_ordered,
    "cuMemAllocAsync_ptsz": stream_ordered_ptsz,
    "cuMemAllocFromPoolAsync": own_pool,
    "cuMemCreate": physical,
    "cuArrayCreate": array,
    "cuArray3DCreate": array_3d,
    "cuMipmappedArrayCreate": mipmap,
    "captured allocation": captured,
    "cuGraphAddMemAllocNode": graph_node,
    "variables of modules": module,
    "heap by cuCtxSetLimit": heap,
    "contexts": contexts,
}
"""Each by the name that its row in the coverage table has."""


def take_all(door: Callable[[Doors], int], d: Doors, pieces: int) -> tuple[int, Sequence[int]]:
    """Through the door again and again; how often it opened, and what the driver said at last."""
    for taken in range(pieces):
        code = door(d)
        if code:
            return taken, [code]
    return pieces, []
