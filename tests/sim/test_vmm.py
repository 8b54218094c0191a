"""Physical memory as handles and mappings hold it in one process, and multicast objects."""

from __future__ import annotations

from collections.abc import Callable

from simulated import Machine

MIB = 1 << 20


def test_handles_go_bad_and_are_not_taken_for_others(machine: Machine) -> None:
    code = """
start(); c, a = physical(2 * MIB); codes = [call("cuMemRelease", a), call("cuMemRelease", a)]
c, b = physical(2 * MIB); codes += [call("cuMemRelease", a), a != b]
c, at = new("cuMemAddressReserve", 8 * MIB, 0, 0, 0)
codes += [call("cuMemMap", at, 2 * MIB, 0, a, 0), call("cuMemMap", at, 2 * MIB, 2 * MIB, b, 0)]
codes += [call("cuMemMap", at, 4 * MIB, 0, b, 0), call("cuMemMap", at + MIB, 2 * MIB, 0, b, 0)]
codes += [call("cuMemMap", at + 8 * MIB, 2 * MIB, 0, b, 0), call("cuMemMap", at, 2 * MIB, 0, b, 0)]
codes += [call("cuMemMap", at, 2 * MIB, 0, b, 0), call("cuMemRelease", b), call("cuMemRelease", b)]
c, again = new("cuMemRetainAllocationHandle", at); codes += [c, again == b]
codes += [call("cuMemRelease", again), call("cuMemUnmap", at, 2 * MIB), new("cuMemRetainAllocationHandle",
    at)[0]]
codes += [call("cuMemRelease", x) for x in (0, 1, 12345, 2**64 - 1)]
codes += [new("cuMemAddressReserve", 2**64 - 2 * MIB, 0, 0, 0)[0], new("cuMemAddressReserve", 2 * MIB, 3, 0,
    0)[0]]
out(codes)
"""
    assert machine.run(code) == [
        *[0, 1, 1, True, 1, 1, 1, 1, 1, 0, 1, 0, 1, 0, True],
        *[0, 0, 1, 1, 1, 1, 1, 2, 1],
    ]
    assert machine.device()["used_bytes"] == 0


def test_access(machine: Machine) -> None:
    code = """
import ctypes
start(); c, handle = physical(4 * MIB); c, at = new("cuMemAddressReserve", 8 * MIB, 0, 0, 0)
must("cuMemMap", at, 4 * MIB, 0, handle, 0); flags = u64(9)
def access(place): return call("cuMemGetAccess", ctypes.byref(flags), ctypes.byref(place), at), flags.value
def grant(place, bits, bytes_=4 * MIB):
    return call("cuMemSetAccess", at, bytes_, ctypes.byref(Access(place, bits)), 1)
card, host = on_device(), Location(2, 0)
codes = [access(card), to_device(at, b"x"), grant(card, 3), access(card), to_device(at, b"x")]
codes += [grant(card, 2), grant(card, 3, 2 * MIB), grant(card, 3, 8 * MIB), grant(on_device(7), 3),
    grant(host, 3)]
codes += [grant(card, 0), access(card), to_device(at, b"x"), access(host), access(on_device(7))[0]]
out(codes)
"""
    assert machine.run(code) == [
        *[[0, 0], 1, 0, [0, 3], 0],
        *[1, 1, 1, 101, 801],
        *[0, [0, 0], 1, [0, 0], 101],
    ]


def test_granularity(machine: Machine) -> None:
    code = """
import ctypes
start(); grain = size(); prop = AllocationProp(type=1, location=on_device())
def ask(option, p=prop): return call("cuMemGetAllocationGranularity", ctypes.byref(grain),
    p and ctypes.byref(p), option)
codes = [ask(0), grain.value, ask(1), grain.value, ask(2), ask(0, None)]
out(codes + [ask(0, AllocationProp(type=1, handles=8, location=on_device())), ask(0, AllocationProp(type=2))])
"""
    assert machine.run(code) == [0, 2 * MIB, 0, 2 * MIB, 1, 1, 801, 1]


MULTICAST = """
import ctypes
class Object(ctypes.Structure):
    _fields_ = [("devices", ctypes.c_uint), ("size", size), ("handles", u64), ("flags", u64)]
start(); prop = Object(1, 8 * MIB, 0, 0); grain = size()
make = lambda p=prop: new("cuMulticastCreate", ctypes.byref(p))
"""


