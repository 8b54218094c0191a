"""cuCheckpointProcess*: a locked process's device memory goes to the host and comes back, and it goes on."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable

import pytest
from simulated import Machine, line, tell

RUNNING, LOCKED, SAVED = 0, 1, 2
MIB = 1 << 20

CALLS = """
import ctypes, hashlib
class LockArgs(ctypes.Structure):
    _fields_ = [('timeout_ms', ctypes.c_uint), ('reserved0', ctypes.c_uint), ('reserved1', u64 * 7)]
class Pair(ctypes.Structure):
    _fields_ = [('old', ctypes.c_ubyte * 16), ('new', ctypes.c_ubyte * 16)]
class RestoreArgs(ctypes.Structure):
    _fields_ = [('pairs', ctypes.POINTER(Pair)), ('count', ctypes.c_uint), ('reserved',
        ctypes.c_char * 44), ('r1', u64)]
def lock(pid, ms=0):
    return cuda.cuCheckpointProcessLock(pid, ctypes.byref(LockArgs(timeout_ms=ms)) if ms else None)
def save(pid): return cuda.cuCheckpointProcessCheckpoint(pid, None)
def restore(pid): return cuda.cuCheckpointProcessRestore(pid, None)
def unlock(pid): return cuda.cuCheckpointProcessUnlock(pid, None)
def state(pid):
    value = ctypes.c_int(-1); code = cuda.cuCheckpointProcessGetState(pid, ctypes.byref(value))
    return value.value if code == 0 else -code
def tid(pid):
    value = ctypes.c_int(-1); must('cuCheckpointProcessGetRestoreThreadId', pid, ctypes.byref(value))
    return value.value
def uuid(device):
    value = (ctypes.c_ubyte * 16)(); must('cuDeviceGetUuid', value, device); return value
def move(pid, *pairs):
    array = (Pair * len(pairs))(*[Pair(uuid(a), uuid(b)) for a, b in pairs])
    return cuda.cuCheckpointProcessRestore(pid, ctypes.byref(RestoreArgs(array, len(pairs))))
"""

# Data in every kind of memory; `same()` says whether it is all there.
DATA = """
import random as _random
start(); function(); lane = stream(); known = {}
def keep(address, bytes_):
    data = _random.Random(address).randbytes(bytes_); must_0 = to_device(address, data); known[address] = data
for bytes_ in (1, 512, 5000, 100_000, 3 * MIB): keep(alloc(bytes_)[1], bytes_)
keep(new('cuMemAllocAsync', 70_000, 0)[1], 70_000)
at = new('cuMemAddressReserve', 2 * MIB, 0, 0, 0)[1]
_, handle = physical(2 * MIB); must('cuMemMap', at, 2 * MIB, 0, handle, 0); open_access(at, 2 * MIB)
keep(at, 2 * MIB)
sync()
def same(): return all(from_device(a, len(d)) == (0, d) for a, d in known.items())
"""


def test_a_process_is_locked_saved_restored_and_unlocked(machine: Machine) -> None:
    code = (
        CALLS
        + DATA
        + "out(os.getpid()); wait()\n"
        + "out([same(), alloc(512)[0], launch(MS), call('cuCtxSynchronize')]); wait()"
    )
    tenant = machine.start(code)
    pid = line(tenant)
    held = machine.process(pid)["used_bytes"]
    keeper = machine.start(
        CALLS
        + f"must('cuInit', 0); pid = {pid}\n"
        + "out([state(pid), lock(pid), state(pid), save(pid), state(pid)]); wait()\n"
        + "out([restore(pid), state(pid)]); wait(); out([unlock(pid), state(pid)])"
    )
    assert line(keeper) == [RUNNING, 0, LOCKED, 0, SAVED]
    assert held > 7 * MIB
    assert machine.process(pid)["used_bytes"] == machine.device()["used_bytes"] == 0
    assert machine.process(pid)["contexts"] == 1
    tell(tenant)  # its next call waits
    nvml = "import pynvml as n; n.nvmlInit(); h = n.nvmlDeviceGetHandleByIndex(0)\n"
    assert machine.run(nvml + "out(len(n.nvmlDeviceGetComputeRunningProcesses(h)))") == 0
    tell(keeper)
    assert line(keeper) == [0, LOCKED]
    assert machine.process(pid)["used_bytes"] == held
    tell(keeper)
    assert line(keeper) == [0, RUNNING]
    assert line(tenant) == [True, 0, 0, 0]
    tenant.communicate("\n")
    keeper.communicate()
    assert machine.device()["used_bytes"] == 0


def test_a_process_does_it_to_itself(machine: Machine) -> None:
    code = (
        CALLS
        + DATA
        + """
