"""Textures, surfaces and tensor maps: what can be made, what is told again, and what is refused."""

from __future__ import annotations

from collections.abc import Callable

from simulated import Machine

NAMES = """
import ctypes
from array_calls import *
def resource(**kinds):
    r = Resource()
    for name, value in kinds.items():
        if name == "array": r.type, r.res.array = 0, value
        if name == "mipmap": r.type, r.res.array = 1, value
        if name == "linear": r.type, r.res.linear = 2, Linear(*value)
        if name == "pitched": r.type, r.res.pitched = 3, Pitched(*value)
        if name == "flags": r.flags = value
    return r
def texture(res, view=None, **fields_):
    t = Texture(**fields_)
    return new("cuTexObjectCreate", ctypes.byref(res), ctypes.byref(t), ctypes.byref(view) if view else 0)
def surface(res): return new("cuSurfObjectCreate", ctypes.byref(res))
"""


def test_texture_objects_remember_what_they_are(machine: Machine) -> None:
    code = """
start(); a = array(64, 32, 0, UINT8, 4)[1]; p = alloc(1 << 20)[1]; m = mipmap(5, 64, 64, 0, FLOAT32)[1]
made = [texture(resource(array=a), filter=1, address=(INT * 3)(1, 2, 3), bias=0.5),
    texture(resource(linear=(p, FLOAT32, 4, 4096))),
        texture(resource(pitched=(p, UINT8, 4, 100, 50, 416))), texture(resource(mipmap=m), flags=2,
            mipmap_filter=1, most=4.0)]
handles = [h for _, h in made]
r, t, v = Resource(), Texture(), View()
told = [call("cuTexObjectGetResourceDesc", ctypes.byref(r), handles[2]), r.type, r.res.pitched.pitch,
    r.res.pitched.width]
told += [call("cuTexObjectGetTextureDesc", ctypes.byref(t), handles[0]), t.filter, list(t.address), t.bias]
told += [call("cuTexObjectGetResourceViewDesc", ctypes.byref(v), handles[0])]
gone = [call("cuTexObjectDestroy", handles[1]), call("cuTexObjectDestroy", handles[1]),
    call("cuTexObjectGetTextureDesc", ctypes.byref(t), handles[1])]
wrong = [call("cuTexObjectDestroy", 0), call("cuTexObjectDestroy", 12345), call("cuTexObjectGetTextureDesc",
    0, handles[0]), call("cuTexObjectGetResourceDesc", ctypes.byref(r), 99)]
again = texture(resource(array=a))[1]
out([[c for c, _ in made], sorted(handles) == sorted(set(handles)), told, gone, wrong, again == handles[1]])
"""
    codes, distinct, told, gone, wrong, again = machine.run(NAMES + code)
    assert [codes, distinct] == [[0] * 4, True]
    assert told == [0, 3, 416, 100, 0, 1, [1, 2, 3], 0.5, 1]
    assert [gone, wrong, again] == [[0, 1, 1], [1] * 4, True]


