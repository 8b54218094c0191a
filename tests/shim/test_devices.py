"""Charges go to the device where memory lives, by whatever number a process knows it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from tenants import GIB, MIB, Tenant

LIMITS = (GIB, 3 * GIB // 4, 3 * GIB // 2)
"""Of an L4, a T4 and an H200, in the order of the bus."""

FASTEST = (2, 0, 1)
"""The same devices in the driver's usual order."""

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
    return new_tenant(profile="l4,t4,h200", limit_bytes=LIMITS)


def uuids(tenant: Tenant) -> list[str]:
    return [device["uuid"] for device in tenant.devices()]


def expected(tenant: Tenant, index: int) -> list[Any]:
    pieces = (LIMITS[index] - tenant.context_bytes[index]) // (50 * MIB)
    return [uuids(tenant)[index], LIMITS[index], pieces, 2]


# What is visible by index, whatever the order; the others name devices by UUID.
INDICES = {
    None: [0, 1, 2],
    "": [],
    "0": [0],
    "2,0,1": [2, 0, 1],
    " 1 , 2 ": [1, 2],
    "1,7,0": [1],
    "0,2,-1,1": [0, 2],
    "0,,1": [0],
    "-1": [],
    "0,0": [],
    "1,2,1": [],
    "NoDevFiles": [],
    "none": [],
    "18446744073709551616": [],
}
UUIDS = {
    "{2}": [2],
    "{1},{0}": [1, 0],
    "{2},{0},{1}": [2, 0, 1],
    "{1:.12},{2:.12}": [1, 2],
    "{0:.8}": [0],
    "{0},{0}": [],
    "{0},{0:.12}": [],
    "{1},GPU-00000000,{2}": [1],
    "GPU-": [],
    "{0}0": [],
    "MIG-{1}": [],
    "MIG-{1}/1/0": [],
    "{2},MIG-{1}/1/0,{0}": [2],
}
VISIBLE = [
    *((visible, order, indices) for visible, indices in INDICES.items() for order in ("PCI_BUS_ID", None)),
    *((visible, order, indices) for visible, indices in UUIDS.items() for order in ("PCI_BUS_ID", None)),
    ("0,1", "FASTEST_FIRST", [0, 1]),
    ("0", "no such order", [0]),
]


def in_order(visible: str | None, order: str | None, indices: list[int]) -> list[int]:
    """The devices, in the order of the bus, that a value of CUDA_VISIBLE_DEVICES means."""
    by_index = visible in INDICES or order not in ("PCI_BUS_ID", None)
    return [FASTEST[index] for index in indices] if by_index and order != "PCI_BUS_ID" else indices


def test_every_form_of_visible_devices_has_the_quotas(three: Tenant) -> None:
    """Chosen by the program itself: what counts is the environment at cuInit."""
    forms = [(visible and visible.format(*uuids(three)), order) for visible, order, _ in VISIBLE]
    assert len(set(uuid[:8] for uuid in uuids(three))) == 3, "beginnings of eight characters are enough"
    program = f"""
for values in {forms}:
    if os.fork():
        assert os.wait()[1] == 0
        continue
    for name, value in zip(("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"), values):
        os.environ.pop(name, None) if value is None else os.environ.update({{name: value}})
    code = call("cuInit", 0)
    out([code, [uuid_of(ordinal) for ordinal in devices()] if LOOK else take()])
    os._exit(0)
"""
    look, take = (
        [json.loads(line) for line in lines(three, LOOK + f"LOOK = {only}" + program, limited=not only)]
        for only in (True, False)
    )
    for i, (visible, order, indices) in enumerate(VISIBLE):
        devices = in_order(visible, order, indices)
        assert look[i] == [0 if devices else 100, [uuids(three)[index] for index in devices]], VISIBLE[i]
        assert take[i] == [look[i][0], [expected(three, index) for index in devices]], VISIBLE[i]


def lines(tenant: Tenant, program: str, *, limited: bool) -> list[str]:
    with tenant.start(program, limited=limited) as running:
        output, errors = running.communicate(timeout=60)
    assert (running.returncode, errors) == (0, "")
    return output.splitlines()


@pytest.mark.parametrize(
    ("visible", "order", "indices"), [("2,0,1", "PCI_BUS_ID", [2, 0, 1]), ("1,0", "FASTEST_FIRST", [0, 2])]
)
def test_each_device_is_charged_what_it_gave(
    three: Tenant, visible: str, order: str, indices: list[int]
) -> None:
    variables = {"CUDA_VISIBLE_DEVICES": visible, "CUDA_DEVICE_ORDER": order}
    program = LOOK + "call('cuInit', 0); out(take()); sys.stdin.readline()"
    with three.start(program, **variables) as running:
        assert running.stdout is not None
        line = running.stdout.readline()
        for index, device in enumerate(three.devices()):
            charged = three.usage.device(index).used_bytes
            assert charged == device["used_bytes"]
            assert (charged > 0) == (index in indices)
        running.communicate("\n", timeout=60)

    assert json.loads(line) == [expected(three, index) for index in indices]


@pytest.mark.parametrize("first", ["nvml", "cuda"])
@pytest.mark.parametrize(
    ("visible", "order", "indices"), [("2,1", "PCI_BUS_ID", [2, 1]), ("0,1", "FASTEST_FIRST", [2, 0])]
)
def test_nvml_and_cuda_may_number_devices_differently(
    three: Tenant, first: str, visible: str, order: str, indices: list[int]
) -> None:
    look, begin = "views = nvml_totals()\n", "call('cuInit', 0); taken = take()\n"
    program = (
        LOOK + (look + begin if first == "nvml" else begin + look) + "out([views, nvml_totals(), taken])"
    )
    views, again, taken = three.run(program, CUDA_VISIBLE_DEVICES=visible, CUDA_DEVICE_ORDER=order)
    assert views == again == dict(zip(uuids(three), LIMITS, strict=True))
    assert taken == [expected(three, index) for index in indices]


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


@pytest.mark.parametrize("get", ["cuDeviceGetDefaultMemPool", "cuDeviceGetMemPool"])
def test_a_devices_own_pool_is_charged_there_wherever_the_program_is(three: Tenant, get: str) -> None:
    program = f"""
must("cuInit", 0)
context = [start(ordinal) for ordinal in range(2)][0]
must("cuCtxSetCurrent", context)
code, pointer = new("cuMemAllocFromPoolAsync", 64 * MIB, new("{get}", 1)[1], 0)
out(code); sys.stdin.readline()
must("cuMemFreeAsync", pointer, 0); must("cuCtxSynchronize")
out(new("cuMemAllocFromPoolAsync", 16 << 30, new("{get}", 1)[1], 0)[0]); sys.stdin.readline()
"""
    with three.start(program, CUDA_DEVICE_ORDER="PCI_BUS_ID") as running:
        assert running.stdout is not None
        assert running.stdin is not None
        for code, bytes_ in ((0, 64 * MIB), (2, 0)):
            assert running.stdout.readline() == f"{code}\n"
            for index, device in enumerate(three.devices()[:2]):
                charged = three.usage.device(index).used_bytes
                assert charged == device["used_bytes"] == three.context_bytes[index] + bytes_ * index
            running.stdin.write("\n")
            running.stdin.flush()
    assert running.returncode == 0
