"""Green contexts: parts of a device's SMs, and kernels that stay on them; events of whole contexts."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from simulated import Machine

MS = 1_000_000
GREEN = """
import ctypes
class Resource(ctypes.Structure):
    _fields_ = [("type", ctypes.c_int), ("_padding", ctypes.c_ubyte * 92), ("count", ctypes.c_uint),
                ("least", ctypes.c_uint), ("together", ctypes.c_uint), ("flags", ctypes.c_uint),
                ("_rest", ctypes.c_ubyte * 32)]
def whole(device=0):
    r = Resource(); must("cuDeviceGetDevResource", device, ctypes.byref(r), 1); return r
def split(source, groups, least, flags=0):
    parts, n, rest = (Resource * max(groups, 1))(), ctypes.c_uint(groups), Resource()
    code = call("cuDevSmResourceSplitByCount", parts, ctypes.byref(n), ctypes.byref(source),
                ctypes.byref(rest), flags, least)
    return code, list(parts)[:n.value], rest
def green_of(*resources):
    array = (Resource * len(resources))(*resources)
    desc = new("cuDevResourceGenerateDesc", array, len(resources))[1]
    return new("cuGreenCtxCreate", desc, 0, 1)[1]
def green_stream(green, priority=0):
    return new("cuGreenCtxStreamCreate", green, 1, priority)[1]
def of_stream(stream):
    green = u64(); must("cuStreamGetGreenCtx", stream, ctypes.byref(green)); return green.value
start(); function()
door, opened = stream(), event(2)
def gate(*lanes):
    spin(60*MS, door); record(opened, door)
    for lane in lanes: must("cuStreamWaitEvent", lane, opened, 0)
"""


def test_a_library_is_there_once_for_all_of_a_device(machine: Machine) -> None:
    code = """
image = b".version 8.0\\n.target sm_80\\n.address_size 64\\n.global .align 4 .b8 data[1048576];\\n\\0"
library = new("cuLibraryLoadData", image, None, None, 0, None, None, 0)[1]
green = green_of(whole()); context = new("cuCtxFromGreenCtx", green)[1]
def data(): return new("cuLibraryGetGlobal", None, u64(library), b"data")
found = [data()]
must("cuCtxSetCurrent", context)
found += [data(), data()]
out([code for code, _ in found] + [len({address for _, address in found})])
"""
    assert machine.run(GREEN + code) == [0, 0, 0, 1]


def test_the_heap_of_a_green_context_is_that_of_the_primary_one(machine: Machine) -> None:
    code = """
primary = u64(); must("cuCtxGetCurrent", ctypes.byref(primary))
def heap(): value = ctypes.c_size_t(); must("cuCtxGetLimit", ctypes.byref(value), 2); return value.value >> 20
green = green_of(whole()); must("cuCtxSetCurrent", new("cuCtxFromGreenCtx", green)[1])
must("cuCtxSetLimit", 2, 64 << 20)
must("cuCtxSetCurrent", primary)
out([heap(), call("cuDevicePrimaryCtxReset_v2", 0)])
sys.stdin.readline()
"""
    with machine.start(GREEN + code) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "[64, 0]\n"
        assert machine.device()["used_bytes"] == 0
        program.communicate("\n", timeout=60)


@pytest.mark.parametrize(
    ("profile", "sms", "least", "together"),
    [("h200", 132, 8, 8), ("a100", 108, 4, 2), ("l4", 58, 4, 2), ("t4", 40, 2, 2)],
)
def test_a_device_says_how_it_can_be_split(
    make_machine: Callable[..., Machine], profile: str, sms: int, least: int, together: int
) -> None:
    code = """
all_ = whole(); code, parts, rest = split(all_, 3, 10)
query = ctypes.c_uint(0)
must("cuDevSmResourceSplitByCount", None, ctypes.byref(query), ctypes.byref(all_), None, 0, 10)
out([[all_.count, all_.least, all_.together], code, [p.count for p in parts], rest.count, query.value])
"""
    said, code, parts, rest, possible = make_machine(profile).run(GREEN + code)
    each = -(-10 // together) * together
    assert said == [sms, least, together]
    assert (code, parts, rest) == (0, [each] * 3, sms - 3 * each)
    assert possible == sms // each


def test_what_cannot_be_split_is_refused(machine: Machine) -> None:
    code = """