def test_textures_that_cannot_be(machine: Machine) -> None:
    code = """
start(); a = array(64, 32, 0, UINT32, 1)[1]; f = array(64, 32, 0, FLOAT32, 1)[1]; p = alloc(1 << 20)[1]
m = mipmap(5, 64, 64)[1]; cube = array(8, 8, 6, UINT8, 1, CUBEMAP)[1]
bad = [resource(array=a, flags=1), resource(array=0), resource(linear=(p, 0x04, 1, 64)), resource(linear=(p,
    UINT8, 3, 64)), resource(linear=(p + 256, UINT8, 1, 64)), resource(linear=(0, UINT8, 1, 64)),
       resource(linear=(p, UINT8, 1, 0)), resource(linear=(p, UINT8, 1, 1 << 21)), resource(pitched=(p,
           UINT8, 1, 100, 50, 100)), resource(pitched=(p, UINT8, 4, 100, 50, 96)),
           resource(pitched=(p + 32, UINT8, 1, 100, 50, 128)),
       resource(pitched=(p, UINT8, 1, 100, 65001, 128)), resource(pitched=(p, UINT8, 1, 0, 5,
           128)), resource(pitched=(p, UINT8, 1, 100, 50000, 128))]
codes = [texture(r)[0] for r in bad]
r = resource(array=f)
kinds = [texture(r, filter=2)[0], texture(r, flags=4)[0], texture(r, address=(INT * 3)(4))[0], texture(r,
    mipmap_filter=3)[0], texture(resource(array=a), filter=1)[0], texture(resource(mipmap=m))[0],
    texture(r, flags=0x40)[0],
         texture(resource(array=cube), flags=0x40)[0], texture(r, filter=1)[0]]
nulls = [call("cuTexObjectCreate", 0, ctypes.byref(r), ctypes.byref(Texture()), 0), new("cuTexObjectCreate",
    0, ctypes.byref(Texture()), 0)[0], new("cuTexObjectCreate", ctypes.byref(r), 0, 0)[0]]
views = [View(0x16, 64, 32, 0), View(0x10, 64, 32, 0), View(0x13, 64, 32, 0), View(0x16, 63, 32, 0),
    View(0x16, 64, 32, 0, 0, 1), View(0x16, 64, 32, 0, 0, 0, 0, 1), View(0x19, 256, 128, 0), View(0x23, 64,
        32, 0)]
shown = [texture(r, v)[0] for v in views]
blocks = array(16, 16, 0, UINT32, 2)[1]
shown += [texture(resource(array=blocks), View(0x19, 64, 64, 0))[0], texture(resource(array=blocks),
    View(0x1a, 64, 64, 0))[0]]
shown.append(texture(resource(linear=(p, UINT8, 1, 64)), View(1, 64))[0])
must("cuCtxSetCurrent", 0)
out([codes, kinds, nulls, shown, texture(r)[0]])
"""
    codes, kinds, nulls, shown, without = machine.run(NAMES + code)
    assert codes == [1] * 14
    assert kinds == [1, 1, 1, 1, 1, 1, 1, 0, 0]
    assert nulls == [1, 1, 1]
    assert shown == [0, 0, 1, 1, 1, 1, 1, 1, 0, 1, 1]
    assert without == 201


def test_how_wide_a_linear_texture_may_be(machine: Machine) -> None:
    code = """
must("cuInit", 0); width = size()
def ask(format, channels, device):
    return cuda.cuDeviceGetTexture1DLinearMaxWidth(ctypes.byref(width), format, channels, device)
out([ask(FLOAT32, 4, 0), width.value, ask(FLOAT32, 3, 0), ask(0x04, 1, 0), ask(UINT8, 1, 7)])
"""
    assert machine.run(NAMES + code) == [0, 1 << 28, 1, 1, 101]


def test_surfaces_need_arrays_made_for_them(machine: Machine) -> None:
    code = """
start(); a, b = array(64, 32, 0, UINT8, 4, SURFACE)[1], array(64, 32)[1]; p = alloc(4096)[1]
code, s = surface(resource(array=a)); r = Resource()
bad = [surface(resource(array=b))[0], surface(resource(linear=(p, UINT8, 1, 64)))[0],
    surface(resource(array=a, flags=1))[0], call("cuSurfObjectDestroy",
        77), call("cuSurfObjectGetResourceDesc", 0, s)]
told = [call("cuSurfObjectGetResourceDesc", ctypes.byref(r), s), r.res.array == a]
out([code, bad, told, call("cuSurfObjectDestroy", s), call("cuSurfObjectDestroy", s)])
"""
    assert machine.run(NAMES + code) == [0, [1] * 5, [0, True], 0, 1]


