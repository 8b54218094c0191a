"""Sizes that nobody means: each answer is the driver's own or the quota's, and nothing is left of any."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tenants import GIB, MIB, Tenant
from test_array import ARRAYS, CUBEMAP, DEFERRED, FORMATS, LAYERED, SPARSE, SURFACE
from test_array import DOORS as ARRAY_DOORS

OUT_OF_MEMORY = 2
DEVICE_BYTES = 24 * GIB

PROGRAM = "from hostile_calls import *\nvmm.begin()\n"

EDGES = [
    0,
    1,
    511,
    512,
    513,
    65536,
    2 * MIB - 1,
    2 * MIB,
    GIB - 1,
    GIB,
    4 * GIB - 1,
    4 * GIB,
    DEVICE_BYTES + 1,
]
EDGES += [1 << 47, 1 << 56, (1 << 63) - 1, 1 << 63]
EDGES += [(1 << 64) - n for n in (4 * MIB, 2 * MIB, 2 * MIB - 1, 65536, 65535, 4096, 513, 512, 511, 1)]

sizes = st.one_of(
    st.sampled_from(EDGES),
    st.builds(lambda bit, by: ((1 << bit) + by) % (1 << 64), st.integers(0, 64), st.integers(-3, 3)),
    st.integers(1, 4 * MIB).map(lambda n: (1 << 64) - n),
    st.integers(0, (1 << 64) - 1),
)


def answers(tenant: Tenant, program: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a program gets without limits and with them; what holds for every one is asserted."""
    bare, quota = tenant.run(program, limited=False), tenant.run(program)
    limit = tenant.limits.device(0).memory_limit_bytes - tenant.context_bytes[0]
    assert quota["left"] == [0, 0]
    assert bare["left"][1] == 0
    assert all(taken <= charged <= limit for charged, taken in quota["seen"])
    return bare["codes"], quota["codes"]


def is_right(driver: list[int], quota: list[int]) -> bool:
    """The driver's own answers; or the quota's, where the driver gave what was asked for."""
    if quota == driver:
        return True
    at = next((i for i, pair in enumerate(zip(driver, quota, strict=False)) if pair[0] != pair[1]), None)
    return at is not None and (driver[at], quota[at]) == (0, OUT_OF_MEMORY) and not any(driver)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, environ: dict[str, str]) -> Any:
    """Return a tenant for many examples."""
    tenant = Tenant(Path(tmp_path_factory.mktemp("hostile")), environ)
    yield tenant
    tenant.close()


def test_sizes_at_the_edges(shared: Tenant) -> None:
    bare, quota = answers(shared, PROGRAM + f"out(each({EDGES}))")
    for door, codes in bare.items():
        for n, driver, limited in zip(EDGES, codes, quota[door], strict=True):
            assert is_right(driver, limited), (door, n, driver, limited)
    granted = {door for door, codes in bare.items() if [0, 0] in codes}
    refused = {door for door in granted if [OUT_OF_MEMORY] in quota[door] and quota[door] != bare[door]}
    assert {"linear", "managed", "async", "wide", "high", "square", "physical", "limit 2"} <= refused


@settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(sizes, min_size=12, max_size=12))
def test_sizes_near_the_edges(shared: Tenant, each_size: list[int]) -> None:
    bare, quota = answers(shared, PROGRAM + f"out(each({each_size}))")
    for door, codes in bare.items():
        for n, driver, limited in zip(each_size, codes, quota[door], strict=True):
            assert is_right(driver, limited), (door, n, driver, limited)


EXTENTS = [0, 1, 2, 16, 63, 64, 500, 4096, 16384, 65536, 131072, 131073, (1 << 31) - 1, 1 << 32, 1 << 40]
EXTENTS += [1 << 60, 1 << 63, (1 << 64) - 64, (1 << 64) - 1]
FLAGS = [0, 0, 0, LAYERED, SURFACE, CUBEMAP, CUBEMAP | LAYERED, 0x08, 0x10, 0x20, SPARSE, DEFERRED, 1 << 20]

shapes = st.tuples(
    *[st.sampled_from(EXTENTS)] * 2,
    st.sampled_from([0, 0, 0, 6, *EXTENTS]),
    st.sampled_from([*(pair for pair in FORMATS for _ in range(2)), (0, 1), (0x77, 4), (0x20, 0), (0x20, 5)]),
    st.sampled_from(FLAGS),
).map(lambda s: (*s[:3], *s[3], s[4]))

ARRAYS_EACH = """
codes, seen = [], []
for door, shape, levels in {cases}:
    code, handle = make(door, shape, levels)
    if not code:
        seen.append([charged(), taken()])
        code = destroy(door, handle)
    small = [64 if n else 0 for n in shape[:2]] + [6 * bool(shape[2])]
    of_small, handle = make(door, (*small, *shape[3:]), min(levels, 7))
    if not of_small: must("cuMipmappedArrayDestroy" if "Mip" in door else "cuArrayDestroy", handle)
    codes.append([code, of_small])
out(dict(codes=codes, seen=seen, left=[charged(), taken()]))
"""


