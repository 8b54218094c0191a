"""The device's time: slices, switches, streams, events. Durations are the model's own, so most are exact."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from simulated import Machine, line, tell

SLICE_NS = 1_024_000
SWITCH_NS = 50_000


def total(machine: Machine, index: int = 0) -> None:
    """Every nanosecond of the compute engine belongs to somebody."""
    device = machine.device(index)
    spent = sum(p["gpu_ns"] for p in device["processes"]) + device["idle_ns"] + device["switch_ns"]
    assert spent == device["elapsed_ns"]


def test_a_kernel_takes_the_time_it_is_asked_to(machine: Machine) -> None:
    elapsed = machine.run(
        "start(); a, b = event(), event(); plug(); record(a); spin(5*MS); record(b); sync()\n"
        "out(elapsed_ns(a, b))"
    )
    assert elapsed == 5_000_000
    device = machine.device()
    assert [p["gpu_ns"] for p in device["processes"]] == [85_000_000]
    assert device["switches"] == 0
    total(machine)


def test_kernels_without_a_model_take_waves_of_blocks_or_what_the_table_says(
    make_machine: Callable[..., Machine],
) -> None:
    code = """
start(); function("other")
def go(blocks):
    a, b = event(), event()
    values = u64(1), ctypes.c_uint32(2)
    params = (ctypes.c_void_p * 2)(*(ctypes.addressof(v) for v in values))
    plug(); record(a)
    assert cuda.cuLaunchKernel(function("other"), blocks, 1, 1, 32, 1, 1, 0, None, params, None) == 0
    record(b); sync()
    return elapsed_ns(a, b)
out([go(1), go(58), go(59)])
"""
    assert make_machine("l4").run("import ctypes\n" + code) == [15_000, 15_000, 25_000]  # 58 SMs
    assert make_machine("l4", SIMGPU_KERNELS="x=1,other=7000").run("import ctypes\n" + code) == [7_000] * 3


@pytest.mark.alone
def test_two_busy_processes_get_equal_time_and_pay_for_switches(machine: Machine) -> None:
    code = """
start()
for _ in range(1000): spin(100*MS)
out(os.getpid()); wait()
"""
    programs = [machine.start(code) for _ in range(2)]
    pids = [line(p) for p in programs]

    def used() -> tuple[dict[str, Any], list[int]]:
        device = machine.device()
        by_pid = {p["pid"]: p["gpu_ns"] for p in device["processes"]}
        return device, [by_pid[pid] for pid in pids]

    before, first = used()
    time.sleep(0.5)
    after, last = used()
    one, two = (b - a for a, b in zip(first, last, strict=True))
    assert one + two > 400_000_000
    assert abs(one - two) <= 2 * SLICE_NS
    switches = after["switches"] - before["switches"]
    assert abs(switches * SLICE_NS - (one + two)) <= 2 * SLICE_NS
    assert 0 <= after["switches"] * SWITCH_NS - after["switch_ns"] <= SWITCH_NS  # one may be going on
    for program in programs:
        program.kill()
        program.communicate()
    total(machine)


def test_a_lone_process_gets_everything(machine: Machine) -> None:
    sleeper = machine.start("start(); out(1); wait()")
    line(sleeper)
    gpu_ns, wall_ns = machine.run(
        "start(); function(); lane = stream(); a, b = event(), event(); plug(lane); record(a, lane)\n"
        "for _ in range(200): spin(100_000, lane)\n"
        "record(b, lane); sync(); out([200 * 100_000, elapsed_ns(a, b)])"
    )
    assert wall_ns == gpu_ns
    assert machine.device()["switches"] == 0
    sleeper.communicate("\n")
    total(machine)


def test_a_long_kernel_is_interrupted_and_its_events_show_it(machine: Machine) -> None:
    """Event times contain the other process's slices, as on a GPU; its own time does not."""
    other = machine.start("start(); function(); out(1); wait(); spin(800*MS); sync()")
    line(other)
    tell(other)
    pid, elapsed = machine.run(
        "start(); function(); time.sleep(0.05); a, b = event(), event()\n"
        "spin(100*MS); record(a); spin(50*MS); record(b); sync()\n"  # all is queued before it is its turn
        "out([os.getpid(), elapsed_ns(a, b)])"
    )
    assert other.wait(30) == 0
    assert machine.process(pid)["gpu_ns"] == 150_000_000
    rounds = 50_000_000 // SLICE_NS
    foreign = rounds * (SLICE_NS + 2 * SWITCH_NS)
    assert abs(elapsed - (50_000_000 + foreign)) <= SLICE_NS + 2 * SWITCH_NS
    total(machine)


