"""Charges go to the device where memory lives, by whatever number a process knows it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from tenants import GIB, MIB, Tenant

LIMITS = (3 * GIB // 2, GIB, 3 * GIB // 4)
"""Of an H200, an L4 and a T4, in the order of the bus."""

LOOK = """
import uuid
def uuid_of(ordinal):
    own = (ctypes.c_ubyte * 16)(); must("cuDeviceGetUuid_v2", own, ordinal); return "GPU-" + str(uuid.UUID(bytes=bytes(own)))
def devices():
    count = ctypes.c_int(); code = call("cuDeviceGetCount", ctypes.byref(count)); return range(0 if code else count.value)
def nvml_totals():
    import pynvml
    pynvml.nvmlInit()
    handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
    return {pynvml.nvmlDeviceGetUUID(h): pynvml.nvmlDeviceGetMemoryInfo(h).total for h in handles}
def take():
    taken = []
    for ordinal in devices():
        start(ordinal); pieces, code = fill(50 * MIB)
        taken.append([uuid_of(ordinal), total(ordinal), len(pieces), code])
    return taken
"""  # noqa: E501


@pytest.fixture
def three(new_tenant: Callable[..., Tenant]) -> Tenant:
    return new_tenant(profile="h200,l4,t4", limit_bytes=LIMITS)


def uuids(tenant: Tenant) -> list[str]:
    return [device["uuid"] for device in tenant.devices()]


def expected(tenant: Tenant, index: int) -> list[Any]:
    pieces = (LIMITS[index] - tenant.context_bytes[index]) // (50 * MIB)
    return [uuids(tenant)[index], LIMITS[index], pieces, 2]


VISIBLE = [
    pytest.param("", "FASTEST_FIRST", [], id="none"),
    pytest.param("0", "PCI_BUS_ID", [0], id="index"),
    pytest.param("2,0,1", "PCI_BUS_ID", [2, 0, 1], id="reordered"),
    pytest.param("1,0", "FASTEST_FIRST", None, id="fastest first"),
    pytest.param("{2}", "PCI_BUS_ID", [2], id="uuid"),
    pytest.param("{1},{0}", "FASTEST_FIRST", [1, 0], id="uuids"),
    pytest.param("{1:.12},{2:.12}", "PCI_BUS_ID", [1, 2], id="uuids shortened"),
    pytest.param("1,7,0", "PCI_BUS_ID", [1], id="no such index"),
    pytest.param("MIG-{1}", "PCI_BUS_ID", [], id="mig"),
]


@pytest.mark.parametrize(("visible", "order", "indices"), VISIBLE)
def test_each_device_has_its_quota(
    three: Tenant, visible: str, order: str, indices: list[int] | None
) -> None:
    variables = {"CUDA_VISIBLE_DEVICES": visible.format(*uuids(three)), "CUDA_DEVICE_ORDER": order}
    seen = LOOK + "call('cuInit', 0); out([uuid_of(ordinal) for ordinal in devices()])"
    order_of = [uuids(three).index(uuid) for uuid in three.run(seen, limited=False, **variables)]
    assert indices in (None, order_of)
    assert len(order_of) == visible.count(",") + 1 or "7" in visible or not order_of

    program = LOOK + "call('cuInit', 0); out(take()); sys.stdin.readline()"
    with three.start(program, **variables) as running:
        assert running.stdout is not None
        line = running.stdout.readline()
        for index, device in enumerate(three.devices()):
            charged = three.usage.device(index).used_bytes
            assert charged == device["used_bytes"]
            assert (charged > 0) == (index in order_of)
        running.communicate("\n", timeout=60)

    assert json.loads(line) == [expected(three, index) for index in order_of]


@pytest.mark.parametrize("first", ["nvml", "cuda"])
def test_nvml_and_cuda_may_number_devices_differently(three: Tenant, first: str) -> None:
    look, begin = "views = nvml_totals()\n", "call('cuInit', 0); taken = take()\n"
    program = (
        LOOK + (look + begin if first == "nvml" else begin + look) + "out([views, nvml_totals(), taken])"
    )
    views, again, taken = three.run(program, CUDA_VISIBLE_DEVICES="2,1", CUDA_DEVICE_ORDER="PCI_BUS_ID")
    assert views == again == dict(zip(uuids(three), LIMITS, strict=True))
    assert taken == [expected(three, 2), expected(three, 1)]


def test_memory_is_charged_where_it_lives_not_where_the_program_is(three: Tenant) -> None:
    """Contexts of several devices are current in turn, and memory is freed while another one is."""
    program = """
must("cuInit", 0)
contexts = [start(ordinal) for ordinal in range(3)]
pointers = []
for ordinal in (0, 1, 2, 1):
    must("cuCtxSetCurrent", contexts[ordinal])
    pointers.append(alloc((ordinal + 1) * 64 * MIB)[1])
out(0); sys.stdin.readline()
must("cuCtxSetCurrent", contexts[0])
for pointer in pointers: must("cuMemFree_v2", pointer)
out(0); sys.stdin.readline()
"""
    with three.start(program, CUDA_DEVICE_ORDER="PCI_BUS_ID") as running:
        assert running.stdout is not None
        assert running.stdin is not None
        for pieces in ([1, 4, 3], [0, 0, 0]):
            running.stdout.readline()
            for index, device in enumerate(three.devices()):
                charged = three.usage.device(index).used_bytes
                assert (
                    charged == device["used_bytes"] == three.context_bytes[index] + pieces[index] * 64 * MIB
                )
            running.stdin.write("\n")
            running.stdin.flush()
    assert running.returncode == 0
