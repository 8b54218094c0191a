"""Stream-ordered memory: whose freed memory a stream may have, and pools that processes share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from simulated import Machine
from told import Program, sound

MIB = 1 << 20

Start = Callable[..., Program]

HELP = """
import ctypes
class Data(ctypes.Structure):
    _fields_ = [("bytes", ctypes.c_ubyte * 64)]
def pool_of(handles=0, max_size=0):
    props = PoolProps(type=1, handles=handles, location=on_device(), max_size=max_size)
    return new("cuMemPoolCreate", ctypes.byref(props))
def take_from(pool, bytes_, lane=0): return new("cuMemAllocFromPoolAsync", bytes_, pool, lane)
def set_pool(pool, attribute, value):
    return call("cuMemPoolSetAttribute", pool, attribute, ctypes.byref(u64(value)))
def export(pool, kind=1):
    fd = ctypes.c_int(-1); code = call("cuMemPoolExportToShareableHandle", ctypes.byref(fd), pool, kind, 0)
    return code, fd.value
def bring(fd, kind=1): return new("cuMemPoolImportFromShareableHandle", fd, kind, 0)
def data_of(pointer):
    data = Data(); code = call("cuMemPoolExportPointer", ctypes.byref(data), pointer)
    return code, bytes(data).hex()
def bring_pointer(pool, text):
    data = Data.from_buffer_copy(bytes.fromhex(text))
    return new("cuMemPoolImportPointer", pool, ctypes.byref(data))
"""


@pytest.fixture
def pools(program: Start) -> Start:
    def start(**variables: str) -> Program:
        one = program(**variables)
        one.do(f"exec({HELP!r}, globals())")
        return one

    return start


# -------- reuse --------

REUSE = (
    "start()\n"
    + HELP
    + """
function(); first, second, third = stream(), stream(), stream()
c, pool = pool_of(max_size=4 * MIB); set_pool(pool, 4, 1 << 40)
def policies(follow, opportunistic, internal):
    for attribute, value in enumerate((follow, opportunistic, internal), 1):
        set_pool(pool, attribute, value)
def freed(busy_ns):
    "Memory freed in the first stream behind work: all that the pool may have."
    c, piece = take_from(pool, 4 * MIB, first); assert c == 0
    spin(busy_ns, first); must("cuMemFreeAsync", piece, first); return piece
def again(lane):
    "The code and whether it came at once; given back at once."
    c, piece = take_from(pool, 4 * MIB, lane)
    if c == 0: must("cuMemFreeAsync", piece, lane)
    return c
"""
)


def test_another_stream_gets_freed_memory_by_three_ways(machine: Machine) -> None:
    code = """
policies(0, 0, 0); freed(30 * MS); codes = [again(second), again(first)]     # its own stream at once
must("cuStreamSynchronize", first); codes += [again(second)]; sync()            # waited for on the host
policies(0, 1, 0); freed(30 * MS); codes += [again(second)]
mark = record(event(2), first)
while call("cuEventQuery", mark): time.sleep(0.001)
codes += [again(second)]; sync()                                                # it has come by
policies(1, 0, 0); freed(30 * MS); mark = record(event(2), first); codes += [again(second)]
must("cuStreamWaitEvent", second, mark, 0); codes += [again(second), again(third)]; sync()
early = record(event(2), first); freed(30 * MS); must("cuStreamWaitEvent", third, early, 0)
codes += [again(third)]; sync()                                                 # an event before the free
out(codes)
"""
    assert machine.run(REUSE + code) == [2, 0, 0, 2, 0, 2, 0, 2, 2]


def test_a_stream_waits_for_memory_rather_than_go_without(machine: Machine) -> None:
    code = """
policies(0, 0, 1); function(); freed(40 * MS); before = time.monotonic()
c, piece = take_from(pool, 4 * MIB, second); took = time.monotonic() - before
a, b = event(), event(); record(a, first); record(b, second); sync()
out([c, took < 0.03, elapsed_ns(a, b) >= 0, pool_attribute(pool, 5)])
"""
    assert machine.run(REUSE + code) == [0, True, True, 4 * MIB]


def test_attributes(machine: Machine) -> None:
    code = (
        "start()\n"
        + HELP
        + """
