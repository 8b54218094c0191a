"""Arrays and mipmapped arrays: which can exist, what they take, and that their data is real."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from simulated import Machine

MIB = 1 << 20
KIB64 = 1 << 16
NAMES = "import ctypes\nfrom array_calls import *\n"


def taken(width: int, height: int, depth: int, element_bytes: int) -> int:
    """What an array takes: blocks of 64 bytes x 8 rows, up to 16 in a column; whole pages of 64 KiB."""
    rows, pitch = 1, -(-width * element_bytes // 512) * 512
    if height:
        blocks = next((n for n in (1, 2, 4, 8) if n * 8 >= height), 16)
        rows, pitch = -(-height // (8 * blocks)) * 8 * blocks, -(-width * element_bytes // 64) * 64
    return -(-pitch * rows * max(depth, 1) // KIB64) * KIB64


SHAPES = [
    (1, 0, 0, 1, 1, 0),
    (100_000, 0, 0, 0x20, 4, 0),
    (64, 64, 0, 0x20, 1, 0),
    (1000, 1000, 0, 1, 4, 2),
    (513, 129, 0, 0x10, 2, 8),
    (100, 100, 100, 0x20, 1, 0),
    (300, 0, 7, 1, 1, 1),
    (300, 20, 7, 0x03, 4, 1),
    (256, 256, 6, 1, 4, 4),
    (128, 128, 12, 1, 1, 5),
]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_an_array_takes_whole_blocks_and_gives_them_back(machine: Machine, shape: tuple[int, ...]) -> None:
    width, height, depth, format, channels, flags = shape
    code = f"""
start(); before = info()[0]
code, a = array({width}, {height}, {depth}, {format}, {channels}, {flags})
used = before - info()[0]
said = describe(a)
out([code, used, said, call("cuArrayDestroy", a), before - info()[0], call("cuArrayDestroy", a)])
"""
    element = channels * {1: 1, 0x10: 2, 0x20: 4, 3: 4}[format]
    assert machine.run(NAMES + code) == [0, taken(width, height, depth, element), list(shape), 0, 0, 400]


def test_what_arrays_take_is_charged_as_arrays(machine: Machine) -> None:
    code = """
start(); a = [array(1000, 1000, 0, FLOAT32, 4)[1] for _ in range(3)]; used = info()[1] - info()[0]
m = mipmap(3, 1024, 1024)[1]; more = info()[1] - info()[0] - used
must("cuMipmappedArrayDestroy", m); back = info()[1] - info()[0]
out([used, more, back])
"""
    used, more, back = machine.run(NAMES + code)
    assert back == used
    assert used > 3 * taken(1000, 1000, 0, 16) >= 3 * 16_000_000
    assert more == -(-(1024 * 1024 + 512 * 512 + 256 * 256) // KIB64) * KIB64
    assert machine.device()["used_bytes"] == 0


def test_arrays_that_cannot_exist(machine: Machine) -> None:
    code = """
start()
bad = [(0,), (64, 64, 0, 0x04), (64, 64, 0, UINT8, 3), (64, 64, 0, UINT8, 0), (64, 0, 5), (64, 0, 0, UINT8,
    1, LAYERED),
       (64, 32, 6, UINT8, 1, CUBEMAP), (64, 64, 5, UINT8, 1, CUBEMAP), (64, 64, 7, UINT8, 1,
           CUBEMAP | LAYERED),
       (64, 64, 0, UINT8, 1, 0x200), (64, 0, 0, UINT8, 1, GATHER), (64, 64, 8, UINT8, 1, GATHER),
       (64, 0, 0, UINT8, 1, SPARSE), (64, 64, 0, UINT8, 1, SPARSE | DEFERRED), (64, 64, 0, 0xc1, 1),
       (131073,), (131073, 1), (1, 65537), (16385, 16384, 16384), (32769, 1, 1, UINT8, 1, LAYERED),
       (1, 1, 2049, UINT8, 1, LAYERED), (32769, 0, 0, UINT8, 1, SURFACE), (32769, 2, 0, UINT8, 1, GATHER)]
good = [(131072,), (131072, 1), (1, 65536), (1, 1, 32768), (32768, 1, 1, UINT8, 1, LAYERED), (32768, 0, 0,
    UINT8, 1, SURFACE)]
codes = [array(*b)[0] for b in bad], [array(*g)[0] for g in good]
desc = Desc3D(64, 64, 0, UINT8, 1, 0); handle = u64()
codes += ([call("cuArray3DCreate_v2", 0, ctypes.byref(desc)), call("cuArray3DCreate_v2",
    ctypes.byref(handle), 0),
           call("cuArrayCreate_v2", 0, 0), call("cuArrayDestroy", 0), call("cuArray3DGetDescriptor_v2",
               ctypes.byref(desc), 0),
           call("cuArrayGetDescriptor_v2", 0, array(8)[1])],)
