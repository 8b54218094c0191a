"""Arrays, boxes and textures by ctypes, for the programs of these tests, over driver_calls.py."""

from __future__ import annotations

import ctypes

from device_work import Location, event, record
from driver_calls import call, cuda, must, new, size, u64

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

INT = ctypes.c_int
UINT = ctypes.c_uint
FLOAT = ctypes.c_float

UINT8, UINT16, UINT32, HALF, FLOAT32 = 0x01, 0x02, 0x03, 0x10, 0x20
LAYERED, SURFACE, CUBEMAP, GATHER, SPARSE, DEFERRED = 0x01, 0x02, 0x04, 0x08, 0x40, 0x80
HOST, DEVICE, ARRAY, UNIFIED = 1, 2, 3, 4


def fields(**kinds: Any) -> list[tuple[str, Any]]:
    return list(kinds.items())


class Desc(ctypes.Structure):
    _fields_ = fields(width=size, height=size, format=INT, channels=UINT)


class Desc3D(ctypes.Structure):
    _fields_ = fields(width=size, height=size, depth=size, format=INT, channels=UINT, flags=UINT)


class Box(ctypes.Structure):
    """CUDA_MEMCPY3D, or the peer form of it."""

    _fields_ = [
        (side + name, kind)
        for side in ("src", "dst")
        for name, kind in fields(
            X=size, Y=size, Z=size, LOD=size, Type=UINT, Host=ctypes.c_void_p, Device=u64, Array=u64,
            Context=u64, Pitch=size, Height=size,
        )
    ] + fields(w=size, h=size, d=size)  # fmt: skip


class Flat(ctypes.Structure):
    """CUDA_MEMCPY2D."""

    _fields_ = [
        (side + name, kind)
        for side in ("src", "dst")
        for name, kind in fields(
            X=size, Y=size, Type=UINT, Host=ctypes.c_void_p, Device=u64, Array=u64, Pitch=size
        )
    ] + fields(w=size, h=size)  # fmt: skip


class Requirements(ctypes.Structure):
    _fields_ = fields(size=size, alignment=size, reserved=UINT * 4)


class SparseProperties(ctypes.Structure):
    _fields_ = fields(
        width=UINT,
        height=UINT,
        depth=UINT,
        first_level=UINT,
        tail=ctypes.c_ulonglong,
        flags=UINT,
        reserved=UINT * 4,
    )


class Place(ctypes.Structure):
    """Where in a sparse array: a box of one level."""

    _fields_ = fields(level=UINT, layer=UINT, x=UINT, y=UINT, z=UINT, w=UINT, h=UINT, d=UINT)


class Tail(ctypes.Structure):
    _fields_ = fields(layer=UINT, offset=ctypes.c_ulonglong, size=ctypes.c_ulonglong)


class Where(ctypes.Union):
    _fields_ = fields(place=Place, tail=Tail)


class MapInfo(ctypes.Structure):
    _fields_ = fields(
        type=INT, resource=u64, kind=INT, where=Where, operation=INT, handle_type=INT, handle=u64, offset=u64,
        mask=UINT, flags=UINT, reserved=UINT * 2,
    )  # fmt: skip


class CopyAttributes(ctypes.Structure):
    _fields_ = fields(order=INT, source=Location, destination=Location, flags=UINT)


class ByPointer(ctypes.Structure):
    _fields_ = fields(address=u64, row=size, height=size, hint=Location)


class ByArray(ctypes.Structure):
    _fields_ = fields(array=u64, x=size, y=size, z=size)


class Either(ctypes.Union):
    _fields_ = fields(pointer=ByPointer, array=ByArray)


class Operand(ctypes.Structure):
    _fields_ = fields(type=INT, op=Either)


class BatchBox(ctypes.Structure):
    _fields_ = fields(src=Operand, dst=Operand, w=size, h=size, d=size, order=INT, flags=UINT)