me = os.getpid(); codes = [tid(me) in [int(t) for t in os.listdir('/proc/self/task')]]
codes += [lock(me), save(me), state(me)]
blocked = []
thread = threading.Thread(target=lambda: blocked.append(alloc(512)[0])); thread.start(); thread.join(0.2)
codes += [thread.is_alive(), restore(me), thread.is_alive(), unlock(me)]
thread.join(20); out(codes + [blocked, same(), state(me)])
"""
    )
    assert machine.run(code) == [True, 0, 0, SAVED, True, 0, True, 0, [201], True, RUNNING]


def test_the_order_matters_and_arguments_are_checked(machine: Machine) -> None:
    code = (
        CALLS
        + """
me = os.getpid(); before = [lock(me), state(me)]
start()
found = [save(me), restore(me), unlock(me), lock(me), lock(me), restore(me), save(me), save(me),
    unlock(me), lock(me)]
found += [restore(me), restore(me), unlock(me), unlock(me)]
bad = LockArgs(reserved0=1)
none = [lock(1 << 22), save(0), state(-5), lock(os.getppid()), cuda.cuCheckpointProcessGetState(me, None)
    , cuda.cuCheckpointProcessLock(me, ctypes.byref(bad)), cuda.cuCheckpointProcessUnlock(me,
        (u64 * 8)(0, 1))]
out([before, found, none, alloc(512)[0]])
"""
    )
    before, found, none, after = machine.run(code)
    assert before == [3, -3]
    assert found == [401, 401, 401, 0, 401, 401, 0, 401, 401, 401, 0, 401, 0, 401]
    assert none == [1, 1, -1, 1, 1, 1, 1]
    assert after == 0


def test_locking_waits_for_work_and_gives_up_in_time(machine: Machine) -> None:
    code = (
        CALLS
        + """
start(); function(); me = os.getpid(); e = event()
spin(60*MS); record(e); first = [lock(me), unlock(me), call('cuEventQuery', e)]
word = ctypes.c_uint32.from_address(new('cuMemAllocHost_v2', 4096)[1]); word.value = 0
must('cuStreamWaitValue32_v2', 0, ctypes.addressof(word), 1, 0)
second = [lock(me, 50), state(me), alloc(512)[0]]; word.value = 1
out([first, second, call('cuCtxSynchronize'), lock(me, 5000), unlock(me)])
"""
    )
    assert machine.run(code) == [[0, 0, 0], [600, RUNNING, 0], 0, 0, 0]


def test_a_busy_host_function_does_not_let_the_lock_hang(machine: Machine) -> None:
    code = (
        CALLS
        + """
start(); me = os.getpid(); go = threading.Event(); CALL = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
slow = CALL(lambda _: go.wait(20) and None); must_0 = cuda.cuLaunchHostFunc(u64(0), slow, None)
codes = [lock(me, 60), state(me)]; go.set()
out(codes + [call('cuCtxSynchronize'), lock(me, 5000), unlock(me), alloc(512)[0]])
"""
    )
    assert machine.run(code) == [600, RUNNING, 0, 0, 0, 0]


def test_others_use_what_was_given_back_and_restoring_waits_for_room(machine: Machine) -> None:
    tenant = machine.start("start(); alloc(15 * GIB); out(os.getpid()); wait(); out(alloc(512)[0])")
    pid = line(tenant)
    other = (
        CALLS
        + f"""
start(); pid = {pid}; refused = alloc(15 * GIB)[0]; codes = [lock(pid), save(pid)]
granted, p = alloc(15 * GIB)
codes += [refused, granted, restore(pid), state(pid), free(p), restore(pid), unlock(pid)]
out(codes)
"""
    )
    assert machine.run(other) == [0, 0, 2, 0, 2, SAVED, 0, 0, 0]
    tell(tenant)
    assert line(tenant) == 0
    tenant.communicate()


def test_saving_takes_the_time_of_the_bus(machine: Machine) -> None:
    code = (
        CALLS
        + """
start(); me = os.getpid(); alloc(4 * GIB); lock(me)
before = time.monotonic(); save(me); saved = time.monotonic(); restore(me); restored = time.monotonic()
unlock(me)
out([saved - before, restored - saved])
"""
    )
    saved, restored = machine.run(code)
    assert min(saved, restored) > 0.1  # 4 GiB at some 25 GB/s


def test_managed_memory_cannot_be_saved(machine: Machine) -> None:
    code = (
        CALLS
        + """
