"""Contexts that fail: when, for whom, what still works, and what becomes of what they hold."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from simulated import Machine, line, tell

SPIN_FAILS = "kernel:spin:{when}:{code}"


@pytest.mark.parametrize("code", [700, 719, 214, 714, 702, 710, 715, 716, 718])
def test_a_kernel_breaks_its_context_when_it_ends(machine: Machine, code: int) -> None:
    program = """
start(); function(); s = stream(); e = event()
launched = [launch(50*MS, s), launch(50*MS, s)]
before = [call('cuStreamQuery', s), call('cuEventRecord', e, s), call('cuEventQuery', e), alloc(512)[0]]
after = [call('cuStreamSynchronize', s), call('cuCtxSynchronize'), alloc(512)[0], call('cuEventQuery', e)]
out([launched, before, after])
"""
    found = machine.run(program, SIMGPU_FAULTS=SPIN_FAILS.format(when=1, code=code))
    assert found == [[0, 0], [600, 0, 600, 0], [code] * 4]
    assert machine.device()["processes"][0]["gpu_ns"] == 50_000_000  # what came after it was dropped
    assert machine.device()["processes"][0]["kernels"] == 1


def test_what_answers_with_the_error_and_what_still_works(machine: Machine) -> None:
    program = """
import ctypes
context = start(); f = function(); p = alloc(MIB)[1]; e = event(); s = stream()
byte = ctypes.create_string_buffer(8)
module = new('cuModuleLoadData', PTX)[1]
spin(MS); sync_code = call('cuCtxSynchronize'); number = ctypes.c_int(); text = ctypes.c_char_p()
ptr = ctypes.byref
fails = dict(
    alloc=alloc(512)[0], free=free(p), launch=launch(MS), copy=to_device(p, b'x')
    , back=from_device(p, 1)[0], event=new('cuEventCreate', 0)[0], stream=new('cuStreamCreate', 0)[0]
    , record=call('cuEventRecord', e, 0), query=call('cuEventQuery', e), sync=call('cuStreamSynchronize', 0)
    , load=new('cuModuleLoadData', PTX)[0], unload=call('cuModuleUnload', module)
    , info=call('cuMemGetInfo_v2', ptr(size()), ptr(size())), host=new('cuMemAllocHost_v2', 4096)[0]
    , pool=new('cuMemAllocAsync', 512, 0)[0], gone=call('cuStreamDestroy_v2', s),
        event_gone=call('cuEventDestroy_v2', e)
    , wait=call('cuStreamWaitEvent', 0, e, 0), memset=call('cuMemsetD8_v2', p, 0, 8), context=sync_code)
works = [
    call('cuCtxGetDevice', ptr(number)), new('cuCtxGetCurrent')[0], call('cuCtxPushCurrent_v2', context)
    , new('cuCtxPopCurrent_v2')[0], call('cuDeviceGetCount', ptr(number)), call('cuDeviceGetAttribute',
        ptr(number), 1, 0)
    , call('cuGetErrorString', 719, ptr(text)), call('cuGetErrorName', 719, ptr(text)),
        call('cuDriverGetVersion', ptr(number))
    , call('cuDevicePrimaryCtxGetState', 0, ptr(ctypes.c_uint()), ptr(number)), call('cuCtxGetFlags',
        ptr(ctypes.c_uint()))
    , call('cuCtxSetCurrent', 0), call('cuCtxSetCurrent', context)]
must('cuDevicePrimaryCtxReset_v2', 0)
out([fails, works, os.getpid()]); wait()
start(); import device_work; device_work._functions.clear()
again = [alloc(512)[0], launch(MS), call('cuCtxSynchronize')]
out(again)
"""
    victim = machine.start(program, SIMGPU_FAULTS=SPIN_FAILS.format(when=1, code=719))
    fails, works, pid = line(victim)
    assert fails.pop("wait") in (400, 719)  # its event is gone
    assert {k: v for k, v in fails.items() if v != 719} == {}
    assert set(works) == {0}, works
    assert machine.process(pid)["used_bytes"] == 0  # all that the context held
    tell(victim)
    assert line(victim) == [0, 0, 0]
    victim.communicate("\n")


def test_queued_work_is_dropped_without_effect(machine: Machine) -> None:
    program = """
