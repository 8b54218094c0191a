"""Copies of every shape, singly and in batches: data, order, time and errors."""

from __future__ import annotations

from collections.abc import Callable

from simulated import Machine

MIB = 1 << 20
START_NS, HOST_BYTES_PER_US, MEMORY_BYTES_PER_US = 1500, 25000, 300000

NAMES = """
import ctypes
from array_calls import *
STREAM, NOW, ANY = 1, 2, 3
def pinned(bytes_):
    host = u64(); must("cuMemAllocHost_v2", ctypes.byref(host), bytes_); return host.value
def address(buffer): return ctypes.addressof(buffer)
def batch(pairs, attributes=(STREAM,), first=(0,), lane=0, name="cuMemcpyBatchAsync_v2", failed=None,
    flags=0):
    n = len(pairs)
    to, src, bytes_ = ((kind * n)(*column) for kind, column in zip((u64, u64, size),
        zip(*pairs))) if n else (None,) * 3
    at = (CopyAttributes * len(attributes))(*[CopyAttributes(order=o, flags=flags) for o in attributes])
    more = [ctypes.byref(failed)] if failed is not None else []
    return getattr(cuda, name)(to, src, bytes_, size(n), at, (size * len(first))(*first),
        size(len(attributes)), *more, u64(lane))
def pointer(at, row=0, height=0):
    operand = Operand(1); operand.op.pointer = ByPointer(at, row, height); return operand
def inside(array, x=0, y=0, z=0):
    operand = Operand(2); operand.op.array = ByArray(array, x, y, z); return operand
def boxes(ops, lane=0, flags=0, name="cuMemcpy3DBatchAsync_v2", failed=None):
    more = [ctypes.byref(failed)] if failed is not None else []
    return getattr(cuda, name)(size(len(ops)), (BatchBox * len(ops))(*ops), *more, u64(flags), u64(lane))
"""


def test_a_batch_copies_all_of_its_pairs(machine: Machine) -> None:
    code = """
start(); lane = stream(); a, b, h = alloc(MIB)[1], alloc(MIB)[1], pinned(MIB)
data = bytes(range(256)) * 16; ctypes.memmove(h, data, 4096); page = text(4096)
failed = size(7)
codes = [batch([(a, h, 4096), (b + 100, h + 256, 512)], lane=lane), batch([(address(page), a, 4096)], (NOW,),
    lane=lane),
         batch([(b, a, 10), (b + 20, a, 10), (b + 40, a, 10)], (STREAM, ANY), (0, 2), lane,
             "cuMemcpyBatchAsync", failed)]
must("cuStreamSynchronize", lane)
same = [page.raw == data, from_device(b, 50)[1][40:] == data[:10], from_device(b + 100,
    512)[1] == data[256:768]]
out([codes, failed.value, same, cuda.cuMemcpyBatchAsync_v2_ptsz((u64 * 1)(a), (u64 * 1)(b), (size * 1)(8),
    size(1),
    (CopyAttributes * 1)(CopyAttributes(order=STREAM)), (size * 1)(0), size(1), None)])
"""
    none = 2**64 - 1
    assert machine.run(NAMES + code) == [[0, 0, 0], none, [True] * 3, 0]


