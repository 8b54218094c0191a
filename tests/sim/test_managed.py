"""Managed memory: where it lies, what moves it, how long that takes, and what a program can ask about it."""

from __future__ import annotations

from collections.abc import Callable

from simulated import Machine

MIB = 1 << 20
START_NS, HOST_BYTES_PER_US = 1500, 25000  # the bus of an l4

NAMES = """
import ctypes
from array_calls import *
CPU, NOWHERE = -1, -2
READ_MOSTLY, PREFERRED, ACCESSED, PREFETCHED = 1, 2, 3, 4
def managed(bytes_, flags=1): return new("cuMemAllocManaged", bytes_, flags)
def prefetch(p, bytes_, device, lane=0): return cuda.cuMemPrefetchAsync(u64(p), size(bytes_), device,
    u64(lane))
def prefetch_to(p, bytes_, type, id=0, flags=0):
    return cuda.cuMemPrefetchAsync_v2(u64(p), size(bytes_), Location(type, id), flags, None)
def advise(p, bytes_, advice, device=0): return cuda.cuMemAdvise(u64(p), size(bytes_), advice, device)
def ask(p, bytes_, attribute, count=1):
    values = (ctypes.c_int * count)(*[77] * count)
    code = cuda.cuMemRangeGetAttribute(values, size(4 * count), attribute, u64(p), size(bytes_))
    return code or (values[0] if count == 1 else list(values))
def places(p, bytes_, step=2 * MIB):
    n = -(-bytes_ // step); found = (Location * n)()
    must("cuMemGetLocationInfo", p, bytes_, step, 0, found)
    return "".join("?dh"[f.type] for f in found)
def used(): return info()[1] - info()[0]
"""


def moved(bytes_: int) -> int:
    return START_NS + bytes_ * 1000 // HOST_BYTES_PER_US


def test_new_memory_lies_on_its_device_and_moves_when_asked(machine: Machine) -> None:
    code = """
start(); function(); before = used(); code, p = managed(10 * MIB)
steps = [used() - before]
for device in (CPU, CPU, 0): must("cuCtxSynchronize"), prefetch(p, 10 * MIB,
    device), steps.append(used() - before)
prefetch(p + 3 * MIB, MIB, CPU); steps.append(used() - before)
where = places(p, 10 * MIB, MIB)
h = managed(4 * MIB, 2)[1]; steps.append(used() - before)
must("cuMemFree_v2", p); must("cuMemFree_v2", h)
out([code, [s / MIB for s in steps], where, used() - before])
"""
    code, steps, where, left = machine.run(NAMES + code)
    assert code == 0
    assert steps == [10, 0, 0, 10, 9, 9]
    assert where == "dddhdddddd"
    assert left == 0


def test_data_survives_its_moves_and_begins_as_zeros(machine: Machine) -> None:
    code = """
start(); p = managed(5 * MIB + 100)[1]
zeros = ctypes.string_at(p, 5 * MIB + 100) == bytes(5 * MIB + 100)
data = bytes(range(256)) * 1000; to_device(p + 7, data)
for device in (CPU, 0, CPU): prefetch(p, 5 * MIB, device)
must("cuMemsetD8_v2", p, 9, 7); sync()
same = ctypes.string_at(p + 7, len(data)) == data and ctypes.string_at(p, 7) == bytes([9]) * 7
free(p); q = managed(5 * MIB + 100)[1]
out([zeros, same, ctypes.string_at(q, 5 * MIB + 100) == bytes(5 * MIB + 100)])
"""
    assert machine.run(NAMES + code) == [True, True, True]


def test_a_prefetch_takes_the_time_of_what_it_moves(machine: Machine) -> None:
    code = """
start(); p = managed(64 * MIB)[1]; lane = stream()
def go(offset, bytes_, device): return timed(lambda: prefetch(p + offset, bytes_, device, lane), lane)
out([go(0, 64 * MIB, 0), go(0, 64 * MIB, CPU), go(0, 64 * MIB, CPU), go(MIB, 2 * MIB, 0), go(0, 64 * MIB, 0),
     go(5, 1, CPU)])
"""
    nothing, out, again, part, rest, page = machine.run(NAMES + code)
    assert [nothing, again] == [0, 0]
    assert [out, part, rest] == [moved(64 * MIB), moved(2 * MIB), moved(62 * MIB)]
    assert page == START_NS + 163  # one page of 4 KiB