c, pool = pool_of(); get = lambda n: pool_attribute(pool, n) & 0xffffffff
codes = [[get(n) for n in range(1, 9)]]
codes += [[set_pool(pool, n, 0) for n in range(0, 10)]]
codes += [[set_pool(pool, n, 1) for n in (6, 8)], [get(n) for n in (1, 2, 3)]]
c, a = take_from(pool, 3 * MIB); c, b = take_from(pool, 1000); must("cuMemFreeAsync", a, 0)
codes += [[get(n) for n in (5, 6, 7, 8)]]
codes += [set_pool(pool, 6, 0), set_pool(pool, 8, 0), [get(n) for n in (5, 6, 7, 8)]]
sync(); codes += [[get(n) for n in (5, 6, 7, 8)]]
codes += [call("cuMemPoolGetAttribute", pool, n, ctypes.byref(u64())) for n in (0, 9)]
codes += [call("cuMemPoolGetAttribute", pool, 1, None), call("cuMemPoolSetAttribute", pool, 1, None)]
codes += [call("cuMemPoolTrimTo", pool, 0), free(b), get(5), call("cuMemPoolTrimTo", pool, 0), get(5)]
out(codes)
"""
    )
    assert machine.run(code) == [
        [1, 1, 1, 0, 0, 0, 0, 0],
        [1, 0, 0, 0, 0, 1, 0, 1, 0, 1],
        [1, 1],
        [0, 0, 0],
        [4 * MIB, 4 * MIB, 1024, 3 * MIB + 1024],
        0,
        0,
        [4 * MIB, 4 * MIB, 1024, 1024],
        [4 * MIB, 4 * MIB, 1024, 1024],
        *[1, 1, 1, 1],
        *[0, 0, 0, 0, 0],
    ]


def test_pools_by_location(machine: Machine) -> None:
    code = (
        "start()\n"
        + HELP
        + """
place = lambda kind, n=0: ctypes.byref(Location(kind, n)); own = pool_of()[1]
default = new("cuDeviceGetDefaultMemPool", 0)[1]
codes = [new("cuMemGetDefaultMemPool", place(1), 1) == (0, default), new("cuMemGetMemPool", place(1),
    1) == (0, default)]
codes += [call("cuMemSetMemPool", place(1), 1, own), new("cuMemGetMemPool", place(1), 1) == (0, own)]
codes += [new("cuMemGetMemPool", place(1), 2)[0], new("cuMemGetMemPool", None, 1)[0], new("cuMemGetMemPool",
    place(1, 9), 1)[0]]
codes += [new("cuMemGetDefaultMemPool", place(2), 1)[0], call("cuDeviceSetMemPool", 9, own),
    call("cuMemPoolDestroy", default)]
flags = ctypes.c_int(); access = lambda at: (call("cuMemPoolGetAccess", ctypes.byref(flags), own, place(1,
    at)), flags.value)
