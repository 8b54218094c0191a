"""Who gets the device's SMs, and when: kernels beside each other, priorities, clients of MPS, full queues.

Durations are the model's own, so most are exact: with g of the s SMs it can use, a kernel takes s/g times.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from simulated import Machine, line, tell

MS = 1_000_000
SMS = 58  # of an L4

# Streams wait for a gate, so that what is queued behind it begins at one moment of the device's time.
GATED = """
function()
door, opened = stream(), event(2)
def gate(*lanes):
    spin(60*MS, door); record(opened, door)
    for lane in lanes: must("cuStreamWaitEvent", lane, opened, 0)
def blocks_of(name, blocks, lane):
    code = cuda.cuLaunchKernel(function(name), blocks, 1, 1, 32, 1, 1, 0, u64(lane), two, None)
    assert code == 0, code
values = u64(1), ctypes.c_uint32(2)
two = (ctypes.c_void_p * 2)(*(ctypes.addressof(v) for v in values))
lane_of = lambda priority: new("cuStreamCreateWithPriority", 1, priority)[1]
"""
START = "import ctypes\nstart()\n" + GATED


def up(sm_ns: int, sms: int) -> int:
    """Nanoseconds that so many SM-nanoseconds take on so many SMs."""
    return -(-sm_ns // sms)


def total(machine: Machine, index: int = 0) -> None:
    """Every nanosecond of the compute engine belongs to somebody."""
    device = machine.device(index)
    spent = sum(p["gpu_ns"] for p in device["processes"]) + device["forgotten_gpu_ns"]
    assert spent + device["idle_ns"] + device["switch_ns"] == device["elapsed_ns"]


def test_a_kernel_begins_on_the_sms_that_others_leave_and_gets_more_when_they_end(machine: Machine) -> None:
    code = """
one, two_ = stream(), stream(); a, b, c = event(), event(), event()
gate(one, two_); record(a, one)
spin(10*MS, one, 40)                            # 40 of 58
spin(10*MS, two_, 36)                           # 18 are left: half its pace until the first ends
record(b, one); record(c, two_); sync()
out([elapsed_ns(a, b), elapsed_ns(a, c)])
"""
    assert machine.run(START + code) == [10 * MS, 15 * MS]
    process = machine.device()["processes"][0]
    assert process["sm_ns"] == 60 * MS + 10 * MS * 40 + 10 * MS * 36
    assert process["gpu_ns"] == 75 * MS
    total(machine)


def test_a_cooperative_kernel_waits_for_all_its_sms(machine: Machine) -> None:
    code = """
one, two_ = stream(), stream(); a, b, c = event(), event(), event()
gate(one, two_); record(a, one)
spin(10*MS, one, 40)
value = u64(10*MS); params = (ctypes.c_void_p * 1)(ctypes.addressof(value))
assert cuda.cuLaunchCooperativeKernel(function(), 36, 1, 1, 32, 1, 1, 0, u64(two_), params) == 0
record(b, one); record(c, two_); sync()
out([elapsed_ns(a, b), elapsed_ns(a, c)])
"""
    assert machine.run(START + code) == [10 * MS, 20 * MS]


def test_of_two_waiting_kernels_the_higher_priority_goes_first(machine: Machine) -> None:
    code = """
low, high = lane_of(0), lane_of(-5); a, b, c = event(), event(), event()
gate(low, high); record(a, door)
spin(10*MS, low, 58); spin(10*MS, high, 58)     # both ready at one moment, the low one submitted first
record(b, low); record(c, high); sync()
out([elapsed_ns(a, b), elapsed_ns(a, c)])
"""
    assert machine.run(START + code) == [20 * MS, 10 * MS]


def test_blocks_of_a_higher_priority_come_between_two_waves_of_a_lower_one(
    make_machine: Callable[..., Machine],
) -> None:
    """A kernel of ten waves of 1 ms gives way at the end of a wave; one of a single wave does not."""
    code = """
low, high = lane_of(0), lane_of(-5); a, b, c = event(), event(), event()
gate(low, high); record(a, door); blocks_of("other", 580, low); record(b, low)
spin(2_500_000, high, 1); spin(2*MS, high, 58)
record(c, high); sync()
out([elapsed_ns(a, b), elapsed_ns(a, c)])
"""
    machine = make_machine("l4", SIMGPU_KERNELS="other=10000000")
    # The high stream's first kernel has one SM from the start and ends at 2.5 ms; the low one has 57.
    # The second has that one SM until 3 ms, where a wave of the low one ends, and then all of them.
    low, high = machine.run(START + code)
    assert high == 3 * MS + up(116 * MS - MS // 2, SMS)
    assert low == high + up(580 * MS - 3 * 57 * MS, SMS)
    total(machine)


def test_a_queue_holds_1024_and_then_the_caller_waits(machine: Machine) -> None:
    code = """