def test_multicast_of_one_device(make_machine: Callable[..., Machine]) -> None:
    code = """
codes = [call("cuMulticastGetGranularity", ctypes.byref(grain), ctypes.byref(prop), 0), grain.value]
c, mc = make(); c2, memory = physical(4 * MIB); codes += [c, c2, make(Object(1, MIB, 0, 0))[0],
    make(Object(0, 8 * MIB))[0]]
codes += [make(Object(2, 8 * MIB))[0], make(Object(1, 8 * MIB, 8))[0]]
bind = lambda at, m=memory, off=0, n=2 * MIB: call("cuMulticastBindMem", mc, at, m, off, n, 0)
c, view = new("cuMemAddressReserve", 8 * MIB, 0, 0, 0); c, direct = new("cuMemAddressReserve", 8 * MIB, 0,
    0, 0)
codes += [bind(0), call("cuMemMap", view, 8 * MIB, 0, mc, 0)]                    # no device yet
codes += [call("cuMulticastAddDevice", mc, 0), call("cuMulticastAddDevice", mc, 0),
    call("cuMulticastAddDevice", mc, 9)]
codes += [call("cuMemMap", view, 8 * MIB, 0, mc, 0)]; open_access(view, 8 * MIB)
must("cuMemMap", direct, 4 * MIB, 0, memory, 0); open_access(direct, 4 * MIB)
must("cuMemsetD8_v2", view, 7, 8 * MIB)                                          # nobody hears it
codes += [bind(2 * MIB, off=2 * MIB), bind(2 * MIB), bind(7 * MIB), bind(8 * MIB), bind(0, n=6 * MIB),
    bind(0, m=mc)]
codes += [to_device(view + 2 * MIB, b"to all"), from_device(direct + 2 * MIB, 6)[1] == b"to all"]
codes += [call("cuMulticastBindAddr", mc, 4 * MIB, direct, 2 * MIB, 0), to_device(direct, b"by address")]
codes += [from_device(view + 4 * MIB, 10)[1] == b"by address", call("cuMulticastBindMem_v2", mc, 9, 0,
    memory, 0, 2 * MIB, 0)]
before = info()[0]; codes += [call("cuMemRelease", memory), call("cuMemUnmap", direct, 4 * MIB),
    info()[0] - before]
codes += [from_device(view + 4 * MIB, 10)[1] == b"by address"]                   # what is bound lives
codes += [call("cuMulticastUnbind", mc, 0, 2 * MIB, 2 * MIB), call("cuMulticastUnbind", mc, 0, 2 * MIB,
    2 * MIB)]
codes += [call("cuMemRelease", mc), info()[0] - before, call("cuMemUnmap", view, 8 * MIB), info()[0] - before]
out(codes)
"""
    assert make_machine("h200").run(MULTICAST + code) == [
        *[0, 2 * MIB, 0, 0, 1, 1, 801, 801],
        *[101, 401],
        *[0, 1, 101, 0],
        *[0, 1, 1, 1, 1, 1],
        *[0, True, 0, 0, True, 101],
        *[0, 0, 0, True],
        *[0, 1],
        *[0, 0, 0, 4 * MIB],
    ]


def test_a_card_without_multicast(make_machine: Callable[..., Machine]) -> None:
    code = """
value = ctypes.c_int(9); must("cuDeviceGetAttribute", ctypes.byref(value), 132, 0)
out([make()[0], value.value])
"""
    assert make_machine("l4").run(MULTICAST + code) == [801, 0]


def test_semaphores_and_ranges_that_cannot_be_had(machine: Machine) -> None:
    code = """
import ctypes
start(); c, p = alloc(MIB); kind = (ctypes.c_int * 40)(1); fd = ctypes.c_int()
codes = [new("cuImportExternalSemaphore", kind)[0], new("cuImportExternalSemaphore", None)[0]]
codes += [call(f"cu{verb}ExternalSemaphoresAsync", kind, kind, n, 0) for verb in ("Signal",
    "Wait") for n in (0, 1)]
codes += [call("cuDestroyExternalSemaphore", 0)]
handle = lambda address, bytes_, kind=1: call("cuMemGetHandleForAddressRange", ctypes.byref(fd), address,
    bytes_, kind, 0)
out([codes, [handle(p, MIB), handle(p + 1, 4096), handle(p, 0), handle(4096, 4096), handle(p, MIB, 2)]])
"""
    assert machine.run(code) == [[801, 1, 1, 400, 1, 400, 400], [801, 1, 1, 1, 1]]