grant = lambda at, bits: call("cuMemPoolSetAccess", own, ctypes.byref(Access(Location(1, at), bits)), 1)
codes += [access(0), grant(0, 0), grant(0, 2), grant(0, 3), grant(5, 3), access(5)[0]]
out(codes)
"""
    )
    assert machine.run(code) == [True, True, 0, True, 0, 1, 101, 0, 101, 1, [0, 3], 1, 1, 0, 101, 101]


# -------- sharing --------


def test_one_process_allocates_for_another(machine: Machine, pools: Start, tmp_path: Path) -> None:
    owner, other = pools(), pools()
    owner.do(
        "c, pool = pool_of(1)", "c, p = take_from(pool, 3 * MIB)", "c, q = take_from(pool, 700)", "sync()"
    )
    p, q = owner("[p, q]")
    owner.write(p, "big")
    owner.write(q, "small")
    code, fd = owner("export(pool)")
    assert code == 0
    code, pool = other(f"bring({owner.send(fd, other, str(tmp_path / 's'))})")
    assert code == 0
    views = []
    for pointer in (p, q):
        code, data = owner(f"data_of({pointer})")
        assert code == 0
        code, view = other(f"bring_pointer({pool}, {data!r})")
        assert code == 0
        views.append(view)
    assert [other.read(views[0], 3), other.read(views[1], 5)] == ["big", "small"]
    other.write(views[1] + 690, "end")
    assert owner.read(q + 690, 3) == "end"
    assert other(f"to_device({views[1] + 698}, b'beyond')") == 1
    assert [owner.charged("pool"), other.charged("pool")] == [4 * MIB, 0]
    other.do("handle, start_at = u64(), u64()")
    assert other(f"[call('cuPointerGetAttribute', ctypes.byref(handle), 17, {views[0]}), handle.value]") == [
        0,
        pool,
    ]
    assert other(
        f"[take_from({pool}, 512)[0], call('cuDeviceSetMemPool', 0, {pool}), export({pool})[0]]"
    ) == [1, 1, 1]
    lane = other("stream()")
    assert other(f"[call('cuMemFreeAsync', {views[0]}, {lane}), free({views[1]}), free({views[1]})]") == [
        0,
        0,
        1,
    ]
    assert owner("[free(p), free(q), pool_attribute(pool, 5)]") == [0, 0, 0]
    assert owner("[call('cuMemPoolDestroy', pool), call('cuMemPoolDestroy', pool)]") == [0, 1]
    assert other(f"[call('cuMemPoolDestroy', {pool}), call('cuMemPoolDestroy', {pool})]") == [0, 1]
    assert sound(machine, "pool") == 0


def test_a_pool_outlives_its_owner_where_it_is_used(machine: Machine, pools: Start, tmp_path: Path) -> None:
    owner, other = pools(), pools()
    owner.do("c, pool = pool_of(1)", "c, fd = export(pool)")
    pool = other(f"bring({owner.send(owner('fd'), other, str(tmp_path / 's'))})[1]")
    owner.do("c, p = take_from(pool, 6 * MIB)", "c, rest = take_from(pool, 2 * MIB)")  # after the export
    owner.write(owner("p"), "left")
    view = other(f"bring_pointer({pool}, {owner('data_of(p)')[1]!r})[1]")
    assert [owner.charged("pool"), other.charged("pool")] == [8 * MIB, 0]
    owner.kill()
    assert sound(machine, "pool") == other.charged("pool") == 8 * MIB
    assert other.read(view, 4) == "left"
    assert other(f"call('cuMemPoolDestroy', {pool})") == 0
    assert other.charged("pool") == 8 * MIB  # the allocation is still there
    assert other(f"free({view})") == 0
    assert sound(machine, "pool") == 0


def test_a_killed_importer_costs_the_owner_nothing(machine: Machine, pools: Start, tmp_path: Path) -> None:
    owner, other = pools(), pools()
    owner.do("c, pool = pool_of(1)", "c, fd = export(pool)", "c, p = take_from(pool, MIB)")
    pool = other(f"bring({owner.send(owner('fd'), other, str(tmp_path / 's'))})[1]")
    assert other(f"bring_pointer({pool}, {owner('data_of(p)')[1]!r})[0]") == 0
    other.kill()
    assert sound(machine, "pool") == owner.charged("pool") == 2 * MIB
    assert owner("[free(p), pool_attribute(pool, 5)]") == [0, 0]
    assert sound(machine, "pool") == 0


def test_codes_of_what_is_not_shared(pools: Start) -> None:
    one = pools()
    one.do(
        "c, plain = pool_of()",
        "c, pool = pool_of(1)",
        "c, a = take_from(plain, 512)",
        "c, b = take_from(pool, 512)",
    )
    assert one("[pool_of(kind)[0] for kind in (2, 8, 16)]") == [801, 801, 1]
    assert one(
        "[export(plain)[0], export(new('cuDeviceGetDefaultMemPool', 0)[1])[0], export(pool, 8)[0]]"
    ) == [1, 1, 801]
    assert one("[bring(-1)[0], bring(0)[0], bring(9999)[0], bring(os.memfd_create('x'))[0]]") == [1, 1, 1, 1]
    assert one("[data_of(a)[0], data_of(b)[0], data_of(b + 1)[0], data_of(alloc(512)[1])[0]]") == [1, 0, 1, 1]
    data = one("data_of(b)[1]")
    assert one(f"[bring_pointer(pool, {data!r})[0], bring_pointer(plain, {data!r})[0]]") == [1, 1]
    one.do("c, mine = bring(export(pool)[1])")
    assert one(f"[c, bring_pointer(mine, {data!r})[0], bring_pointer(mine, {'00' * 64!r})[0]]") == [0, 0, 1]
    forged = bytearray.fromhex(data)
    forged[24:40] = b"\xff" * 16  # far away, and long
    assert one(f"bring_pointer(mine, {forged.hex()!r})[0]") == 1
