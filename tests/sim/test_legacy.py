"""The API of CUDA 2, with addresses of 32 bits: in contexts of its own it works, elsewhere it is refused."""

from __future__ import annotations

from simulated import Machine

MIB = 1 << 20

NAMES = """
import ctypes
from array_calls import *
u32 = UINT
def old(name, *args): return getattr(cuda, name)(*(u32(a) if isinstance(a, int) else a for a in args))
def own(flags=0):
    must("cuInit", 0); return new("cuCtxCreate", flags, 0)
def alloc32(bytes_):
    p = u32(); code = cuda.cuMemAlloc(ctypes.byref(p), u32(bytes_)); return code, p.value
class Desc32(ctypes.Structure): _fields_ = fields(width=UINT, height=UINT, format=INT, channels=UINT)
class Box32(ctypes.Structure): _fields_ = fields(width=UINT, height=UINT, depth=UINT, format=INT,
    channels=UINT, flags=UINT)
class Flat32(ctypes.Structure):
    _fields_ = [(s + n, k) for s in ("src", "dst") for n, k in fields(X=UINT, Y=UINT, Type=UINT,
        Host=ctypes.c_void_p, Device=UINT, Array=u64, Pitch=UINT)] + fields(w=UINT, h=UINT)
class Shape32(ctypes.Structure):
    _fields_ = [(s + n, k) for s in ("src", "dst") for n, k in fields(X=UINT, Y=UINT, Z=UINT, LOD=UINT,
        Type=UINT, Host=ctypes.c_void_p, Device=UINT, Array=u64, reserved=u64, Pitch=UINT,
        Height=UINT)] + fields(w=UINT, h=UINT, d=UINT)
"""


def test_addresses_lie_below_4_gib_and_hold_data(machine: Machine) -> None:
    code = """
code, ctx = own(); version = u32(); cuda.cuCtxGetApiVersion(u64(ctx), ctypes.byref(version))
before = info()[0]
pairs = [alloc32(n) for n in (100, MIB, 100 * MIB, 64 * MIB)]; charged = before - info()[0]
p, q = pairs[0][1], pairs[1][1]; data = bytes(range(100)); back = text(100)
codes = [cuda.cuMemcpyHtoD(p, data, 100), cuda.cuMemcpyDtoD(q + 4, p, 100), cuda.cuMemcpyDtoH(back, q + 4,
    100)]; same = [back.raw == data]
codes += [cuda.cuMemsetD8(p, 7, 10), cuda.cuMemsetD16(p + 10, 0x0808, 2), cuda.cuMemsetD32(p + 16,
    0x09090909, 1), cuda.cuMemsetD2D8(p + 20, 8, 1, 2, 2), cuda.cuMemsetD2D32(p + 40, 16, 2, 1, 2),
    cuda.cuMemcpyDtoH(back, p, 100)]
same.append(back.raw[:20] == bytes([7] * 10 + [8] * 4 + [14,
    15] + [9] * 4) and back.raw[20:22] + back.raw[28:30] == bytes([1] * 4))
base, n, free_, total_ = u32(), u32(), u32(), u32()
codes += [cuda.cuMemGetAddressRange(ctypes.byref(base), ctypes.byref(n), q + 77),
    cuda.cuMemGetInfo(ctypes.byref(free_), ctypes.byref(total_))]
pitch = u32(); r = u32()
codes.append(cuda.cuMemAllocPitch(ctypes.byref(r), ctypes.byref(pitch), 1000, 10, 4))
h = u64(); d = u32()
codes += [cuda.cuMemAllocHost(ctypes.byref(h), 4096), cuda.cuMemHostGetDevicePointer(ctypes.byref(d), h, 0)]
codes += [cuda.cuMemFree(x) for _, x in pairs]
out([version.value, [c for c, _ in pairs], charged, codes, same, [base.value == q, n.value], [free_.value,
    total_.value], pitch.value, d.value == h.value, cuda.cuMemFree(p), alloc32(0)[0]])
"""
    version, made, charged, codes, same, found, info, pitch, device, twice, nothing = machine.run(
        NAMES + code
    )
    assert version == 3010
    assert [made, charged] == [[0] * 4, 512 + 165 * MIB]
    assert codes == [0] * 18
    assert [same, found] == [[True, True], [True, MIB]]
    assert info == [2**32 - 1] * 2  # the most that 32 bits say
    assert [pitch, device, twice, nothing] == [1024, True, 1, 1]


