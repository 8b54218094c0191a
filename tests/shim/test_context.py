"""What contexts take counts, and ends with them."""

from __future__ import annotations

import pytest
from tenants import GIB, MIB, Tenant

OUT_OF_MEMORY = 2


def test_nothing_is_charged_without_a_context(tenant: Tenant) -> None:
    with tenant.start("must('cuInit', 0); out(total()); sys.stdin.readline()") as program:
        assert program.stdout is not None
        assert program.stdout.readline() == f"{GIB}\n"
        assert tenant.usage.device(0).used_bytes == 0
        program.communicate("\n", timeout=60)


def test_the_primary_context_is_charged_once_and_released_with_its_last_user(tenant: Tenant) -> None:
    program = """
def used(): return total() - info()[0]
context = start(); seen = [used()]
for _ in range(3): new("cuDevicePrimaryCtxRetain", 0)
seen.append(used())
for _ in range(3): must("cuDevicePrimaryCtxRelease_v2", 0)
seen.append(used())
out(seen); sys.stdin.readline()
must("cuDevicePrimaryCtxRelease_v2", 0)
out(0); sys.stdin.readline()
"""
    with tenant.start(program) as running:
        assert running.stdout is not None
        assert running.stdin is not None
        assert running.stdout.readline() == f"{[tenant.context_bytes[0]] * 3}\n"
        assert tenant.usage.device(0).used_bytes == tenant.devices()[0]["used_bytes"]
        running.stdin.write("\n")
        running.stdin.flush()
        running.stdout.readline()
        assert tenant.usage.device(0).used_bytes == tenant.devices()[0]["used_bytes"] == 0
        running.communicate("\n", timeout=60)


def test_no_context_beyond_the_quota(tenant: Tenant) -> None:
    tenant.limits.set_memory_limit(0, tenant.context_bytes[0] - 1)
    program = """
must("cuInit", 0)
out([new("cuDevicePrimaryCtxRetain", 0)[0], new("cuCtxCreate_v2", 0, 0)[0]])
"""
    assert tenant.run(program, limited=False) == [0, 0]
    assert tenant.run(program) == [OUT_OF_MEMORY, OUT_OF_MEMORY]
    tenant.limits.set_memory_limit(0, tenant.context_bytes[0])
    assert tenant.run(program) == [0, OUT_OF_MEMORY]


CREATE = [
    pytest.param("new('cuCtxCreate_v2', 0, 0)", id="v2"),
    pytest.param("new('cuCtxCreate_v3', None, 0, 0, 0)", id="v3"),
    pytest.param("new('cuCtxCreate_v4', None, 0, 0)", id="v4"),
]


@pytest.mark.parametrize("create", CREATE)
def test_every_context_counts_until_it_is_destroyed(tenant: Tenant, create: str) -> None:
    program = f"""
must("cuInit", 0)
contexts = []
while len(contexts) < 10:
    code, context = {create}
    if code: break
    contexts.append(context)
for context in contexts: must("cuCtxDestroy_v2", context)
again = 0
for _ in range(10):
    code, context = {create}
    again = again or code
    must("cuCtxDestroy_v2", context)
out([len(contexts), code, again])
"""
    count, *codes = tenant.run(program)
    assert count == GIB // tenant.context_bytes[0]
    assert codes == [0, 0]
    assert tenant.physical_peak() <= GIB
    assert tenant.run(program, limited=False)[0] == 10


ENDS = [
    pytest.param("_, c = new('cuCtxCreate_v2', 0, 0)", "must('cuCtxDestroy_v2', c)", id="destroy"),
    pytest.param("start()", "must('cuDevicePrimaryCtxRelease_v2', 0)", id="release"),
    pytest.param(
        "start()",
        "must('cuDevicePrimaryCtxReset_v2', 0); call('cuDevicePrimaryCtxRelease_v2', 0)",
        id="reset",
    ),
]


@pytest.mark.parametrize(("begin", "end"), ENDS)
def test_what_was_allocated_in_a_context_goes_with_it(tenant: Tenant, begin: str, end: str) -> None:
    program = f"""
must("cuInit", 0)
codes = []
for _ in range(5):
    {begin}
    pointers, code = fill(100 * MIB)
    codes.append([len(pointers), code])
    {end}
out(codes); sys.stdin.readline()
"""
    with tenant.start(program) as running:
        assert running.stdout is not None
        pieces = (GIB - tenant.context_bytes[0]) // (100 * MIB)
        assert running.stdout.readline() == f"{[[pieces, OUT_OF_MEMORY]] * 5}\n"
        assert tenant.usage.device(0).used_bytes == tenant.devices()[0]["used_bytes"] == 0
        running.communicate("\n", timeout=60)


def test_a_failed_creation_is_rolled_back(tenant: Tenant) -> None:
    program = """
must("cuInit", 0)
codes = [new("cuCtxCreate_v2", 0, 0)[0] for _ in range(20)]
codes += [new("cuDevicePrimaryCtxRetain", 0)[0] for _ in range(20)]
start()
out([sorted(set(codes)), total() - info()[0]])
"""
    faults = "cuCtxCreate_v2:1-20:999,cuDevicePrimaryCtxRetain:1-20:999"
    assert tenant.run(program, SIMGPU_FAULTS=faults) == [[999], tenant.context_bytes[0]]


def test_bad_arguments_get_the_drivers_own_answer(tenant: Tenant) -> None:
    program = """
must("cuInit", 0)
out([call("cuCtxCreate_v2", None, 0, 0), new("cuCtxCreate_v2", 0, 99)[0], call("cuCtxDestroy_v2", None),
     call("cuDevicePrimaryCtxRetain", None, 0), new("cuDevicePrimaryCtxRetain", 99)[0],
     call("cuDevicePrimaryCtxRelease_v2", 99)])
"""
    assert tenant.run(program) == tenant.run(program, limited=False)


def test_a_device_that_is_not_granted_cannot_be_used(tenant: Tenant) -> None:
    tenant.limits.set_memory_limit(0, 0)
    program = "must('cuInit', 0); out([new('cuDevicePrimaryCtxRetain', 0)[0], total()])"
    assert tenant.run(program) == [OUT_OF_MEMORY, 0]


def test_threads_that_create_contexts_stay_within_the_quota(tenant: Tenant) -> None:
    program = """
must("cuInit", 0)
def work():
    for _ in range(10):
        code, context = new("cuCtxCreate_v2", 0, 0)
        if code == 0:
            fill(50 * MIB, most=2)
            must("cuCtxDestroy_v2", context)
threads = [threading.Thread(target=work) for _ in range(6)]
for t in threads: t.start()
for t in threads: t.join()
out(0); sys.stdin.readline()
"""
    with tenant.start(program) as running:
        assert running.stdout is not None
        running.stdout.readline()
        assert tenant.usage.device(0).used_bytes == 0
        running.communicate("\n", timeout=60)
    assert 0 < tenant.physical_peak() <= GIB