import ctypes
start(); f = function(); s = stream(); other = stream()
pinned = new('cuMemAllocHost_v2', 4096)[1]; p = alloc(4096)[1]
must('cuMemsetD8_v2', p, 7, 4096)
calls = []
CALL = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
note = CALL(lambda argument: calls.append(argument))
word = ctypes.c_uint32.from_address(pinned)
spin(20*MS, s)
codes = [call('cuMemcpyDtoHAsync_v2', pinned, p, 4096, s), call('cuStreamWriteValue32', s, pinned, 9, 0)
         , cuda.cuLaunchHostFunc(u64(s), note, None), launch(5000*MS, other)]
before = time.monotonic(); code = call('cuCtxSynchronize'); took = time.monotonic() - before
time.sleep(0.05)
out([codes, code, took < 2, word.value, calls])
"""
    found = machine.run(program, SIMGPU_FAULTS=SPIN_FAILS.format(when=1, code=700))
    assert found == [[0, 0, 0, 0], 700, True, 0, []]


def test_others_are_not_touched_and_events_between_contexts_let_go(machine: Machine) -> None:
    neighbour = machine.start("start(); function(); out(1); wait(); spin(30*MS); sync(); out(alloc(512)[0])")
    assert line(neighbour) == 1
    program = """
import ctypes
start(); function(); e = event(2)
second = new('cuCtxCreate_v2', 0, 0)[1]; waiting = stream()
first = new('cuDevicePrimaryCtxRetain', 0)[1]
must('cuCtxSetCurrent', first)
spin(20*MS); spin(500*MS); record(e)
must('cuCtxSetCurrent', second)
wait_code = call('cuStreamWaitEvent', waiting, e, 0)
out([wait_code, call('cuStreamSynchronize', waiting), alloc(512)[0], call('cuCtxDestroy_v2', second)
    , call('cuCtxSetCurrent', first), alloc(512)[0]])
"""
    tell(neighbour)
    assert machine.run(program, SIMGPU_FAULTS=SPIN_FAILS.format(when=1, code=719)) == [0, 0, 0, 0, 0, 719]
    assert line(neighbour) == 0
    neighbour.communicate("\n")


@pytest.mark.parametrize("mps", ["0", "1"])
def test_clients_of_mps_share_the_fault(make_machine: Callable[..., Machine], mps: str) -> None:
    machine = make_machine("l4", SIMGPU_MPS=mps)
    neighbour = machine.start(
        "start(); function(); spin(5000*MS); out(1); wait(); out(call('cuCtxSynchronize'))"
    )
    assert line(neighbour) == 1
    code = "start(); spin(2*MS); out(call('cuCtxSynchronize'))"
    assert machine.run(code, SIMGPU_FAULTS=SPIN_FAILS.format(when=1, code=719)) == 719
    if mps == "1":
        tell(neighbour)
        assert line(neighbour) == 719
    neighbour.kill()
    neighbour.wait()


def test_wild_addresses_are_errors_and_nothing_crashes(machine: Machine) -> None:
    program = """
import ctypes
start(); p = alloc(4096)[1]; freed = alloc(4 * MIB)[1]; free(freed)
hole = new('cuMemAddressReserve', 4 * MIB, 0, 0, 0)[1]
mapped = new('cuMemAddressReserve', 2 * MIB, 0, 0, 0)[1]
code, handle = physical(2 * MIB); must('cuMemMap', mapped, 2 * MIB, 0, handle, 0)
wild = [0x10, 0xdead0000beef, freed, hole, mapped, p + 4000]
found = {}
for name, address in zip('null wild freed hole closed beyond'.split(), wild):
    found[name] = [to_device(address, b'x' * 200), from_device(address, 200)[0], call('cuMemsetD8_v2',
        address, 1, 200)
        , call('cuMemsetD32Async', address, 1, 50, 0), call('cuMemcpyDtoD_v2', address, p, 200)
        , call('cuMemcpyDtoD_v2', p, address, 200), call('cuMemcpyDtoDAsync_v2', p, address, 200, 0)]
