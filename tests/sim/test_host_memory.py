"""Page-locked host memory, allocated and registered, and pitched device memory."""

from __future__ import annotations

import pytest
from simulated import Machine, line, tell

from gshare.shim import sim

MIB = 1 << 20
NAMES = "import ctypes, mmap\nfrom array_calls import *\n"


def test_host_memory_is_allocated_with_flags_and_told_of(machine: Machine) -> None:
    code = """
start(); before = info()[0]
def host(bytes_, flags): return new("cuMemHostAlloc", bytes_, flags)
def flags(p): v = UINT(); return [call("cuMemHostGetFlags", ctypes.byref(v), p), v.value]
made = [host(MIB, f) for f in range(8)]
told = [flags(p)[1] & 5 for _, p in made]; inside = flags(made[1][1] + 1000)
d = u64()
pointers = [call("cuMemHostGetDevicePointer_v2", ctypes.byref(d), made[2][1] + 64, 0),
    d.value == made[2][1] + 64]
zero = ctypes.string_at(made[0][1], MIB) == bytes(MIB)
bad = [host(MIB, 8)[0], host(0, 0)[0], call("cuMemHostAlloc", 0, MIB, 0), host(1 << 60, 0)[0],
    call("cuMemHostGetDevicePointer_v2", ctypes.byref(d), made[0][1],
        1), call("cuMemHostGetDevicePointer_v2", 0, made[0][1], 0),
       call("cuMemHostGetDevicePointer_v2", ctypes.byref(d), made[0][1] + 8 * MIB + 4096 * 1024 * 1024,
           0), call("cuMemHostGetFlags", 0, made[0][1]), flags(alloc(64)[1])[0],
           call("cuMemFreeHost", made[0][1] + 64), call("cuMemFreeHost", alloc(64)[1]),
           call("cuMemFreeHost", 0)]
freed = [call("cuMemFreeHost", p) for _, p in made] + [call("cuMemFreeHost", made[0][1])]
out([[c for c, _ in made], told, inside[0], pointers, zero, bad, freed])
"""
    codes, told, inside, pointers, zero, bad, freed = machine.run(NAMES + code)
    assert codes == [0] * 8
    assert told == [f & 5 for f in range(8)]
    assert [inside, pointers, zero] == [0, [0, True], True]
    assert bad == [1, 1, 1, 2, 1, 1, 1, 1, 1, 1, 1, 1]
    assert freed == [0] * 8 + [1]


def test_registered_memory(machine: Machine) -> None:
    code = """
start(); hole = mmap.mmap(-1, 64 * 4096); buffer = (ctypes.c_char * (64 * 4096)).from_buffer(hole)
p = ctypes.addressof(buffer); d = u64(); lane = stream()
def register(at, bytes_, flags=0): return call("cuMemHostRegister_v2", at, bytes_, flags)
codes = [register(p, 8192), register(p, 8192), register(p + 4096, 8192), register(p - 4096 + 8192, 1),
    register(p + 8192, 4096, 3)]
codes += [call("cuMemHostGetDevicePointer_v2", ctypes.byref(d), p + 100, 0), d.value == p + 100]
bad = [register(0, 1), register(p + 20480, 0), register(p + 20480, 1, 16), register(p + 20480, 1, 8),
    register(p + 20480, 1, 4), register(0x10000, 4096), register((1 << 64) - 4096,
        8192), register(alloc(MIB)[1], 4096),
       register(new("cuMemHostAlloc", 4096, 0)[1], 4096)]
flags = UINT(); bad.append(call("cuMemHostGetFlags", ctypes.byref(flags), p))
kind = UINT()
said = [call("cuPointerGetAttribute", ctypes.byref(kind), 2, p + 5), kind.value,
    call("cuPointerGetAttribute", ctypes.byref(kind), 2, p + 5 * 4096)]
ended = [call("cuMemHostUnregister", x) for x in (p + 4096, p, p, p + 8192, 0)]
second = new("cuCtxCreate_v2", 0, 0)[1]; register(p, 4096); must("cuCtxDestroy_v2", second)
out([codes, bad, said, ended, register(p, 4096)])
"""
    codes, bad, said, ended, again = machine.run(NAMES + code)
    assert codes == [0, 712, 712, 712, 0, 0, True]
    assert bad == [1, 1, 1, 801, 1, 1, 1, 1, 712, 1]
    assert said == [0, 1, 1]
    assert ended == [713, 0, 713, 0, 1]
    assert again == 0