must("cuCtxSetCurrent", 0)
out([*codes, array(64)[0]])
"""
    bad, good, arguments, without = machine.run(NAMES + code)
    assert bad == [1] * 23
    assert good == [0] * 6
    assert arguments == [1, 1, 1, 400, 400, 1]
    assert without == 201


def test_arrays_fill_the_device_and_go_with_their_context(machine: Machine) -> None:
    code = """
start(); one = info()[0]
c, second = new("cuCtxCreate_v2", 0, 0); two = info()[0]
codes = [array(4096, 4096, 64, FLOAT32, 4)[0] for _ in range(3)]
m = mipmap(5, 4096, 4096, 0, FLOAT32)[0]
three = info()[0]
must("cuCtxDestroy_v2", second)
out([codes, m, (two - three) % 65536, two - three > 17 << 30, info()[0] == one])
"""
    codes, mipmap, rest, much, same = machine.run(NAMES + code)  # 16 GiB each, on 22 GiB
    assert codes == [0, 2, 2]
    assert [mipmap, rest, much, same] == [0, 0, False, True]


def test_data_goes_in_and_out_of_arrays_of_every_shape(machine: Machine) -> None:
    code = """
import random
start(); data = random.Random(3).randbytes(1 << 18); same = []
for shape, rows, slices in (((500, 0, 0, FLOAT32, 2), 1, 1), ((37, 41, 0, UINT8, 4), 41, 1), ((20, 30, 10,
    HALF, 4), 30, 10),
                            ((300, 0, 5, UINT16, 1, LAYERED), 1, 5), ((33, 17, 9, UINT32, 1, LAYERED), 17, 9),
                            ((24, 24, 6, UINT8, 2, CUBEMAP), 24, 6)):
    a = array(*shape)[1]
    w = shape[0] * {UINT8: 1, UINT16: 2, HALF: 2, UINT32: 4, FLOAT32: 4}[shape[3]] * shape[4]
    whole = w * rows * slices
    back = text(whole)
    codes = [copy(data, ("array", a), w, rows, slices, srcPitch=w, srcHeight=rows),
             copy(("array", a), back, w, rows, slices, dstPitch=w, dstHeight=rows)]
    device = alloc(whole)[1]; other = text(whole)
    b = array(*shape)[1]
    codes += [copy(("array", a), ("array", b), w, rows, slices), copy(("array", b), device, w, rows, slices)]
    code, linear = from_device(device, whole)
    same.append([codes, back.raw == data[:whole], linear == data[:whole]])
out(same)
"""
    assert machine.run(NAMES + code) == [[[0, 0, 0, 0], True, True]] * 6


def test_a_box_inside_of_an_array(machine: Machine) -> None:
    code = """
start(); a = array(16, 8, 4, UINT32)[1]
data = bytes(range(256)) * 8
copy(data, ("array", a), 64, 8, 4, srcPitch=64, srcHeight=8)
part = text(12 * 3 * 2)
code = copy(("array", a), part, 12, 3, 2, srcX=8, srcY=2, srcZ=1)
want = b"".join(data[z * 512 + y * 64 + 8 : z * 512 + y * 64 + 20] for z in (1, 2) for y in (2, 3, 4))
bad = [copy(("array", a), part, 12, 3, 2, **more) for more in
       ({"srcX": 2}, {"srcX": 56}, {"srcY": 6}, {"srcZ": 3}, {"srcLOD": 1}, {"srcArray": 0}, {"dstPitch": 8},
           {"dstHeight": 2})]
bad.append(copy(("array", a), part, 10, 1, 1))
bad.append(copy(("array", a), part, 4, 1, 1, srcType=9))
out([code, part.raw == want, bad])
"""
    assert machine.run(NAMES + code) == [0, True, [1] * 10]


def test_linear_copies_to_and_from_arrays(machine: Machine) -> None:
    code = """
start()
a, b, flat, wide = array(64, 0, 0, UINT32)[1], array(64, 0, 0, FLOAT32)[1], array(8, 8)[1], array(64, 0, 0,
    UINT8)[1]
