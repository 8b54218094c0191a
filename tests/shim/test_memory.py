"""Linear, pitched and managed memory: refused at the quota, to the byte, given back in every legal way."""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest
from tenants import GIB, MIB, Tenant

OUT_OF_MEMORY = 2

# (name, further arguments) of functions that take a number of bytes.
ALLOCATORS = [
    pytest.param("cuMemAlloc_v2", "", id="linear"),
    pytest.param("cuMemAllocManaged", ", 1", id="managed"),
    pytest.param("cuMemAllocAsync", ", 0", id="async"),
    pytest.param("cuMemAllocAsync_ptsz", ", 0", id="async-ptsz"),
]


def room(tenant: Tenant) -> int:
    """What is left of the tenant's quota beside one context."""
    return tenant.limits.device(0).memory_limit_bytes - tenant.context_bytes[0]


def test_nothing_happens_without_a_limit(tenant: Tenant) -> None:
    """Preloaded, but no tenant named: the device's own numbers, and nothing charged."""
    program = (
        "start(); before = info(); p, code = fill(64 * MIB, most=40); out([len(p), code, before, info()])"
    )
    plain = tenant.run(program, limited=False)
    preloaded = {**tenant.environ, "GSHARE_TENANT_DIR": ""}
    tenant.environ = preloaded
    assert tenant.run(program) == plain
    assert tenant.usage.device(0).peak_bytes == 0


@pytest.mark.parametrize(("name", "more"), ALLOCATORS)
def test_the_quota_holds(tenant: Tenant, name: str, more: str) -> None:
    program = f"start(); p, code = fill(64 * MIB, '{name}'{more}, most=40); out([len(p), code])"
    assert tenant.run(program, limited=False) == [40, 0], "the control gets more than the quota"
    unlimited_peak = tenant.physical_peak()
    assert unlimited_peak > GIB
    count, code = tenant.run(program)
    assert code == OUT_OF_MEMORY
    assert count == room(tenant) // (64 * MIB)
    assert tenant.usage.device(0).peak_bytes <= GIB


def test_physical_use_never_passes_the_quota(tenant: Tenant) -> None:
    count, code = tenant.run("start(); p, code = fill(10 * MIB); out([len(p), code])")
    assert code == OUT_OF_MEMORY
    assert count > 0
    assert tenant.physical_peak() <= GIB


def test_the_last_byte_is_granted_and_not_one_more(tenant: Tenant) -> None:
    grain = 512
    assert tenant.run(f"start(); out([alloc({room(tenant)})[0], alloc(1)[0]])") == [0, OUT_OF_MEMORY]
    assert tenant.run(f"start(); out(alloc({room(tenant)} - {grain} + 1)[0])") == 0
    assert tenant.run(f"start(); out(alloc({room(tenant)} + 1)[0])") == OUT_OF_MEMORY


def test_what_is_charged_is_what_is_taken(tenant: Tenant) -> None:
    """Equality for the kinds that are known exactly, with odd sizes."""
    program = """
start()
p = [alloc(n)[1] for n in (1, 511, 512, 513, 3 * MIB + 7)]
p += [new("cuMemAllocManaged", 4 * MIB + 1, 1)[1]]
pitch = size()
p += [new("cuMemAllocPitch_v2", ctypes.byref(pitch), 1000, 333, 4)[1]]
out(0); sys.stdin.readline()
for q in p: must("cuMemFree_v2", q)
out(0); sys.stdin.readline()
"""
    with tenant.start(program) as running:
        for _ in range(2):
            assert running.stdout is not None
            assert running.stdin is not None
            assert running.stdout.readline() == "0\n"
            assert tenant.usage.device(0).used_bytes == tenant.devices()[0]["used_bytes"]
            assert tenant.usage.slots(1)[0].devices[0].held_bytes == tenant.usage.device(0).used_bytes
            running.stdin.write("\n")
            running.stdin.flush()
    assert tenant.usage.slots() == ()


FREES = ["cuMemFree_v2(p)", "cuMemFreeAsync(p, 0)", "cuMemFreeAsync_ptsz(p, 0)"]
PAIRS = [
    pytest.param(*allocator.values, free, id=f"{allocator.id} {free}")
    for allocator in ALLOCATORS
    for free in FREES
    if allocator.id != "managed" or "Async" not in free  # managed memory is not freed in stream order
]


