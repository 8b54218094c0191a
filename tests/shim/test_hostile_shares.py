"""Programs that try to get more than their share, or that a meter may get wrong: the cap holds."""

from __future__ import annotations

import mmap
import random
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from share_core import MS, US
from sharing import Device, near

from gshare.shim import layout

Make = Callable[..., Device]
START_S = 2

PREPARE = """
import random
US = 1000
choose = random.Random(7)
def ns():
    return choose.choice((100 * US, 5 * MS))
def launch(ns, x=1, y=1, threads=1):
    value = u64(ns)
    params = (ctypes.c_void_p * 1)(ctypes.addressof(value))
    return cuda.cuLaunchKernel(kernel(), x, y, 1, threads, 1, 1, 0, None, params, None)
def recorded(*kernels):
    must("cuStreamBeginCapture_v2", stream, 2)
    for ns in kernels:
        assert spin(ns, stream) == 0
    graph = u64()
    must("cuStreamEndCapture", stream, ctypes.byref(graph))
    return graph.value
def made(graph):
    return new("cuGraphInstantiateWithFlags", graph, 0)[1]
class Params(ctypes.Structure):
    _fields_ = [("function", u64), ("shape", ctypes.c_uint * 7), ("params", u64), ("extra", u64)]
start()
stream = new("cuStreamCreate", 1)[1]
"""
PROGRAMS = {
    "grids that no device has": """
while True:
    assert launch(200 * US, 1, 2**31 - 1) == 1 and launch(200 * US, 2**31 - 1) == 0
""",
    "launches that the driver refuses": """
while True:
    assert launch(200 * US, threads=5000) == 1 and launch(200 * US) == 0
""",
    "one function that takes 100 us or 5 ms": """
while True:
    assert launch(ns()) == 0
""",
    "a thousand graphs": """
execs = [made(recorded(50 * US, 50 * US)) for _ in range(1000)]
while True:
    for each in execs:
        must("cuGraphLaunch", each, stream)
""",
    "a graph whose kernel is given other parameters": """
graph = recorded(100 * US)
node, count = u64(), u64(1)
must("cuGraphGetNodes", graph, ctypes.byref(node), ctypes.byref(count))
each = made(graph)
while True:
    value = u64(ns())
    values = (ctypes.c_void_p * 1)(ctypes.addressof(value))
    params = Params(kernel(), (1,) * 6 + (0,), ctypes.addressof(values))
    must("cuGraphExecKernelNodeSetParams", each, node, ctypes.byref(params))
    must("cuGraphLaunch", each, stream)
""",
    "a partition of eight SMs": """
class Resource(ctypes.Structure):
    _fields_ = [("type", ctypes.c_int), ("_padding", ctypes.c_ubyte * 92), ("rest", ctypes.c_ubyte * 48)]
all_of_it, eight, rest, description, count = Resource(), Resource(), Resource(), u64(), ctypes.c_uint(1)
must("cuDeviceGetDevResource", 0, ctypes.byref(all_of_it), 1)
split = [ctypes.byref(each) for each in (eight, count, all_of_it, rest)]
must("cuDevSmResourceSplitByCount", *split, 0, 8)
must("cuDevResourceGenerateDesc", ctypes.byref(description), ctypes.byref(eight), 1)
green = new("cuGreenCtxCreate", description, 0, 1)[1]
must("cuCtxSetCurrent", new("cuCtxFromGreenCtx", green)[1])
while True:
    assert launch(200 * US, 1000, 1, 1024) == 0
""",
    "a graph that is updated": """
graphs = {ns: recorded(ns) for ns in (100 * US, 5 * MS)}
each = made(graphs[100 * US])
error, result = u64(), u64()
while True:
    must("cuGraphExecUpdate", each, graphs[ns()], ctypes.byref(error), ctypes.byref(result))
    must("cuGraphLaunch", each, stream)
""",
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_alone(make_virtual_device: Make, name: str) -> None:
    device = make_virtual_device(30)
    program = device.python(0, PREPARE + PROGRAMS[name])
    device.wait(START_S)
    assert near(device.shares([program], 5), [30], 2)


@pytest.mark.parametrize(
    ("name", "points"),
    [
        ("launches that the driver refuses", 3),
        ("a thousand graphs", 3),
        ("a partition of eight SMs", 3),
        ("one function that takes 100 us or 5 ms", 4),
        ("a graph whose kernel is given other parameters", 4),
    ],
)
def test_beside_a_saturating_tenant(make_virtual_device: Make, name: str, points: float) -> None:
    device = make_virtual_device(30, 100)
    program = device.python(0, PREPARE + PROGRAMS[name])
    device.start(1, "kernel", 200 * US)
    device.wait(START_S)
    assert near(device.shares([program], 5), [30], points)


def test_kernels_of_200_ms_at_one_percent(make_virtual_device: Make) -> None:
    device = make_virtual_device(1)
    program = device.start(0, "kernel", 200_000 * US, seconds=300)
    device.wait(60)
    assert near(device.shares([program], 200), [1], 0.2)


WORDS = 8 + 56
"""Of struct gs_device_activity."""

THROUGH_AT, LANES_AT = 64, 80


class Words:
    """What a tenant says to its neighbours of one device."""

    def __init__(self, folder: Path) -> None:
        path = folder / "activity"
        self._at = path.stat().st_size // layout.MAX_TENANTS + mmap.PAGESIZE
        with open(path, "r+b") as file:
            self._words = mmap.mmap(file.fileno(), 0)

    def say(self, form: str, *values: int, at: int = 0) -> None:
        struct.pack_into(form, self._words, self._at + at, *values)


@pytest.mark.parametrize("mode", ["overlap", "turns"])
def test_a_neighbour_says_anything(make_virtual_device: Make, mode: str) -> None:
    """It may mislead others about their time, and neither ends nor stops them."""
    device = make_virtual_device(60, 30)
    if mode == "turns":
        for limits in device.limits:
            limits.set_turns(0, 20 * MS, [(0, 0), (10 * MS, 1)])
    program = device.start(0, "kernel", 200 * US)
    neighbour = Words(device.folders[1])
    chance = random.Random(1)
    for _ in range(200):
        said = [
            chance.choice((0, 1, 2**63, 2**64 - 1, device.now_ns() + MS, chance.getrandbits(64)))
            for _ in range(WORDS)
        ]
        neighbour.say(f"{WORDS}Q", *said)
        device.wait(0.01)
    neighbour.say(f"{WORDS}Q", *[0] * WORDS)
    assert program.poll() is None
    device.wait(0.5)
    (share,) = device.shares([program], 1)
    print(mode, share)
    assert near([share], [60], 2)


@pytest.mark.parametrize("rests", [False, True])
def test_a_neighbour_is_busy_and_waits_for_ever(make_virtual_device: Make, rests: bool) -> None:
    """In turns, whose own go on all the same; in which it says that it is through, again and again."""
    device = make_virtual_device(60, 30)
    for limits in device.limits:
        limits.set_turns(0, 20 * MS, [(0, 0), (10 * MS, 1)])
    neighbour = Words(device.folders[1])
    for_ever = (device.now_ns() + 3600 * 1000 * MS) & ~1 | rests
    neighbour.say("QQQQQ", for_ever, 0, 0, for_ever, 1)
    neighbour.say("Q", for_ever, at=LANES_AT)
    program = device.start(0, "kernel", 200 * US)
    device.wait(START_S)
    (share,) = device.shares([program], 2)
    for through in range(200):
        neighbour.say("I", through, at=THROUGH_AT)
        device.wait(0.005)
    (share_woken,) = device.shares([program], 2)
    print(share, share_woken)
    assert min(share, share_woken) > 40


@pytest.mark.parametrize("seed", range(24))
def test_nothing_that_a_neighbour_says_for_ever_keeps_a_tenant_out(
    make_virtual_device: Make, seed: int
) -> None:
    """In turns: it goes on saying it, and does nothing; launches are shorter and longer than the turns."""
    chance = random.Random(seed)
    device = make_virtual_device(60, 30)
    period_ms, own_ms = chance.choice([(20, 10), (20, 14), (20, 4), (6, 3), (40, 10)])
    for limits in device.limits:
        limits.set_turns(0, period_ms * MS, [(0, 0), (own_ms * MS, 1)])
    for_ever = (device.now_ns() + 3600 * 1000 * MS) & ~1
    said = [
        chance.choice((0, 0, 1, 2**63, 2**64 - 1, for_ever, for_ever + 1, chance.getrandbits(64)))
        for _ in range(WORDS)
    ]
    said[4] |= 1  # a lane has been used
    Words(device.folders[1]).say(f"{WORDS}Q", *said)
    program = device.start(0, "kernel", chance.choice([50 * US, 200 * US, MS, 5 * MS, 20 * MS]))
    device.wait(START_S)
    (share,) = device.shares([program], 2)
    print(share, own_ms / period_ms)
    assert share > 100 * own_ms / period_ms / 10