data = bytes(range(256)); p = alloc(256)[1]; back = text(256); codes = []
def go(name, *args): codes.append(call(name, *args))
go("cuMemcpyHtoA_v2", a, 16, data, 240)
go("cuMemcpyAtoH_v2", back, a, 16, 240); first = back.raw[:240] == data[:240]
go("cuMemcpyAtoA_v2", b, 0, a, 16, 128); go("cuMemcpyAtoD_v2", p, b, 4, 124)
second = from_device(p, 124)[1] == data[4:128]
go("cuMemcpyDtoA_v2", a, 0, p, 124)
lane = stream()
go("cuMemcpyAtoHAsync_v2", back, a, 0, 124, lane); must("cuStreamSynchronize", lane)
third = back.raw[:124] == data[4:128]
go("cuMemcpyHtoAAsync_v2", a, 0, data, 256, lane)
go("cuMemcpyAtoHAsync_v2", back, a, 0, 256, lane); must("cuStreamSynchronize", lane)
fourth = back.raw == data
bad = [call("cuMemcpyHtoA_v2", a, 2, data, 4), call("cuMemcpyHtoA_v2", a, 0, data, 3),
    call("cuMemcpyHtoA_v2", a, 128, data, 132),
       call("cuMemcpyHtoA_v2", flat, 0, data, 8), call("cuMemcpyAtoA_v2", wide, 0, a, 0,
           16), call("cuMemcpyHtoA_v2", 0, 0, data, 4),
       call("cuMemcpyHtoA_v2", a, 0, 0, 4), call("cuMemcpyAtoD_v2", p + 200, a, 0, 128)]
out([codes, [first, second, third, fourth], bad])
"""
    assert machine.run(NAMES + code) == [[0] * 8, [True] * 4, [1] * 8]


def test_levels_of_a_mipmapped_array(machine: Machine) -> None:
    code = """
start(); code, m = mipmap(99, 100, 50, 0, FLOAT32, 1, SURFACE)
levels = []
while True:
    handle = u64(); c = cuda.cuMipmappedArrayGetLevel(ctypes.byref(handle), u64(m), len(levels))
    if c: break
    levels.append(handle.value)
shapes = [describe(l)[:2] for l in levels]
data = [bytes([i]) * (w * h * 4) for i, (w, h) in enumerate(shapes)]
for l, d, (w, h) in zip(levels, data, shapes):
    assert copy(d, ("array", l), 4 * w, h) == 0
same = []
for l, d, (w, h) in zip(levels, data, shapes):
    back = text(len(d)); copy(("array", l), back, 4 * w, h); same.append(back.raw == d)
bad = [c, call("cuArrayDestroy", levels[1]), mipmap(1, 32769)[0], mipmap(1, 32769, 4)[0],
    call("cuMipmappedArrayDestroy", 0)]
layered = mipmap(20, 64, 64, 10, UINT8, 1, LAYERED)[1]
solid = mipmap(20, 8, 4, 64)[1]
deep = [describe(level(layered, 6)), describe(level(solid, 6))]
one = mipmap(0, 64, 64)[1]; none = cuda.cuMipmappedArrayGetLevel(ctypes.byref(handle), u64(one), 1)
destroyed = [call("cuMipmappedArrayDestroy", m), call("cuMipmappedArrayDestroy", m), copy(data[0], ("array",
    levels[0]), 4)]
out([code, shapes, all(same), bad, deep, none, destroyed])
"""
    code, shapes, same, bad, deep, none, destroyed = machine.run(NAMES + code)
    assert code == 0
    assert shapes == [[100, 50], [50, 25], [25, 12], [12, 6], [6, 3], [3, 1], [1, 1]]
    assert same
    assert bad == [1, 400, 1, 1, 400]
    assert [d[:3] for d in deep] == [[1, 1, 10], [1, 1, 1]]
    assert none == 1
    assert destroyed == [0, 400, 1]


def test_planes_of_a_video_frame(machine: Machine) -> None:
    code = """
NV12 = 0xb0
start(); code, a = array(64, 32, 0, NV12, 3)
def plane(n):
    h = u64(); return cuda.cuArrayGetPlane(ctypes.byref(h), u64(a), n), h.value
(c0, luma), (c1, chroma), (c2, _) = plane(0), plane(1), plane(2)
y, uv = bytes(range(64)) * 32, bytes(range(64, 128)) * 16
codes = [copy(y, ("array", luma), 64, 32, srcPitch=64), copy(uv, ("array", chroma), 64, 16, srcPitch=64)]
back, back2 = text(2048), text(1024)
codes += [copy(("array", luma), back, 64, 32), copy(("array", chroma), back2, 64, 16)]
plain = array(8, 8)[1]; h = u64()
bad = [copy(y, ("array", a), 64), cuda.cuArrayGetPlane(ctypes.byref(h), u64(plain), 0),
    call("cuArrayDestroy", luma),
       array(63, 32, 0, NV12, 3)[0], array(64, 32, 0, NV12, 1)[0]]
