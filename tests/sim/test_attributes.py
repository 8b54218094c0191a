"""Attributes of launches and streams: clusters, priorities, events that launches record; what calls cost."""

from __future__ import annotations

from collections.abc import Callable

from simulated import Machine

MS = 1_000_000
CONFIG = """
import ctypes
class Attribute(ctypes.Structure):
    _fields_ = [("id", ctypes.c_int), ("_pad", ctypes.c_int), ("value", ctypes.c_uint32 * 16)]
class Config(ctypes.Structure):
    _fields_ = [("grid", ctypes.c_uint * 3), ("block", ctypes.c_uint * 3), ("shared", ctypes.c_uint),
                ("stream", ctypes.c_void_p), ("attributes", ctypes.c_void_p), ("count", ctypes.c_uint)]
def words(*values): return (ctypes.c_uint32 * 16)(*[v & 0xffffffff for v in values])
def pointer(handle, *values): return words(handle, handle >> 32, *values)
def config(grid, attributes=(), lane=0, block=1):
    array = (Attribute * max(len(attributes), 1))(*(Attribute(i, 0, v) for i, v in attributes))
    c = Config((ctypes.c_uint * 3)(*grid), (ctypes.c_uint * 3)(block, 1, 1), 0, lane,
               ctypes.cast(array, ctypes.c_void_p), len(attributes))
    c.keep = array
    return c
def go(ns, c):
    value = u64(ns); params = (ctypes.c_void_p * 1)(ctypes.addressof(value))
    return cuda.cuLaunchKernelEx(ctypes.byref(c), function(), params, None)
start(); function()
door, opened = stream(), event(2)
def gate(*lanes):
    spin(60*MS, door); record(opened, door)
    for lane in lanes: must("cuStreamWaitEvent", lane, opened, 0)
CLUSTER, PRIORITY, BEGUN, PROGRAM = 4, 8, 12, 7
"""


def test_clusters_divide_the_grid_and_are_no_larger_than_the_device_allows(
    make_machine: Callable[..., Machine],
) -> None:
    code = """
one = lambda grid, *dim: go(1000, config(grid, [(CLUSTER, words(*dim))]))
active, largest = ctypes.c_int(-1), ctypes.c_int(-1)
ask = lambda name, out_, *a: call(name, ctypes.byref(out_), function(), ctypes.byref(config(*a)))
seen = [one((8, 2, 1), 4, 2, 1), one((8, 1, 1), 3, 1, 1), one((16, 1, 1), 16, 1, 1), one((8, 1, 1), 0, 1, 1),
        one((8, 1, 1), 1, 1, 1)]
seen += [ask("cuOccupancyMaxPotentialClusterSize", largest, (64, 1, 1), (), 0, 1024), largest.value]
eight = [(CLUSTER, words(8, 1, 1))]
seen += [ask("cuOccupancyMaxActiveClusters", active, (64, 1, 1), eight, 0, 1024), active.value]
seen += [ask("cuOccupancyMaxActiveClusters", active, (64, 1, 1), (), 0, 1024)]
must("cuFuncSetAttribute", function(), 14, 1)                # clusters that are not portable
seen += [one((16, 1, 1), 16, 1, 1), one((32, 1, 1), 32, 1, 1),
         ask("cuOccupancyMaxPotentialClusterSize", largest, (64, 1, 1), (), 0, 1024), largest.value]
out(seen)
"""
    # 132 SMs of two such blocks each, in groups of 16 SMs: 8 groups of 4 clusters, and one on the last four.
    assert make_machine("h200").run(CONFIG + code) == [
        *(0, 912, 912, 912, 0),
        *(0, 8, 0, 33, 0),
        *(0, 912, 0, 16),
    ]
    small = make_machine("l4").run(
        CONFIG + code.replace("eight = [(CLUSTER, words(8", "eight = [(CLUSTER, words(1")
    )
    assert small == [912, 912, 912, 912, 0, 0, 1, 0, 57 + 1, 0, 912, 912, 0, 1]


def test_a_launch_has_its_own_priority(machine: Machine) -> None:
    code = """
one, two = stream(), stream(); a, b, c = event(), event(), event()
gate(one, two); record(a, door)
codes = [go(10*MS, config((58, 1, 1), (), one)), go(10*MS, config((58, 1, 1), [(PRIORITY, words(-3))], two))]
record(b, one); record(c, two); sync()
out([codes, elapsed_ns(a, b), elapsed_ns(a, c)])
"""
    assert machine.run(CONFIG + code) == [[0, 0], 20 * MS, 10 * MS]


def test_a_launch_records_when_its_blocks_have_begun_and_when_they_end(machine: Machine) -> None:
    code = """
one, two, three = stream(), stream(), stream()
begun, ended = event(2), event(2); a, b, c = event(), event(), event()
gate(one); record(a, door); spin(2*MS, one)
assert go(10*MS, config((4, 1, 1), [(BEGUN, pointer(begun)), (PROGRAM, pointer(ended))], one)) == 0
must("cuStreamWaitEvent", two, begun, 0); record(b, two)
must("cuStreamWaitEvent", three, ended, 0); record(c, three)
must("cuEventSynchronize", begun); sync()
timed = event()
out([elapsed_ns(a, b), elapsed_ns(a, c), go(1, config((1, 1, 1), [(BEGUN, pointer(timed))])),
     go(1, config((1, 1, 1), [(3, words(1))])), go(1, config((1, 1, 1), [(99, words(1))]))])
"""
    assert machine.run(CONFIG + code) == [2 * MS, 12 * MS, 1, 1, 1]


