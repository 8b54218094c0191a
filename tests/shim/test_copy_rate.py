"""The limit on copies between host and device: what is charged, how fast they go, whom they keep waiting."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

import pytest
from sharing import Device
from tenants import GIB, MIB, Tenant

from gshare.shim import abi

Make = Callable[..., Device]
RATE = 256 * MIB
TO_DEVICE, TO_HOST = 0, 1

START_S = 0.005
"""What a program takes until it copies, on the virtual clock, where each copy is really made."""

# A program that copies pieces of so many bytes for ever, in one of these ways.
COPY = """
start()
device = alloc({bytes})[1]
pinned = new("cuMemAllocHost_v2", {bytes})[1]
memory = ctypes.create_string_buffer({bytes})
pageable = ctypes.addressof(memory)
stream = new("cuStreamCreate", 1)[1]
print("ready", flush=True)
while True:
    {call}
"""
CALLS = {
    "h2d": ('must("cuMemcpyHtoD_v2", device, pageable, {bytes})', TO_DEVICE),
    "h2d pinned": ('must("cuMemcpyHtoDAsync_v2", device, pinned, {bytes}, stream)', TO_DEVICE),
    "d2h": ('must("cuMemcpyDtoH_v2", pinned, device, {bytes})', TO_HOST),
    "d2h pageable": ('must("cuMemcpyDtoHAsync_v2_ptsz", pageable, device, {bytes}, stream)', TO_HOST),
    "unified": ('must("cuMemcpy", device, pageable, {bytes})', TO_DEVICE),
}


def copier(device: Device, tenant: int, call: str, bytes_: int) -> int:
    """Start a program that copies, and return its pid."""
    program = device.python(tenant, COPY.format(bytes=bytes_, call=CALLS[call][0].format(bytes=bytes_)))
    device.wait(START_S)
    assert program.stdout is not None
    assert program.stdout.readline() == "ready\n", program.communicate()
    return program.pid


def rates(device: Device, pids: list[int], seconds: float = 1) -> list[float]:
    """What each process copies in a second, in truth."""

    def copied() -> list[int]:
        processes = device.truth()["processes"]
        return [sum(p["copy_bytes"] for p in processes if p["pid"] == pid) for pid in pids]

    before = copied()
    device.wait(seconds)
    return [(after - start) / seconds for start, after in zip(before, copied(), strict=True)]


@pytest.fixture
def device(make_virtual_device: Make) -> Device:
    """Return a device with two tenants who may have all of its time and copy as they like."""
    made = make_virtual_device(100, 100)
    for limits in made.limits:
        limits.set_cap(0, abi.METERED_PPM, made.now_ns(), spent_ns=0)
    return made


def test_without_a_limit_nothing_is_counted_or_slowed(device: Device) -> None:
    limited, bare = (copier(device, tenant, "h2d", MIB) for tenant in (0, None))  # type: ignore[arg-type]
    both = rates(device, [limited, bare], 0.02)
    assert sum(both) > 8 * GIB
    assert both[0] > 0.9 * both[1]
    assert device.usage[0].copied(0) == ((0, 0), (0, 0))


@pytest.mark.parametrize(
    "call",
    [
        "h2d",
        "d2h pageable",
        *(pytest.param(c, marks=pytest.mark.soak) for c in ("h2d pinned", "d2h", "unified")),
    ],
)
def test_a_limited_direction_has_its_rate(device: Device, call: str) -> None:
    way = CALLS[call][1]
    device.limits[0].set_copy_rates(0, [RATE if way == direction else 0 for direction in (0, 1)])
    pid = copier(device, 0, call, MIB)
    for _ in range(2):
        assert rates(device, [pid]) == [pytest.approx(RATE, rel=0.02)]
    copied = device.usage[0].copied(0)
    assert copied.bytes[1 - way] == copied.waited_ns[1 - way] == 0
    assert copied.bytes[way] > 2 * RATE
    assert copied.waited_ns[way] > 1e9
    device.limits[0].set_copy_rates(0, [0, 0])
    device.wait(0.03)
    assert rates(device, [pid], 0.02)[0] > 5 * GIB


def test_pieces_longer_than_the_burst_and_small_ones_have_it_too(device: Device) -> None:
    for limits in device.limits:
        limits.set_copy_rates(0, [RATE, 0])
    large, small = copier(device, 0, "h2d", 10 * MIB), copier(device, 1, "h2d pinned", 8192)
    assert rates(device, [large, small], 2) == [pytest.approx(RATE, rel=0.05)] * 2


def test_the_other_direction_and_another_tenant_are_free(device: Device) -> None:
    device.limits[0].set_copy_rates(0, [RATE, 0])
    pids = [copier(device, 0, "d2h", MIB), copier(device, 1, "h2d", MIB)]
    assert min(rates(device, pids, 0.02)) > 5 * GIB


def test_the_processes_of_a_tenant_share_its_rate(device: Device) -> None:
    device.limits[0].set_copy_rates(0, [RATE, 0])
    pids = [copier(device, 0, "h2d", MIB), copier(device, 0, "h2d pinned", MIB)]
    both = rates(device, pids)
    assert sum(both) == pytest.approx(RATE, rel=0.02)
    assert min(both) > 0.45 * RATE


def test_a_new_rate_counts_within_50_ms(device: Device) -> None:
    """Even while a copy waits that has ten seconds to go."""
    device.limits[0].set_copy_rates(0, [MIB, 0])
    pid = copier(device, 0, "h2d", 10 * MIB)
    assert rates(device, [pid], 1) == [0]
    device.limits[0].set_copy_rates(0, [4 * RATE, 0])
    device.wait(0.05)
    assert rates(device, [pid], 1) == [pytest.approx(4 * RATE, rel=0.05)]
    device.limits[0].set_copy_rates(0, [RATE, 0])
    device.wait(0.15)
    assert rates(device, [pid], 2) == [pytest.approx(RATE, rel=0.06)]


def test_who_is_not_metered_gets_a_limit_at_its_next_copy(device: Device) -> None:
    """The controller meters whoever has a limit on copies: see shares.py."""
    device.limits[0].set_cap(0, abi.NO_CAP_PPM, device.now_ns())
    pid = copier(device, 0, "h2d", MIB)
    assert rates(device, [pid], 0.02)[0] > 5 * GIB
    device.limits[0].set_copy_rates(0, [RATE, 0])
    device.limits[0].set_cap(0, abi.METERED_PPM, device.now_ns(), spent_ns=0)
    device.wait(0.03)
    assert rates(device, [pid]) == [pytest.approx(RATE, rel=0.02)]


def test_each_device_has_a_rate_of_its_own(new_tenant: Callable[..., Tenant]) -> None:
    """A copy counts on the device that its stream belongs to."""
    tenant = new_tenant(profile="l4*2")
    for row in (0, 1):
        tenant.limits.set_cap(row, abi.METERED_PPM, 0, spent_ns=0, burst_ns=20_000_000)
        tenant.limits.set_copy_rates(row, [1 << 40, 1 << 40])
    codes = tenant.run(
        """
