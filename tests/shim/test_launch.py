"""What metering must not disturb, and what must not disturb it: captures, contexts, threads, forks."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from typing import Any

import pytest
from share_core import MS
from sharing import Device

NO_CAP = (1 << 32) - 1
Make = Callable[..., Device]


def finish(program: subprocess.Popen[str]) -> Any:
    """Wait for a Python program, which must be silent but for its last line, and return what that says."""
    output, errors = program.communicate(timeout=60)
    assert (program.returncode, errors) == (0, ""), errors
    return json.loads(output)


# A thread launches and polls all the time while another one captures.
CAPTURE = """
start()
stream, other = new("cuStreamCreate", 1)[1], new("cuStreamCreate", 1)[1]
spin(1 * MS, other)
going = True
def work():
    must("cuCtxSetCurrent", context)
    while going:
        spin(MS // 5, other)
        {more}
context = new("cuCtxGetCurrent")[1]
thread = threading.Thread(target=work)
thread.start()
codes = []
for i in range(20):
    codes.append(call("cuStreamBeginCapture_v2", stream, {mode}))
    codes += [spin(MS, stream) for _ in range(50)]
    time.sleep(0.005)
    code, graph = new_last("cuStreamEndCapture", stream)
    codes.append(code)
    nodes = u64()
    codes.append(call("cuGraphGetNodes", graph, None, ctypes.byref(nodes)))
    codes.append(nodes.value - 50)
going = False
thread.join()
sync()
out([code for code in codes if code])
"""
NEW_LAST = """
def new_last(name, *args):
    handle = u64()
    return call(name, *args, ctypes.byref(handle)), handle.value
"""


@pytest.mark.parametrize("mode", [0, 1, 2], ids=["global", "thread-local", "relaxed"])
def test_a_capture_sees_nothing_of_us(make_device: Make, mode: int) -> None:
    """Neither our events, which another thread's markers are full of, nor our waits."""
    device = make_device(50)
    program = device.python(0, NEW_LAST + CAPTURE.format(mode=mode, more=""))
    assert finish(program) == []


MOVES = """cuda.cuMemsetD8Async(here, 1, 4096, u64(other))
        cuda.cuMemcpyDtoDAsync_v2(here, there, 4096, u64(other))
        cuda.cuMemcpyHtoDAsync_v2(here, data, 4096, u64(other))
        cuda.cuMemcpyAsync(here, there, 4096, u64(other))"""


@pytest.mark.parametrize("mode", [0, 1, 2], ids=["global", "thread-local", "relaxed"])
def test_nor_of_copies_and_fills(make_device: Make, mode: int) -> None:
    """Those of the other thread, and those that are captured."""
    device = make_device(50)
    code = CAPTURE.format(mode=mode, more=MOVES).replace(
        "codes += [spin(MS, stream) for _ in range(50)]", CAPTURED
    )
    program = device.python(0, NEW_LAST + code.replace("start()\n", BUFFERS, 1))
    assert finish(program) == []


BUFFERS = """start()
here, there = (u64(new("cuMemAlloc_v2", 4096)[1]) for _ in range(2))
data = ctypes.create_string_buffer(4096)
"""
CAPTURED = """for _ in range(10):
        codes += [spin(MS, stream), cuda.cuMemsetD32Async(here, 1, 1024, u64(stream))]
        codes += [cuda.cuMemcpyDtoDAsync_v2(here, there, 4096, u64(stream)), spin(MS, stream)]
        codes.append(cuda.cuMemcpyAsync(here, there, 4096, u64(stream)))"""


def test_an_event_query_of_the_program_does_break_a_global_capture(make_device: Make) -> None:
    """The control: what the test above looks for is there to be seen."""
    device = make_device(50)
    code = CAPTURE.format(mode=0, more='call("cuEventQuery", event)')
    program = device.python(None, NEW_LAST + 'must("cuInit", 0)\n' + with_event(code))
    assert 901 in finish(program)


def with_event(code: str) -> str:
    return code.replace("going = True\n", 'event = new("cuEventCreate", 0)[1]\ngoing = True\n', 1)


def test_captured_launches_are_not_charged(make_virtual_device: Make) -> None:
    """Not even those that the stream has prepaid for, before it began to record."""
    device = make_virtual_device(50)
    code = """
start()
stream = new("cuStreamCreate", 1)[1]
codes = [spin(MS // 10, stream) for _ in range(300)]
must("cuStreamBeginCapture_v2", stream, 0)
codes += [spin(MS // 10, stream) for _ in range(5000)]
code, graph = new_last("cuStreamEndCapture", stream)
codes += [spin(MS // 10, stream) for _ in range(100)]
out([sum(codes), code, sync()])
"""
    program = device.python(0, NEW_LAST + code)
    device.wait(1)
    assert finish(program) == [0, 0, 0]
    truth = device.truth()["processes"][0]["gpu_ns"]
    assert truth == 40 * MS
    assert device.charged_ns(0) == pytest.approx(truth, rel=0.3)
    assert device.usage[0].device(0).spent_ns < 100 * MS


def test_refused_launches_cost_nothing(make_device: Make) -> None:
    device = make_device(10)
    code = """
start()
spin(2 * MS), sync()
began = time.monotonic()
refused = {spin(2 * MS, threads=5000) for _ in range(3000)}
sync()
took = time.monotonic() - began
out([sorted(refused), took, spin(MS)])
"""
    refused, took, again = finish(device.python(0, code))
    assert refused == [1]
    assert again == 0
    assert took < 30  # 3000 times 2 ms at 10 % would be a minute
    assert device.charged_ns(0) < 100 * MS


def test_streams_come_and_go_with_work_in_flight(make_device: Make) -> None:
    device = make_device(80)
    code = """
start()
codes = []
for i in range(300):
    stream = new("cuStreamCreate", 1)[1]
    codes += [spin(MS // 2, stream), call("cuStreamDestroy_v2", stream)]
codes.append(sync())
out(sum(codes))
"""
    assert finish(device.python(0, code)) == 0
    truth = device.truth()["processes"][0]["gpu_ns"]
    assert device.charged_ns(0) == pytest.approx(truth, rel=0.2)


def test_contexts_come_and_go_with_work_in_flight(make_device: Make) -> None:
    device = make_device(80)
    code = """
must("cuInit", 0)
codes = []
for i in range(30):
    context = u64()
    codes.append(call("cuCtxCreate_v2", ctypes.byref(context), 0, 0))
    found.clear()
    stream = new("cuStreamCreate", 1)[1]
    codes += [spin(MS // 2, stream if i % 2 else 0) for _ in range(8)]
    if i % 3:
        codes.append(sync())
    codes.append(call("cuCtxDestroy_v2", context.value))
for i in range(10):
    context = start()
    found.clear()
    codes += [spin(MS // 2) for _ in range(8)]
    codes += [sync()] if i % 2 else []
    codes += [call("cuDevicePrimaryCtxReset_v2", 0) if i % 3 else call("cuDevicePrimaryCtxRelease_v2", 0)]
out(codes)
"""
    assert set(finish(device.python(0, code))) == {0}


def test_a_context_ends_while_another_thread_reads_its_markers(make_virtual_device: Make) -> None:
    """Who looks for what is through looks at all contexts: it was caught in one that was given up."""
    device = make_virtual_device(90)
    device.bare["SIMGPU_CALL_NS"] = "cuEventQuery=3000"
    code = """
import threading
start()
def come_and_go():
    while True:
        context = new("cuCtxCreate_v2", 0, 0)[1]
        streams = [new("cuStreamCreate", 1)[1] for _ in range(4)]
        for stream in 2 * streams:
            assert spin(200_000, stream) == 0
        must("cuCtxDestroy_v2", u64(context))
        del found[context]
for _ in range(2):
    threading.Thread(target=come_and_go, daemon=True).start()
while True:
    assert spin(MS // 20) == 0 and sync() == 0
"""
    device.python(0, code)
    for _ in range(2):
        charged_ns = device.charged_ns(0)
        device.wait(1)
        assert device.charged_ns(0) > charged_ns + 500 * MS


def test_contexts_end_with_copies_in_flight(make_device: Make) -> None:
    """Or are reset, after threads that have copied and filled in them."""
    device = make_device(80)
    code = """
must("cuInit", 0)
codes, data = [], ctypes.create_string_buffer(1 << 20)
def work(context, stream, here, there, going):
    call("cuCtxSetCurrent", context)
    while going.is_set():
        call("cuMemsetD8Async", u64(here), 1, 1 << 20, u64(stream))
        call("cuMemcpyDtoDAsync_v2", u64(there), u64(here), 1 << 20, u64(stream))
        call("cuMemcpyHtoD_v2", u64(here), data, 1 << 20)
        call("cuMemcpy", u64(there), u64(here), 1 << 20)
for i in range(20):
    context = u64()
    if i % 2:
        codes.append(call("cuCtxCreate_v2", ctypes.byref(context), 0, 0))
    else:
        context.value = start()
    found.clear()
    stream, going = new("cuStreamCreate", i % 4 // 2)[1], threading.Event()
    here, there = (new("cuMemAlloc_v2", 1 << 20)[1] for _ in range(2))
    going.set()
    threads = [threading.Thread(target=work, args=(context, stream, here, there, going)) for _ in range(2)]
    [thread.start() for thread in threads]
    codes += [spin(MS // 2, stream) for _ in range(8)]
    going.clear()
    [thread.join() for thread in threads]
    codes += [spin(MS // 2, stream), call("cuMemsetD8_v2", u64(here), 2, 1 << 20)]
    codes.append(call("cuCtxDestroy_v2", context) if i % 2 else call("cuDevicePrimaryCtxReset_v2", 0))
out(codes)
"""
    assert set(finish(device.python(0, code))) == {0}
    assert device.charged_ns(0) > 40 * MS


def test_contexts_of_one_thread_are_told_apart(make_virtual_device: Make) -> None:
    """The legacy stream has one handle in all contexts."""
    device = make_virtual_device(60)
    code = """
must("cuInit", 0)
contexts = []
for i in range(2):
    context = u64()
    must("cuCtxCreate_v2", ctypes.byref(context), 0, 0)
    contexts.append(context.value)
codes = []
for i in range(1600):
    must("cuCtxSetCurrent", contexts[i % 2])
    codes.append(spin(MS // 4))
for context in contexts:
    must("cuCtxPushCurrent_v2", context)
    codes.append(sync())
    popped = new("cuCtxPopCurrent_v2")
out(sum(codes))
"""
    program = device.python(0, code)
    assert device.clock is not None
    device.clock.wait(program)
    assert finish(program) == 0
    truth = device.truth()["processes"][0]["gpu_ns"]
    assert device.charged_ns(0) == pytest.approx(truth, rel=0.15)  # they take turns, too


def test_threads_that_end_leave_nothing_in_flight(make_device: Make) -> None:
    """Nobody can put a marker into the default stream of a thread that is no more."""
    device = make_device(60)
    code = """
context = start()
kernel()
codes = []
def work():
    must("cuCtxSetCurrent", context)
    codes.extend(spin(MS // 10, name="cuLaunchKernel_ptsz") for _ in range(7))
for i in range(60):
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
codes.append(sync())
began = time.monotonic()
codes += [spin(MS // 10, name="cuLaunchKernel_ptsz") for _ in range(100)]
codes.append(sync())
out([sum(codes), time.monotonic() - began])
"""
    codes, took = finish(device.python(0, code))
    assert codes == 0
    assert took < 1  # 10 ms of work


def test_many_threads_share_one_gate(make_device: Make) -> None:
    device = make_device(40)
    code = """
context = start()
kernel()
codes = []
end = time.monotonic() + 2
def work(i):
    must("cuCtxSetCurrent", context)
    stream = 0 if i % 2 else new("cuStreamCreate", 1)[1]
    while time.monotonic() < end:
        codes.append(spin(MS // 5, stream))
threads = [threading.Thread(target=work, args=(i,)) for i in range(6)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
codes.append(sync())
out(sum(codes))
"""
    assert finish(device.python(0, code)) == 0
    truth = device.truth()["processes"][0]["gpu_ns"]
    assert truth < 1.35e9  # 40 % of two seconds, twice the start's burst and what was in flight, and room
    assert device.charged_ns(0) == pytest.approx(truth, rel=0.25)


def test_a_fork_starts_with_nothing(make_device: Make) -> None:
    device = make_device(50)
    code = """
context = start()
for _ in range(50):
    spin(MS // 5)
sync()
child = os.fork()
if child == 0:
    spin(MS)  # an error, surely, but not a hang or a crash
    os._exit(7)
code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
codes = [spin(MS // 5) for _ in range(50)] + [sync()]
out([code, sum(codes)])
"""
    assert finish(device.python(0, code)) == [7, 0]


def test_forked_workers_share_the_tenants_share(make_device: Make) -> None:
    """Each child begins CUDA anew, with a slot of its own."""
    device = make_device(50)
    code = """
children = []
for i in range(3):
    child = os.fork()
    if child == 0:
        start()
        end = time.monotonic() + 2
        while time.monotonic() < end:
            spin(MS // 5)
        sync()
        os._exit(0)
    children.append(child)
out([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children])
"""
    assert finish(device.python(0, code)) == [0, 0, 0]
    truth = sum(process["gpu_ns"] for process in device.truth()["processes"])
    assert (
        0.7e9 < truth < 1.6e9
    )  # 50 % of two seconds or a little more, as the three start one after the other


THREADS = """
tasks = lambda: len(os.listdir("/proc/self/task"))
start()
kernel()
before = tasks()
for _ in range(200):
    spin(MS // 20)
    sync()
out(tasks() - before)
"""


@pytest.mark.parametrize(("cap_percent", "most"), [(None, 0), (90, 1)])
def test_the_helper_thread_exists_only_for_a_limit(
    make_device: Make, cap_percent: int | None, most: int
) -> None:
    device = make_device(90)
    if cap_percent is None:
        device.limits[0].set_cap(0, NO_CAP, time.monotonic_ns())
    bare = finish(device.python(None, THREADS))
    assert finish(device.python(0, THREADS)) - bare == most