def test_the_truth_about_pinned_memory(machine: Machine) -> None:
    """Whole pages, of each process; they end as CUDA says: freed, with their context, or with the process."""
    code = """
def step(*codes): out([max(codes), os.getpid()]); wait()
start(); own = mmap.mmap(-1, MIB); p = ctypes.addressof((ctypes.c_char * MIB).from_buffer(own)); c = u64()
code, first = new("cuMemHostAlloc", 1, 0); step(code)
step(call("cuMemHostRegister_v2", p + 4095, 2, 0))
must("cuCtxCreate_v2", ctypes.byref(c), 0, 0)
step(new("cuMemAllocHost_v2", 4097)[0], call("cuMemHostRegister_v2", p + 8192, 4096, 0))
must("cuCtxDestroy_v2", c); step(call("cuMemFreeHost", first))
step(call("cuMemHostUnregister", p + 4095)); step(new("cuMemHostAlloc", 2 * MIB, 0)[0])
"""
    with machine.start(NAMES + code) as program:
        for pages in (1, 3, 6, 2, 0, 512):
            result, pid = line(program)
            assert result == 0
            (told,) = sim.stat(machine.path)["pinned"]
            assert (told["pid"], told["pinned_bytes"]) == (pid, 4096 * pages)
            tell(program)
    (told,) = sim.stat(machine.path)["pinned"]
    assert told == {"pid": pid, "ended": True, "pinned_bytes": 0, "peak_pinned_bytes": 2 * MIB}


def test_registered_memory_is_copied_asynchronously(machine: Machine) -> None:
    code = """
start(); function(); hole = mmap.mmap(-1, MIB); buffer = (ctypes.c_char * MIB).from_buffer(hole)
p = ctypes.addressof(buffer); a = alloc(MIB)[1]; lane = stream()
def query():
    plug(lane); must("cuMemcpyHtoDAsync_v2", a, p, MIB, lane); code = cuda.cuStreamQuery(u64(lane)); sync()
    return code
before = query(); must("cuMemHostRegister_v2", p, MIB, 0)
out([before, query()])
"""
    assert machine.run(NAMES + code) == [0, 600]  # a large copy from pageable memory takes its caller's time


@pytest.mark.parametrize(
    ("width", "height", "element"), [(1, 1, 4), (512, 7, 8), (513, 100, 16), (100_000, 3, 4)]
)
def test_pitched_memory_has_the_hardwares_pitch(
    machine: Machine, width: int, height: int, element: int
) -> None:
    code = f"""
start(); before = info()[0]; p, pitch = u64(), size()
code = cuda.cuMemAllocPitch_v2(ctypes.byref(p), ctypes.byref(pitch), size({width}), size({height}), {element})
out([code, pitch.value, before - info()[0], p.value % 512])
"""
    row = -(-width // 512) * 512
    assert machine.run(NAMES + code) == [0, row, row * height, 0]


def test_pitched_memory_that_cannot_be(machine: Machine) -> None:
    code = """
start(); p, pitch = u64(), size()
def go(width, height, element, at=ctypes.byref(p),
    to=ctypes.byref(pitch)): return cuda.cuMemAllocPitch_v2(at, to, size(width), size(height), element)
out([go(0, 1, 4), go(1, 0, 4), go(1, 1, 2), go(1, 1, 0), go(1, 1, 32), go(1, 1, 4, None), go(1, 1, 4,
    to=None), go(1 << 31, 1, 4), go(1 << 20, 1 << 20, 4), go((1 << 31) - 1, 1 << 40, 4)])
"""
    assert machine.run(NAMES + code) == [1, 1, 1, 1, 1, 1, 1, 1, 2, 2]
