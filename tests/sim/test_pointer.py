"""What the driver says about addresses, of every kind of memory and of none."""

from __future__ import annotations

import pytest
from simulated import Machine

MIB = 1 << 20

HELP = """
import ctypes
start(); lane = stream()
def ask(attribute, address):
    value = u64(); return call("cuPointerGetAttribute", ctypes.byref(value), attribute, address), value.value
def host():
    at = u64(); must("cuMemHostAlloc", ctypes.byref(at), 4096, 0); return at.value
def mapped():
    handle = physical(2 * MIB)[1]; at = new("cuMemAddressReserve", 2 * MIB, 0, 0, 0)[1]
    must("cuMemMap", at, 2 * MIB, 0, handle, 0); open_access(at, 2 * MIB); return at
kinds = {
    "linear": alloc(5000)[1], "managed": new("cuMemAllocManaged", 5000, 1)[1],
    "pool": new("cuMemAllocAsync", 5000, lane)[1], "vmm": mapped(), "host": host(),
}
"""


def test_attributes_of_each_kind(machine: Machine) -> None:
    """Memory type, host pointer, managed, IPC capable, mapped, access."""
    code = "out({kind: [ask(a, at + 8) for a in (2, 4, 8, 10, 13, 16)] + [at] for kind, at in kinds.items()})"
    answers = machine.run(HELP + code)
    expected = {
        "linear": [2, None, 0, 1, 1, 3],
        "managed": [2, 8, 1, 0, 1, 3],
        "pool": [2, None, 0, 0, 1, 3],
        "vmm": [2, None, 0, 0, 1, 3],
        "host": [1, 8, 0, 0, 1, 3],
    }
    for kind, (*found, at) in answers.items():
        wanted = [
            [0, v + at if i == 1 and v else v] if v is not None else [1, 0]
            for i, v in enumerate(expected[kind])
        ]
        assert found == wanted, kind


def test_ranges_ids_and_handle_types(machine: Machine) -> None:
    code = """
at = kinds["linear"]; other = alloc(512)[1]; pool = new("cuDeviceGetDefaultMemPool", 0)[1]
found = [ask(11, at + 99) == (0, at), ask(12, at + 99)[1], ask(7, at) == ask(7, at + 99)]
found += [ask(7, at) != ask(7, other)]
found += [ask(17, kinds["pool"]) == (0, pool), ask(17, at)[1], ask(9, at)[0], ask(14, kinds["vmm"])[1]]
found += [ask(1, kinds["pool"])[0], ask(1, kinds["vmm"])[0], ask(1, at)[0], ask(5, at)[0]]
found += [ask(0, at)[0], ask(99, at)[0]]
out(found)
"""
    assert machine.run(HELP + code) == [True, 5000, True, True, True, 0, 0, 0, 1, 1, 0, 1, 1, 1]


def test_synchronous_copies_are_a_mark_on_the_allocation(machine: Machine) -> None:
    code = """
at = kinds["linear"]
mark = lambda on, address, a=6: call("cuPointerSetAttribute", ctypes.byref(ctypes.c_uint(on)), a, address)
found = [ask(6, at), mark(1, at + 8), ask(6, at), mark(0, at), ask(6, at)]
found += [mark(1, kinds["host"]), mark(1, 4096), mark(1, at, 7)]
out(found + [call("cuPointerSetAttribute", None, 6, at)])
"""
    assert machine.run(HELP + code) == [[0, 0], 0, [0, 1], 0, [0, 0], 1, 1, 1, 1]


def test_the_plural_form_knows_every_address(machine: Machine) -> None:
    code = """
kind, device, address = ctypes.c_uint(7), ctypes.c_int(7), u64(7)
names = (ctypes.c_int * 3)(2, 9, 11)
places = (ctypes.c_void_p * 3)(*(ctypes.addressof(v) for v in (kind, device, address)))
def both(at):
    code = call("cuPointerGetAttributes", 3, names, places, at)
    return [code, kind.value, device.value, address.value]
found = [both(12345), both(kinds["linear"])[:3], call("cuPointerGetAttributes", 3, None, places, 1)]
places[1] = None
out(found + [both(1)[0], call("cuPointerGetAttributes", 0, names, places, 1)])
"""
    assert machine.run(HELP + code) == [[0, 0, -2, 0], [0, 2, 0], 1, 1, 1]


WILD = [
    "cuda.cuMemcpy(u64(p), u64(W), n)",
    "cuda.cuMemcpy(u64(W), u64(p), n)",
    "cuda.cuMemcpyAsync(u64(p), u64(W), n, u64(lane))",
    "cuda.cuMemcpyHtoD_v2(u64(p), u64(W), n)",
    "cuda.cuMemcpyDtoHAsync_v2(u64(W), u64(p), n, u64(lane))",
    "cuda.cuMemcpyDtoD_v2(u64(W), u64(p), n)",
    "cuda.cuMemsetD8_v2(u64(W), 1, n)",
    "call('cuMemFree_v2', W)",
    "call('cuMemFreeAsync', W, lane)",
    "call('cuMemFreeHost', W)",
    "call('cuIpcCloseMemHandle', W)",
    "call('cuMemUnmap', W & ~(2 * MIB - 1), 2 * MIB)",
    "cuda.cuStreamWriteValue32_v2(u64(lane), u64(W), 1, 0)",
]


@pytest.mark.parametrize("wild", ["0x1234000", "freed", "2**64 - 4096", "2**63 + 8", "end"])
def test_wild_addresses_are_refused(machine: Machine, wild: str) -> None:
    code = f"""
p, n = kinds["linear"], size(64); freed = alloc(3 * MIB)[1]; end = p + 4096 * 1024; free(freed); W = {wild}
codes = [{", ".join(WILD)}]
out([codes, call("cuCtxSynchronize"), to_device(p, b"well")])
"""
    codes, synchronised, well = machine.run(HELP + code)
    assert codes == [1] * len(WILD)
    assert [synchronised, well] == [0, 0]