def test_a_wrong_batch_does_nothing_and_says_which_copy_is_wrong(machine: Machine) -> None:
    code = """
start(); lane = stream(); a, b = alloc(4096)[1], alloc(4096)[1]; must("cuMemsetD8_v2", b, 1, 4096)
ok = (b, a, 16); failed = size(); old = "cuMemcpyBatchAsync"

codes = [batch([], lane=lane), batch([ok], (), (), lane), batch([ok], (0,), (0,), lane), batch([ok], (4,),
    (0,), lane), batch([ok], (STREAM,), (1,), lane),
         batch([ok, ok], (1, 1), (0, 0), lane), batch([ok, ok], (1, 1), (0, 2), lane), batch([ok], (1, 1),
             (0, 1), lane), batch([ok], lane=lane, flags=2),
         batch([ok], lane=0), batch([ok], lane=1), batch([(0, a, 4)], lane=lane), batch([(b, 0, 4)],
             lane=lane)]
codes.append(batch([ok, (b, a + 4090, 16)], lane=lane, name=old, failed=failed)); which = [failed.value]
codes.append(batch([ok], (9,), (0,), lane, old, failed)); which.append(failed.value == 2**64 - 1)
must("cuStreamSynchronize", lane)
out([codes, which, from_device(b, 16)[1] == bytes([1]) * 16])
"""
    assert machine.run(NAMES + code) == [[1] * 15, [1, True], True]


def test_a_source_may_be_gone_when_the_call_returns(machine: Machine) -> None:
    code = """
start(); function(); lane = stream(); a = alloc(4 * MIB)[1]; h = pinned(4 * MIB); big = text(4 * MIB)
def late(order, source):
    ctypes.memset(source, 5, 4 * MIB); must("cuMemsetD8_v2", a, 0, 4 * MIB); sync()
    plug(lane); code = batch([(a, source, 4 * MIB)], (order,), lane=lane)
    queued = cuda.cuStreamQuery(u64(lane))
    ctypes.memset(source, 6, 4 * MIB); sync(); return [code, queued, from_device(a, 1)[1][0]]
attributes = CopyAttributes(order=NOW)
one = [late(NOW, h), late(STREAM, h), late(NOW, address(big))]
ctypes.memset(h, 7, 100); plug(lane)
code = cuda.cuMemcpyWithAttributesAsync(u64(a), u64(h), size(100), ctypes.byref(attributes), u64(lane))
ctypes.memset(h, 8, 100); sync()
bad = [cuda.cuMemcpyWithAttributesAsync(u64(a), u64(h), size(100), x, u64(lane)) for x in (None,
    ctypes.byref(CopyAttributes()))]
out([one, code, from_device(a, 100)[1] == bytes([7]) * 100, bad])
"""
    assert machine.run(NAMES + code) == [[[0, 600, 5], [0, 600, 6], [0, 600, 5]], 0, True, [1, 1]]


def test_batches_of_boxes_between_arrays_and_pointers(machine: Machine) -> None:
    code = """
start(); lane = stream()
a, b, c = array(64, 32, 4, UINT32)[1], array(64, 32, 4, FLOAT32)[1], array(64, 32, 0, UINT8)[1]
p = alloc(MIB)[1]; data = bytes(range(256)) * 64; failed = size(5)
to_device(p, data)
up = BatchBox(pointer(p, 64, 32), inside(a, 0, 0, 1), 64, 32, 1, STREAM)
over = BatchBox(inside(a, 8, 4, 1), inside(b, 0, 0, 0), 16, 8, 1, ANY)
back = text(16 * 8 * 4); down = BatchBox(inside(b), pointer(address(back)), 16, 8, 1, STREAM)
codes = [boxes([up], lane), boxes([over], lane), boxes([down], lane), boxes([up, over], lane,
    name="cuMemcpy3DBatchAsync", failed=failed)]
must("cuStreamSynchronize", lane)
want = b"".join(data[y * 256 + 32 : y * 256 + 96] for y in range(4, 12)); p2 = p + 512 * 1024
flat = BatchBox(pointer(p, 100, 0), pointer(p2), 10, 3, 1, STREAM)
codes.append(cuda.cuMemcpy3DWithAttributesAsync(ctypes.byref(flat), u64(0), u64(lane)))
must("cuStreamSynchronize", lane)
rows = from_device(p2, 30)[1] == data[:10] + data[100:110] + data[200:210]
def one(src, dst, w=4, h=1, d=1, order=STREAM, flags=0): return boxes([BatchBox(src, dst, w, h, d, order,
    flags)], lane)
bad = [one(inside(a), inside(c)), one(inside(a, 62), pointer(p)), one(inside(a), pointer(p), 0),
    one(inside(a), pointer(p), 4, 0), one(inside(a), pointer(p), 4, 1, 0),
       one(inside(a), pointer(p, 3)), one(inside(a), pointer(p), order=0), one(inside(a), pointer(p),
           flags=2), one(inside(0), pointer(p)), one(Operand(3), pointer(p)),
       one(inside(a), pointer(0)), boxes([], lane), boxes([up], lane, 1), boxes([up],
           0), cuda.cuMemcpy3DWithAttributesAsync(None, u64(0), u64(lane)),
       cuda.cuMemcpy3DWithAttributesAsync(ctypes.byref(flat), u64(1), u64(lane))]
wrong = boxes([up, BatchBox(inside(a, 63), pointer(p), 4, 1, 1, STREAM)], lane, name="cuMemcpy3DBatchAsync",
    failed=failed)
out([codes, back.raw == want, rows, bad, wrong, failed.value])
"""
    codes, same, rows, bad, wrong, failed = machine.run(NAMES + code)
    assert [codes, same, rows] == [[0] * 5, True, True]
    assert bad == [1] * 16
    assert [wrong, failed] == [1, 1]


