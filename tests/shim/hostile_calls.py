"""Every door that takes a number of bytes, for the programs that tests run: codes returned, all undone."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import graph_calls as graphs
import vmm_calls as vmm
from driver_calls import call, free, must, new, size, u64
from vmm_calls import Location, PoolProps

HOST_LEAST, HOST_MOST = 1 << 26, 1 << 46
"""Between these pinned memory could be had, and would take the machine's."""

seen: list[list[int]] = []
"""What was charged and what was taken, while something was there."""

Codes = list[int]
Undo = Callable[[int], int]


def kept(made: tuple[int, int], undo: Undo) -> Codes:
    """The code of what made something, and of what undoes it."""
    code, handle = made
    if code:
        return [code]
    seen.append(vmm.both())
    undone = undo(handle)
    must("cuCtxSynchronize")
    return [code, undone]


def free_async(pointer: int) -> int:
    return call("cuMemFreeAsync", pointer, 0)


def pool_of(most_bytes: int) -> tuple[int, int]:
    props = PoolProps(type=1, location=Location(1, 0))
    u64.from_buffer(props, PoolProps.reserved.offset).value = most_bytes
    return new("cuMemPoolCreate", ctypes.byref(props))


def in_pool(most_bytes: int, threshold: int, bytes_: int) -> Codes:
    """Memory in a pool of its own, which may be that large and keep that much."""
    code, pool = pool_of(most_bytes)
    if code:
        return [code]
    codes = [call("cuMemPoolSetAttribute", pool, 4, ctypes.byref(u64(threshold)))]
    codes += kept(new("cuMemAllocFromPoolAsync", bytes_, pool, 0), free_async)
    codes += [call("cuMemPoolTrimTo", pool, threshold), call("cuMemPoolDestroy", pool)]
    must("cuCtxSynchronize")
    return codes


def pitched(width: int, height: int, element: int = 4) -> Codes:
    return kept(new("cuMemAllocPitch_v2", ctypes.byref(size()), width, height, element), free)


def limited(limit: int, value: int) -> Codes:
    """Sets a context's limit and what it was."""
    before = size()
    if call("cuCtxGetLimit", ctypes.byref(before), limit):
        return [call("cuCtxSetLimit", limit, value)]
    return kept(
        (call("cuCtxSetLimit", limit, value), before.value), lambda b: call("cuCtxSetLimit", limit, b)
    )


def launched(bytes_: int) -> Codes:
    """A graph with one allocation."""
    graph = graphs.graph()
    what = graphs.Alloc(type=1, location=graphs.Location(1, 0), bytes=bytes_)
    code, node = new("cuGraphAddMemAllocNode", graph, None, 0, ctypes.byref(what))
    codes = [code]
    if not code:
        graphs.add_free(graph, what.address, node)
        executable = graphs.executable(graph)
        codes += [graphs.launch(executable, 0)]
        seen.append(vmm.both())
        must("cuGraphExecDestroy", executable)
    must("cuGraphDestroy", graph)
    graphs.sync()
    graphs.trim()
    return codes


def pinned(name: str, bytes_: int, *more: Any) -> Codes:
    if HOST_LEAST < bytes_ < HOST_MOST:
        return []
    return kept(new(name, bytes_, *more), lambda p: call("cuMemFreeHost", p))


def created(bytes_: int, place: int = 0, kind: int = 1) -> Codes:
    if kind != 1 and HOST_LEAST < bytes_ < HOST_MOST:
        return []
    return kept(vmm.create(bytes_, place, kind), vmm.release)


DOORS: dict[str, Callable[[int], Codes]] = {
    "linear": lambda n: kept(new("cuMemAlloc_v2", n), free),
    "managed": lambda n: kept(new("cuMemAllocManaged", n, 1), free),
    "managed, bad flags": lambda n: kept(new("cuMemAllocManaged", n, 3), free),
    "async": lambda n: kept(new("cuMemAllocAsync", n, 0), free_async),
    "async, per thread": lambda n: kept(new("cuMemAllocAsync_ptsz", n, 0), free_async),
    "pool": lambda n: in_pool(0, 0, n),
    "pool that keeps": lambda n: in_pool(0, n, 1 << 20),
    "pool of a size": lambda n: in_pool(n, 0, 1 << 20),
    "wide": lambda n: pitched(n, 1),
    "high": lambda n: pitched(1, n),
    "square": lambda n: pitched(n, n, 16),
    "pitched, bad element": lambda n: pitched(n, n, 5),
    "physical": created,
    "physical, no such device": lambda n: created(n, 7),
    "physical, no such place": lambda n: created(n, 0, 9),
    "physical, host": lambda n: created(n, 0, 2),
    "addresses": lambda n: kept(
        new("cuMemAddressReserve", n, 0, 0, 0), lambda a: call("cuMemAddressFree", a, n)
    ),
    "graph": launched,
    **{f"limit {limit}": lambda n, limit=limit: limited(limit, n) for limit in (*range(8), -1)},  # type: ignore[misc]
    "pinned": lambda n: pinned("cuMemHostAlloc", n, 0),
    "pinned, bad flags": lambda n: pinned("cuMemHostAlloc", n, 64),
    "pinned, short": lambda n: pinned("cuMemAllocHost_v2", n),
    "registered, no such range": lambda n: [call("cuMemHostRegister_v2", 1 << 12, n, 0)],
}


def each(sizes: list[int], doors: dict[str, Callable[[int], Codes]] = DOORS) -> dict[str, Any]:
    """The codes of every door for every size, what was seen on the way, and what is left of it."""
    codes = {name: [door(n) for n in sizes] for name, door in doors.items()}
    return {"codes": codes, "seen": seen, "left": vmm.both()}
