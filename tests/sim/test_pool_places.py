"""Pools of managed memory and of the host's: what they take, where it lies, and what cannot be done."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from simulated import Machine, line, tell
from told import Program, sound

from gshare.shim import sim

MIB = 1 << 20

NAMES = """
import ctypes
NONE, DEVICE, HOST, NODE, CURRENT_NODE = range(5)
PINNED, MANAGED = 1, 2
def at(place, number=0): return ctypes.byref(Location(place, number))
def pool_of(kind, place, number=0, handles=0, max_size=0, usage=0):
    props = PoolProps(type=kind, handles=handles, location=Location(place, number), max_size=max_size)
    props.reserved[0] = usage
    return new("cuMemPoolCreate", ctypes.byref(props))
def take_from(pool, bytes_, lane=0): return new("cuMemAllocFromPoolAsync", bytes_, pool, lane)
def keep(pool): must("cuMemPoolSetAttribute", pool, 4, ctypes.byref(u64(1 << 40)))
def sizes(pool): return [pool_attribute(pool, n) / MIB for n in (5, 6, 7, 8)]
def prefetch(p, bytes_, place, number=0, lane=0):
    return cuda.cuMemPrefetchAsync_v2(u64(p), size(bytes_), Location(place, number), 0, u64(lane))
def places(p, bytes_, step=2 * MIB):
    found = (Location * -(-bytes_ // step))()
    must("cuMemGetLocationInfo", p, bytes_, step, 0, found)
    return "".join("?dh"[f.type] for f in found)
def advice(p, bytes_, attribute):
    v = ctypes.c_int(77)
    code = cuda.cuMemRangeGetAttribute(ctypes.byref(v), size(4), attribute, u64(p), size(bytes_))
    return code or v.value
def about(p, attribute):
    v = u64(); code = call("cuPointerGetAttribute", ctypes.byref(v), attribute, p); return [code, v.value]
def may_use(pool, place):
    v = ctypes.c_int(); return [call("cuMemPoolGetAccess", ctypes.byref(v), pool, at(place)), v.value]
def used(): return (info()[1] - info()[0]) / MIB
"""


@pytest.fixture
def pools(program: Callable[..., Program]) -> Callable[..., Program]:
    def start(**variables: str) -> Program:
        one = program(**variables)
        one.do(f"exec({NAMES!r}, globals())")
        return one

    return start


def test_each_place_has_a_default_and_a_current_pool_of_each_kind(
    make_machine: Callable[..., Machine],
) -> None:
    code = """
start()
spots = [(k, p, n) for k in (PINNED, MANAGED) for p, n in ((DEVICE, 0), (DEVICE, 1), (HOST, 0), (NODE, 0))]
spots += [(MANAGED, NONE, 0)]
default = [new("cuMemGetDefaultMemPool", at(p, n), k) for k, p, n in spots]
current = [new("cuMemGetMemPool", at(p, n), k) for k, p, n in spots]
own = [pool_of(k, p, n)[1] for k, p, n in spots]
codes = [[call("cuMemSetMemPool", at(p, n), k, pool) for pool in own] for k, p, n in spots]
set_ = [new("cuMemGetMemPool", at(p, n), k)[1] for k, p, n in spots]
out([[c for c, _ in default], len({p for _, p in default}), current == default, codes, set_ == own,
    [call("cuMemPoolDestroy", p) for p in own], [call("cuMemPoolDestroy", p) for _, p in default],
    [new("cuMemGetMemPool", at(p, n), k) for k, p, n in spots] == default,
    default[0] == new("cuDeviceGetDefaultMemPool", 0), default[1] == new("cuDeviceGetMemPool", 1),
    [call("cuDeviceSetMemPool", 0, p) for _, p in default]])
"""
    codes, different, are_current, sets, as_set, ends, default_ends, again, *same, of_device = make_machine(
        "l4,l4"
    ).run(NAMES + code)
    assert (codes, different, are_current) == ([0] * 9, 9, True)
    assert sets == [[int(i != j) for j in range(9)] for i in range(9)]
    assert (as_set, ends, default_ends, again) == (True, [0] * 9, [1] * 9, True)
    assert same == [True, True]
    assert of_device == [0] + [1] * 8


def test_pools_that_cannot_be(machine: Machine) -> None:
    code = """
start(); made = lambda *a, **k: pool_of(*a, **k)[0]
codes = [made(PINNED, NONE), made(PINNED, CURRENT_NODE), made(MANAGED, CURRENT_NODE), made(PINNED, NODE, 7)]
codes += [made(PINNED, HOST, 99), made(MANAGED, DEVICE, 9), made(0, DEVICE), made(3, DEVICE), made(PINNED, 6)]
codes += [made(PINNED, HOST, handles=1), made(PINNED, NODE, handles=1), made(PINNED, NODE, handles=8)]
codes += [made(MANAGED, p, handles=1) for p in (NONE, DEVICE, HOST)]
codes += [made(MANAGED, DEVICE, max_size=MIB), made(MANAGED, DEVICE, usage=2)]
codes += [made(PINNED, HOST, max_size=MIB)]
get = lambda kind, *place: [new(f"cuMemGet{d}MemPool", at(*place), kind)[0] for d in ("", "Default")]
codes += get(PINNED, NONE) + get(PINNED, CURRENT_NODE) + get(MANAGED, DEVICE, 9) + get(MANAGED, NODE, 1)
codes += get(0, HOST)
must("cuStreamBeginCapture_v2", lane := stream(), 0)
no_graphs = (MANAGED, DEVICE), (MANAGED, NONE), (PINNED, HOST)
codes += [take_from(pool_of(k, p)[1], 512, lane)[0] for k, p in no_graphs]
out(codes)
"""
    assert machine.run(NAMES + code) == [
        *(1, 1, 1, 1),
        *(0, 101, 1, 1, 1),
        *(1, 0, 801),
        *(1, 1, 1),
        *(1, 1, 0),
        *(1, 1, 1, 1, 101, 101, 1, 1, 1, 1),
        *(801, 801, 801),
    ]


@pytest.mark.parametrize(
    ("place", "steps", "where"),
    [
        ("DEVICE", [0, 6, 6, 0, 6, 6, 4, 0], "ddd"),
        ("NONE", [0, 6, 6, 0, 6, 6, 4, 0], "ddd"),
        ("HOST", [0, 0, 0, 0, 6, 6, 4, 0], "hhh"),
        ("NODE", [0, 0, 0, 0, 6, 6, 4, 0], "hhh"),
    ],
)
def test_managed_memory_of_a_pool_lies_where_it_prefers_and_moves(
    machine: Machine, place: str, steps: list[int], where: str
) -> None:
    """What a pool keeps stays where it is until the pool gives it back."""
    code = """
start(); before = used(); steps = []; step = lambda: steps.append(used() - before)
c, pool = pool_of(MANAGED, PLACE); keep(pool); step()
c, a = take_from(pool, 6 * MIB); step()
seen = places(a, 6 * MIB); ctypes.memset(a, 7, 6 * MIB); step()
codes = [c, prefetch(a, 6 * MIB, HOST)]; step()
codes += [prefetch(a, 6 * MIB, DEVICE)]; step()
preferred = [advice(a, 6 * MIB, n) for n in (2, 4)]
seen += places(a, 6 * MIB); same = from_device(a, 6 * MIB)[1] == bytes([7]) * 6 * MIB
must("cuMemFreeAsync", a, 0); sync(); step(); kept = sizes(pool)
c, b = take_from(pool, 6 * MIB); codes += [c, a == b, prefetch(b + 2 * MIB, 2 * MIB, HOST)]; step()
codes += [advice(b, 2 * MIB, 4)]
must("cuMemFreeAsync", b, 0); sync(); must("cuMemPoolTrimTo", pool, 0); step(); end = sizes(pool)
out([codes, steps, seen, same, preferred, kept, end])
"""
    codes, seen_steps, seen, same, preferred, kept, end = machine.run(NAMES + code.replace("PLACE", place, 1))
    # A last prefetch is forgotten with the allocation that it was of.
    assert codes == [0, 0, 0, 0, True, 0, -2]
    assert (seen_steps, seen, same) == (steps, where + "ddd", True)
    assert preferred == [{"DEVICE": 0, "NONE": -2}.get(place, -1), 0]
    assert (kept, end) == ([6, 6, 0, 6], [0, 6, 0, 6])


def test_what_is_said_of_managed_memory_of_a_pool(machine: Machine) -> None:
    code = """
start(); c, pool = pool_of(MANAGED, DEVICE); c, a = take_from(pool, 3000); c, b = take_from(pool, 1000)
access = [may_use(pool, p) for p in (DEVICE, HOST, NODE)]
data = (ctypes.c_ubyte * 64)(); fd = ctypes.c_int(); v = ctypes.c_int()
out([[about(a, n) for n in (2, 8, 9)], about(a + 2999, 13)[0], about(a, 12), about(a, 17)[1] == pool, access,
    [about(a, n)[0] for n in (1, 4)], advice(a, 3000, 1), advice(a, 3001, 1), advice(b, 1000, 1),
    call("cuMemAdvise_v2", a, 3000, 1, Location(DEVICE, 0)), advice(b, 1000, 1),
    call("cuMemPoolExportPointer", data, a),
    call("cuMemPoolExportToShareableHandle", ctypes.byref(fd), pool, 1, 0),
    call("cuMemFree_v2", a), call("cuMemFree_v2", b), sizes(pool)[2]])
"""
    # Neighbours share a page, and what is said of it.
    assert machine.run(NAMES + code) == [
        *([[0, 2], [0, 1], [0, 0]], 0, [0, 3000], True, [[0, 3], [0, 3], [0, 3]]),
        *([1, 0], 0, 1, 0, 0, 1, 1, 1, 0, 0, 0),
    ]


def test_more_managed_memory_than_the_device_holds(machine: Machine) -> None:
    code = """
start(); c, hold = alloc(total() - (used_ := info()[1] - info()[0]) - 64 * MIB); before = used()
c, pool = pool_of(MANAGED, NONE); keep(pool); c, a = take_from(pool, 100 * MIB); here = used() - before
where = places(a, 100 * MIB); c2, b = alloc(40 * MIB); later = places(a, 100 * MIB)
must("cuMemFreeAsync", a, 0); sync(); kept = used() - before; must("cuMemPoolTrimTo", pool, 0)
out([c, here, where.count("d"), c2, later.count("d"), kept, used() - before, sizes(pool)[:2]])
"""
    # Evicted for what cannot move; what the pool keeps takes its room as before.
    assert machine.run(NAMES + code) == [0, 64, 32, 0, 12, 64, 40, [0, 100]]


def test_host_memory_of_a_pool_is_pinned_in_whole_segments(machine: Machine) -> None:
    code = """
start(); before = used()
for place in (HOST, NODE):
    c, pool = pool_of(PINNED, place); keep(pool); c, a = take_from(pool, 3 * MIB); c, b = take_from(pool, 700)
    device = alloc(MIB)[1]; ctypes.memset(a, 5, MIB)
    codes = [cuda.cuMemcpyHtoDAsync_v2(u64(device), ctypes.c_void_p(a), size(MIB), None),
        cuda.cuMemcpyDtoHAsync_v2(ctypes.c_void_p(a + MIB), u64(device), size(MIB), None),
        cuda.cuMemsetD8_v2(u64(a + 2 * MIB), ctypes.c_ubyte(9), size(MIB))]
    sync(); codes += [ctypes.string_at(a, 3 * MIB) == bytes([5]) * 2 * MIB + bytes([9]) * MIB, free(device)]
    codes += [about(a, n) for n in (2, 8, 9, 12)]
    codes += [about(a, 4) == [0, a], about(a, 17)[1] == pool, about(a, 1)[0]]
    codes += [may_use(pool, p) for p in (HOST, NODE, DEVICE)]
    codes += [prefetch(a, MIB, DEVICE)]
    out([os.getpid(), codes, sizes(pool), used() - before]); wait()
    must("cuMemFreeAsync", a, 0); must("cuMemFree_v2", b); sync(); out(sizes(pool)); wait()
    must("cuMemPoolTrimTo", pool, 0); out(sizes(pool)); wait()
"""

    def pinned() -> int:
        (told,) = sim.stat(machine.path)["pinned"]
        return int(told["pinned_bytes"] / MIB)

    with machine.start(NAMES + code) as program:
        for _ in range(2):
            _, codes, sizes, taken = line(program)
            assert codes == [
                *(0, 0, 0, True, 0),
                *([0, 1], [0, 0], [0, 0], [0, 3 * MIB], True, True, 1),
                *([0, 3], [0, 3], [0, 0]),
                1,
            ]
            assert (sizes[0], taken, pinned()) == (4, 0, 4)
            tell(program)
            assert (line(program)[0::2], pinned()) == ([4, 0], 4)
            tell(program)
            assert (line(program)[0::2], pinned()) == ([0, 0], 0)
            tell(program)


def test_memory_of_no_device_ends_with_the_context_of_its_stream(
    make_machine: Callable[..., Machine],
) -> None:
    code = """
must("cuInit", 0); first, second = u64(), u64()
for device, c in ((0, first), (1, second)): must("cuDevicePrimaryCtxRetain", ctypes.byref(c), device)
must("cuCtxSetCurrent", first); managed, pinned = pool_of(MANAGED, NONE)[1], pool_of(PINNED, HOST)[1]
mine = [take_from(p, 2 * MIB)[1] for p in (managed, pinned)]; must("cuCtxSetCurrent", second)
other = [take_from(p, 2 * MIB)[1] for p in (managed, pinned)]
at_ = lambda: [[about(a, 9) for a in pair] for pair in (mine, other)]; both = at_()
must("cuDevicePrimaryCtxReset_v2", 0); one = [[c for c, _ in pair] for pair in at_()]
out([both, one, [sizes(p)[0] for p in (managed, pinned)]])
"""
    both, one, reserved = make_machine("l4,l4").run(NAMES + code)
    assert both == [[[0, 0], [0, 0]], [[0, 1], [0, 1]]]
    assert one == [[1, 1], [0, 0]]
    assert reserved == [2, 2]


def test_host_memory_of_a_node_is_shared_and_paid_by_its_owner(
    machine: Machine, pools: Callable[..., Program], tmp_path: Path
) -> None:
    owner, other = pools(), pools()
    owner.do(
        "c, pool = pool_of(PINNED, NODE, handles=1)",
        "c, a = take_from(pool, MIB)",
        "ctypes.memmove(a, b'across', 6)",
        "data, fd = (ctypes.c_ubyte * 64)(), ctypes.c_int(-1)",
    )
    assert owner("call('cuMemPoolExportToShareableHandle', ctypes.byref(fd), pool, 1, 0)") == 0
    assert owner("call('cuMemPoolExportPointer', data, a)") == 0
    fd = owner.send(owner("fd.value"), other, str(tmp_path / "socket"))
    other.do(
        f"c, pool = new('cuMemPoolImportFromShareableHandle', {fd}, 1, 0)",
        f"data = (ctypes.c_ubyte * 64)(*bytes.fromhex({owner('bytes(data).hex()')!r}))",
        "c2, b = new('cuMemPoolImportPointer', pool, data)",
    )
    assert other("[c, c2, ctypes.string_at(b, 6).decode(), about(b, 2), take_from(pool, 512)[0]]") == [
        *(0, 0, "across", [0, 1], 1)
    ]
    pinned = {p["pid"]: p["pinned_bytes"] for p in sim.stat(machine.path)["pinned"]}
    assert pinned.get(owner.pid) == 2 * MIB
    assert not pinned.get(other.pid)
    assert other("free(b)") == 0
    owner.kill()
    assert sound(machine, "pool") == 0


def test_what_a_killed_process_had_in_such_pools_is_free_again(
    machine: Machine, pools: Callable[..., Program]
) -> None:
    one, other = pools(), pools()
    one.do(
        "p = [pool_of(MANAGED, DEVICE)[1], pool_of(PINNED, HOST)[1]]", "[take_from(x, 4 * MIB) for x in p]"
    )
    assert sound(machine, "managed") == one.charged("managed") == 4 * MIB
    one.kill()
    other.do("info()")
    assert sound(machine, "managed") == 0
    assert sum(p["pinned_bytes"] for p in sim.stat(machine.path)["pinned"]) == 0
