"""Pools are charged for what they have reserved, in use or not; nothing waits for the GPU."""

from __future__ import annotations

import json

import pytest
from tenants import GIB, MIB, Tenant

INVALID_VALUE, OUT_OF_MEMORY, INVALID_CONTEXT, INVALID_HANDLE, CAPTURE_IMPLICIT = 1, 2, 201, 400, 906
WHY = [INVALID_HANDLE, CAPTURE_IMPLICIT, INVALID_CONTEXT]

POOLS = """
class Location(ctypes.Structure):
    _fields_ = [("type", ctypes.c_int), ("id", ctypes.c_int)]

class Props(ctypes.Structure):
    _fields_ = [("allocType", ctypes.c_int), ("handleTypes", ctypes.c_int), ("location", Location),
                ("win32", ctypes.c_void_p), ("maxSize", size), ("usage", ctypes.c_ushort),
                ("reserved", ctypes.c_ubyte * 54)]

RELEASE_THRESHOLD, RESERVED = 4, 5

def new_pool(device=0, kind=1):
    code, pool = new("cuMemPoolCreate", ctypes.byref(Props(allocType=1, location=Location(kind, device))))
    if code: raise RuntimeError(code)
    return pool

def keep(pool, bytes_): must("cuMemPoolSetAttribute", pool, RELEASE_THRESHOLD, ctypes.byref(u64(bytes_)))

def reserved(pool):
    value = u64(); must("cuMemPoolGetAttribute", pool, RESERVED, ctypes.byref(value)); return value.value

def default_pool(): return new("cuDeviceGetDefaultMemPool", 0)[1]

def sync(): must("cuCtxSynchronize")

def used(): return total() - info()[0]
"""


def run(tenant: Tenant, program: str, **variables: str) -> object:
    return tenant.run(POOLS + program, **variables)


def room(tenant: Tenant) -> int:
    return tenant.limits.device(0).memory_limit_bytes - tenant.context_bytes[0]