def test_texture_references_tell_what_was_set(machine: Machine) -> None:
    code = """
start(); code, t = new("cuTexRefCreate"); a = array(64, 32, 0, FLOAT32, 2)[1]; m = mipmap(3, 64)[1]
p = alloc(1 << 20)[1]
def get(name, kind=INT): v = kind(); return [call(name, ctypes.byref(v), t), v.value]
def fn(name, *args): return getattr(cuda, name)(u64(t), *args)
empty = [get("cuTexRefGetArray", u64)[0], get("cuTexRefGetAddress_v2", u64)[0],
    get("cuTexRefGetMipmappedArray", u64)[0]]
offset = size(9)
bound = [cuda.cuTexRefSetAddress_v2(ctypes.byref(offset), u64(t), u64(p + 48), size(1000)), offset.value,
    get("cuTexRefGetAddress_v2", u64)[1] == p + 48,
         cuda.cuTexRefSetAddress_v2(None, u64(t), u64(p + 48),
             size(1000)), cuda.cuTexRefSetAddress_v2(ctypes.byref(offset), u64(t), u64(p), size(2 << 20))]
desc = Desc(100, 10, UINT8, 4)
two = lambda at, pitch: cuda.cuTexRefSetAddress2D_v3(u64(t), ctypes.byref(desc), u64(at), size(pitch))
bound += [two(p, 416), two(p + 32, 416), two(p, 400), two(p, 384)]
bound += [fn("cuTexRefSetArray", u64(a), 1), fn("cuTexRefSetArray", u64(a), 0), fn("cuTexRefSetArray",
    u64(0), 1), get("cuTexRefGetArray", u64)[1] == a, fn("cuTexRefSetMipmappedArray", u64(m), 1),
    get("cuTexRefGetMipmappedArray", u64)[1] == m, get("cuTexRefGetArray", u64)[0]]
f, c = INT(), INT(); fn("cuTexRefSetFormat", HALF, 4)
kept = [cuda.cuTexRefGetFormat(ctypes.byref(f), ctypes.byref(c), u64(t)), f.value, c.value,
    fn("cuTexRefSetFormat", HALF, 3)]
fn("cuTexRefSetFilterMode", 1); fn("cuTexRefSetFlags", 3); fn("cuTexRefSetMaxAnisotropy", 7)
fn("cuTexRefSetMipmapLevelBias", FLOAT(1.5)); fn("cuTexRefSetAddressMode", 0, 3)
kept += [get(n)[1] for n in ("cuTexRefGetFilterMode", "cuTexRefGetFlags",
    "cuTexRefGetMaxAnisotropy")] + get("cuTexRefGetMipmapLevelBias", FLOAT)
mode = INT()
kept += [cuda.cuTexRefGetAddressMode(ctypes.byref(mode), u64(t), 0), mode.value, fn("cuTexRefSetAddressMode",
    3, 0), fn("cuTexRefSetFilterMode", 2), fn("cuTexRefSetFlags", 0x80)]
color = (FLOAT * 4)(1, 2, 3, 4); back = (FLOAT * 4)()
kept += [fn("cuTexRefSetBorderColor", color), cuda.cuTexRefGetBorderColor(back, u64(t)), list(back)]
_, module = new("cuModuleLoadData", PTX)
found = [new("cuModuleGetTexRef", module, b"none")[0], new("cuModuleGetSurfRef", module, b"none")[0],
    new("cuModuleGetTexRef", module, 0)[0]]
out([code, empty, bound, kept, found, call("cuTexRefDestroy", t), call("cuTexRefDestroy", t)])
"""
    code, empty, bound, kept, found, destroyed, twice = machine.run(NAMES + code)
    assert [code, empty] == [0, [1, 1, 1]]
    assert bound == [0, 48, True, 1, 1, 0, 1, 1, 1, 0, 1, 1, True, 0, True, 1]
    assert kept == [0, HALF, 4, 1, 1, 3, 7, 0, 1.5, 0, 3, 1, 1, 1, 0, 0, [1, 2, 3, 4]]
    assert [found, destroyed, twice] == [[500, 500, 1], 0, 1]


HALF = 0x10