def test_slice_and_switch_are_settable(make_machine: Callable[..., Machine]) -> None:
    machine = make_machine("l4", SIMGPU_SLICE_NS="300000", SIMGPU_SWITCH_NS="0")
    code = "start(); function(); out(1); wait(); spin(300*MS); sync()"
    programs = [machine.start(code) for _ in range(2)]
    for program in programs:
        line(program)
    for program in programs:
        tell(program)
    assert [p.wait(30) for p in programs] == [0, 0]
    device = machine.device()
    assert device["switch_ns"] == 0
    assert device["switches"] > 600  # of 2000; of slices as they are by themselves there would be 586
    total(machine)


def test_streams_are_queues_and_kernels_share_the_sms(machine: Machine) -> None:
    """Small kernels of two streams run side by side; two that fill the device do not."""
    code = """
start(); a, b = event(), event()
one, two = stream(), stream()
def both(blocks):
    gate = event(2)
    plug(one); record(gate, one); must("cuStreamWaitEvent", two, gate, 0)
    record(a, one)
    for _ in range(2):
        spin(2*MS, one, blocks); spin(2*MS, two, blocks)
    record(gate, two); must("cuStreamWaitEvent", one, gate, 0)
    record(b, one); sync()
    return elapsed_ns(a, b)
out([both(4), both(58)])
"""
    assert machine.run(code) == [4_000_000, 8_000_000]
    total(machine)


def test_the_legacy_stream_waits_for_blocking_streams_and_they_for_it(machine: Machine) -> None:
    code = """
start(); function()
def order(flags, default="cuLaunchKernel"):
    lane = stream(flags); a, b, c = event(), event(), event()
    spin(20*MS, lane); record(a, lane)          # a long kernel in the stream
    launch(5*MS, 0, name=default); must(default.replace("LaunchKernel", "EventRecord"), b, 0)
    spin(5*MS, lane); record(c, lane); sync()
    return [elapsed_ns(a, b), elapsed_ns(a, c)]
out([order(0), order(1), order(0, "cuLaunchKernel_ptsz")])
"""
    barred, free_running, own = machine.run(code)
    assert barred == [5_000_000, 10_000_000]
    assert free_running[0] < 0  # beside the non-blocking stream's kernel, long done before it
    assert free_running[1] == 5_000_000
    assert own[0] < 0  # and so is the thread's own default stream
    total(machine)


def test_copies_run_beside_kernels(machine: Machine) -> None:
    code = """
start(); function(); one, two = stream(), stream()
code, p = alloc(64 * MIB)
host = u64(); must("cuMemAllocHost_v2", ctypes.byref(host), 64 * MIB)
a, b, c, d = (event() for _ in range(4))
plug(one); record(a, one); spin(30*MS, one); record(b, one)
record(c, two); must("cuMemcpyHtoDAsync_v2", p, host.value, 64 * MIB, two); record(d, two)
sync()
out([elapsed_ns(a, b), elapsed_ns(c, d), elapsed_ns(d, b) > 0])
"""
    kernel, copy, overlapped = machine.run("import ctypes\n" + code)
    assert kernel == 30_000_000
    assert 2_000_000 < copy < 12_000_000  # some 12 to 25 GB/s
    assert overlapped
    [process] = machine.device()["processes"]
    assert process["copy_bytes"] == 64 << 20


def test_a_full_queue_blocks_the_caller(machine: Machine) -> None:
    seconds, queued = machine.run(
        "start(); function(); lane = stream(); spin(300*MS, lane)\n"
        "for _ in range(1023): spin(1, lane)\n"
        "begun = time.monotonic(); spin(1, lane); out([time.monotonic() - begun, 0])"
    )
    assert 0.05 < seconds < 3
    assert queued == 0


