"""The device's memory: what is charged, when it comes back, and that data survives."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from simulated import Machine, line

MIB = 1 << 20


def test_linear_memory_is_charged_in_grains_of_512(machine: Machine) -> None:
    code = """
start(); before = info()[0]
taken = []
for bytes_ in (1, 512, 513, MIB, MIB + 1):
    code, p = alloc(bytes_); taken.append(before - info()[0]); must("cuMemFree_v2", p)
out([taken, before - info()[0], info()[1]])
"""
    taken, left, total = machine.run(code)
    assert taken == [512, 512, 1024, MIB, MIB + 512]
    assert left == 0
    assert total == machine.device()["memory_bytes"]


def test_the_device_fills_up_and_says_so(machine: Machine) -> None:
    code = """
start(); free_bytes = info()[0]
pointers, code = fill(256 * MIB, most=1000)
refused = [code, call("cuMemAlloc_v2", ctypes.byref(u64()), 1 << 50)]
left = info()[0]
codes = [free(pointers[0]), alloc(200 * MIB)[0]]
out([len(pointers) == free_bytes // (256 * MIB), refused, left < 256 * MIB, codes])
"""
    assert machine.run("import ctypes\n" + code) == [True, [2, 2], True, [0, 0]]
    assert machine.device()["used_bytes"] == 0  # the process has ended
    [process] = machine.device()["processes"]
    assert process["peak_bytes"] > 0.9 * machine.device()["memory_bytes"]


def test_what_one_process_holds_another_cannot_have(machine: Machine) -> None:
    holder = machine.start("start(); code, p = alloc(info()[0] - 1000 * MIB); out(code); wait()")
    assert line(holder) == 0
    code, free_bytes = machine.run("start(); code, p = alloc(900 * MIB); out([code, info()[0]])")
    assert code == 2
    assert free_bytes < 900 * MIB
    holder.kill()
    holder.wait()
    assert machine.run("start(); out(alloc(900 * MIB)[0])") == 0


def test_data_survives_every_shape_of_copy(machine: Machine) -> None:
    code = """
import random
start(); data = random.Random(1).randbytes(3 * MIB + 17)
a, b = alloc(4 * MIB)[1], alloc(4 * MIB)[1]
assert to_device(a, data) == 0
must("cuMemcpyDtoD_v2", b, a, len(data))
same = [from_device(b, len(data))[1] == data]
assert from_device(b + 5, 100)[1] == data[5:105]
must("cuMemcpy", a + 7, b, 1000); same.append(from_device(a + 7, 1000)[1] == data[:1000])
must("cuMemsetD32_v2", a, 0xdeadbeef, 1000); same.append(from_device(a, 8)[1] == b"\\xef\\xbe\\xad\\xde" * 2)
must("cuMemsetD16_v2", a, 0x1234, 3); must("cuMemsetD8_v2", a + 6, 9, 1)
same.append(from_device(a, 8)[1] == b"\\x34\\x12" * 3 + b"\\x09\\xde")
lane = stream(); host = u64(); must("cuMemAllocHost_v2", ctypes.byref(host), 4 * MIB)
must("cuMemcpyDtoHAsync_v2", host.value, b, len(data), lane)
must("cuMemsetD8Async", b, 0, len(data), lane)
must("cuMemcpyHtoDAsync_v2", a, host.value, len(data), lane)
must("cuStreamSynchronize", lane)
same += [from_device(a, len(data))[1] == data, from_device(b, 100)[1] == bytes(100)]
out(same)
"""
    assert all(machine.run("import ctypes\n" + code))


def test_pitched_memory_and_rectangles(machine: Machine) -> None:
    code = """
side = (("X", size), ("Y", size), ("Type", ctypes.c_uint), ("Host", ctypes.c_void_p), ("Device", u64),
        ("Array", u64), ("Pitch", size))
sides = [(way + name, kind) for way in ("src", "dst") for name, kind in side]
class Shape(ctypes.Structure):
    _fields_ = [*sides, ("w", size), ("h", size)]
start(); before = info()[0]
address, pitch = u64(), size()
code = cuda.cuMemAllocPitch_v2(ctypes.byref(address), ctypes.byref(pitch), size(1000), size(10), 4)
charged = before - info()[0]
rows = bytes(range(250)) * 40                       # ten rows of 1000 bytes
up = Shape(srcType=1, srcHost=ctypes.cast(ctypes.c_char_p(rows), ctypes.c_void_p), srcPitch=1000, dstType=2,
           dstDevice=address, dstPitch=pitch, w=1000, h=10)
codes = [code, cuda.cuMemcpy2D_v2(ctypes.byref(up))]
part = ctypes.create_string_buffer(20)
down = Shape(srcX=3, srcY=4, srcType=2, srcDevice=address, srcPitch=pitch, dstType=1,
             dstHost=ctypes.cast(part, ctypes.c_void_p), dstPitch=10, w=10, h=2)
codes.append(cuda.cuMemcpy2D_v2(ctypes.byref(down)))
down.h = 100
codes.append(cuda.cuMemcpy2D_v2(ctypes.byref(down)))  # beyond the allocation
out([codes, pitch.value, charged, part.raw == rows[4003:4013] + rows[5003:5013]])
"""
    assert machine.run("import ctypes\n" + code) == [[0, 0, 0, 1], 1024, 10240, True]


def test_wrong_addresses_get_the_drivers_codes(machine: Machine) -> None:
    code = """
start(); c, p = alloc(MIB)
codes = [free(p + 512), free(12345), to_device(p + MIB, b"x"), from_device(p + MIB - 1, 2)[0], alloc(0)[0]]
codes += [free(p), free(p), to_device(p, b"x"), call("cuMemGetInfo_v2", 0, 0)]
must("cuCtxSetCurrent", 0); codes += [alloc(MIB)[0]]
out(codes)
"""
    assert machine.run(code) == [1, 1, 1, 1, 1, 0, 1, 1, 1, 201]


def test_a_context_takes_memory_and_returns_all_of_it(machine: Machine) -> None:
    code = """
start(); one = info()[0]
c, second = new("cuCtxCreate_v2", 0, 0); two = info()[0]
alloc(10 * MIB); three = info()[0]
must("cuCtxDestroy_v2", second); four = info()[0]
must("cuDevicePrimaryCtxReset_v2", 0)
out([one, two, three, four, call("cuCtxSynchronize")])
"""
    one, two, three, four, code = machine.run(code)
    assert one - two > 100 * MIB
    assert two - three == 10 * MIB
    assert four == one
    assert code == 709
    assert machine.device()["used_bytes"] == 0


def test_a_heap_limit_is_charged(machine: Machine) -> None:
    code = """
start(); before = info()[0]
must("cuCtxSetLimit", 2, 64 * MIB); raised = before - info()[0]
must("cuCtxSetLimit", 2, 8 * MIB)
out([raised, before - info()[0], call("cuCtxSetLimit", 2, 1 << 50), call("cuCtxSetLimit", 99, 1)])
"""
    assert machine.run(code) == [56 * MIB, 0, 2, 215]


# -------- pools --------

POOL_HELP = """
import ctypes
start(); pool = new("cuDeviceGetDefaultMemPool", 0)[1]; lane = stream()
reserved = lambda p=pool: pool_attribute(p, 5)
used = lambda p=pool: pool_attribute(p, 7)
threshold = lambda n, p=pool: must("cuMemPoolSetAttribute", p, 4, ctypes.byref(u64(n)))
"""


def test_a_pool_reserves_whole_pages_and_gives_them_back_when_synchronised(machine: Machine) -> None:
    code = """
before = info()[0]
c, a = new("cuMemAllocAsync", 1000, lane)
first = [c, reserved(), used(), before - info()[0]]
must("cuMemFreeAsync", a, lane)
second = [used(), before - info()[0] == reserved()]
must("cuStreamSynchronize", lane)
third = [reserved(), used(), before - info()[0], pool_attribute(pool, 6), pool_attribute(pool, 8)]
out([first, second, third])
"""
    first, second, third = machine.run(POOL_HELP + code)
    assert first == [0, 2 * MIB, 1024, 2 * MIB]
    assert second == [0, True]
    assert third == [0, 0, 0, 2 * MIB, 1024]


def test_a_release_threshold_keeps_memory_and_a_trim_does_not(machine: Machine) -> None:
    code = """
threshold(16 * MIB)
pieces = [new("cuMemAllocAsync", 8 * MIB, lane)[1] for _ in range(4)]
full = reserved()
for p in pieces: must("cuMemFreeAsync", p, lane)
must("cuStreamSynchronize", lane); kept = reserved()
must("cuMemPoolTrimTo", pool, 4 * MIB)
out([full, kept, reserved(), used()])
"""
    assert machine.run(POOL_HELP + code) == [32 * MIB, 16 * MIB, 0, 0]


def test_freed_memory_is_reused_in_the_order_of_the_stream(machine: Machine) -> None:
    code = """
other = stream(); threshold(1 << 40); function()
c, a = new("cuMemAllocAsync", 4 * MIB, lane)
spin(100*MS, lane); must("cuMemFreeAsync", a, lane)
c, b = new("cuMemAllocAsync", 4 * MIB, other)      # the free is still to come: another piece
c, again = new("cuMemAllocAsync", 4 * MIB, lane)   # in the same stream: the same piece
must("cuMemFreeAsync", again, lane); must("cuStreamSynchronize", lane)
c, later = new("cuMemAllocAsync", 4 * MIB, other)  # now it has come
out([a == again, a != b, later == a, reserved()])
"""
    assert machine.run(POOL_HELP + code) == [True, True, True, 8 * MIB]


def test_pool_memory_is_given_up_before_anything_is_refused(machine: Machine) -> None:
    code = """
threshold(1 << 40)
c, a = new("cuMemAllocAsync", 2000 * MIB, lane)
must("cuMemFreeAsync", a, lane); must("cuStreamSynchronize", lane)
kept = reserved(); c, p = alloc(info()[0] + 1000 * MIB)
out([kept, c, reserved()])
"""
    assert machine.run(POOL_HELP + code) == [2000 * MIB, 0, 0]


def test_a_pool_of_ones_own(machine: Machine) -> None:
    code = """
props = PoolProps(type=1, location=on_device(), max_size=64 * MIB)
c, own = new("cuMemPoolCreate", ctypes.byref(props)); before = info()[0]
codes = [c, new("cuMemAllocFromPoolAsync", 65 * MIB, own, lane)[0]]
c, a = new("cuMemAllocFromPoolAsync", 64 * MIB, own, lane)
codes += [c, new("cuMemAllocFromPoolAsync", 1, own, lane)[0]]
must("cuDeviceSetMemPool", 0, own); current = new("cuDeviceGetMemPool", 0)[1]
must("cuMemPoolDestroy", own); back = new("cuDeviceGetMemPool", 0)[1]
held = before - info()[0]
codes += [to_device(a, b"alive"), free(a), call("cuMemPoolDestroy", pool)]
out([codes, current == own, back == pool, held, before - info()[0]])
"""
    codes, was_current, default_back, held, left = machine.run(POOL_HELP + code)
    assert codes == [0, 2, 0, 2, 0, 0, 1]
    assert was_current
    assert default_back
    assert held == 64 * MIB  # the pool lives on until its last allocation is freed
    assert left == 0


# -------- virtual memory management --------


def test_mapped_memory_lives_as_long_as_a_handle_or_a_mapping(machine: Machine) -> None:
    code = """
start(); before = info()[0]; taken = lambda: before - info()[0]
code, handle = physical(4 * MIB); steps = [code, taken()]
c, address = new("cuMemAddressReserve", 16 * MIB, 0, 0, 0); steps += [c, taken()]
steps += [call("cuMemMap", address, 4 * MIB, 0, handle, 0), to_device(address, b"no")]
open_access(address, 4 * MIB); steps += [to_device(address, b"data")]
steps += [call("cuMemMap", address + 8 * MIB, 4 * MIB, 0, handle, 0)]     # the same memory twice
open_access(address + 8 * MIB, 4 * MIB); twice = from_device(address + 8 * MIB, 4)[1] == b"data"
steps += [call("cuMemRelease", handle), taken()]
steps += [call("cuMemAddressFree", address, 16 * MIB), call("cuMemUnmap", address, 2 * MIB)]
steps += [call("cuMemUnmap", address, 4 * MIB), taken()]
steps += [call("cuMemUnmap", address + 8 * MIB, 4 * MIB), taken()]
steps += [to_device(address, b"gone"), call("cuMemAddressFree", address, 16 * MIB)]
out([steps, twice])
"""
    steps, twice = machine.run(code)
    held = 4 * MIB
    assert steps == [0, held, 0, held, 0, 1, 0, 0, 0, held, 1, 1, 0, held, 0, 0, 1, 0]
    assert twice


@pytest.mark.parametrize(("bytes_", "code"), [(2 * MIB, 0), (MIB, 1), (0, 1), (1 << 50, 2)])
def test_physical_memory_comes_in_whole_pages(machine: Machine, bytes_: int, code: int) -> None:
    assert machine.run(f"start(); out(physical({bytes_})[0])") == code


# -------- host memory --------


def test_host_memory_is_no_device_memory_and_is_known(machine: Machine) -> None:
    code = """
start(); before = info()[0]; host, device = u64(), u64()
must("cuMemHostAlloc", ctypes.byref(host), MIB, 2)
codes = [call("cuMemHostGetDevicePointer_v2", ctypes.byref(device), host.value, 0)]
kind = ctypes.c_uint(); must("cuPointerGetAttribute", ctypes.byref(kind), 2, host.value)
mine = ctypes.create_string_buffer(8192); at = ctypes.addressof(mine)
codes += [call("cuMemHostRegister_v2", at, 8192, 0), call("cuMemHostRegister_v2", at + 100, 10, 0)]
codes += [call("cuMemHostUnregister", at), call("cuMemHostUnregister", at), call("cuMemFreeHost", host.value)]
codes += [call("cuMemFreeHost", host.value), call("cuPointerGetAttribute", ctypes.byref(kind), 2, at)]
out([codes, kind.value, device.value == host.value, before - info()[0]])
"""
    assert machine.run("import ctypes\n" + code) == [[0, 0, 712, 0, 713, 0, 1, 1], 1, True, 0]


def test_devices_are_charged_apart(make_machine: Callable[..., Machine]) -> None:
    machine = make_machine("l4,t4*2")
    code = """
must("cuInit", 0); held = []
for device in range(3):
    start(device); alloc((device + 1) * MIB)
out(os.getpid()); wait()
"""
    program = machine.start(code)
    pid = line(program)
    base = [machine.process(pid, i)["used_bytes"] for i in range(3)]
    assert base[2] - base[1] == MIB  # two cards alike, a mebibyte more on the second
    assert [machine.device(i)["used_bytes"] for i in range(3)] == base
    program.communicate("\n")
    assert [machine.device(i)["used_bytes"] for i in range(3)] == [0, 0, 0]
