"""A quota looks like a smaller GPU to everybody who asks."""

from __future__ import annotations

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
