"""Pools of managed memory are charged wherever it may lie, and pools of the host like pinned memory."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from typing import Any

import pytest
from tenants import GIB, MIB, Tenant

from gshare.shim import abi, sim

OUT_OF_MEMORY = 2

POOLS = """
from vmm_calls import Location, PoolProps
NONE, DEVICE, HOST, NODE = range(4)
PINNED, MANAGED = 1, 2
def at(place, number=0): return ctypes.byref(Location(place, number))
def pool_of(kind, place, number=0):
    code, pool = new("cuMemPoolCreate", ctypes.byref(PoolProps(type=kind, location=Location(place, number))))
    assert code == 0; must("cuMemPoolSetAttribute", pool, 4, ctypes.byref(u64(1 << 40)))
    return pool
def take(pool, bytes_): return new("cuMemAllocFromPoolAsync", bytes_, pool, 0)
def reserved(pool):
    value = u64(); must("cuMemPoolGetAttribute", pool, 5, ctypes.byref(value)); return value.value
def prefetch(p, bytes_, device): return cuda.cuMemPrefetchAsync(u64(p), size(bytes_), device, None)
def give(p): must("cuMemFreeAsync", p, 0); must("cuCtxSynchronize")
def step(*what): out(what); sys.stdin.readline()
"""


def pinned_peaks(tenant: Tenant) -> list[int]:
    """The most that each program ever pinned."""
    return sorted(filter(None, (p["peak_pinned_bytes"] for p in sim.stat(tenant.machine)["pinned"])))


def said(program: subprocess.Popen[str]) -> Any:
    assert program.stdout is not None
    return json.loads(program.stdout.readline())


def go_on(program: subprocess.Popen[str]) -> None:
    assert program.stdin is not None
    program.stdin.write("\n")
    program.stdin.flush()


@pytest.mark.parametrize(("place", "twin"), [("HOST", ""), ("NODE", "_ptsz")])
def test_host_pools_obey_the_quota_of_the_host(tenant: Tenant, place: str, twin: str) -> None:
    code = f"""