start(); me = os.getpid(); p = new('cuMemAllocManaged', 4096, 1)[1]
codes = [lock(me), save(me), state(me), unlock(me), free(p), lock(me), save(me), restore(me), unlock(me)]
out(codes)
"""
    )
    assert machine.run(code) == [0, 801, LOCKED, 0, 0, 0, 0, 0, 0]


def test_a_process_is_restored_onto_another_device(make_machine: Callable[..., Machine]) -> None:
    machine = make_machine("l4*2,t4")
    code = (
        CALLS
        + DATA
        + "out(os.getpid()); wait()\n"
        + "e, f = event(), event(); spin(30*MS, lane)\n"
        + "record(e, lane); spin(MS, lane); record(f, lane); sync()\n"
        + "out([same(), alloc(512)[0], elapsed_ns(e, f), bytes(uuid(0)).hex(), bytes(uuid(1)).hex()]); wait()"
    )
    tenant = machine.start(code)
    pid = line(tenant)
    held = machine.process(pid)["used_bytes"]
    keeper = (
        CALLS
        + f"""
must('cuInit', 0); pid = {pid}; codes = [lock(pid), save(pid)]
codes += [move(pid, (1, 0)), move(pid, (0, 2)), move(pid, (0, 1), (0, 1)), state(pid), move(pid, (0, 1)),
    unlock(pid)]
out([codes, bytes(uuid(0)).hex(), bytes(uuid(1)).hex()])
"""
    )
    codes, first, second = machine.run(keeper)
    assert codes == [0, 0, 1, 1, 1, SAVED, 0, 0]
    assert machine.process(pid, 1)["used_bytes"] == held
    assert machine.device(0)["used_bytes"] == 0
    tell(tenant)
    assert line(tenant) == [True, 0, 1_000_000, second, first]
    tenant.communicate("\n")
    assert machine.process(pid, 1)["gpu_ns"] == 31_000_000
    assert machine.device(1)["used_bytes"] == 0


TENANT = (
    DATA
    + """
print(os.getpid(), flush=True)
while True:
    spin(MS // 10, lane); a = alloc(10_000)[1]; must_ = to_device(a, b'z' * 10_000); assert same(); free(a)
"""
)
KEEPER = (
    CALLS
    + """
must('cuInit', 0); pid = int(sys.argv[1]) if len(sys.argv) > 1 else int(os.environ['TENANT'])
print(1, flush=True)
while True:
    codes = [lock(pid), save(pid), restore(pid), unlock(pid)]
    if 1 in codes: break
    assert set(codes) <= {0, 401}, codes
"""
)

LONG = pytest.param(60, marks=[pytest.mark.soak, pytest.mark.timeout(400)])


@pytest.mark.parametrize("rounds", [4, LONG])
def test_whoever_is_killed_the_others_go_on(machine: Machine, rounds: int) -> None:
    chance = random.Random(rounds)
    for number in range(rounds):
        tenant = machine.start(TENANT)
        pid = line(tenant)
        keepers = [machine.start(KEEPER, TENANT=str(pid)) for _ in range(2)]
        for keeper in keepers:
            assert line(keeper) == 1
        time.sleep(chance.random() * 0.2)
        if number % 2:
            os.kill(pid, signal.SIGKILL)
            tenant.wait()
            assert [keeper.wait(20) for keeper in keepers] == [0, 0]  # no such process any more
        else:
            for keeper in keepers:
                keeper.kill()
                keeper.wait()
            assert tenant.poll() is None
            free = (
                CALLS
                + f"must('cuInit', 0); pid = {pid}; lock(pid); save(pid); restore(pid)\n"
                + "out([unlock(pid), state(pid)])"
            )
            assert machine.run(free) == [0, RUNNING]
            time.sleep(0.05)
            assert tenant.poll() is None
            tenant.kill()
            tenant.wait()
        assert machine.device()["used_bytes"] == 0


def test_a_locked_process_that_ends_or_forks_stops_nobody(machine: Machine) -> None:
    code = (
        CALLS
        + """
start(); me = os.getpid(); lock(me); child = os.fork()
if child == 0: os._exit(call('cuInit', 0))
_, status = os.waitpid(child, 0); out(os.waitstatus_to_exitcode(status))
"""
    )
    assert machine.run(code) == 3
    assert machine.device()["used_bytes"] == 0