out([[code, c0, c1, c2], describe(luma), describe(chroma), plane(1)[1] == chroma, codes, back.raw == y,
    back2.raw == uv, bad])
"""
    assert machine.run(NAMES + code) == [
        [0, 0, 0, 1],
        [64, 32, 0, 1, 1, 0],
        [32, 16, 0, 1, 2, 0],
        True,
        [0] * 4,
        True,
        True,
        [1, 1, 400, 1, 1],
    ]


def test_arrays_whose_memory_comes_later(machine: Machine) -> None:
    code = """
start(); before = info()[0]
code, a = array(1000, 700, 0, FLOAT32, 1, DEFERRED); free_of = before - info()[0]
r = Requirements(); plain = array(64, 64)[1]; before = info()[0]
codes = [cuda.cuArrayGetMemoryRequirements(ctypes.byref(r), u64(a), 0),
         cuda.cuArrayGetMemoryRequirements(ctypes.byref(r), u64(plain),
             0), cuda.cuArrayGetMemoryRequirements(0, u64(a), 0),
         cuda.cuArrayGetMemoryRequirements(ctypes.byref(r), u64(a), 7)]
data = bytes(range(250)) * 16
early = copy(data, ("array", a), 4000)
prop = AllocationProp(type=1, location=on_device()); prop.flags[2] = 1  # a tile pool
def pool(bytes_):
    h = u64(); must("cuMemCreate", ctypes.byref(h), bytes_, ctypes.byref(prop), 0); return h.value
big, small = pool(4 * MIB), pool(2 * MIB); plain_pool = physical(4 * MIB)[1]
def change(handle, operation=1, **more):
    return cuda.cuMemMapArrayAsync(ctypes.byref(MapInfo(0, a, operation=operation, handle=handle, mask=1,
        **more)), 1, None)
bad = [change(small), change(plain_pool), change(0), change(big, offset=2 * MIB), change(big, flags=1),
       change(big, 3), change(big, 2)]
mapped = change(big); held = before - info()[0]
back = text(4000); works = [copy(data, ("array", a), 4000), copy(("array", a), back, 4000), back.raw == data]
must("cuMemRelease", big); kept = before - info()[0]
must("cuArrayDestroy", a); left = before - info()[0]
out([code, free_of, codes, r.size, r.alignment, early, bad, mapped, held, works, kept, left])
"""
    code, free_of, codes, size, alignment, early, bad, mapped, held, works, kept, left = machine.run(
        NAMES + code
    )
    assert [code, free_of, codes] == [0, 0, [0, 1, 1, 1]]
    assert [size, alignment] == [taken(1000, 700, 0, 4), KIB64]
    assert early == 1
    assert bad == [1, 1, 400, 1, 1, 1, 1]
    assert mapped == 0
    assert held == 10 * MIB
    assert works == [0, 0, True]
    assert kept == 10 * MIB  # the mapping holds what its handle no longer does
    assert left == 6 * MIB


def test_sparse_arrays_hold_their_pool_tile_by_tile(machine: Machine) -> None:
    code = """
start(); a = array(1000, 300, 0, FLOAT32, 1, SPARSE)[1]; small = array(64, 64, 0, FLOAT32, 1, SPARSE)[1]
solid = array(64, 64, 64, UINT16, 1, SPARSE)[1]; m = mipmap(5, 512, 512, 0, UINT8, 1, SPARSE)[1]
plain = array(64)[1]
def ask(name, handle):
    p = SparseProperties()
    return [call(name, ctypes.byref(p), handle), p.width, p.height, p.depth, p.first_level, p.tail, p.flags]
said = [ask("cuArrayGetSparseProperties", x) for x in (a, small, solid,
    plain)] + [ask("cuMipmappedArrayGetSparseProperties", m)]
prop = AllocationProp(type=1, location=on_device()); prop.flags[2] = 1
handle = u64(); must("cuMemCreate", ctypes.byref(handle), 2 * MIB, ctypes.byref(prop), 0); pool = handle.value
def change(resource, place=None, tail=None, handle=pool, operation=1, type=0, offset=0):
    info = MapInfo(type, resource, kind=0 if place else 1, operation=operation, handle=handle, offset=offset,
        mask=1)
    if place: info.where.place = Place(*place)
    else: info.where.tail = Tail(*tail)
    return cuda.cuMemMapArrayAsync(ctypes.byref(info), 1, None)