def test_prefetches_are_asynchronous_and_use_the_copy_engines(machine: Machine) -> None:
    code = """
start(); p, q = managed(100 * MIB)[1], managed(100 * MIB, 2)[1]; one, two = stream(), stream(); function()
a, b, done = event(), event(), event()
plug(one); record(a, one)
must("cuStreamWaitEvent", two, a, 0)
prefetch(p, 100 * MIB, CPU, one); prefetch(q, 100 * MIB, 0, two); spin(2 * MS, two)
record(b, two); must("cuStreamWaitEvent", one, b, 0); record(done, one)
busy_after_calls = cuda.cuStreamQuery(u64(one)); sync()
out([elapsed_ns(a, done), elapsed_ns(a, b), busy_after_calls])
"""
    whole, other, query = machine.run(NAMES + code)
    assert query == 600
    assert whole == other == moved(100 * MIB) + 2_000_000  # both directions at once


def test_more_than_the_device_holds_stays_on_the_host_or_sends_others_there(machine: Machine) -> None:
    code = """
start(); function(); total_ = info()[0] // (2 * MIB) * (2 * MIB)
first = managed(total_ - 100 * MIB)[1]; code, second = managed(300 * MIB)
begin = [info()[0] // MIB, places(second, 300 * MIB, 50 * MIB)]
lane = stream()
time = timed(lambda: prefetch(second, 300 * MIB, 0, lane), lane)
after = [info()[0] // MIB, places(second, 300 * MIB, 50 * MIB), places(first, 300 * MIB, 100 * MIB)]
plain = alloc(500 * MIB)
least = places(first, 1000 * MIB, 100 * MIB)
big = alloc(total_ + 1024 * MIB)[0]
out([code, begin, time, after, plain[0], least, places(second, 300 * MIB, 50 * MIB), big])
"""
    code, begin, time, after, plain, least, second, big = machine.run(NAMES + code)
    assert code == 0
    assert begin == [0, "ddhhhh"]  # 100 MiB were left
    assert time == 2 * moved(200 * MIB)  # what must go, and what comes
    assert after == [0, "dddddd", "hhd"]
    assert plain == 0
    assert least == "hhhhhhhddd"  # 200 MiB for the prefetch, 500 MiB for the allocation
    assert second == "dddddd"  # used last
    assert big == 2


def test_read_mostly_pages_have_several_copies(machine: Machine) -> None:
    code = """
start(); function(); before = used(); p = managed(8 * MIB)[1]; lane = stream(); codes = [advise(p, 8 * MIB,
1)]
to_host = timed(lambda: prefetch(p, 8 * MIB, CPU, lane), lane); both = used() - before
back = timed(lambda: prefetch(p, 8 * MIB, 0, lane), lane)
codes += [ask(p, 8 * MIB, READ_MOSTLY), advise(p, 2 * MIB, 3, CPU), advise(p, 4 * MIB, 2), ask(p, 8 * MIB,
    READ_MOSTLY)]
one = used() - before
again = timed(lambda: prefetch(p, 8 * MIB, CPU, lane), lane)
out([codes, to_host, both / MIB, back, one / MIB, again, (used() - before) / MIB])
"""
    codes, to_host, both, back, one, again, rest = machine.run(NAMES + code)
    assert codes == [0, 1, 0, 0, 0]
    assert [to_host, both, back] == [moved(8 * MIB), 8, 0]
    assert one == 6  # where two copies became one, the preferred host kept 2 MiB of 4
    assert again == moved(2 * MIB)  # of the other 6 MiB, 4 still have a copy there
    assert rest == 4