@pytest.mark.parametrize(("name", "more", "free"), PAIRS)
def test_every_legal_pair_gives_the_whole_quota_back(tenant: Tenant, name: str, more: str, free: str) -> None:
    call = free.replace("(", "', ").replace("cuMem", "must('cuMem")
    program = f"""
start()
before = info()
for _ in range(5):
    code, p = new('{name}', 700 * MIB{more})
    if code: break
    {call}
    must('cuCtxSynchronize')
out([code, before, info()])
"""
    code, before, after = tenant.run(program)
    assert code == 0
    assert before == after


def test_failures_of_the_driver_are_rolled_back(tenant: Tenant) -> None:
    """Forty refusals by the driver of 100 MiB each leave nothing charged."""
    program = """
start()
before = info()
codes = {new("cuMemAlloc_v2", 100 * MIB)[0] for _ in range(40)}
out([sorted(codes), before, info()])
"""
    codes, before, after = tenant.run(program, SIMGPU_FAULTS="cuMemAlloc_v2:1-40:1")
    assert codes == [1]
    assert before == after


def test_bad_arguments_get_the_drivers_own_answer(tenant: Tenant) -> None:
    program = """
start()
p, pitch = u64(), size()
out([
    call("cuMemAlloc_v2", None, 4096), alloc(0)[0], free(0), free(12345),
    call("cuMemAllocManaged", ctypes.byref(p), 4096, 7),
    call("cuMemAllocPitch_v2", None, ctypes.byref(pitch), 64, 64, 4),
    call("cuMemAllocPitch_v2", ctypes.byref(p), ctypes.byref(pitch), 0, 64, 4),
    call("cuMemAllocPitch_v2", ctypes.byref(p), ctypes.byref(pitch), 64, 64, 3),
    call("cuMemAllocAsync", None, 4096, 0), new("cuMemAllocAsync", 0, 0)[0], call("cuMemFreeAsync", 12345, 0),
])
"""
    assert tenant.run(program) == tenant.run(program, limited=False)


def test_refusals_are_counted(tenant: Tenant) -> None:
    program = "start(); [alloc(2 * GIB) for _ in range(7)]; fill(100 * MIB); out(0); sys.stdin.readline()"
    with tenant.start(program) as running:
        assert running.stdout is not None
        running.stdout.readline()
        assert tenant.usage.slots(1)[0].devices[0].denied == 8
        running.communicate("\n", timeout=60)


@pytest.mark.parametrize("bytes_", [2**64 - 1, 2**64 - 512, 2**64 - 513, 2**63, 2**63 - 1])
def test_absurd_sizes_are_out_of_memory_and_leave_nothing(tenant: Tenant, bytes_: int) -> None:
    program = f"""
start()
before = info()
pitch = size()
codes = [alloc({bytes_})[0], new("cuMemAllocManaged", {bytes_}, 1)[0], new("cuMemAllocAsync", {bytes_}, 0)[0],
         new("cuMemAllocPitch_v2", ctypes.byref(pitch), 1 << 30, 1 << 33, 4)[0]]
out([codes, before == info()])
"""
    assert tenant.run(program) == [[OUT_OF_MEMORY] * 4, True]


def test_pitched_memory_is_charged_by_its_true_pitch(tenant: Tenant) -> None:
    program = """
start()
free_before = info()[0]
pitch = size()
code, p = new("cuMemAllocPitch_v2", ctypes.byref(pitch), 4, 100000, 4)
out([code, pitch.value * 100000, free_before - info()[0]])
"""
    code, taken, charged = tenant.run(program)
    assert code == 0
    assert taken <= charged < taken + 512
    million = "start(); pitch = size(); out(new('cuMemAllocPitch_v2', ctypes.byref(pitch), 4, 10**7, 4)[0])"
    assert tenant.run(million, limited=False) == 0, "the control gets ten million rows"
    assert tenant.run(million) == OUT_OF_MEMORY


