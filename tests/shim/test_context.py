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


def test_a_context_attached_to_goes_with_its_last_user(tenant: Tenant) -> None:
    program = """
must("cuInit", 0)
context = new("cuCtxCreate_v2", 0, 0)[1]
def used(): return total() - info()[0]
must("cuCtxAttach", ctypes.byref(u64()), 0)
alloc(MIB)
seen = [used()]
must("cuCtxDetach", context); seen.append(used())
must("cuCtxDetach", context)
out(seen); sys.stdin.readline()
"""
    with tenant.start(program) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == f"{[tenant.context_bytes[0] + MIB] * 2}\n"
        assert tenant.usage.device(0).used_bytes == tenant.devices()[0]["used_bytes"] == 0
        running.communicate("\n", timeout=60)


GREEN = """
must("cuInit", 0)
class Resource(ctypes.Structure):
    _fields_ = [("type", ctypes.c_int), ("_padding", ctypes.c_ubyte * 92), ("rest", ctypes.c_ubyte * 48)]
def green():
    resource, description = Resource(), u64()
    must("cuDeviceGetDevResource", 0, ctypes.byref(resource), 1)
    must("cuDevResourceGenerateDesc", ctypes.byref(description), ctypes.byref(resource), 1)
    return new("cuGreenCtxCreate", description, 0, 1)
def use(green):
    must("cuCtxSetCurrent", new("cuCtxFromGreenCtx", green)[1])
"""


def test_a_green_context_brings_the_primary_one_with_it(tenant: Tenant) -> None:
    program = (
        GREEN
        + """
code, a = green(); out(code); sys.stdin.readline()
code, b = green(); start(); out(code); sys.stdin.readline()
must("cuGreenCtxDestroy", a); must("cuDevicePrimaryCtxRelease_v2", 0); out(0); sys.stdin.readline()
must("cuGreenCtxDestroy", b); out(0); sys.stdin.readline()
"""
    )
    expected = [tenant.context_bytes[0]] * 3 + [0]
    with tenant.start(program) as running:
        assert running.stdout is not None
        assert running.stdin is not None
        for bytes_ in expected:
            assert running.stdout.readline() == "0\n"
            assert tenant.usage.device(0).used_bytes == tenant.devices()[0]["used_bytes"] == bytes_
            running.stdin.write("\n")
            running.stdin.flush()
    assert running.returncode == 0
    tenant.limits.set_memory_limit(0, tenant.context_bytes[0] - 1)
    assert tenant.run(GREEN + "out([green()[0], green()[0]])") == [OUT_OF_MEMORY, OUT_OF_MEMORY]
    assert tenant.run(GREEN + "out(green()[0])", limited=False) == 0


def test_a_failed_green_context_is_rolled_back(tenant: Tenant) -> None:
    program = GREEN + "codes = [green()[0] for _ in range(5)]; out(codes); sys.stdin.readline()"
    with tenant.start(program, SIMGPU_FAULTS="cuGreenCtxCreate:1-5:999") as running:
        assert running.stdout is not None
        assert running.stdout.readline() == f"{[999] * 5}\n"
        assert tenant.usage.device(0).used_bytes == 0
        running.communicate("\n", timeout=60)


@pytest.mark.parametrize(
    ("end", "left"),
    [
        pytest.param("must('cuGreenCtxDestroy', g)", 101 * MIB, id="destroy"),
        pytest.param("must('cuDevicePrimaryCtxReset_v2', 0)", 0, id="reset"),
        pytest.param(
            "must('cuGreenCtxDestroy', g); must('cuDevicePrimaryCtxRelease_v2', 0)", 0, id="release"
        ),
    ],
)
def test_memory_of_a_green_context_is_the_primary_ones(tenant: Tenant, end: str, left: int) -> None:
    program = f"""
start(); alloc(MIB)
_, g = green(); use(g)
fill(10 * MIB, most=10)
{end}
out(0); sys.stdin.readline()
must("cuDevicePrimaryCtxReset_v2", 0)
for _ in range(3):
    _, c = new("cuCtxCreate_v2", 0, 0); must("cuCtxDestroy_v2", c)
out(0); sys.stdin.readline()
"""
    with tenant.start(GREEN + program) as running:
        assert running.stdout is not None
        assert running.stdin is not None
        for bytes_ in [left + tenant.context_bytes[0] if left else 0, 0]:
            assert running.stdout.readline() == "0\n"
            assert tenant.usage.device(0).used_bytes == tenant.devices()[0]["used_bytes"] == bytes_
            running.stdin.write("\n")
            running.stdin.flush()
    assert running.returncode == 0


def test_a_wrong_green_context_gets_the_drivers_own_answer(tenant: Tenant) -> None:
    program = GREEN + "out([call('cuGreenCtxDestroy', None), call('cuGreenCtxCreate', None, None, 0, 1)])"
    assert tenant.run(program) == tenant.run(program, limited=False)