found['unified'] = [call('cuMemcpy', p, address, 200) for address in (hole, mapped)]
found['still'] = [call('cuCtxSynchronize'), to_device(p, b'y'), alloc(512)[0]]
out(found)
"""
    found = machine.run(program)
    assert found.pop("still") == [0, 0, 0]
    assert all(code == 1 for codes in found.values() for code in codes), found


def test_a_graph_that_copies_from_where_nothing_is_any_more_breaks_the_context(machine: Machine) -> None:
    program = """
import ctypes
start(); s = stream(); p = alloc(4096)[1]
at = new('cuMemAddressReserve', 2 * MIB, 0, 0, 0)[1]
code, handle = physical(2 * MIB); must('cuMemMap', at, 2 * MIB, 0, handle, 0); open_access(at, 2 * MIB)
must('cuStreamBeginCapture_v2', s, 2); must('cuMemcpyDtoDAsync_v2', p, at, 4096, s)
g = u64(); must('cuStreamEndCapture', s, ctypes.byref(g))
exec_ = new('cuGraphInstantiateWithFlags', g.value, 0)[1]
codes = [call('cuGraphLaunch', exec_, s), call('cuStreamSynchronize', s), call('cuMemUnmap', at, 2 * MIB)]
codes += [call('cuGraphLaunch', exec_, s), call('cuStreamSynchronize', s), alloc(512)[0]]
out(codes)
"""
    assert machine.run(program) == [0, 0, 0, 0, 700, 700]


def test_destroying_a_context_with_work_queued(machine: Machine) -> None:
    program = """
import ctypes
must('cuInit', 0); c = new('cuCtxCreate_v2', 0, 0)[1]
p = alloc(MIB)[1]; s = stream(); [spin(MS, s) for _ in range(10)]; e = record(event(), s)
out([call('cuCtxDestroy_v2', c), call('cuCtxDestroy_v2', c), call('cuStreamSynchronize', s),
    call('cuEventQuery', e)
    , call('cuCtxPopCurrent_v2', 0), call('cuCtxSynchronize'), call('cuCtxPushCurrent_v2', c),
        call('cuCtxSetCurrent', c)
    , call('cuCtxPushCurrent_v2', 0), call('cuCtxPopCurrent_v2', 0), call('cuCtxResetPersistingL2Cache')])
"""
    assert machine.run(program) == [0, 709, 400, 709, 201, 201, 709, 709, 201, 201, 201]
    assert machine.device()["processes"][0]["kernels"] == 10


def test_a_reset_primary_context(machine: Machine) -> None:
    program = """
import ctypes
flags, active = ctypes.c_uint(), ctypes.c_int()
def state():
    must('cuDevicePrimaryCtxGetState', 0, ctypes.byref(flags), ctypes.byref(active))
    return [flags.value, active.value]
must('cuInit', 0); found = [call('cuDevicePrimaryCtxSetFlags_v2', 0, 4), state()]
start(); alloc(MIB); found += [state(), call('cuDevicePrimaryCtxSetFlags_v2', 0, 1), state()]
found += [call('cuDevicePrimaryCtxReset_v2', 0), state(), alloc(512)[0],
    call('cuDevicePrimaryCtxRelease_v2', 0)]
start()
found += [alloc(512)[0], call('cuDevicePrimaryCtxReset_v2', 9), call('cuDevicePrimaryCtxSetFlags_v2', 0,
    0x1000)]
out(found)
"""
    found = machine.run(program)
    assert found == [0, [4, 0], [4, 1], 0, [1, 1], 0, [1, 0], 709, 201, 0, 101, 1]