def test_streams_keep_their_attributes(make_machine: Callable[..., Machine]) -> None:
    code = """
one, two = new("cuStreamCreateWithPriority", 1, -2)[1], stream()
value = words()
def get(lane, id_): must("cuStreamGetAttribute", lane, id_, value); return list(value)[:2]
def set_(lane, id_, *v): return call("cuStreamSetAttribute", lane, id_, words(*v))
seen = [get(one, 8)[0] - 2**32, get(one, 3)[0], get(one, 9)[0] & 0xffff, get(one, 10)[0]]
seen += [set_(one, 3, 4), set_(one, 3, 5), set_(one, 10, 1), set_(one, 10, 2)]
seen += [set_(one, 9, 0x0302), set_(one, 9, 4)]
must("cuStreamCopyAttributes", two, one)
seen += [get(two, 8)[0] - 2**32, get(two, 3)[0], get(two, 9)[0] & 0xffff, get(two, 10)[0]]
seen += [set_(two, 8, 1), set_(two, 8, 0), set_(two, 4, 1), call("cuStreamGetAttribute", two, 2, value)]
out(seen)
"""
    assert make_machine("h200").run(CONFIG + code) == [
        *(-2, 1, 0x0100, 0),
        *(0, 1, 0, 1, 0, 1),
        *(-2, 4, 0x0302, 1),
        *(1, 0, 1, 1),
    ]


def test_a_new_priority_counts_for_what_is_launched_later(machine: Machine) -> None:
    code = """
one, two = stream(), stream(); a, b, c = event(), event(), event()
must("cuStreamSetAttribute", two, 8, words(-1))
gate(one, two); record(a, door)
spin(10*MS, one, 58); spin(10*MS, two, 58); record(b, one); record(c, two); sync()
out([elapsed_ns(a, b), elapsed_ns(a, c)])
"""
    assert machine.run(CONFIG + code) == [20 * MS, 10 * MS]


def test_calls_cost_what_they_are_said_to(machine: Machine) -> None:
    code = """
import ctypes
start(); e = event(2)
def took(name, *args):
    begun = time.monotonic_ns(); must(name, *args); return time.monotonic_ns() - begun
out([min(took("cuEventQuery", e) for _ in range(20)), min(took("cuCtxSynchronize") for _ in range(20)),
     took("cuMemGetInfo_v2", ctypes.byref(size()), ctypes.byref(size()))])
"""
    free = machine.run(code)
    costly = machine.run(code, SIMGPU_CALL_NS="cuEventQuery=300000,cuMemGet*=20000000")
    assert costly[0] >= 300_000 > free[0]
    assert costly[1] < 300_000
    assert costly[2] >= 20_000_000
    assert machine.run(code, SIMGPU_CALL_COST="1", SIMGPU_CALL_NS="cuEventQuery=1500")[0] >= 1500
    assert machine.run("out(call('cuInit', 0))", SIMGPU_CALL_NS="cuEventQuery") == 802


def test_functions_can_be_launched_as_they_were_in_cuda_3(machine: Machine) -> None:
    code = """
f = function(); lane = stream(); a, b = event(), event(); value = u64(3*MS); done = []
codes = [call("cuLaunchGridAsync", f, 1, 1, lane), call("cuFuncSetBlockShape", f, 0, 1, 1),
         call("cuFuncSetBlockShape", f, 32, 1, 1), call("cuFuncSetSharedSize", f, 64)]
codes += [call("cuParamSetSize", f, 8), call("cuParamSetv", f, 0, ctypes.byref(value), 8),
          call("cuParamSetv", f, 4090, ctypes.byref(value), 8)]
gate(lane); record(a, lane); codes.append(call("cuLaunchGridAsync", f, 2, 1, lane)); record(b, lane); sync()
codes += [call("cuLaunch", f), call("cuLaunchGrid", f, 1, 0), call("cuLaunch", None)]
kind = ctypes.CFUNCTYPE(None, ctypes.c_void_p); host = kind(lambda _: done.append(1)); sync()
codes += [cuda.cuLaunchHostFunc_v2(u64(lane), host, None, how) for how in (1, 2)]
count = size(); codes.append(call("cuFuncGetParamCount", f, ctypes.byref(count))); sync()
out([codes, elapsed_ns(a, b), done, count.value])
"""
    codes, elapsed, done, count = machine.run(CONFIG + code)
    assert codes == [1, 1, 0, 0, 0, 0, 1, 0, 0, 1, 400, 0, 1, 0]
    assert (elapsed, done, count) == (3 * MS, [1], 1)


def test_a_client_of_mps_can_ask_for_sms_and_for_the_lower_priority(
    make_machine: Callable[..., Machine],
) -> None:
    code = """
import ctypes
start(); device = new("cuCtxGetDevice")[1]
def limited(kind, sms, count=1):
    ctx, param = u64(), (ctypes.c_uint * 2)(kind, sms)
    return call("cuCtxCreate_v3", ctypes.byref(ctx), param, count, 0, device)
supported = new("cuDeviceGetExecAffinitySupport", 0, device)[1]
codes = [limited(0, 20), limited(1, 20), limited(0, 0), limited(0, 59)]
param = (ctypes.c_uint * 2)()
codes.append(call("cuCtxGetExecAffinity", param, 0))
out([supported, codes, param[1]])
"""
    assert make_machine("l4", SIMGPU_MPS="1").run(code) == [1, [0, 224, 1, 1, 0], 20]
    assert make_machine("l4").run(code) == [0, [224] * 4 + [0], 58]