def test_a_batch_takes_the_time_of_its_copies(machine: Machine) -> None:
    code = """
start(); function(); lane = stream(); a, b, h = alloc(8 * MIB)[1], alloc(8 * MIB)[1], pinned(8 * MIB)
out([timed(lambda: batch(pairs, lane=lane), lane) for pairs in ([(a, h, 4 * MIB)] * 3, [(b, a, 3 * MIB)],
    [(h, a, MIB), (h, b, MIB)])])
"""
    up, across, down = machine.run(NAMES + code)
    assert up == 3 * (START_NS + 4 * MIB * 1000 // HOST_BYTES_PER_US)
    assert across == START_NS + 6 * MIB * 1000 // MEMORY_BYTES_PER_US
    assert down == 2 * (START_NS + MIB * 1000 // HOST_BYTES_PER_US)


def test_rectangles_between_all_kinds_of_memory(machine: Machine) -> None:
    code = """
start(); lane = stream(); a = array(32, 16, 0, UINT8)[1]; p, h = alloc(4096)[1], pinned(4096)
data = bytes(range(256)) * 4; page = text(1024)
def flat(src, dst, w, hh, **more):
    shape = Flat(**side("src", src), **side("dst", dst), w=w, h=hh)
    for name, value in more.items(): setattr(shape, name, value)
    return shape
def go(name, *args, **more): return call(name, ctypes.byref(flat(*args, **more)))
codes = [go("cuMemcpy2D_v2", data, ("array", a), 32, 16, srcPitch=32), go("cuMemcpy2DUnaligned_v2", ("array",
    a), p, 20, 10, srcX=3, srcY=2, dstPitch=33),
         go("cuMemcpy2D_v2", p, page, 20, 10, srcPitch=33, dstPitch=20)]
want = b"".join(data[y * 32 + 3 : y * 32 + 23] for y in range(2, 12)); same = [page.raw[:200] == want]
async_ = flat(("array", a), ctypes.c_void_p(h), 32, 16, dstPitch=64)
codes.append(cuda.cuMemcpy2DAsync_v2(ctypes.byref(async_), u64(lane))); must("cuStreamSynchronize", lane)
same.append(ctypes.string_at(h + 64 * 5, 32) == data[160:192])
unified = flat(0, 0, 16, 2, srcType=UNIFIED, dstType=UNIFIED, srcDevice=h, srcPitch=64, dstDevice=p,
    dstPitch=16)
codes.append(call("cuMemcpy2D_v2", ctypes.byref(unified)))
same.append(from_device(p, 32)[1] == data[:16] + data[32:48])
bad = [go("cuMemcpy2D_v2", p, page, 20, 2, srcPitch=19), go("cuMemcpy2D_v2", p, page, 20, 2, dstPitch=10),
    go("cuMemcpy2D_v2", p, page, 20, 2, srcPitch=1 << 31),
       go("cuMemcpy2D_v2", p, page, 4096, 2), go("cuMemcpy2D_v2", ("array", a), page, 33,
           1), go("cuMemcpy2D_v2", ("array", a), page, 1, 17),
       go("cuMemcpy2D_v2", p, page, 1, 1, srcType=0), go("cuMemcpy2D_v2", p, page, 1, 1,
           dstType=5), go("cuMemcpy2D_v2", p, page, 1, 1, dstHost=None),
       call("cuMemcpy2D_v2", 0), call("cuMemcpy3D_v2", 0), call("cuMemcpy3DPeer", 0), go("cuMemcpy2D_v2", p,
           page, 2, 2, srcX=(1 << 64) - 1)]
out([codes, same, bad, go("cuMemcpy2D_v2", p, page, 0, 2), go("cuMemcpy2D_v2", p, page, 2, 0)])
"""
    assert machine.run(NAMES + code) == [[0] * 5, [True] * 3, [1] * 13, 0, 0]


def test_memsets_of_rectangles(machine: Machine) -> None:
    code = """
start(); lane = stream(); p = alloc(4096)[1]; must("cuMemsetD8_v2", p, 0, 4096); codes = []
def go(name, *args): codes.append(call(name, *args))
go("cuMemsetD2D8_v2", p, 16, 1, 3, 2); go("cuMemsetD2D16_v2", p + 64, 16, 0x0202, 2, 2)
go("cuMemsetD2D32Async", p + 128, 32, 0x03030303, 2, 3, lane)
must("cuStreamSynchronize", lane); got = from_device(p, 256)[1]
want = bytearray(256)
for at, width, pitch, rows, value in ((0, 3, 16, 2, 1), (64, 4, 16, 2, 2), (128, 8, 32, 3, 3)):
    for y in range(rows): want[at + y * pitch : at + y * pitch + width] = bytes([value]) * width
bad = [call("cuMemsetD2D32_v2", p + 2, 16, 1, 1, 1), call("cuMemsetD2D32_v2", p, 6, 1, 1, 2),
    call("cuMemsetD2D16_v2", p, 2, 1, 2, 2), call("cuMemsetD2D8_v2", p, 4096, 1, 1, 3),
       call("cuMemsetD2D8_v2", 0, 16, 1, 1, 1), call("cuMemsetD32_v2", p, 1, 1025), call("cuMemsetD16_v2",
           p + 1, 1, 1)]
out([codes, got == bytes(want), bad, call("cuMemsetD2D8_v2", p, 0, 1, 0, 5)])
"""
    assert machine.run(NAMES + code) == [[0] * 3, True, [1] * 7, 0]


def test_copies_between_devices(make_machine: Callable[..., Machine]) -> None:
    code = """
first = start(0); a = alloc(4096)[1]; to_device(a, b"x" * 100); second = start(1); b = alloc(4096)[1]
lane = stream()
codes = [call("cuMemcpyPeer", b, second, a, first, 100), call("cuMemcpyPeerAsync", b + 100, second, a, first,
    100, lane), call("cuMemcpy", b + 200, a, 100)]
must("cuStreamSynchronize", lane); same = from_device(b, 300)[1] == b"x" * 300
bad = [call("cuMemcpyPeer", b, 0, a, first, 1), call("cuMemcpyPeer", b, second, a, first, 5000),
    call("cuMemcpyPeer", 0, second, a, first, 8), call("cuMemcpyPeerAsync", b, second, a, 0, 1, lane)]
out([codes, same, bad])
"""
    assert make_machine("l4*2").run(NAMES + code) == [[0] * 3, True, [201, 1, 1, 201]]
