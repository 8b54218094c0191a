"""A program that a list of numbers writes: good and bad calls of all kinds, with living, dead and no handles.

Each step is (operation, choice, choice, choice).  The answer is the set of (function, code) that came back,
and what the program still holds.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
from collections.abc import Callable
from typing import Any

from device_work import PTX, Access, AllocationProp, on_device
from driver_calls import call, cuda, must, size, start, u64

MIB = 1 << 20
SIZES = [0, 1, 511, 512, 4096, MIB, 3 * MIB, 64 * MIB, 1 << 42, (1 << 64) - 1]
SPIN_NS = [0, 1_000, 50_000, 2_000_000]

answers: set[tuple[str, int]] = set()
held: dict[str, list[int]] = {
    kind: []
    for kind in ("memory", "async", "host", "stream", "event", "graph", "exec", "context", "physical")
}
dead: dict[str, list[int]] = {kind: [] for kind in held}
functions: list[ctypes.c_uint64] = []
LANES = ("stream", "event")  # a driver may crash on these when they are destroyed: no dead ones


def do(name: str, *args: Any) -> int:
    code = call(name, *args)
    answers.add((name, code))
    return code


def make(kind: str, name: str, *args: Any) -> int:
    handle = u64()
    code = do(name, ctypes.byref(handle), *args)
    if code == 0:
        held[kind].append(handle.value)
    return code


def pick(kind: str, choice: int) -> int:
    """A handle: mostly a living one, at times one that is gone, or none."""
    living, gone = held[kind], dead[kind] if kind not in LANES else []
    if living and choice % 8:
        return living[choice % len(living)]
    return (gone[-1:] or [0])[0] if choice % 3 else 0


def drop(kind: str, name: str, choice: int, *args: Any) -> None:
    if not held[kind] and kind in LANES:
        return
    handle = pick(kind, choice)
    if do(name, handle, *args) == 0 and handle in held[kind]:
        held[kind].remove(handle)
        dead[kind].append(handle)


def launch(a: int, b: int, c: int) -> None:
    ns = u64(SPIN_NS[a % len(SPIN_NS)])
    params = (ctypes.c_void_p * 1)(ctypes.addressof(ns))
    grid, block = [1, 7, 500, 0][b % 4], [1, 256, 1024, 2000][c % 4]
    shape = [u64(n) for n in (grid, 1, 1, block, 1, 1, 0)]
    code = cuda.cuLaunchKernel(functions[0], *shape, u64(pick("stream", c)), params, None)
    answers.add(("cuLaunchKernel", code))


def capture(a: int, b: int, c: int) -> None:
    """Capture a little, at times with a call that no capture may see."""
    stream, graph = pick("stream", a), u64()
    if do("cuStreamBeginCapture_v2", stream, b % 4):
        return
    if c % 2:
        launch(b, 0, 0)
    else:
        do("cuMemsetD8Async", pick("memory", b), 1, 512, stream)
    if c % 5 == 0:
        make("memory", "cuMemAlloc_v2", 512)
    if do("cuStreamEndCapture", stream, ctypes.byref(graph)) == 0 and graph.value:
        held["graph"].append(graph.value)


def copy(a: int, b: int, c: int) -> None:
    data = ctypes.create_string_buffer(4096)
    at, stream = pick(("memory", "async")[c % 2], a), pick("stream", b)
    if c % 3 == 0:
        answers.add(("cuMemcpyHtoD_v2", cuda.cuMemcpyHtoD_v2(u64(at), data, size(SIZES[b % 5]))))
    elif c % 3 == 1:
        answers.add(("cuMemcpyDtoH_v2", cuda.cuMemcpyDtoH_v2(data, u64(at), size(SIZES[b % 5]))))
    else:
        do("cuMemcpyDtoDAsync_v2", at, pick("memory", b), SIZES[b % 6], stream)


def physical(a: int, b: int, c: int) -> None:
    prop = AllocationProp(type=b % 2, location=on_device([0, 0, 0, 9][c % 4]))
    make("physical", "cuMemCreate", SIZES[a % len(SIZES)] * (2 if a % 3 else 1), ctypes.byref(prop), 0)


def mapped(a: int, b: int, c: int) -> None:
    """Reserve, map, open and take down again, with whatever handle comes."""
    address = u64()
    if do("cuMemAddressReserve", ctypes.byref(address), 2 * MIB, 0, 0, 0):
        return
    if do("cuMemMap", address.value, 2 * MIB, 0, pick("physical", a), 0) == 0:
        access = Access(on_device(), [0, 1, 3][b % 3])
        do("cuMemSetAccess", address.value, 2 * MIB, ctypes.byref(access), 1)
        if b % 3 == 2:
            do("cuMemsetD8_v2", address.value, 1, MIB)
        do("cuMemUnmap", address.value, 2 * MIB)
    do("cuMemAddressFree", address.value, 2 * MIB)


def allocate(a: int, b: int, c: int) -> None:
    bytes_ = SIZES[a % len(SIZES)]
    if c % 3 == 0:
        make("memory", "cuMemAlloc_v2", bytes_)
    elif c % 3 == 1:
        make("async", "cuMemAllocAsync", bytes_, pick("stream", b))
    else:
        make("memory", "cuMemAllocManaged", SIZES[a % 8], b % 4)


def fill(a: int, b: int, c: int) -> None:
    do("cuMemsetD8Async", pick("memory", a), b, SIZES[b % 6], pick("stream", c))


def query(a: int, b: int, c: int) -> None:
    do("cuEventQuery", pick("event", a))
    do("cuStreamQuery", pick("stream", b))


OPERATIONS: tuple[Callable[[int, int, int], object], ...] = (
    allocate,
    lambda a, b, c: drop("memory", "cuMemFree_v2", a),
    lambda a, b, c: drop("async", "cuMemFreeAsync", a, pick("stream", b)),
    lambda a, b, c: drop("async", "cuMemFree_v2", a),
    lambda a, b, c: make("host", "cuMemHostAlloc", SIZES[a % 7], b % 16),
    lambda a, b, c: drop("host", "cuMemFreeHost", a),
    physical,
    lambda a, b, c: drop("physical", "cuMemRelease", a),
    mapped,
    lambda a, b, c: make("stream", "cuStreamCreate", a % 3),
    lambda a, b, c: drop("stream", "cuStreamDestroy_v2", a),
    lambda a, b, c: make("event", "cuEventCreate", a % 9),
    lambda a, b, c: drop("event", "cuEventDestroy_v2", a),
    lambda a, b, c: do("cuEventRecord", pick("event", a), pick("stream", b)),
    lambda a, b, c: do("cuStreamWaitEvent", pick("stream", a), pick("event", b), 0),
    query,
    lambda a, b, c: do("cuStreamSynchronize", pick("stream", a)),
    fill,
    launch,
    copy,
    capture,
    lambda a, b, c: make("exec", "cuGraphInstantiateWithFlags", pick("graph", a), b % 2),
    lambda a, b, c: do("cuGraphLaunch", pick("exec", a), pick("stream", b)),
    lambda a, b, c: drop("graph", "cuGraphDestroy", a),
    lambda a, b, c: drop("exec", "cuGraphExecDestroy", a),
    lambda a, b, c: do("cuDeviceGraphMemTrim", a % 2),
)


def run(steps: list[list[int]]) -> None:
    start()
    module, function = u64(), u64()
    must("cuModuleLoadData", ctypes.byref(module), PTX)
    must("cuModuleGetFunction", ctypes.byref(function), module, b"spin")
    functions.append(function)
    for choice in range(4):
        allocate(3, 0, choice)
        make("stream", "cuStreamCreate", choice % 2)
        make("event", "cuEventCreate", 0)
        physical(5, 1, 0)
        capture(1 + choice, 1, 1 + choice)
    for operation, a, b, c in steps:
        OPERATIONS[operation % len(OPERATIONS)](a, b, c)
    do("cuCtxSynchronize")


if __name__ == "__main__":
    run(json.loads(sys.argv[1]))
    left = {kind: len(handles) for kind, handles in held.items()}
    print(json.dumps({"pid": os.getpid(), "answers": sorted(answers), "held": left}), flush=True)
    sys.stdin.readline()