@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(st.sampled_from(ARRAY_DOORS), shapes, st.sampled_from([0, 1, 2, 12, 30, (1 << 32) - 1])),
        min_size=100,
        max_size=100,
    )
)
def test_arrays_of_any_extent(shared: Tenant, cases: list[Any]) -> None:
    """Without room, what the driver says of a shape is told by arrays that take nothing.

    Of what it makes in no size nobody can tell why.
    """
    bare, quota = answers(shared, ARRAYS + ARRAYS_EACH.format(cases=cases))
    for case, (driver, of_small), (limited, _) in zip(cases, bare, quota, strict=True):
        assert is_right([driver], [limited]) or (limited == OUT_OF_MEMORY and of_small), case


def test_a_million_rows_of_four_bytes(new_tenant: Callable[..., Tenant]) -> None:
    tenant = new_tenant(limit_bytes=GIB)
    rows = (GIB - tenant.context_bytes[0]) // 512
    program = f"""{PROGRAM}
def rows(n):
    code, pointer = new("cuMemAllocPitch_v2", ctypes.byref(size()), 4, n, 4)
    had = vmm.both()
    return [code, had, 0 if code else free(pointer)]
out([rows(n) for n in (10**6, {rows}, {rows} + 1, 10**7)])
"""
    million = [0, [512 * 10**6] * 2, 0]
    assert tenant.run(program)[0] == million
    assert tenant.run(program)[1:] == [
        [0, [512 * rows] * 2, 0],
        [OUT_OF_MEMORY, [0, 0], 0],
        [OUT_OF_MEMORY, [0, 0], 0],
    ]
    assert [code for code, _, _ in tenant.run(program, limited=False)] == [0] * 4, "the control gets all"


def one_byte_each(tenant: Tenant, count: int) -> None:
    """Allocations of a byte fill a quota of `count` grains; the last ones cost what the first did."""
    tenant.limits.set_memory_limit(0, tenant.context_bytes[0] + 512 * count)
    program = f"""{PROGRAM}
made, at = [], [time.process_time()]
alloc, pointer = cuda.cuMemAlloc_v2, u64()
while len(made) <= {count} and alloc(ctypes.byref(pointer), size(1)) == 0:
    made.append(pointer.value)
    if len(made) % ({count} // 10) == 0: at.append(time.process_time())
full = vmm.both()
codes = {{call("cuMemFree_v2", p) for p in made}}
out([len(made), full, sorted(codes), vmm.both(), [b - a for a, b in zip(at, at[1:])]])
"""
    made, full, codes, left, times = tenant.run(program)
    assert (made, codes, left) == (count, [0], [0, 0])
    assert full == [512 * count] * 2
    assert times[-1] <= 10 * sorted(times)[len(times) // 2]


def test_ten_thousand_allocations_of_a_byte(tenant: Tenant) -> None:
    one_byte_each(tenant, 10_000)


@pytest.mark.soak
def test_a_million_allocations_of_a_byte(tenant: Tenant) -> None:
    one_byte_each(tenant, 1_000_000)


def test_a_thousand_live_graphs(new_tenant: Callable[..., Tenant]) -> None:
    """Each keeps two MiB; the quota has room for so many, and none of them is lost."""
    tenant = new_tenant(profile="h200", limit_bytes=GIB)
    room = 1000
    program = f"""{PROGRAM}
live, codes = [], []
for i in range(1010):
    graph, address = graphs.allocating(2 << 20)
    executable = graphs.executable(graph)
    live.append((graph, executable, address))
    codes.append(graphs.launch(executable, 0))
    if codes[-1] == 0 and i % 100 == 0: seen.append(vmm.both())
graphs.sync()
full = vmm.both()
for (graph, executable, address), code in zip(live, codes):
    if not code: must("cuMemFreeAsync", address, 0)
    must("cuGraphExecDestroy", executable); must("cuGraphDestroy", graph)
graphs.sync(); graphs.trim()
out(dict(codes=codes, seen=seen, full=full, left=vmm.both()))
"""
    control = tenant.run(program, limited=False)
    assert control["codes"] == [0] * 1010
    tenant.limits.set_memory_limit(0, tenant.context_bytes[0] + room * 2 * MIB)
    got = tenant.run(program)
    assert got["codes"] == [0] * room + [OUT_OF_MEMORY] * (1010 - room)
    assert got["full"] == [room * 2 * MIB] * 2
    assert got["left"] == [0, 0]
    assert all(taken <= charged for charged, taken in got["seen"])