start(1)
there, stream = alloc(1 << 20)[1], new("cuStreamCreate", 1)[1]
first = start(0)
here, host = alloc(1 << 20)[1], new("cuMemAllocHost_v2", 1 << 20)[1]
out([call("cuMemcpyHtoDAsync_v2", there, host, 1000, stream), call("cuMemcpyHtoD_v2", here, host, 300)])
""",
        CUDA_DEVICE_ORDER="PCI_BUS_ID",
    )
    assert codes == [0, 0]
    assert (tenant.usage.copied(0).bytes, tenant.usage.copied(1).bytes) == ((300, 0), (1000, 0))


# -------- which calls are charged what

KINDS = """
start()
A, B, H = alloc(1 << 20)[1], alloc(1 << 20)[1], new("cuMemAllocHost_v2", 1 << 20)[1]
memory = ctypes.create_string_buffer(1 << 20)
P = ctypes.addressof(memory)
S = new("cuStreamCreate", 1)[1]
DEVICE, HOST, UNIFIED, ARRAY = 2, 1, 4, 3
class Box2(ctypes.Structure):
    _fields_ = [(n, ctypes.c_uint64) for n in (
        "sx sy st sh sd sa sp dx dy dt dh dd da dp w h").split()]
class Box3(ctypes.Structure):
    _fields_ = [(n, ctypes.c_uint64) for n in (
        "sx sy sz sl st sh sd sa r0 sp shh dx dy dz dl dt dh dd da r1 dp dhh w h d").split()]
