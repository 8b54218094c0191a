"""Sizes that nobody means: each answer is the driver's own or the quota's, and nothing is left of any."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tenants import GIB, MIB, Tenant

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