start(); before = info(); pool = pool_of(PINNED, {place})
p, code = fill(2 * MIB, 'cuMemAllocFromPoolAsync{twin}', pool, 0, most=40); full = reserved(pool)
for q in p: must("cuMemFree_v2", q)
kept = reserved(pool); again = [take(pool, 2 * MIB)[0] for _ in p[:3]]
trim = call("cuMemPoolTrimTo", pool, 0)
host = new("cuMemHostAlloc", 50 * MIB, 0)[0], new("cuMemHostAlloc", 14 * MIB, 0)[0]
out([len(p), code, full // MIB, kept // MIB, again, trim, host, info() == before])
"""
    tenant.limits.set_memory_limit(abi.HOST_ROW, 64 * MIB)
    assert tenant.run(POOLS + code, limited=False) == [40, 0, 80, 80, [0, 0, 0], 0, [0, 0], True]
    assert tenant.run(POOLS + code) == [32, OUT_OF_MEMORY, 64, 64, [0, 0, 0], 0, [0, 2], True]
    assert pinned_peaks(tenant) == [64 * MIB, 80 * MIB]
    assert tenant.usage.device(abi.HOST_ROW).peak_bytes == 64 * MIB
    refused = tenant.usage.refusals_since(0)
    assert [(r.api, r.row) for r in refused] == [
        (f"cuMemAllocFromPoolAsync{twin}", abi.HOST_ROW),
        ("cuMemHostAlloc", abi.HOST_ROW),
    ]


@pytest.mark.parametrize(
    ("how", "place"),
    [("pool_of(MANAGED, {})", "HOST"), ("new('cuMemGetMemPool', at({}), MANAGED)[1]", "NONE")],
)
def test_managed_pools_obey_the_quota(tenant: Tenant, how: str, place: str) -> None:
    """All of it at once, as other managed memory, wherever its pages are."""
    code = f"""
start(); pool = {how.format(place)}
p, code = fill(32 * MIB, 'cuMemAllocFromPoolAsync', pool, 0, most=40); full = total() - info()[0]
for q in p: prefetch(q, 32 * MIB, 0)
step(len(p), code, reserved(pool), full)
"""
    with tenant.start(POOLS + code, limited=False) as program:
        assert said(program)[:2] == [40, 0]
        go_on(program)
    with tenant.start(POOLS + code) as program:
        pieces, code_, reserved, full = said(program)
        assert (pieces, code_) == (tenant.room_bytes // (32 * MIB), OUT_OF_MEMORY)
        assert tenant.usage.device(0).used_bytes == full == reserved + tenant.context_bytes[0] <= GIB
        assert tenant.devices()[0]["used_bytes"] <= full
        (slot,) = tenant.usage.slots(1)
        assert slot.devices[0].charged_bytes["managed"] == reserved
        go_on(program)
    assert tenant.usage.device(0).peak_bytes <= GIB


@pytest.fixture
def two(new_tenant: Callable[..., Tenant]) -> Tenant:
    return new_tenant(profile="l4,l4", limit_bytes=[GIB, GIB // 2])


def books(tenant: Tenant) -> list[int]:
    """What the tenant is charged on each device beside contexts, in MiB: no less than it has taken."""
    used = [tenant.usage.device(d).used_bytes for d in range(2)]
    assert all(d["used_bytes"] <= u for d, u in zip(tenant.devices(), used, strict=True))
    return [(u - c) // MIB for u, c in zip(used, tenant.context_bytes, strict=True)]


CONTEXTS = """
must("cuInit", 0); contexts = [u64(), u64()]
for d in (0, 1): must("cuDevicePrimaryCtxRetain", ctypes.byref(contexts[d]), d)
def on(device): must("cuCtxSetCurrent", contexts[device])
on(0)
"""


def test_a_pool_is_charged_on_every_device_that_it_was_brought_to(two: Tenant) -> None:
    """Until it is empty: what it keeps may lie there still."""
    code = """
pool = pool_of(MANAGED, NONE); p = take(pool, 64 * MIB)[1]; step()
prefetch(p, 2 * MIB, 1); step()
q = take(pool, 32 * MIB)[1]; step()
give(p); step()
call("cuMemPoolTrimTo", pool, 0); prefetch(q, 32 * MIB, 0); step()
give(q); call("cuMemPoolTrimTo", pool, 0); step()
p = take(pool, 16 * MIB)[1]; step()
on(1); q = take(pool, 16 * MIB)[1]; step()
give(q); give(p); must("cuMemPoolDestroy", pool); step()
p = take(pool := pool_of(MANAGED, DEVICE, 0), 8 * MIB)[1]; step()
must("cuMemPoolDestroy", pool); step()
give(p); step()
"""
    seen = []
    with two.start(POOLS + CONTEXTS + code) as program:
        for _ in range(12):
            said(program)
            seen.append(books(two))
            go_on(program)
    assert seen == [
        *([64, 0], [64, 64], [96, 96], [96, 96], [32, 32], [0, 0]),
        *([16, 0], [32, 32], [0, 0]),
        *([8, 8], [8, 8], [0, 0]),
    ]


def test_a_pool_goes_only_where_all_of_it_has_room(two: Tenant) -> None:
    code = """
hold = take(pool_of(PINNED, DEVICE, 1), 256 * MIB)[0]; pool = pool_of(MANAGED, NONE)
c, p = take(pool, 300 * MIB); before = info()[0]; codes = [hold, c, prefetch(p, MIB, 1)]; sent = Location()
must("cuMemGetLocationInfo", p, 2 * MIB, 2 * MIB, 0, ctypes.byref(sent)); step(codes, sent.type)
on(1); c, q = take(pool, 2 * MIB); step(c, q)
on(0); c, q = take(pool, 2 * MIB); give(q); give(p); must("cuMemPoolTrimTo", pool, 0); step(c)
on(1); c, q = take(pool, 2 * MIB); step(c)
"""
    with two.start(POOLS + CONTEXTS + code) as program:
        assert said(program) == [[0, 0, 0], 2]  # to the host instead
        assert books(two) == [300, 256]
        go_on(program)
        assert said(program) == [OUT_OF_MEMORY, 0]
        assert books(two) == [300, 256]
        assert two.usage.refusals_since(0)[-1].row == 1
        go_on(program)
        assert said(program) == [0]
        assert books(two) == [0, 256]
        go_on(program)
        assert said(program) == [0]
        assert books(two) == [0, 258]
        go_on(program)


@pytest.mark.parametrize(
    "made", ["take(pool_of(MANAGED, NONE), 4 * MIB)", "new('cuMemAllocManaged', 4 * MIB, 1)"]
)
def test_what_cannot_be_told_is_not_sent_to_another_device(two: Tenant, made: str) -> None:
    """The driver does not say which allocation it is that it is asked to move."""
    code = f"""
c, p = {made}; sent = Location(); codes = [c, prefetch(p + 2 * MIB, 4096, 1)]
must("cuMemGetLocationInfo", p + 2 * MIB, 4096, 4096, 0, ctypes.byref(sent)); step(codes, sent.type)
"""
    with two.start(POOLS + CONTEXTS + code, SIMGPU_FAULTS="cuMemGetAddressRange:1-:999") as program:
        assert said(program) == [[0, 0], 2]
        assert books(two) == [4, 0]
        go_on(program)


def test_a_device_that_was_not_granted_gets_no_pool(two: Tenant) -> None:
    two.limits.set_memory_limit(1, 0)
    code = """
pool = pool_of(MANAGED, DEVICE, 1); c, p = take(pool, MIB)
out([c, reserved(pool), take(pool_of(MANAGED, DEVICE, 0), MIB)[0]])
"""
    assert two.run(POOLS + "start(0)\n" + code) == [OUT_OF_MEMORY, 0, 0]


@pytest.mark.parametrize(
    ("kind", "place", "row"), [("PINNED", "HOST", "host"), ("MANAGED", "NONE", 0), ("MANAGED", "DEVICE", 0)]
)
def test_the_drivers_own_pools_are_not_destroyed(
    tenant: Tenant, kind: str, place: str, row: str | int
) -> None:
    code = f"""
start(); where = at({place}), {kind}
usual = new("cuMemGetDefaultMemPool", *where)[1]; own = pool_of({kind}, {place})
codes = [call("cuMemSetMemPool", *where, own), new("cuMemGetMemPool", *where) == (0, own)]
p = [take(pool, 2 * MIB)[1] for pool in (usual, own)]
codes += [call("cuMemPoolDestroy", usual), call("cuMemPoolDestroy", own), call("cuMemPoolDestroy", own)]
codes += [new("cuMemGetMemPool", *where) == (0, usual), take(own, 512)[0], take(usual, 512)[0]]
step(codes); give(p[0]); give(p[1]); step(reserved(usual))
"""
    index = abi.HOST_ROW if row == "host" else 0
    base = 0 if row == "host" else tenant.context_bytes[0]
    with tenant.start(POOLS + code, limited=False) as program:
        assert said(program) == [[0, True, 1, 0, 1, True, 1, 0]]
        go_on(program)
        assert said(program) == [2 * MIB]
        go_on(program)
    with tenant.start(POOLS + code) as program:
        assert said(program) == [[0, True, 1, 0, 1, True, 1, 0]]
        assert tenant.usage.device(index).used_bytes - base == 6 * MIB
        go_on(program)
        assert said(program) == [2 * MIB]
        assert tenant.usage.device(index).used_bytes - base == 2 * MIB
        go_on(program)