def test_events_are_not_ready_before_their_time(machine: Machine) -> None:
    code = """
start(); function(); e, other = event(), event()
span = lambda first: call("cuEventElapsedTime", ctypes.byref(ctypes.c_float()), first, first)
codes = [call("cuEventQuery", e), span(e)]
spin(100*MS); record(e)
codes += [call("cuEventQuery", e), call("cuStreamQuery", 0), span(e)]
must("cuEventSynchronize", e)
codes += [call("cuEventQuery", e), call("cuStreamQuery", 0)]
must("cuEventDestroy_v2", e)
codes += [call("cuEventQuery", e)]
untimed = event(2); record(untimed); sync()
codes += [span(untimed)]
out(codes)
"""
    assert machine.run("import ctypes\n" + code) == [0, 400, 600, 600, 600, 0, 0, 400, 400]


def test_the_last_record_of_an_event_counts_even_if_an_earlier_one_is_done_later(machine: Machine) -> None:
    code = """
start(); function(); slow, fast = stream(), stream(); e, early = event(), event()
spin(100*MS, slow); record(e, slow); record(e, fast); record(early, fast)
must("cuEventSynchronize", e); must("cuEventSynchronize", early)
before = elapsed_ns(e, early); sync()
out([before, elapsed_ns(e, early), call("cuEventQuery", e)])
"""
    before, after, code_after = machine.run(code)
    assert before == after
    assert 0 <= before < 50_000_000
    assert code_after == 0


def test_a_wait_ends_when_another_thread_destroys_the_stream(machine: Machine) -> None:
    code = """
start(); function(); context = new("cuCtxGetCurrent")[1]; done = []
def churn():
    must("cuCtxSetCurrent", context)
    for _ in range(300):
        lane = stream(); spin(20_000, lane); must("cuStreamDestroy_v2", lane)
    done.append(1)
thread = threading.Thread(target=churn); thread.start()
syncs = 0
while not done: sync(); syncs += 1
thread.join(); out(syncs)
"""
    assert machine.run(code) > 0


def test_host_functions_and_values_are_part_of_the_stream(machine: Machine) -> None:
    code = """
start(); function(); lane = stream(); seen = []
host = u64(); must("cuMemAllocHost_v2", ctypes.byref(host), 4096)
word = ctypes.cast(host.value, ctypes.POINTER(ctypes.c_uint32))
word[0] = word[1] = 0
kind = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
fn = kind(lambda argument: seen.append((argument, word[1])))
must("cuStreamWaitValue32_v2", lane, host.value, 7, 1)      # until word[0] == 7
must("cuStreamWriteValue32_v2", lane, host.value + 4, 99, 0)
assert cuda.cuLaunchHostFunc(u64(lane), fn, ctypes.c_void_p(5)) == 0
time.sleep(0.05)
before = [call("cuStreamQuery", lane), word[1], list(seen)]
word[0] = 7
must("cuStreamSynchronize", lane)
out([before, word[1], seen])
"""
    before, word, seen = machine.run("import ctypes\n" + code)
    assert before == [600, 0, []]
    assert word == 99
    assert seen == [[5, 99]]


def test_a_value_appears_in_host_memory_without_any_call(machine: Machine) -> None:
    code = """
start(); function(); lane = stream()
host = u64(); must("cuMemAllocHost_v2", ctypes.byref(host), 4096)
word = ctypes.cast(host.value, ctypes.POINTER(ctypes.c_uint32)); word[0] = 0
begun = time.monotonic(); spin(50*MS, lane); must("cuStreamWriteValue32_v2", lane, host.value, 1, 0)
while word[0] == 0 and time.monotonic() < begun + 20: pass
out([word[0], time.monotonic() - begun])
"""
    word, seconds = machine.run("import ctypes\n" + code)
    assert word == 1
    assert 0.05 <= seconds < 5  # of 20; more than 0.5 where sixteen other programs are busy
