"""What a program sees of the devices: properties by profile, and CUDA_VISIBLE_DEVICES in all its forms."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from simulated import Machine

from gshare.shim import sim

PROFILES = {
    "h200": ("NVIDIA H200", 132, (9, 0), 139),
    "a100": ("NVIDIA A100-SXM4-80GB", 108, (8, 0), 79),
    "l4": ("NVIDIA L4", 58, (8, 9), 22),
    "t4": ("Tesla T4", 40, (7, 5), 14),
}

SEE = """
import ctypes
def device(i):
    name, bus = ctypes.create_string_buffer(64), ctypes.create_string_buffer(32)
    uuid, value = (ctypes.c_ubyte * 16)(), ctypes.c_int()
    must("cuDeviceGetName", name, 64, i)
    must("cuDeviceGetUuid_v2", uuid, i)
    must("cuDeviceGetPCIBusId", bus, 32, i)
    numbers = []
    for attribute in (16, 75, 76, 33):
        must("cuDeviceGetAttribute", ctypes.byref(value), attribute, i)
        numbers.append(value.value)
    return [name.value.decode(), bytes(uuid).hex(), bus.value.decode(), numbers, total(i)]
def see():
    count = ctypes.c_int()
    if call("cuInit", 0):
        return call("cuInit", 0)
    must("cuDeviceGetCount", ctypes.byref(count))
    return [device(i) for i in range(count.value)]
out(see())
"""


@pytest.mark.parametrize("profile", PROFILES)
def test_a_profile_is_seen_as_that_card(profile: str, make_machine: Callable[..., Machine]) -> None:
    machine = make_machine(profile)
    ((name, uuid, bus, numbers, bytes_),) = machine.run(SEE)
    card, sms, capability, gib = PROFILES[profile]
    assert (name, numbers[0], tuple(numbers[1:3]), bytes_ >> 30) == (card, sms, capability, gib)
    assert bus == f"0000:{numbers[3]:02X}:00.0"
    assert machine.device()["uuid"].replace("-", "") == "GPU" + uuid
    assert machine.device()["memory_bytes"] == bytes_


def test_every_attribute_of_driver_13_0_has_an_answer_and_no_other(machine: Machine) -> None:
    codes = machine.run("""
import ctypes
start(); value = ctypes.c_int()
out([call("cuDeviceGetAttribute", ctypes.byref(value), a, 0) for a in range(0, 200)])
""")
    assert [attribute for attribute, code in enumerate(codes) if code == 0] == list(range(1, 148))
    assert set(codes) == {0, 1}


def test_wrong_devices_and_wrong_pointers_are_errors(machine: Machine) -> None:
    assert machine.run("""
import ctypes
device, name = ctypes.c_int(), ctypes.create_string_buffer(4)
before = call("cuDeviceGet", ctypes.byref(device), 0), call("cuInit", 1)
must("cuInit", 0); must("cuInit", 0)
must("cuDeviceGetName", name, 4, 0)
out([before, name.value.decode(), call("cuDeviceGet", ctypes.byref(device), 1), call("cuDeviceGet", None, 0),
     call("cuDeviceGetName", None, 64, 0), call("cuDeviceGetName", name, 4, 7),
     call("cuDeviceTotalMem_v2", None, 0),
     call("cuDeviceGetAttribute", ctypes.byref(device), 16, ctypes.c_int(-1))])
""") == [[3, 1], "NVI", 101, 1, 1, 101, 1, 101]


def names(machine: Machine, **variables: str) -> list[str] | int:
    seen = machine.run(SEE, **variables)
    return [entry[0] for entry in seen] if isinstance(seen, list) else seen


def test_visible_devices_by_number(make_machine: Callable[..., Machine]) -> None:
    machine = make_machine("h200,a100,l4")
    h200, a100, l4 = names(machine)  # type: ignore[misc]
    for text, expected in {
        "2,0": [l4, h200],
        "1": [a100],
        " 1 , 2 ": [a100, l4],
        "0,7,1": [h200],
        "0,x,1": [h200],
        "0,-1,1": [h200],
        "1 2": 100,
        "0,0": 100,
        "": 100,
        "-1": 100,
        "NoDevFiles": 100,
    }.items():
        assert (text, names(machine, CUDA_VISIBLE_DEVICES=text)) == (text, expected)


def test_visible_devices_by_uuid_and_its_beginning(make_machine: Callable[..., Machine]) -> None:
    machine = make_machine("h200,l4")
    first, second = (device["uuid"] for device in sim_devices(machine))
    assert first[:8] != second[:8]
    for text, expected in {
        first: ["NVIDIA H200"],
        f"{second},{first}": ["NVIDIA L4", "NVIDIA H200"],
        second[:9]: ["NVIDIA L4"],
        second.upper(): ["NVIDIA L4"],
        f"{second},1": 100,
        "GPU-": 100,
        "GPU-00000000": 100,
        "MIG-" + first[4:]: 100,
    }.items():
        assert (text, names(machine, CUDA_VISIBLE_DEVICES=text)) == (text, expected)


def sim_devices(machine: Machine) -> list[dict[str, str]]:
    sim.start(machine.path, machine.environ["SIMGPU_PROFILE"])
    devices: list[dict[str, str]] = sim.stat(machine.path)["devices"]
    return devices


def test_the_fastest_device_comes_first_unless_the_bus_decides(make_machine: Callable[..., Machine]) -> None:
    machine = make_machine("t4,h200")
    assert names(machine) == ["NVIDIA H200", "Tesla T4"]
    assert names(machine, CUDA_DEVICE_ORDER="PCI_BUS_ID") == ["Tesla T4", "NVIDIA H200"]
    assert names(machine, CUDA_DEVICE_ORDER="PCI_BUS_ID", CUDA_VISIBLE_DEVICES="0") == ["Tesla T4"]


def test_a_device_is_found_by_its_bus(make_machine: Callable[..., Machine]) -> None:
    assert make_machine("l4*2").run("""
import ctypes
must("cuInit", 0)
found = []
for text in (b"0000:25:00.0", b"25:00.0", b"0:1b:0", b"0000:26:00.0", b"nonsense", b""):
    device = ctypes.c_int(-1)
    found.append([call("cuDeviceGetByPCIBusId", ctypes.byref(device), text), device.value])
out(found)
""") == [[0, 1], [0, 1], [0, 0], [101, -1], [1, -1], [1, -1]]


def test_peers_see_each_other(make_machine: Callable[..., Machine]) -> None:
    assert make_machine("h200*2").run("""
import ctypes
must("cuInit", 0)
can = ctypes.c_int()
answers = []
for pair in ((0, 1), (1, 0), (0, 0)):
    must("cuDeviceCanAccessPeer", ctypes.byref(can), *pair)
    answers.append(can.value)
out([answers, call("cuDeviceCanAccessPeer", ctypes.byref(can), 0, 2)])
""") == [[1, 1, 0], 101]