HEAP, STACK = 2, 0


def test_a_larger_heap_counts_as_long_as_it_is(tenant: Tenant) -> None:
    program = f"""
def grow(bytes_): return call("cuCtxSetLimit", {HEAP}, bytes_)
context = start()
for bytes_ in (8 * MIB, 100 * MIB, 99 * MIB + 1, 300 * MIB, 1 * MIB, 500 * MIB):
    out(grow(bytes_)); sys.stdin.readline()
must("cuCtxDestroy_v2", new("cuCtxCreate_v2", 0, 0)[1]); must("cuCtxSetCurrent", context)
out(grow(2 * GIB)); sys.stdin.readline()
must("cuDevicePrimaryCtxReset_v2", 0)
out(0); sys.stdin.readline()
"""
    context = tenant.context_bytes[0]
    tenant.limits.set_memory_limit(0, 2 * context + 492 * MIB)
    expected = [context + more * MIB for more in (0, 92, 92, 292, 0, 492, 492)] + [0]
    with tenant.start(program) as running:
        assert running.stdout is not None
        assert running.stdin is not None
        for number, bytes_ in enumerate(expected):
            assert running.stdout.readline() == ("2\n" if number == 6 else "0\n")
            assert tenant.usage.device(0).used_bytes == tenant.devices()[0]["used_bytes"] == bytes_
            running.stdin.write("\n")
            running.stdin.flush()
    assert running.returncode == 0
    assert tenant.run(f"start(); out(call('cuCtxSetLimit', {HEAP}, 2 * GIB))", limited=False) == 0


def test_a_heap_is_refused_at_the_right_byte(tenant: Tenant) -> None:
    program = f"start(); out([call('cuCtxSetLimit', {HEAP}, 64 * MIB), total() - info()[0]])"
    tenant.limits.set_memory_limit(0, tenant.context_bytes[0] + 56 * MIB - 1)
    assert tenant.run(program) == [OUT_OF_MEMORY, tenant.context_bytes[0]]
    tenant.limits.set_memory_limit(0, tenant.context_bytes[0] + 56 * MIB)
    assert tenant.run(program) == [0, tenant.context_bytes[0] + 56 * MIB]


def test_a_stack_counts_for_every_thread_that_can_be_resident(tenant: Tenant) -> None:
    """An L4 has 58 processors of 1,536 threads."""
    program = f"start(); codes = [call('cuCtxSetLimit', {STACK}, n << 10) for n in (1, 5, 64, 4)]"
    codes, used = tenant.run(program + "; out([codes, total() - info()[0]])")
    stacks = 3 * 1024 * 58 * 1536
    assert codes == [0, 0, OUT_OF_MEMORY, 0]
    assert used == tenant.context_bytes[0] + -(-stacks // (2 * MIB)) * 2 * MIB


def test_a_failed_limit_is_rolled_back_and_a_wrong_one_the_drivers_to_answer(tenant: Tenant) -> None:
    program = f"""
start()
codes = [call("cuCtxSetLimit", {HEAP}, 100 * MIB) for _ in range(5)]
out([codes, call("cuCtxSetLimit", 99, 1), total() - info()[0]])
"""
    codes, wrong, used = tenant.run(program, SIMGPU_FAULTS="cuCtxSetLimit:1-3:999")
    assert codes == [999] * 3 + [0] * 2
    assert used == tenant.context_bytes[0] + 92 * MIB
    early = (
        f"must('cuInit', 0); out([call('cuCtxSetLimit', {HEAP}, 100 * MIB), call('cuCtxSetLimit', 99, 1)])"
    )
    assert tenant.run(early) == tenant.run(early, limited=False)
    assert tenant.run(program, limited=False)[1] == wrong


@pytest.mark.parametrize(
    ("begin", "end"),
    [
        ("start()", "must('cuDevicePrimaryCtxRelease_v2', 0)"),
        ("start()", "must('cuDevicePrimaryCtxReset_v2', 0)"),
        ("must('cuInit', 0); context = new('cuCtxCreate_v2', 0, 0)[1]", "must('cuCtxDestroy_v2', context)"),
    ],
)
def test_what_was_freed_in_stream_order_ends_with_its_context(tenant: Tenant, begin: str, end: str) -> None:
    """Though nobody waits for that stream, nor asks for memory, ever again."""
    program = f"""
{begin}
must("cuMemFreeAsync", alloc(8 * MIB)[1], new("cuStreamCreate", 1)[1])
{end}
out(0); sys.stdin.readline()
"""
    with tenant.start(program) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "0\n"
        assert tenant.usage.device(0).used_bytes == tenant.devices()[0]["used_bytes"] == 0
        running.communicate("\n", timeout=60)
