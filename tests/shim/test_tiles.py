"""Sparse arrays: memory behind a tile of one is charged for as long as it is there."""

from __future__ import annotations

import pytest
from tenants import GIB, MIB, Tenant

TILES = """
from vmm_calls import *
class Desc(ctypes.Structure):
    _fields_ = [*((n, size) for n in "whd"), *((n, UINT) for n in "fcg")]
class Place(ctypes.Structure):
    _fields_ = [(n, UINT) for n in ("level", "layer", "x", "y", "z", "w", "h", "d")]
class Tail(ctypes.Structure):
    _fields_ = [("layer", UINT), ("offset", ctypes.c_ulonglong), ("size", ctypes.c_ulonglong)]
class Where(ctypes.Union):
    _fields_ = [("place", Place), ("tail", Tail)]
class Info(ctypes.Structure):
    _fields_ = [("type", ctypes.c_int), ("resource", u64), ("kind", ctypes.c_int), ("where", Where),
        ("operation", ctypes.c_int), ("handle_type", ctypes.c_int), ("handle", u64), ("offset", u64),
        ("mask", UINT), ("flags", UINT), ("zero", UINT * 2)]
begin(); n = 8 * MIB; twin = ""; SPARSE, DEFERRED = 0x40, 0x80
def pool(): return create(n, usage=1)[1]
def array(flags=SPARSE):
    return new("cuArray3DCreate_v2", ctypes.byref(Desc(1024, 1024, 0, 0x20, 1, flags)))[1]
def mipmap(flags=SPARSE):
    return new("cuMipmappedArrayCreate", ctypes.byref(Desc(1024, 1024, 0, 0x20, 1, flags)), UINT(11))[1]
def op(what, memory, x=0, y=0, w=1024, h=1024, level=0, kind=0, tail=None, type=0):
    "Map the box of the array to the memory; no memory: to nothing."
    where = Where(tail=Tail(0, *tail)) if tail else Where(place=Place(level, 0, x, y, 0, w, h, 1))
    return Info(type, what, 1 if tail else 0, where, 1 if memory else 2, 0, memory, 0, 1)
def do(*ops):
    return getattr(cuda, "cuMemMapArrayAsync" + twin)((Info * len(ops))(*ops), UINT(len(ops)), u64(0))
def sync(): must("cuCtxSynchronize")
"""

# 1024 by 1024 floats are 64 tiles of 128 by 128.
TILE_LIVES = {
    "unmapped": [("do(op(t, m))", 1), ("release(m)", 1), ("do(op(t, 0))", 0)],
    "tile by tile": [
        ("do(op(t, m, 0, 0, 256, 256))", 1),
        ("release(m)", 1),
        ("do(op(t, 0, 0, 0, 128, 128))", 1),
        ("do(op(t, 0, 128, 128, 128, 128))", 1),
        ("do(op(t, 0, 128, 128, 128, 128))", 1),
        ("do(op(t, 0, 128, 0, 128, 128))", 1),
        ("do(op(t, 0, 0, 128, 128, 128))", 0),
    ],
    "by another": [
        ("do(op(t, m))", 1),
        ("release(m)", 1),
        ("globals().update(k=pool())", 2),
        ("do(op(t, k, 0, 0, 1024, 512))", 2),
        ("release(k)", 2),
        ("do(op(t, k, 0, 512, 1024, 512))", 2),
        ("do(op(t, 0, 0, 512, 1024, 512))", 1),
        ("do(op(t, 0))", 0),
    ],
    "several at once": [
        ("do(op(t, m, 0, 0, 128, 128), op(t, m, 512, 512, 128, 128), op(t, 0, 0, 0, 128, 128))", 1),
        ("release(m)", 1),
        ("do(op(t, 0, 512, 512, 128, 128))", 0),
    ],
    "in two arrays": [
        ("do(op(t, m), op(u, m, 128, 128, 128, 128))", 1),
        ("release(m)", 1),
        ("do(op(t, 0))", 1),
        ("do(op(u, 0))", 0),
    ],
    "destroyed": [("do(op(t, m))", 1), ("release(m)", 1), ("call('cuArrayDestroy', t)", 0)],
    "all at once": [("do(op(d, m, 0, 0, 1, 1))", 1), ("release(m)", 1), ("do(op(d, 0))", 0)],
    "a mipmap": [
        (
            "do(*(op(p, m, type=1, **k) for k in ({}, dict(level=1, w=512, h=512), dict(tail=(0, 65536)))))",
            1,
        ),
        ("release(m)", 1),
        ("do(op(p, 0, type=1))", 1),
        ("do(op(p, 0, tail=(0, 65536), type=1))", 1),
        ("do(op(p, 0, level=1, w=512, h=512, type=1))", 0),
    ],
    "a mipmap destroyed": [
        ("do(op(p, m, type=1))", 1),
        ("release(m)", 1),
        ("call('cuMipmappedArrayDestroy', p)", 0),
    ],
    "refused": [("do(op(t, m, 1, 1, 128, 128))", 1), ("do(op(t, m, type=9))", 1), ("release(m)", 0)],
}


@pytest.mark.parametrize("twin", ["", "_ptsz"])
@pytest.mark.parametrize("life", TILE_LIVES)
def test_tiles_keep_their_memory(tenant: Tenant, life: str, twin: str) -> None:
    steps = TILE_LIVES[life]
    program = f"""
twin = {twin!r}; t, u, d, p, m = array(), array(), array(DEFERRED), mipmap(), pool()
out([{", ".join(f"({step}, sync(), both())[2]" for step, _ in steps)}])
"""
    assert tenant.run(TILES + program) == [[alive * 8 * MIB] * 2 for _, alive in steps]


def test_a_context_takes_its_arrays_and_what_they_keep(tenant: Tenant) -> None:
    tenant.limits.set_memory_limit(0, 2 * GIB)
    program = """
first = u64(); must("cuCtxGetCurrent", ctypes.byref(first))
c, second = new("cuCtxCreate_v2", 0, 0); t, m = array(), pool()
steps = [do(op(t, m)), release(m)]; sync(); full = both()
must("cuCtxDestroy_v2", second); must("cuCtxSetCurrent", first)
out([steps, [a - b for a, b in zip(full, both())] , both()])
"""
    steps, gone, left = tenant.run(TILES + program)
    assert steps == [0, 0]
    assert gone == [tenant.context_bytes[0] + 8 * MIB] * 2
    assert left == [0, 0]