lane = stream(); gate(lane)
begun = time.monotonic()
for _ in range(1023): spin(1000, lane)          # the wait for the gate is the first of the 1024
free = time.monotonic() - begun
full_by = new("cuEventCreate", 2)[1]
spin(1000, lane)
out([free, time.monotonic() - begun, call("cuEventQuery", opened)])
"""
    # Behind the gate's 60 ms kernel nothing of the stream can end before it.
    free, waited, opened = machine.run(START.replace("60*MS", "1500*MS") + code)
    assert free < 1.4 < waited
    assert opened == 0


def test_an_engine_without_work_is_handed_over_at_once(machine: Machine) -> None:
    """A short kernel beside a long one costs two switches and itself, not a slice."""
    code = "start(); function(); out(os.getpid()); wait(); spin({ns}); sync(); out(1)"
    long_one = machine.start(code.format(ns=300 * MS))
    pid = line(long_one)
    short = machine.start(code.format(ns=100_000))
    other = line(short)
    tell(long_one)
    while machine.process(pid)["gpu_ns"] == 0:
        time.sleep(0.001)
    tell(short)
    for program in (short, long_one):
        program.communicate()
    device = machine.device()
    assert device["switches"] == 2
    assert device["switch_ns"] == 100_000
    assert machine.process(other)["gpu_ns"] == 100_000
    assert machine.process(pid)["gpu_ns"] == 300 * MS
    total(machine)


# -------- MPS --------

CLIENT = START + "out(os.getpid()); wait(); spin({ns}, 0, {blocks}); sync(); out(1)"


def together(machine: Machine, *clients: tuple[int, int, dict[str, str]]) -> list[int]:
    """Run one kernel (ns, blocks) in each of several processes, begun while the first is running."""
    programs = [
        machine.start(CLIENT.format(ns=ns, blocks=blocks), **variables) for ns, blocks, variables in clients
    ]
    pids: list[int] = [line(program) for program in programs]
    for program in programs:
        tell(program)
    for program in programs:
        assert line(program) == 1
        program.communicate()
    return pids


def test_clients_of_mps_run_beside_each_other(make_machine: Callable[..., Machine]) -> None:
    machine = make_machine("l4", SIMGPU_MPS="1")
    pids = together(machine, (400 * MS, 20, {}), (400 * MS, 20, {}))
    device = machine.device()
    assert device["switches"] == 0
    one, two = (machine.process(pid) for pid in pids)
    assert one["sm_ns"] == two["sm_ns"] == 400 * MS * 20
    assert one["gpu_ns"] + two["gpu_ns"] == device["busy_ns"] < 700 * MS  # beside, not after each other
    total(machine)


def test_what_does_not_fit_beside_another_client_takes_what_is_left(
    make_machine: Callable[..., Machine],
) -> None:
    machine = make_machine("l4", SIMGPU_MPS="1")
    pids = together(machine, (300 * MS, SMS, {}), (300 * MS, SMS, {}))
    device = machine.device()
    assert [machine.process(pid)["gpu_ns"] for pid in pids] == [300 * MS] * 2
    assert device["busy_ns"] == 600 * MS
    assert device["switch_ns"] == 0
    total(machine)


def test_a_thread_percentage_limits_a_client_and_leaves_the_rest(
    make_machine: Callable[..., Machine],
) -> None:
    machine = make_machine("l4", SIMGPU_MPS="1")
    half = {"CUDA_MPS_ACTIVE_THREAD_PERCENTAGE": "50"}
    pids = together(machine, (300 * MS, SMS, half), (300 * MS, SMS, half))
    device = machine.device()
    one, two = (machine.process(pid) for pid in pids)
    assert one["sm_ns"] == two["sm_ns"] == 300 * MS * SMS
    # On 28 SMs each, beside each other: 621 ms and what they began apart.
    assert up(300 * MS * SMS, 28) <= device["busy_ns"] < 1100 * MS
    assert one["gpu_ns"] + two["gpu_ns"] == device["busy_ns"]
    code = "start(); n = ctypes.c_int(); must('cuDeviceGetAttribute', ctypes.byref(n), 16, 0); out(n.value)"
    counts = {
        p: machine.run("import ctypes\n" + code, CUDA_MPS_ACTIVE_THREAD_PERCENTAGE=p) for p in ("1", "100")
    }
    assert counts == {"1": 2, "100": SMS}
    total(machine)


def test_a_client_of_lower_priority_waits_for_the_others(make_machine: Callable[..., Machine]) -> None:
    """Both wait for a third client's kernel; the one that came later goes first."""
    machine = make_machine("l4", SIMGPU_MPS="1")
    code = START + (
        "a, b = event(), event(); out(1); wait(); record(a); spin({ns}, 0, 58); record(b); out(2)\n"
        "sync(); out(elapsed_ns(a, b))"
    )
    first = machine.start(code.format(ns=600 * MS))
    low = machine.start(code.format(ns=100 * MS), CUDA_MPS_CLIENT_PRIORITY="1")
    high = machine.start(code.format(ns=100 * MS))
    for program in (first, low, high):
        line(program)
    for program in (first, low, high):
        tell(program)
        line(program)
    times = [line(program) for program in (first, low, high)]
    assert times[0] >= 600 * MS
    assert times[1] - times[2] >= 100 * MS
    for program in (first, low, high):
        program.communicate()
    total(machine)
