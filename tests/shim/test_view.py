"""A quota looks like a smaller GPU to everybody who asks."""

from __future__ import annotations

import json

import pytest
from tenants import GIB, MIB, Tenant

NVML = """
import pynvml
pynvml.nvmlInit()
handle = pynvml.nvmlDeviceGetHandleByIndex(0)
def nvml(*version):
    m = pynvml.nvmlDeviceGetMemoryInfo(handle, *version)
    return [m.total, m.used, m.free]
"""


def test_without_a_limit_the_device_shows_itself(tenant: Tenant) -> None:
    program = NVML + "start(); out([info(), total(), nvml()])"
    real = tenant.run(program, limited=False)
    assert real[1] == tenant.devices()[0]["memory_bytes"]
    tenant.environ["GSHARE_TENANT_DIR"] = ""
    assert tenant.run(program) == real


def test_a_tenant_without_a_memory_limit_sees_the_device(tenant: Tenant) -> None:
    from gshare.shim import abi

    tenant.limits.set_memory_limit(0, abi.NO_LIMIT_BYTES)
    program = NVML + "start(); out([info(), total(), nvml()[0]])"
    assert tenant.run(program) == tenant.run(program, limited=False)


def test_all_views_agree(tenant: Tenant) -> None:
    program = NVML + "start(); alloc(100 * MIB); out([info(), total(), nvml(), nvml(pynvml.nvmlMemory_v2)])"
    (free, shown), total, nvml, nvml_v2 = tenant.run(program)
    used = tenant.context_bytes[0] + 100 * MIB
    assert (total, shown, free) == (GIB, GIB, GIB - used)
    assert nvml == nvml_v2 == [GIB, used, GIB - used]


@pytest.mark.parametrize("first", ["start(); ", ""])
def test_nvml_first_or_cuda_first(tenant: Tenant, first: str) -> None:
    total, used, free = tenant.run(first + NVML + "start(); out(nvml())")
    assert (total, used, free) == (GIB, tenant.context_bytes[0], GIB - tenant.context_bytes[0])


def test_a_monitor_sees_the_tenants_use_and_claims_no_slot(tenant: Tenant) -> None:
    with tenant.start("start(); alloc(64 * MIB); out(0); sys.stdin.readline()") as worker:
        assert worker.stdout is not None
        worker.stdout.readline()
        with tenant.start(NVML + "out(nvml()); sys.stdin.readline()") as monitor:
            assert monitor.stdout is not None
            used = tenant.context_bytes[0] + 64 * MIB
            assert monitor.stdout.readline() == f"{[GIB, used, GIB - used]}\n"
            assert [slot.pid for slot in tenant.usage.slots()] == [worker.pid]
            worker.kill()
            worker.wait()
            monitor.communicate("\n", timeout=60)
    assert tenant.run(NVML + "out(nvml())") == [GIB, 0, GIB], "what the dead one held is nobody's"


def test_above_a_lowered_limit_nothing_is_free_and_nothing_fails(tenant: Tenant) -> None:
    program = NVML + "start(); alloc(500 * MIB); out(0); sys.stdin.readline(); out([info(), total(), nvml()])"
    with tenant.start(program) as running:
        assert running.stdout is not None
        running.stdout.readline()
        tenant.limits.set_memory_limit(0, 100 * MIB)
        output, errors = running.communicate("\n", timeout=60)
    used = tenant.context_bytes[0] + 500 * MIB
    assert errors == ""
    assert output == f"{[[0, 100 * MIB], 100 * MIB, [100 * MIB, used, 0]]}\n"


def test_never_more_free_than_the_device_has(tenant: Tenant) -> None:
    """Somebody outside the tenant fills the device."""
    everything = tenant.devices()[0]["memory_bytes"] - tenant.context_bytes[0] - 300 * MIB
    with tenant.start(f"start(); out(alloc({everything})[0]); sys.stdin.readline()", limited=False) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "0\n"
        free, shown = tenant.run("start(); out(info())")
        assert shown == GIB
        assert free == 300 * MIB - tenant.context_bytes[0]
        other.communicate("\n", timeout=60)


def test_null_arguments_get_the_drivers_own_answer(tenant: Tenant) -> None:
    program = """
start(); a = size()
out([call("cuMemGetInfo_v2", None, None), call("cuMemGetInfo_v2", ctypes.byref(a), None),
     call("cuDeviceTotalMem_v2", None, 0), call("cuDeviceTotalMem_v2", ctypes.byref(a), 99)])
"""
    assert tenant.run(program) == tenant.run(program, limited=False)


POOLS = """
import graph_calls as g
start()
stream, pool = g.stream(), new("cuDeviceGetDefaultMemPool", 0)[1]
keep = u64(1 << 40)
must("cuMemPoolSetAttribute", pool, 4, ctypes.byref(keep))

def told():
    reserved = u64()
    must("cuMemPoolGetAttribute", pool, 5, ctypes.byref(reserved))
    out([reserved.value, g.of_graphs(g.RESERVED)])
    sys.stdin.readline()

told()
pointers = [new("cuMemAllocAsync", n * MIB + 1, u64(stream))[1] for n in (1, 10, 40)]
told()
for pointer in pointers:
    must("cuMemFreeAsync", pointer, u64(stream))
must("cuStreamSynchronize", u64(stream))
told()
must("cuMemPoolTrimTo", pool, 0)
told()
executable = g.passing(30 * MIB)
g.launch(executable, stream)
must("cuStreamSynchronize", u64(stream))
told()
must("cuDeviceGraphMemTrim", 0)
told()
"""


def test_pools_and_graphs_say_what_is_charged(tenant: Tenant) -> None:
    seen = []
    with tenant.start(POOLS) as program:
        assert program.stdin is not None
        assert program.stdout is not None
        for line in program.stdout:
            charged = tenant.usage.slots()[0].devices[0].charged_bytes
            assert json.loads(line) == [charged["pool"], charged["graph"]]
            seen.append(json.loads(line))
            print(file=program.stdin, flush=True)
    pools, graphs = zip(*seen, strict=True)
    assert pools[0] == pools[3] == pools[5] == 0 < 51 * MIB < pools[1] == pools[2]
    assert graphs[:4] == (0, 0, 0, 0)
    assert graphs[4] >= 30 * MIB > graphs[5] == 0


def test_pointers_are_described_as_without_a_limit(tenant: Tenant) -> None:
    """Type, device, managed or not, range, pool: nobody's quota is in these."""
    program = """
start()
stream = new("cuStreamCreate", 0)[1]
made = [alloc(5 * MIB + 1), new("cuMemAllocManaged", 3 * MIB, ctypes.c_uint(1)),
        new("cuMemAllocAsync", 7 * MIB, u64(stream)), new("cuMemAllocHost_v2", 4096)]
assert all(code == 0 for code, _ in made), made
answers = []
for _, pointer in made:
    one = []
    for attribute in (2, 8, 9, 12, 13, 15):
        value = u64()
        one.append([call("cuPointerGetAttribute", ctypes.byref(value), attribute, pointer + 1), value.value])
    start_of, length = u64(), size()
    code = call("cuMemGetAddressRange_v2", ctypes.byref(start_of), ctypes.byref(length), pointer + 1)
    answers.append([one, code, start_of.value == pointer, length.value])
out(answers)
"""
    assert tenant.run(program) == tenant.run(program, limited=False)