def test_advice_is_kept_page_by_page_and_told_again(make_machine: Callable[..., Machine]) -> None:
    code = """
start(); p = managed(16 * MIB)[1]; said = []
said.append([ask(p, 16 * MIB, a) for a in range(1, 9)])
codes = [advise(p, 8 * MIB, 3, 1), advise(p + 8 * MIB, 8 * MIB, 3, CPU), advise(p, 16 * MIB, 5, 0), advise(p,
    4 * MIB, 5, 1),
         advise(p, 16 * MIB, 5, CPU), prefetch(p, 16 * MIB, 1), prefetch_to(p + 4096, 1, 2)]
said.append([ask(p, 8 * MIB, PREFERRED), ask(p + 8 * MIB, 8 * MIB, PREFERRED), ask(p, 16 * MIB, PREFERRED)])
said.append([ask(p, 4 * MIB, ACCESSED, 4), ask(p, 16 * MIB, ACCESSED, 3), ask(p, 16 * MIB, ACCESSED, 1)])
said.append([ask(p, 4096, PREFETCHED), ask(p + 4096, 4096, PREFETCHED), ask(p, 8192, PREFETCHED),
    ask(p + 8192, MIB, PREFETCHED)])
said.append([[ask(p + o, 4096, a) for a in (5, 6, 7, 8)] for o in (0, 4096, 8 * MIB)])
codes += [advise(p, 16 * MIB, 4), advise(p, 16 * MIB, 6, 0), advise(p, 16 * MIB, 6, CPU)]
said.append([ask(p, 16 * MIB, PREFERRED), ask(p, 4 * MIB, ACCESSED, 2), ask(p, 16 * MIB, ACCESSED, 2)])
many = (ctypes.c_void_p * 2)(*[ctypes.addressof(ctypes.c_int(0)) for _ in range(2)])
keep = [ctypes.c_int(), ctypes.c_int()]
many = (ctypes.c_void_p * 2)(*[ctypes.addressof(k) for k in keep])
codes.append(cuda.cuMemRangeGetAttributes(many, (size * 2)(4, 4), (ctypes.c_int * 2)(1, 4), size(2), u64(p),
    size(4096)))
out([codes, said, [k.value for k in keep]])
"""
    codes, said, many = make_machine("l4*2").run(NAMES + code)
    assert codes == [0] * 11
    assert said == [
        [0, -2, -2, -2, 0, 0, 0, 0],
        [1, -1, -2],
        [[0, 1, -1, -2], [0, -1, -2], 0],
        [1, -1, -2, 1],
        [[1, 1, 1, 1], [1, 1, 2, 0], [2, 0, 1, 1]],
        [-2, [1, -2], [-2, -2]],
    ]
    assert many == [0, 1]


def test_another_device_takes_memory_over(make_machine: Callable[..., Machine]) -> None:
    machine = make_machine("l4*2")
    code = """
start(1); other = used(); start(0); function(); before = used(); p = managed(32 * MIB)[1]; lane = stream()
time = timed(lambda: prefetch(p, 32 * MIB, 1, lane), lane); here = used() - before
start(1); there = used() - other; must("cuMemFree_v2", p)
out([time, here, there / MIB, used() - other])
"""
    assert machine.run(NAMES + code) == [moved(32 * MIB), 0, 32, 0]


def test_batches_of_prefetches_and_discards(machine: Machine) -> None:
    code = """
start(); function(); before = used(); p, q = managed(8 * MIB)[1], managed(8 * MIB)[1]; lane = stream()
two = (u64 * 2)(p, q); sizes = (size * 2)(8 * MIB, 8 * MIB)
def batch(name, locations, first, count=2, flags=0, lane=lane, pointers=two):
    at = (Location * len(locations))(*locations); starts = (size * len(first))(*first)
    return getattr(cuda, name)(pointers, sizes, size(count), at, starts, size(len(locations)), u64(flags),
        u64(lane))
def discard(flags=0, lane=lane): return cuda.cuMemDiscardBatchAsync(two, sizes, size(2), u64(flags),
    u64(lane))
P, D = "cuMemPrefetchBatchAsync", "cuMemDiscardAndPrefetchBatchAsync"
host, device = Location(2, 0), Location(1, 0)
steps = [timed(lambda: batch(P, [host, device], [0, 1]), lane), used() - before]
steps += [timed(lambda: batch(P, [host], [0]), lane), used() - before]
steps += [timed(lambda: batch(D, [device], [0]), lane), used() - before]
steps += [timed(discard, lane), timed(lambda: batch(P, [host], [0]), lane), used() - before]
bad = [batch(P, [host], [1]), batch(P, [host, device], [0, 0]), batch(P, [host, device], [0, 2]), batch(P,
    [host] * 3, [0, 1, 2]),
       batch(P, [Location(0, 0)], [0]), batch(P, [Location(1, 5)], [0]), batch(P, [host], [0],
           flags=1), batch(P, [host], [0], lane=0),
       batch(P, [], []), batch(P, [host], [0], count=0), batch(P, [host], [0], pointers=(u64 * 2)(p,
           12345)), discard(1), discard(0, 0)]
out([steps, bad, cuda.cuMemPrefetchBatchAsync_ptsz(two, sizes, size(2), (Location * 1)(device),
    (size * 1)(0), size(1), u64(0), None)])
"""
    steps, bad, per_thread = machine.run(NAMES + code)
    assert steps == [moved(8 * MIB), 8 * MIB, moved(8 * MIB), 0, 0, 16 * MIB, 0, 0, 0]
    assert bad == [1, 1, 1, 1, 1, 101, 1, 1, 1, 1, 1, 1, 1]
    assert per_thread == 0