all_ = whole(); _, parts, rest = split(all_, 2, 8)
wrong = Resource(type=1)
array = lambda r: (Resource * max(len(r), 1))(*r)
desc = lambda *r: call("cuDevResourceGenerateDesc", ctypes.byref(u64()), array(r), len(r))
_, others, _ = split(all_, 2, 8)
out([split(all_, 1, 59)[0], split(parts[0], 1, 2)[0], split(wrong, 1, 2)[0], split(all_, 1, 2, 4)[0],
     split(all_, 1, 8, 2)[0],
     call("cuDeviceGetDevResource", 0, ctypes.byref(wrong), 2),
     call("cuDeviceGetDevResource", 9, ctypes.byref(wrong), 1),
     desc(), desc(Resource()), desc(parts[0], others[0]), desc(parts[0], rest), desc(all_),
     call("cuGreenCtxCreate", ctypes.byref(u64()), None, 0, 1),
     call("cuGreenCtxDestroy", None), call("cuGreenCtxStreamCreate", ctypes.byref(u64()), None, 1, 0)])
"""
    assert machine.run(GREEN + code) == [915, 915, 914, 1, 1, 914, 101, 1, 914, 915, 0, 0, 1, 201, 201]


def test_kernels_stay_on_their_parts(machine: Machine) -> None:
    """Two that would fill the device run beside each other, each as slow as its part is small."""
    code = """
_, (a_part, b_part), rest = split(whole(), 2, 16)
one, two, both = green_of(a_part), green_of(b_part), stream()
first, second = green_stream(one), green_stream(two)
a, b, c = event(), event(), event()
gate(first, second); record(a, first)
spin(8*MS, first, 58); spin(8*MS, second, 8)
record(b, first); record(c, second); sync()
out([elapsed_ns(a, b), elapsed_ns(a, c), rest.count])
"""
    assert machine.run(GREEN + code) == [8 * MS * 58 // 16, 8 * MS, 26]
    device = machine.device()
    assert device["switches"] == 0
    process = device["processes"][0]
    assert process["sm_ns"] == 60 * MS + 8 * MS * 58 + 8 * MS * 8
    assert process["gpu_ns"] == device["busy_ns"] == 60 * MS + 8 * MS * 58 // 16
    assert process["used_bytes"] == process["memory"]["context"] + process["memory"]["module"]


def test_a_green_context_can_be_current_and_ends_with_its_streams(machine: Machine) -> None:
    code = """
primary = new("cuCtxGetCurrent")[1]
_, (part,), _ = split(whole(), 1, 8)
green = green_of(part); ctx = new("cuCtxFromGreenCtx", green)[1]
must("cuCtxSetCurrent", ctx)
lane = stream(); memory = alloc(MIB)[1]
a, b = event(), event()
gate(lane); record(a, lane); spin(4*MS, lane, 16); record(b, lane); must("cuStreamSynchronize", lane)
r = Resource(); must("cuCtxGetDevResource", ctx, ctypes.byref(r), 1)
seen = [elapsed_ns(a, b), of_stream(lane) == green, of_stream(0) == green,
        r.count, call("cuCtxDestroy_v2", ctx), call("cuGreenCtxGetId", None, ctypes.byref(u64()))]
must("cuCtxSetCurrent", primary)
seen += [of_stream(0), call("cuGreenCtxDestroy", green), call("cuGreenCtxDestroy", green),
         call("cuCtxSetCurrent", ctx), free(memory), launch(MS)]
sync(); out(seen)
"""
    assert machine.run(GREEN + code) == [8 * MS, True, True, 8, 201, 0, 0, 0, 201, 709, 0, 0]
    assert machine.device()["processes"][0]["kernels"] == 3


def test_an_event_of_a_context_stands_for_all_its_streams(machine: Machine) -> None:
    code = """
primary = new("cuCtxGetCurrent")[1]
_, (part,), _ = split(whole(), 1, 8); green = green_of(part); inside = green_stream(green)
one, two = stream(), stream(); a, b, c = event(), event(), event()
gate(one, two, inside); record(a, door)
spin(3*MS, one); spin(5*MS, two); spin(9*MS, inside)
must("cuCtxRecordEvent", primary, b); must("cuGreenCtxRecordEvent", green, c)
sync(); seen = [elapsed_ns(a, b), elapsed_ns(a, c)]
gate(one); record(a, door); spin(7*MS, one); record(b, one)
must("cuCtxWaitEvent", primary, b)                          # what follows waits, in old streams and new ones
late = stream(); first, second = event(), event()
spin(MS, late); record(first, late); spin(2*MS, two); record(second, two); sync()
seen += [elapsed_ns(a, first), elapsed_ns(a, second)]
out([seen, call("cuCtxRecordEvent", None, a), call("cuCtxWaitEvent", primary, None)])
"""
    assert machine.run(GREEN + code) == [[9 * MS, 9 * MS, 8 * MS, 9 * MS], 201, 400]