def test_tensor_maps_are_checked_as_documented(make_machine: Callable[..., Machine]) -> None:
    code = """
start(); p = alloc(1 << 20)[1]; room = text(256); at = (ctypes.addressof(room) + 63) // 64 * 64
def tiled(type=7, rank=2, address=p, dim=(64, 64), stride=(256,), box=(32, 8), step=(1, 1), interleave=0,
    swizzle=0, promotion=0, fill=0, out_=at):
    return cuda.cuTensorMapEncodeTiled(ctypes.c_void_p(out_), type, rank, ctypes.c_void_p(address),
        (u64 * 5)(*dim), (u64 * 4)(*stride), (UINT * 5)(*box), (UINT * 5)(*step), interleave, swizzle,
        promotion, fill)
def im2col(rank=4, lower=(-1, -1), upper=(1, 1), channels=32, pixels=64, type=6, **more):
    return cuda.cuTensorMapEncodeIm2col(ctypes.c_void_p(at), type, rank, ctypes.c_void_p(p), (u64 * 5)(64, 8,
        8, 2, 2), (u64 * 4)(128, 1024, 8192, 16384), (INT * 3)(*lower), (INT * 3)(*upper), channels, pixels,
        (UINT * 5)(1, 1, 1, 1, 1), more.get("interleave", 0), more.get("swizzle", 0), 0, 0)
good = [tiled(), tiled(rank=1, dim=(256,), box=(256,)), tiled(rank=5, dim=(4, 4, 4, 4, 4), stride=(16, 64,
    256, 1024), box=(4, 1, 1, 1, 1), step=(0, 1, 8, 1, 1)), tiled(swizzle=3), tiled(fill=1),
        tiled(rank=3, dim=(8, 8, 8), stride=(32, 256), box=(8, 8, 8), step=(1, 1, 1), interleave=2,
            swizzle=1), im2col(), im2col(rank=3, lower=(-32768,), upper=(32767,)),
            im2col(rank=5, lower=(-16,) * 3, upper=(15,) * 3)]
bad = [tiled(type=16), tiled(rank=0), tiled(rank=6), tiled(address=p + 8), tiled(address=0), tiled(dim=(0,
    64)), tiled(dim=(64, (1 << 32) + 1)), tiled(stride=(8,)), tiled(stride=(1 << 40,)), tiled(box=(257, 1)),
    tiled(box=(0, 1)), tiled(box=(3, 1)),
       tiled(step=(1, 9)), tiled(step=(1,
           0)), tiled(interleave=1), tiled(interleave=3), tiled(swizzle=7), tiled(swizzle=1, box=(16, 8)),
           tiled(promotion=4), tiled(fill=2), tiled(type=2, fill=1), tiled(out_=at + 8), tiled(out_=0),
       tiled(type=15, dim=(64, 8), box=(128, 1)), im2col(rank=2), im2col(lower=(-129, 0)), im2col(upper=(0,
           128)), im2col(channels=257), im2col(pixels=1025), im2col(pixels=0)]
tiled(); before = ctypes.string_at(at, 128)
moved = [cuda.cuTensorMapReplaceAddress(ctypes.c_void_p(at), ctypes.c_void_p(p + 64)), ctypes.string_at(at,
    128) != before, cuda.cuTensorMapReplaceAddress(ctypes.c_void_p(at), ctypes.c_void_p(p)),
    ctypes.string_at(at, 128) == before,
         cuda.cuTensorMapReplaceAddress(ctypes.c_void_p(at),
             ctypes.c_void_p(p + 8)), cuda.cuTensorMapReplaceAddress(None, ctypes.c_void_p(p)),
             cuda.cuTensorMapReplaceAddress(ctypes.c_void_p(at + 128), ctypes.c_void_p(p))]
out([good, bad, moved])
"""
    good, bad, moved = make_machine("h200").run(NAMES + code)
    assert good == [0] * 9
    assert bad == [1] * 30
    assert moved == [0, True, 0, True, 1, 1, 1]
    assert make_machine("l4").run(NAMES + code)[0] == [801] * 9