class Linear(ctypes.Structure):
    _fields_ = fields(address=u64, format=INT, channels=UINT, bytes=size)


class Pitched(ctypes.Structure):
    _fields_ = fields(address=u64, format=INT, channels=UINT, width=size, height=size, pitch=size)


class Shown(ctypes.Union):
    _fields_ = fields(array=u64, linear=Linear, pitched=Pitched, reserved=INT * 32)


class Resource(ctypes.Structure):
    _fields_ = fields(type=INT, res=Shown, flags=UINT)


class Texture(ctypes.Structure):
    _fields_ = fields(
        address=INT * 3, filter=INT, flags=UINT, anisotropy=UINT, mipmap_filter=INT, bias=FLOAT, least=FLOAT,
        most=FLOAT, border=FLOAT * 4, reserved=INT * 12,
    )  # fmt: skip


class View(ctypes.Structure):
    _fields_ = fields(
        format=INT, width=size, height=size, depth=size, first_level=UINT, last_level=UINT, first_layer=UINT,
        last_layer=UINT, reserved=UINT * 16,
    )  # fmt: skip


def array(
    width: int, height: int = 0, depth: int = 0, format: int = UINT8, channels: int = 1, flags: int = 0
) -> tuple[int, int]:
    """Create an array: the code and the handle."""
    desc = Desc3D(width, height, depth, format, channels, flags)
    return new("cuArray3DCreate_v2", ctypes.byref(desc))


def mipmap(
    levels: int,
    width: int,
    height: int = 0,
    depth: int = 0,
    format: int = UINT8,
    channels: int = 1,
    flags: int = 0,
) -> tuple[int, int]:
    desc = Desc3D(width, height, depth, format, channels, flags)
    handle = u64()
    code = cuda.cuMipmappedArrayCreate(ctypes.byref(handle), ctypes.byref(desc), UINT(levels))
    return code, handle.value


def level(mipmap: int, number: int) -> int:
    handle = u64()
    must("cuMipmappedArrayGetLevel", ctypes.byref(handle), mipmap, number)
    return handle.value


def describe(array: int) -> list[int]:
    desc = Desc3D()
    must("cuArray3DGetDescriptor_v2", ctypes.byref(desc), array)
    return [desc.width, desc.height, desc.depth, desc.format, desc.channels, desc.flags]


def side(way: str, at: Any, **more: int) -> dict[str, Any]:
    """One side of a copy: host bytes, an array as ("array", handle), or a device address."""
    given = {way + name: value for name, value in more.items()}
    if isinstance(at, tuple):
        return {way + "Type": ARRAY, way + "Array": at[1], **given}
    if isinstance(at, int):
        return {way + "Type": DEVICE, way + "Device": at, **given}
    return {way + "Type": HOST, way + "Host": ctypes.cast(at, ctypes.c_void_p), **given}


def box(src: Any, dst: Any, w: int, h: int = 1, d: int = 1, **more: int) -> Box:
    """A copy of w bytes x h rows x d slices; `more` are fields of Box such as srcX."""
    shape = Box(**side("src", src), **side("dst", dst), w=w, h=h, d=d)
    for name, value in more.items():
        setattr(shape, name, value)
    return shape


def copy(src: Any, dst: Any, w: int, h: int = 1, d: int = 1, **more: int) -> int:
    return call("cuMemcpy3D_v2", ctypes.byref(box(src, dst, w, h, d, **more)))


def text(bytes_: int) -> Any:
    return ctypes.create_string_buffer(bytes_)


def timed(work: Any, lane: int) -> int:
    """Device time in nanoseconds of what `work` puts into the stream, which is kept busy before."""
    from device_work import elapsed_ns, plug

    first, last = event(), event()
    plug(lane)
    record(first, lane)
    work()
    record(last, lane)
    must("cuStreamSynchronize", lane)
    return elapsed_ns(first, last)