def test_shapes_and_arrays(machine: Machine) -> None:
    code = """
own(); a, line = u64(), u64()
codes = [cuda.cuArrayCreate(ctypes.byref(a), ctypes.byref(Desc32(16, 8, UINT8, 1))),
    cuda.cuArrayCreate(ctypes.byref(line), ctypes.byref(Desc32(64, 0, UINT8, 1)))]
solid = u64()
codes.append(cuda.cuArray3DCreate(ctypes.byref(solid), ctypes.byref(Box32(8, 4, 2, UINT8, 2, 0))))
d, d3 = Desc32(), Box32()
codes += [cuda.cuArrayGetDescriptor(ctypes.byref(d), a), cuda.cuArray3DGetDescriptor(ctypes.byref(d3), solid)]
data = bytes(range(128)); back = text(128); p = alloc32(4096)[1]; host = ctypes.cast(data, ctypes.c_void_p)
there = ctypes.cast(back, ctypes.c_void_p)
codes += [cuda.cuMemcpy2D(ctypes.byref(Flat32(srcType=1, srcHost=host, srcPitch=16, dstType=3, dstArray=a,
    w=16, h=8))), cuda.cuMemcpy2DUnaligned(ctypes.byref(Flat32(srcType=3, srcArray=a, srcX=1, dstType=2,
    dstDevice=p, dstPitch=15, w=15, h=8)))]
codes += [cuda.cuMemcpy3D(ctypes.byref(Shape32(srcType=1, srcHost=host, srcPitch=16, srcHeight=4, dstType=3,
    dstArray=solid, w=16, h=4, d=2)))]
codes += [cuda.cuMemcpy3D(ctypes.byref(Shape32(srcType=3, srcArray=solid, srcZ=1, dstType=1, dstHost=there,
    w=16, h=4, d=1))), cuda.cuMemcpyDtoH(ctypes.cast(ctypes.addressof(back) + 64, ctypes.c_void_p), p, 30)]
same = [back.raw[:64] == data[64:128], back.raw[64:94] == data[1:16] + data[17:32]]
codes += [cuda.cuMemcpyHtoA(line, 8, data, 50), cuda.cuMemcpyAtoD(p, line, 8, 50), cuda.cuMemcpyDtoA(line, 0,
    p + 1, 4), cuda.cuMemcpyAtoA(line, 60, line, 0, 4), cuda.cuMemcpyAtoH(back, line, 0, 64)]
same.append(back.raw[8:58] == data[:50] and back.raw[60:64] == data[1:5] and back.raw[:4] == data[1:5])
out([codes, same, [d.width, d.height, d3.depth, d3.channels], cuda.cuMemcpy2D(None),
    cuda.cuArrayCreate(ctypes.byref(a), None)])
"""
    assert machine.run(NAMES + code) == [[0] * 15, [True] * 3, [16, 8, 2, 2], 1, 1]


def test_it_is_refused_in_newer_contexts_and_without_one(machine: Machine) -> None:
    code = """
before = alloc32(64)[0]; start(); d = alloc(64)[1]; n = u32()
codes = [alloc32(64)[0], cuda.cuMemFree(u32(d & 0xffffffff)), cuda.cuMemGetInfo(ctypes.byref(n),
    ctypes.byref(n)), cuda.cuMemcpyHtoD(u32(1), b"x", 1),
    cuda.cuArrayCreate(ctypes.byref(u64()), ctypes.byref(Desc32(8, 8, 1, 1))), cuda.cuMemsetD8(u32(1), 1, 1)]
must("cuCtxSetCurrent", 0)
out([before, codes, alloc32(64)[0]])
"""
    assert machine.run(NAMES + code) == [3, [201] * 6, 201]