@pytest.mark.parametrize("twin", ["", "_ptsz"])
def test_explicit_pools_obey_the_quota(tenant: Tenant, twin: str) -> None:
    program = f"""
start(); p, code = fill(32 * MIB, 'cuMemAllocFromPoolAsync{twin}', new_pool(), 0, most=40)
out([len(p), code])
"""
    assert tenant.run(POOLS + program, limited=False) == [40, 0]
    assert run(tenant, program) == [room(tenant) // (32 * MIB), OUT_OF_MEMORY]
    assert tenant.usage.device(0).peak_bytes <= GIB


def test_charge_is_what_the_pools_have_reserved(tenant: Tenant) -> None:
    program = """
start(); base = used(); pools = [default_pool(), new_pool(), new_pool()]
def agree(): return used() - base == sum(map(reserved, pools))
seen = [agree()]
for pool in pools:
    p = [new("cuMemAllocFromPoolAsync", n, pool, 0)[1] for n in (1, 3 * MIB, 20 * MIB + 1, 700)]
    seen.append(agree())
    for q in p[::2]: must("cuMemFreeAsync", q, 0)
    seen.append(agree()); sync(); seen.append(agree())
    for q in p[1::2]: must("cuMemFree_v2", q)
    sync(); seen.append(agree())
out([seen, used() - base])
"""
    seen, left = run(tenant, program)  # type: ignore[misc]
    assert all(seen)
    assert left == 0


def test_what_a_pool_retains_stays_charged_until_it_is_trimmed(tenant: Tenant) -> None:
    program = """
start(); base = used(); pool = new_pool(); keep(pool, 2**63)
p, _ = fill(100 * MIB, "cuMemAllocFromPoolAsync", pool, 0, most=5)
for q in p: must("cuMemFreeAsync", q, 0)
sync()
retained = used() - base, reserved(pool)
again = new("cuMemAllocFromPoolAsync", 100 * MIB, pool, 0)
same = used() - base
must("cuMemFreeAsync", again[1], 0); sync()
must("cuMemPoolTrimTo", pool, 0)
out([retained[0] == retained[1] >= 500 * MIB, again[0], same == retained[0], used() - base])
"""
    assert run(tenant, program) == [True, 0, True, 0]


@pytest.mark.parametrize("name", ["cuMemAlloc_v2", "cuMemAllocAsync"])
def test_what_a_pool_retains_is_given_back_before_anything_is_refused(tenant: Tenant, name: str) -> None:
    """As on a full GPU of that size."""
    more = ", 0" if name.endswith("Async") else ""
    program = f"""
start(); pool = new_pool(); keep(pool, 2**63)
p = new("cuMemAllocFromPoolAsync", 500 * MIB, pool, 0)[1]
in_use = new("{name}", 600 * MIB{more})[0]
must("cuMemFreeAsync", p, 0); sync()
out([in_use, reserved(pool), new("{name}", 600 * MIB{more})[0], reserved(pool)])
"""
    assert run(tenant, program) == [OUT_OF_MEMORY, 500 * MIB, 0, 0]
    assert tenant.physical_peak() <= GIB


def test_a_pool_in_pieces_does_not_grow_past_the_quota(tenant: Tenant) -> None:
    """Its unused pieces are given back for larger ones; to the byte, never more than the quota."""
    program = """
start(); pool = new_pool(); keep(pool, 2**63)
p, _ = fill(40 * MIB, "cuMemAllocFromPoolAsync", pool, 0)
for q in p[::2]: must("cuMemFreeAsync", q, 0)
codes = [new("cuMemAllocFromPoolAsync", n * MIB, pool, 0)[0] for n in (300, 100, 41, 40, 39)]
out(codes)
"""
    assert room(tenant) == 800 * MIB
    assert run(tenant, program) == [0, 0, OUT_OF_MEMORY, OUT_OF_MEMORY, OUT_OF_MEMORY]
    assert tenant.physical_peak() <= GIB
    assert tenant.usage.device(0).peak_bytes <= GIB


@pytest.mark.parametrize("order", ["destroy-first", "free-first"])
def test_a_destroyed_pool_gives_back_what_it_had_with_its_last_allocation(tenant: Tenant, order: str) -> None:
    program = f"""
start(); base = used(); codes = []
for _ in range(5):
    pool = new_pool(); keep(pool, 2**63)
    code, p = new("cuMemAllocFromPoolAsync", 700 * MIB, pool, 0)
    codes.append(code)
    if {order!r} == "destroy-first": must("cuMemPoolDestroy", pool)
    must("cuMemFreeAsync", p, 0); sync()
    if {order!r} == "free-first": must("cuMemPoolDestroy", pool)
out([codes, used() - base])
"""
    assert run(tenant, program) == [[0] * 5, 0]


def test_the_current_pool_of_the_device_is_charged(tenant: Tenant) -> None:
    program = """
start(); base = used(); pool = new_pool(); must("cuDeviceSetMemPool", 0, pool)
p = new("cuMemAllocAsync", 100 * MIB, 0)[1]
out([reserved(pool) >= 100 * MIB, used() - base == reserved(pool), reserved(default_pool())])
"""
    assert run(tenant, program) == [True, True, 0]


def test_another_device_s_pool_is_charged_there(new_tenant: object) -> None:
    tenant = new_tenant(profile="l4*2", limit_bytes=[GIB, 2 * GIB])  # type: ignore[operator]
    program = """
start(0); pool = new_pool(1)
p, code = fill(100 * MIB, "cuMemAllocFromPoolAsync", pool, 0)
out([len(p), code]); sys.stdin.readline()
"""
    with tenant.start(POOLS + program) as running:
        count, code = json.loads(running.stdout.readline())
        assert code == OUT_OF_MEMORY
        assert count == 2 * GIB // (100 * MIB)
        assert tenant.usage.device(0).used_bytes == tenant.context_bytes[0]
        assert tenant.usage.device(1).used_bytes == count * 100 * MIB
        running.communicate("\n", timeout=60)


@pytest.mark.parametrize(
    "wait",
    [
        "must('cuCtxSynchronize')",
        "must('cuStreamSynchronize', 0)",
        "must('cuStreamSynchronize_ptsz', 0)",
        "e = new('cuEventCreate', 0)[1]; must('cuEventRecord', e, 0); must('cuEventSynchronize', e)",
    ],
)
def test_other_processes_get_what_a_pool_gives_back_at_a_wait(tenant: Tenant, wait: str) -> None:
    """The first process then does nothing more."""
    program = f"""
start()
p = new("cuMemAllocAsync", 400 * MIB, 0)[1]
must("cuMemFreeAsync", p, 0)
{wait}
out(0); sys.stdin.readline()
"""
    with tenant.start(POOLS + program) as first:
        assert first.stdout is not None
        first.stdout.readline()
        assert (
            tenant.usage.device(0).used_bytes == tenant.devices()[0]["used_bytes"] == tenant.context_bytes[0]
        )
        assert tenant.run("start(); out(alloc(500 * MIB)[0])") == 0
        first.communicate("\n", timeout=60)


def test_failures_of_the_driver_are_rolled_back(tenant: Tenant) -> None:
    program = """
start(); base = used()
codes = {new("cuMemAllocAsync", 100 * MIB, 0)[0] for _ in range(30)}
out([sorted(codes), used() - base])
"""
    assert run(tenant, program, SIMGPU_FAULTS="cuMemAlloc*Async:1-30:999") == [[999], 0]


def test_threads_race_in_one_pool(tenant: Tenant) -> None:
    program = """
context = start(); base = used(); pool = new_pool()
def work():
    must("cuCtxSetCurrent", context)
    stream = new("cuStreamCreate", 1)[1]
    for _ in range(30):
        p, _ = fill(30 * MIB, "cuMemAllocFromPoolAsync", pool, stream)
        for q in p: must("cuMemFreeAsync", q, stream)
        must("cuStreamSynchronize", stream)
threads = [threading.Thread(target=work) for _ in range(6)]
for t in threads: t.start()
for t in threads: t.join()
sync(); must("cuMemPoolTrimTo", pool, 0)
out([used() - base, reserved(pool)])
"""
    assert run(tenant, program) == [0, 0]
    assert 0 < tenant.physical_peak() <= tenant.usage.device(0).peak_bytes <= GIB


@pytest.mark.parametrize("twin", ["", "_ptsz"])
def test_the_pool_that_was_charged_is_the_one_that_is_asked(tenant: Tenant, twin: str) -> None:
    """Else another thread may make another pool the current one in between."""
    program = f"""
start(); pool = new_pool(); must("cuDeviceSetMemPool", 0, pool)
code, p = new("cuMemAllocAsync{twin}", 5 * MIB, 0)
out([code, reserved(pool)])
"""
    faults = {"SIMGPU_FAULTS": "cuMemAllocAsync:1-30:999"}
    assert tenant.run(POOLS + program, limited=False, **faults) == [999, 0]
    assert run(tenant, program, **faults) == [0, 6 * MIB]


@pytest.mark.parametrize("last", ["cuMemFreeAsync", "cuMemPoolDestroy"])
def test_a_destroyed_pool_is_charged_until_streams_have_come_to_its_frees(tenant: Tenant, last: str) -> None:
    """The driver has its memory till then."""
    program = f"""
start(); base = used(); pool = new_pool(); stream = new("cuStreamCreate", 1)[1]
p = new("cuMemAllocFromPoolAsync", 100 * MIB, pool, stream)[1]
must("cuLaunchHostFunc", stream, ctypes.cast(ctypes.CDLL(None).usleep, ctypes.c_void_p), 300_000)
free, destroy = ("cuMemFreeAsync", p, stream), ("cuMemPoolDestroy", pool)
for call_ in (free, destroy) if {last!r} == destroy[0] else (destroy, free): must(*call_)
before = used() - base
gone = [call(*destroy), call("cuMemPoolTrimTo", pool, 0), new("cuMemAllocFromPoolAsync", 1, pool, stream)[0]]
must("cuStreamSynchronize", stream)
out([before, gone, used() - base, new("cuMemPoolCreate", ctypes.byref(Props(1, 0, Location(1, 0))))[0]])
"""
    assert run(tenant, program) == [100 * MIB, [1, 1, 1], 0, 0]


def test_a_destroyed_pool_is_no_device_s_current_one(tenant: Tenant) -> None:
    program = """
start(); base = used(); pool = new_pool(); must("cuDeviceSetMemPool", 0, pool)
p = new("cuMemAllocAsync", 10 * MIB, 0)[1]
must("cuMemPoolDestroy", pool)
current = new("cuDeviceGetMemPool", 0)[1]
out([current == default_pool(), call("cuMemPoolDestroy", default_pool()), call("cuMemFreeAsync", p, 0)])
"""
    assert run(tenant, program) == [True, 1, 0]


def test_other_sizes_are_not_taken_for_memory_that_was_freed(tenant: Tenant) -> None:
    """What was freed is cut into small pieces: at the quota's edge there is nothing of its size any more."""
    program = """
start(); pool = new_pool(); keep(pool, 2**63)
p = new("cuMemAllocFromPoolAsync", 10 * MIB, pool, 0)[1]
must("cuMemFreeAsync", p, 0); sync()
small = new("cuMemAllocFromPoolAsync", 512, pool, 0)[0]
rest, code = fill(2 * MIB, most=1000)
out([small, code, new("cuMemAllocFromPoolAsync", 10 * MIB, pool, 0)[0]])
"""
    assert run(tenant, program) == [0, OUT_OF_MEMORY, OUT_OF_MEMORY]
    assert tenant.physical_peak() <= tenant.usage.device(0).peak_bytes <= GIB


def test_no_bytes_in_stream_order_are_had_for_nothing(tenant: Tenant) -> None:
    program = """
start(); base = used(); got = []
own = new_pool()
for name, *more in ("cuMemAllocAsync", 0), ("cuMemAllocAsync_ptsz", 0), ("cuMemAllocFromPoolAsync", own, 0):
    code, p = new(name, 0, *more)
    got.append([code, p, call("cuMemFreeAsync", p, 0)])
out([got, used() - base])
"""
    bare = tenant.run(POOLS + program, limited=False)
    assert run(tenant, program) == bare == [[[0, 0, 0]] * 3, 0]


def test_default_streams_of_two_contexts_are_not_taken_for_one(tenant: Tenant) -> None:
    """What was freed in the one is not there for the other, of the same handle, before it has come to it."""
    program = """
first = start(); pool = new_pool(); keep(pool, 2**63); second = new("cuCtxCreate_v2", 0, 0)[1]
must("cuCtxSetCurrent", first); p = new("cuMemAllocFromPoolAsync", 10 * MIB, pool, 0)[1]
fill(2 * MIB, most=1000)
must("cuLaunchHostFunc", 0, ctypes.cast(ctypes.CDLL(None).usleep, ctypes.c_void_p), 300_000)
must("cuMemFreeAsync", p, 0)
must("cuCtxSetCurrent", second); refused = new("cuMemAllocFromPoolAsync", 10 * MIB, pool, 0)[0]
must("cuCtxSetCurrent", first); served = new("cuMemAllocFromPoolAsync", 10 * MIB, pool, 0)[0]
out([refused, served])
"""
    assert run(tenant, program) == [OUT_OF_MEMORY, 0]
    assert tenant.physical_peak() <= tenant.usage.device(0).peak_bytes <= GIB


def test_what_is_no_pool_costs_nothing_and_gets_the_drivers_own_answer(tenant: Tenant) -> None:
    program = """
start(); ended = new_pool(); must("cuMemPoolDestroy", ended); before = used()
codes = [new("cuMemAllocFromPoolAsync", n, ended, 0)[0] for n in (1, 4 * MIB, 4 * MIB, 1 << 60)]
sync()
out([codes, used() - before])
"""
    assert tenant.run(POOLS + program, limited=False) == [[INVALID_VALUE] * 4, 0]
    assert run(tenant, program) == [[INVALID_VALUE] * 4, 0]


@pytest.mark.parametrize(
    "ask", ["'cuMemAllocAsync', n, s", "'cuMemAllocFromPoolAsync', n, default_pool(), s"]
)
def test_where_nothing_can_be_allocated_the_driver_says_so_at_any_size(tenant: Tenant, ask: str) -> None:
    program = f"""
context = start(); ended, blocking = new("cuStreamCreate", 1)[1], new("cuStreamCreate", 0)[1]
must("cuStreamDestroy_v2", ended); codes = []
for n in (4 * MIB, 1 << 60):
    for s in (ended, 0):
        must("cuStreamBeginCapture_v2", blocking, 2)
        codes.append(new({ask})[0])
        call("cuStreamEndCapture", blocking, ctypes.byref(u64()))
    must("cuCtxSetCurrent", 0); s = blocking
    codes.append(new({ask})[0])
    must("cuCtxSetCurrent", context)
out(codes)
"""
    assert tenant.run(POOLS + program, limited=False) == WHY * 2
    assert run(tenant, program) == WHY * 2