codes = [change(a, (0, 0, 0, 0, 0, 256, 128, 1)), change(a, (0, 0, 896, 256, 0, 104, 44, 1), offset=5 << 16),
         change(small, tail=(0, 0, 65536)), change(m, (1, 0, 0, 0, 0, 256, 256, 1), type=1), change(m,
             tail=(0, 0, 65536), type=1)]
bad = [change(a, (0, 0, 64, 0, 0, 128, 128, 1)), change(a, (0, 0, 0, 0, 0, 100, 128, 1)), change(a, (0, 0, 0,
    0, 0, 2048, 128, 1)),
       change(a, (1, 0, 0, 0, 0, 128, 128, 1)), change(a, (0, 1, 0, 0, 0, 128, 128, 1)), change(a, (0, 0, 0,
           0, 1, 128, 128, 1)),
       change(a, (0, 0, 0, 0, 0, 128, 128, 2)), change(a, tail=(0, 0, 65536)), change(small, tail=(0, 0,
           1000)),
       change(m, (2, 0, 0, 0, 0, 256, 256, 1), type=1), change(level(m, 0), (0, 0, 0, 0, 0, 256, 256, 1)),
       change(a, (0, 0, 0, 0, 0, 1000, 300, 1), offset=20 << 16), change(plain, (0, 0, 0, 0, 0, 64, 1,
           1)), change(0, (0, 0, 0, 0, 0, 1, 1, 1))]
data = bytes(range(256)) * 4; back = text(1024)
works = [copy(data, ("array", a), 1024), copy(("array", a), back, 1024), back.raw == data]
must("cuMemRelease", pool); held = info()[0]
change(a, (0, 0, 0, 0, 0, 1000, 300, 1), handle=0, operation=2)
gone = [copy(("array", a), back, 1024), back.raw == bytes(1024)]
change(small, tail=(0, 0, 65536), handle=0, operation=2)
change(m, (1, 0, 0, 0, 0, 256, 256, 1), handle=0, operation=2, type=1)
still = info()[0] - held; must("cuMipmappedArrayDestroy", m)
out([said, codes, bad, works, gone, still, info()[0] - held])
"""
    said, codes, bad, works, gone, still, after = machine.run(NAMES + code)
    assert said == [
        [0, 128, 128, 1, 0, 0, 0],
        [0, 128, 128, 1, 0, KIB64, 1],
        [0, 32, 32, 32, 0, 0, 0],
        [1, 0, 0, 0, 0, 0, 0],
        [0, 256, 256, 1, 2, KIB64, 0],
    ]
    assert codes == [0] * 5
    assert bad == [1] * 13 + [400]
    assert works == [0, 0, True]
    assert gone == [0, True]
    assert [still, after] == [0, 2 * MIB]  # the last tile holds the whole pool


def test_array_copies_take_the_time_of_their_engine(machine: Machine) -> None:
    code = """
start(); a, b = array(1024, 1024, 0, FLOAT32)[1], array(1024, 1024, 0, FLOAT32)[1]
host = u64(); must("cuMemAllocHost_v2", ctypes.byref(host), 4 * MIB); p = alloc(4 * MIB)[1]; lane = stream()
def go(src, dst):
    shape = box(src, dst, 4096, 1024)
    return timed(lambda: must("cuMemcpy3DAsync_v2", ctypes.byref(shape), lane), lane)
h = ctypes.c_void_p(host.value)
out([go(h, ("array", a)), go(("array", a), h), go(("array", a), ("array", b)), go(("array", a), p)])
"""
    h2d, d2h, a2a, a2d = machine.run(NAMES + code)
    assert h2d == d2h == 1500 + 4 * MIB * 1000 // 25000
    assert a2a == a2d == 1500 + 8 * MIB * 1000 // 300000


def test_an_array_lives_on_the_device_of_its_context(make_machine: Callable[..., Machine]) -> None:
    machine = make_machine("l4*2")
    code = """
start(0); a = array(1024, 1024)[1]; first = start(1); b = array(1024, 1024)[1]
shape = box(("array", a), ("array", b), 1024, 1024); c0 = u64()
must("cuDevicePrimaryCtxRetain", ctypes.byref(c0), 0)
shape.srcContext, shape.dstContext = c0.value, first
peer = [call("cuMemcpy3DPeer", ctypes.byref(shape))]
shape.srcContext = 0; peer.append(call("cuMemcpy3DPeer", ctypes.byref(shape)))
out([peer, os.getpid()])
"""
    peer, pid = machine.run(NAMES + code)
    assert peer == [0, 201]
    assert machine.process(pid, 0)["peak_bytes"] == machine.process(pid, 1)["peak_bytes"]