def box(kind, width, rows, **sides):
    return ctypes.byref(kind(w=width, h=rows, sp=width, dp=width, **sides))
class Descriptor(ctypes.Structure):
    _fields_ = [("w", size), ("h", size), ("f", ctypes.c_int), ("n", ctypes.c_uint)]
X = new("cuArrayCreate_v2", ctypes.byref(Descriptor(256, 16, 0x20, 2)))[1]
Y = new("cuArrayCreate_v2", ctypes.byref(Descriptor(1024, 0, 0x20, 2)))[1]
class Operand(ctypes.Structure):
    _fields_ = [("type", ctypes.c_int), ("at", u64), ("row", size), ("layer", size), ("loc", size)]
class Op(ctypes.Structure):
    _fields_ = [("src", Operand), ("dst", Operand), ("w", size), ("h", size), ("d", size),
                ("order", ctypes.c_int), ("flags", ctypes.c_uint)]
class Attributes(ctypes.Structure):
    _fields_ = [("order", ctypes.c_int), ("rest", ctypes.c_int * 7)]
def many(*values):
    return (ctypes.c_uint64 * len(values))(*values)
def batch(name, to, from_, sizes, *more):
    attributes = ctypes.byref(Attributes(1))
    return call(name, many(*to), many(*from_), many(*sizes), len(sizes), attributes, many(0), 1, *more)
def element(*op):
    return ctypes.byref(Op(*op))