def test_threads_race_for_the_last_bytes(tenant: Tenant) -> None:
    program = """
context = start()
counts = [0] * 8
def work(i):
    must("cuCtxSetCurrent", context)
    for round in range(20):
        mine, _ = fill(16 * MIB, most=100)
        counts[i] = max(counts[i], len(mine))
        for p in mine[::2]: must("cuMemFree_v2", p)
        for p in mine[1::2]: must("cuMemFree_v2", p)
before = info()
threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
for t in threads: t.start()
for t in threads: t.join()
out([before, info(), sum(counts)])
"""
    before, after, got = tenant.run(program)
    assert before == after
    assert got > 0
    assert tenant.physical_peak() <= GIB


def test_processes_race_for_the_last_bytes(new_tenant: Callable[..., Tenant]) -> None:
    """All of them together never have more than the quota, by the machine's own books."""
    tenant = new_tenant(limit_bytes=4 * GIB)
    program = """
start()
got = 0
out(0); sys.stdin.readline()
for round in range(30):
    mine, code = fill(100 * MIB, most=100)
    got += len(mine)
    for p in mine: must("cuMemFree_v2", p)
out(got)
"""
    running = [tenant.start(program) for _ in range(4)]
    for process in running:
        assert process.stdout is not None
        assert process.stdin is not None
        process.stdout.readline()
    for process in running:
        process.stdin.write("\n")  # type: ignore[union-attr]
        process.stdin.flush()  # type: ignore[union-attr]
    most = 0
    while any(process.poll() is None for process in running):
        most = max(most, tenant.devices()[0]["used_bytes"])
    got = [int(process.communicate()[0]) for process in running]
    assert all(process.returncode == 0 for process in running)
    assert sum(got) > 30
    assert 0 < most <= 4 * GIB
    assert tenant.usage.device(0).peak_bytes <= 4 * GIB


def test_kill_gives_the_memory_to_the_others_at_once(tenant: Tenant) -> None:
    holder = tenant.start("start(); p, code = fill(MIB, most=300); out(code); sys.stdin.readline()")
    assert holder.stdout is not None
    assert holder.stdout.readline() == "0\n"
    other = tenant.start(
        "start(); out(alloc(400 * MIB)[0]); sys.stdin.readline(); out([alloc(400 * MIB)[0], info()[0]])"
    )
    assert other.stdout is not None
    assert other.stdout.readline() == "2\n", "while the first one lives there is no room"
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    output, errors = other.communicate("\n", timeout=60)
    assert errors == ""
    assert output == f"[0, {room(tenant) - 400 * MIB}]\n"
    holder.communicate()


def test_exit_without_freeing_leaves_nothing(tenant: Tenant) -> None:
    for _ in range(5):
        assert tenant.run("start(); out([info()[0], alloc(600 * MIB)[0]])") == [room(tenant), 0]


def test_a_lowered_limit_takes_nothing_away_and_a_raised_one_gives_more(tenant: Tenant) -> None:
    program = """
start()
p = alloc(300 * MIB)[1]
for _ in range(3):
    out([alloc(200 * MIB)[0], *info()]); sys.stdin.readline()
"""
    context = tenant.context_bytes[0]
    with tenant.start(program) as running:
        assert running.stdout is not None
        assert running.stdin is not None
        for limit in (GIB, 300 * MIB, 2 * GIB):
            tenant.limits.set_memory_limit(0, limit)
            if limit != GIB:
                running.stdin.write("\n")
                running.stdin.flush()
            line = running.stdout.readline()
            used = tenant.usage.device(0).used_bytes
            expected = [OUT_OF_MEMORY if limit == 300 * MIB else 0, max(limit - used, 0), limit]
            assert line == f"{expected}\n"
        running.stdin.write("\n")
        running.stdin.flush()
    assert context > 0


def test_each_device_has_its_own_quota(new_tenant: Callable[..., Tenant]) -> None:
    tenant = new_tenant(profile="l4*2", limit_bytes=[GIB, 2 * GIB])
    program = "start({}); p, code = fill(64 * MIB); out([len(p), code, info()[1]])"
    for order in ("0,1", "1,0"):
        for ordinal, device in enumerate(map(int, order.split(","))):
            limit = (GIB, 2 * GIB)[device]
            count, code, total = tenant.run(program.format(ordinal), CUDA_VISIBLE_DEVICES=order)
            assert (code, total) == (OUT_OF_MEMORY, limit)
            assert count == (limit - tenant.context_bytes[device]) // (64 * MIB)