def test_wrong_questions_and_places(machine: Machine) -> None:
    code = """
start(); p = managed(MIB)[1]; d = alloc(MIB)[1]; lane = stream()
codes = [prefetch(d, MIB, 0), prefetch(p, MIB + 1, 0), prefetch(p, 0, 0), prefetch(p, MIB, 5),
    prefetch(12345, 1, 0),
         prefetch_to(p, MIB, 0), prefetch_to(p, MIB, 3, 7), prefetch_to(p, MIB, 9), prefetch_to(p, MIB, 1, 0,
             1), prefetch_to(p, MIB, 4)]
codes += [advise(p, MIB, 0), advise(p, MIB, 7), advise(d, MIB, 1), advise(p, MIB, 3, 9), advise(p, MIB, 1, 9)]
codes += [cuda.cuMemAdvise_v2(u64(p), size(MIB), 5, Location(3, 0)), cuda.cuMemAdvise_v2(u64(p), size(MIB),
    3, Location(3, 0))]
codes += [ask(p, MIB, 0), ask(p, MIB, 9), ask(d, MIB, 1), ask(p, MIB + 1, 1), ask(p, MIB, 1, 2)]
value = ctypes.c_int()
codes += [cuda.cuMemRangeGetAttribute(ctypes.byref(value), size(3), 3, u64(p), size(1)),
    cuda.cuMemRangeGetAttribute(None, size(4), 1, u64(p), size(1))]
codes += [managed(0)[0], managed(MIB, 0)[0], managed(MIB, 4)[0], managed(1 << 60)[0]]
attach = lambda *a: cuda.cuStreamAttachMemAsync(u64(a[0]), u64(a[1]), size(a[2]), a[3])
codes += [attach(lane, p, 0, 4), attach(lane, p, MIB, 1), attach(0, p, 0, 4), attach(lane, p, 100, 1),
    attach(lane, p + 1, 0, 1), attach(lane, d, 0, 1), attach(lane, p, 0, 3)]
must("cuStreamBeginCapture_v2", lane, 2); codes.append(prefetch(p, MIB, 0, lane))
out(codes)
"""
    codes = machine.run(NAMES + code)
    assert codes[:10] == [1, 1, 1, 101, 1, 1, 1, 1, 1, 0]
    assert codes[10:17] == [1, 1, 1, 101, 0, 1, 0]
    assert codes[17:24] == [1] * 7
    assert codes[24:28] == [1, 1, 1, 2]
    assert codes[28:35] == [0, 0, 1, 1, 1, 1, 1]
    assert codes[35] in (900, 901)


def test_what_a_killed_process_had_resident_is_free_again(machine: Machine) -> None:
    holder = machine.start(
        NAMES + "start(); managed(4096 * MIB); prefetch(managed(100 * MIB)[1], MIB, CPU); out(1); wait()"
    )
    assert holder.stdout is not None
    holder.stdout.readline()
    held = machine.device()["used_bytes"]
    holder.kill()
    holder.wait()
    assert held > 4195 * MIB
    assert machine.run("start(); out(info()[0] > 20000 * MIB)")
    assert machine.device()["used_bytes"] == 0