out([{calls}])
"""
SPELLINGS = {
    # call: bytes to the device, bytes to the host
    'call("cuMemcpyHtoD_v2", A, P, 1001)': (1001, 0),
    'call("cuMemcpyHtoD_v2_ptds", A, H, 1003)': (1003, 0),
    'call("cuMemcpyHtoDAsync_v2", A, P, 1005, S)': (1005, 0),
    'call("cuMemcpyHtoDAsync_v2_ptsz", A, H, 1007, 0)': (1007, 0),
    'call("cuMemcpyDtoH_v2", P, A, 1009)': (0, 1009),
    'call("cuMemcpyDtoH_v2_ptds", H, A, 1011)': (0, 1011),
    'call("cuMemcpyDtoHAsync_v2", H, A, 1013, S)': (0, 1013),
    'call("cuMemcpyDtoHAsync_v2_ptsz", P, A, 1015, 0)': (0, 1015),
    'call("cuMemcpyDtoD_v2", A, B, 1017)': (0, 0),
    'call("cuMemcpy", A, P, 1019)': (1019, 0),
    'call("cuMemcpy_ptds", H, A, 1021)': (0, 1021),
    'call("cuMemcpyAsync", P, A, 1023, S)': (0, 1023),
    'call("cuMemcpyAsync_ptsz", A, H, 1025, S)': (1025, 0),
    'call("cuMemcpy", A, B, 1027)': (0, 0),
    'call("cuMemcpy", H, P, 1029)': (0, 0),
    'call("cuMemcpyHtoA_v2", Y, 0, P, 1032)': (1032, 0),
    'call("cuMemcpyHtoAAsync_v2", Y, 0, H, 1040, S)': (1040, 0),
    'call("cuMemcpyAtoH_v2", P, Y, 0, 1048)': (0, 1048),
    'call("cuMemcpyAtoHAsync_v2_ptsz", H, Y, 0, 1056, 0)': (0, 1056),
    'call("cuMemcpyDtoA_v2", Y, 0, A, 1064)': (0, 0),
    'call("cuMemcpy2D_v2", box(Box2, 100, 7, st=HOST, sh=P, dt=DEVICE, dd=A))': (700, 0),
    'call("cuMemcpy2DUnaligned_v2", box(Box2, 100, 9, st=DEVICE, sd=A, dt=HOST, dh=P))': (0, 900),
    'call("cuMemcpy2DAsync_v2", box(Box2, 104, 8, st=UNIFIED, sd=H, dt=ARRAY, da=X), S)': (832, 0),
    'call("cuMemcpy2DAsync_v2_ptsz", box(Box2, 104, 8, st=DEVICE, sd=A, dt=UNIFIED, dd=P), 0)': (0, 832),
    'call("cuMemcpy3D_v2", box(Box3, 50, 6, d=3, shh=6, dhh=6, st=HOST, sh=P, dt=DEVICE, dd=A))': (900, 0),
    'call("cuMemcpy3DAsync_v2", box(Box3, 50, 6, d=5, shh=6, dhh=6, st=DEVICE, sd=A, dt=HOST, dh=H), S)': (
        0,
        1500,
    ),
    'call("cuMemcpy2D_v2", box(Box2, 100, 7, st=DEVICE, sd=B, dt=DEVICE, dd=A))': (0, 0),
    'batch("cuMemcpyBatchAsync_v2", (A, H, B), (P, A, A), (100, 2000, 30000), S)': (100, 2000),
    'call("cuMemcpy3DWithAttributesAsync", element(Operand(1, P), Operand(2, X), 64, 4, 1, 1), 0, S)': (
        2048,
        0,
    ),
    # refused
    'call("cuMemcpyHtoD_v2", 1, P, 1001)': (0, 0),
    'call("cuMemcpyHtoD_v2", A, P, 0)': (0, 0),
    'call("cuMemcpy2D_v2", 0)': (0, 0),
}


def test_every_spelling_is_charged_what_it_moves(new_tenant: Callable[..., Tenant]) -> None:
    tenant = new_tenant()
    rate = 1 << 40
    tenant.limits.set_cap(0, abi.METERED_PPM, 0, spent_ns=0, burst_ns=20_000_000)
    tenant.limits.set_copy_rates(0, [rate, rate])
    program = tenant.start(KINDS.format(calls="") + "\nfor line in sys.stdin: out(eval(line))")
    assert program.stdin is not None
    assert program.stdout is not None
    program.stdout.readline()
    found, seen = {}, tenant.usage.copied(0).bytes
    for spelling in SPELLINGS:
        print(spelling, file=program.stdin, flush=True)
        code = program.stdout.readline()
        assert code, program.communicate()
        now = tenant.usage.copied(0).bytes
        found[spelling] = (now[0] - seen[0], now[1] - seen[1])
        seen = now
        print(code.strip(), spelling, found[spelling])
    program.communicate(timeout=30)
    assert found == SPELLINGS
    assert tenant.devices()[0]["processes"][-1]["copy_bytes"] >= sum(seen)


def test_a_copy_that_is_recorded_is_not_charged(new_tenant: Callable[..., Tenant]) -> None:
    """Not even where it would have to wait: nothing waits during a capture."""
    tenant = new_tenant()
    tenant.limits.set_cap(0, abi.METERED_PPM, 0, spent_ns=0, burst_ns=20_000_000)
    tenant.limits.set_copy_rates(0, [1000, 1000])
    codes = tenant.run(
        """
start()
a, h, s = alloc(1 << 20)[1], new("cuMemAllocHost_v2", 1 << 20)[1], new("cuStreamCreate", 1)[1]
codes = [call("cuStreamBeginCapture_v2", s, 0)]
codes += [call("cuMemcpyHtoDAsync_v2", a, h, 1 << 20, s) for _ in range(3)]
codes += [call("cuStreamEndCapture", s, ctypes.byref(u64()))]
out(codes)
"""
    )
    assert codes == [0] * 5
    assert tenant.usage.copied(0) == ((0, 0), (0, 0))


def test_a_huge_size_that_is_refused_keeps_nobody_waiting(new_tenant: Callable[..., Tenant]) -> None:
    tenant = new_tenant()
    tenant.limits.set_cap(0, abi.METERED_PPM, 0, spent_ns=0, burst_ns=20_000_000)
    tenant.limits.set_copy_rates(0, [1 << 20, 0])
    code = tenant.run(
        """
start()
memory = ctypes.create_string_buffer(4096)
a, p = alloc(1 << 20)[1], ctypes.addressof(memory)
first = call("cuMemcpyHtoD_v2", a, p, (1 << 64) - 1)
out([first, call("cuMemcpyHtoD_v2", a, p, 4096)])
"""
    )
    assert code[0] != 0
    assert code[1] == 0
    assert tenant.usage.copied(0).bytes == (4096, 0)
    assert ctypes.sizeof(ctypes.c_void_p) == 8
