"""NVML of the simulated machine: what nvidia-ml-py reads there agrees with the driver and with the truth."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from simulated import Machine, line, tell

pytest.importorskip("pynvml")

NOT_SUPPORTED, NO_PERMISSION = 3, 4
HOLD = "start(); alloc(1 << 30); out(os.getpid()); wait()"


def ask(machine: Machine, code: str) -> Any:
    done = subprocess.run(
        [sys.executable, "-c", "from nvml_calls import *\n" + code],
        env=machine.environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_devices_are_those_of_the_machine(make_machine: Callable[..., Machine]) -> None:
    machine = make_machine("h200,t4")
    names, uuids, totals, buses = ask(
        machine,
        "out([[text(n.nvmlDeviceGetName(x)) for x in devices],"
        " [text(n.nvmlDeviceGetUUID(x)) for x in devices],"
        " [n.nvmlDeviceGetMemoryInfo(x).total for x in devices],"
        " [text(n.nvmlDeviceGetPciInfo(x).busId) for x in devices]])",
    )
    truth = [machine.device(i) for i in range(2)]
    assert names == [device["name"] for device in truth]
    assert uuids == [device["uuid"] for device in truth]
    assert totals == [device["memory_bytes"] for device in truth]
    assert len(set(buses)) == 2
    assert ask(
        machine,
        f"out([n.nvmlDeviceGetIndex(n.nvmlDeviceGetHandleByUUID({uuids[1]!r})),"
        f" n.nvmlDeviceGetIndex(n.nvmlDeviceGetHandleByPciBusId({buses[1]!r})),"
        " refused(n.nvmlDeviceGetHandleByIndex, 2), refused(n.nvmlDeviceGetHandleByUUID, 'GPU-x'),"
        " refused(n.nvmlDeviceGetHandleByPciBusId, '0:0:0')])",
    ) == [1, 1, 2, 6, 6]


def test_both_libraries_name_one_bus(make_machine: Callable[..., Machine]) -> None:
    machine = make_machine("l4")
    driver = machine.run(
        "import ctypes\nmust('cuInit', 0); b = ctypes.create_string_buffer(32)\n"
        "must('cuDeviceGetPCIBusId', b, 32, 0); out(b.value.decode())"
    )
    assert ask(machine, "out(text(n.nvmlDeviceGetPciInfo(d).busId))") == "0000" + driver


def test_a_process_is_listed_from_its_first_context_to_its_end(machine: Machine) -> None:
    program = machine.start("must('cuInit', 0); out(0); wait(); " + HOLD)
    line(program)
    assert ask(machine, "out(processes())") == []
    tell(program)
    pid = line(program)
    used = machine.device()["used_bytes"]
    assert used > 1 << 30
    assert ask(machine, "out(processes())") == [[pid, used, 0xFFFFFFFF]]
    memory = ask(
        machine,
        "a, b = n.nvmlDeviceGetMemoryInfo(d), n.nvmlDeviceGetMemoryInfo(d, version=n.nvmlMemory_v2)\n"
        "out([a.used, a.free, a.total, b.used, b.free, b.total, b.reserved])",
    )
    total = machine.device()["memory_bytes"]
    assert memory == [used, total - used, total, used, total - used, total, 0]
    program.kill()
    program.wait(30)
    assert ask(machine, "out([processes(), n.nvmlDeviceGetMemoryInfo(d).used])") == [[], 0]


def test_versions_constants_and_what_is_not_supported(machine: Machine) -> None:
    answer = ask(
        machine,
        "out([text(n.nvmlSystemGetDriverVersion()), n.nvmlSystemGetCudaDriverVersion(),"
        " n.nvmlDeviceGetCudaComputeCapability(d), n.nvmlDeviceGetTemperature(d, 0),"
        " n.nvmlDeviceGetEnforcedPowerLimit(d), n.nvmlDeviceGetClockInfo(d, 1),"
        " refused(n.nvmlDeviceGetMigMode, d), refused(n.nvmlDeviceGetFanSpeed, d),"
        " n.nvmlDeviceGetMaxMigDeviceCount(d)])",
    )
    assert answer == ["580.65.06", 13000, [8, 9], 35, 72000, 2040, 3, 3, 0]


def test_nothing_answers_after_the_last_end(machine: Machine) -> None:
    assert ask(
        machine,
        "n.nvmlInit(); n.nvmlShutdown(); counts = [n.nvmlDeviceGetCount()]; library = n.nvmlLib\n"
        "n.nvmlShutdown(); import ctypes; count = ctypes.c_uint()\n"
        "out([counts, library.nvmlDeviceGetCount_v2(ctypes.byref(count)), library.nvmlShutdown()])",
    ) == [[1], 1, 1]


def test_a_child_goes_on_where_its_parent_was(machine: Machine) -> None:
    program = machine.start(HOLD)
    pid = line(program)
    assert ask(
        machine,
        "import os\nback, there = os.pipe(); child = os.fork()\n"
        "if child == 0: os.write(there, str(processes()[0][0]).encode()); os._exit(0)\n"
        "os.waitpid(child, 0); out([int(os.read(back, 20)), processes()[0][0]])",
    ) == [pid, pid]
    tell(program)


def test_each_form_of_the_list_says_the_same(machine: Machine) -> None:
    program = machine.start(HOLD)
    pid = line(program)
    used = machine.device()["used_bytes"]
    first, details, lists, codes = ask(
        machine,
        "import ctypes\n"
        "class V1(ctypes.Structure): _fields_ = [('pid', ctypes.c_uint), ('used', ctypes.c_ulonglong)]\n"
        "old = n.nvmlLib.nvmlDeviceGetComputeRunningProcesses; count = ctypes.c_uint(0)\n"
        "codes = [old(d, ctypes.byref(count), None), count.value]\n"
        "codes += [old(d, ctypes.byref(count), None), old(d, None, None)]\n"
        "one = (V1 * 1)(); codes += [old(d, ctypes.byref(count), one), count.value]\n"
        "detail = lambda mode: n.nvmlDeviceGetRunningProcessDetailList(d, n.nvmlProcessDetailList_v1, mode)\n"
        "out([[one[0].pid, one[0].used],"
        " [[p.pid, p.usedGpuMemory, p.gpuInstanceId, p.usedGpuCcProtectedMemory] for p in detail(0)],"
        " [len(detail(1)), len(detail(2)), len(n.nvmlDeviceGetComputeRunningProcesses_v2(d)),"
        " len(n.nvmlDeviceGetGraphicsRunningProcesses(d)),"
        " len(n.nvmlDeviceGetMPSComputeRunningProcesses(d))],"
        " [*codes, refused(detail, 3), refused(n.nvmlDeviceGetRunningProcessDetailList, d, 7, 0)]])",
    )
    assert first == [pid, used]
    assert details == [[pid, used, 0xFFFFFFFF, 0]]
    assert lists == [0, 0, 1, 0, 0]
    assert codes == [7, 1, 2, 2, 0, 1, 2, 25]
    tell(program)


def test_clients_of_mps_are_on_its_list_too(make_machine: Callable[..., Machine]) -> None:
    machine = make_machine("l4", SIMGPU_MPS="1")
    programs = [machine.start(HOLD) for _ in range(2)]
    pids = sorted(line(program) for program in programs)
    compute, mps, graphics = ask(
        machine,
        "out([sorted(p.pid for p in f(d)) for f in (n.nvmlDeviceGetComputeRunningProcesses,"
        " n.nvmlDeviceGetMPSComputeRunningProcesses, n.nvmlDeviceGetGraphicsRunningProcesses)])",
    )
    assert [compute, mps, graphics] == [pids, pids, []]
    for program in programs:
        tell(program)


def test_a_limiter_finds_itself_by_what_its_context_adds(machine: Machine) -> None:
    """As HAMi-core does: the process that is listed after the first context and was not before."""
    other = machine.start(HOLD)
    line(other)
    before, after, me = machine.run(
        "from nvml_calls import processes\nmust('cuInit', 0); before = processes()\n"
        "new('cuDevicePrimaryCtxRetain', 0); out([before, processes(), os.getpid()])"
    )
    assert len(before) == 1
    assert {pid for pid, _, _ in after} - {pid for pid, _, _ in before} == {me}
    tell(other)


def test_a_card_without_mig_without_errors_without_accounting(machine: Machine) -> None:
    mig, errors, accounting = ask(
        machine,
        "out([[refused(f, d) for f in (n.nvmlDeviceGetMigMode, n.nvmlDeviceGetGpuInstanceId,"
        " n.nvmlDeviceGetComputeInstanceId, n.nvmlDeviceGetAttributes_v2,"
        " n.nvmlDeviceGetDeviceHandleFromMigDeviceHandle)]"
        " + [refused(n.nvmlDeviceGetMigDeviceHandleByIndex, d, 0), n.nvmlDeviceGetMaxMigDeviceCount(d),"
        " n.nvmlDeviceIsMigDeviceHandle(d).value],"
        " [n.nvmlDeviceGetTotalEccErrors(d, 1, 0), n.nvmlDeviceGetMemoryErrorCounter(d, 1, 1, 2),"
        " n.nvmlDeviceGetDetailedEccErrors(d, 0, 1).l2Cache, n.nvmlDeviceGetEccMode(d),"
        " n.nvmlDeviceGetCurrentClocksThrottleReasons(d), n.nvmlDeviceGetViolationStatus(d, 0).violationTime,"
        " n.nvmlDeviceGetRemappedRows(d), refused(n.nvmlDeviceGetRetiredPages, d, 0),"
        " refused(n.nvmlDeviceGetTotalEccErrors, d, 2, 0),"
        " refused(n.nvmlDeviceGetMemoryErrorCounter, d, 0, 0, 0)],"
        " [n.nvmlDeviceGetAccountingMode(d), n.nvmlDeviceGetAccountingBufferSize(d),"
        " refused(n.nvmlDeviceGetAccountingPids, d), refused(n.nvmlDeviceGetAccountingStats, d, 1),"
        " refused(n.nvmlDeviceSetAccountingMode, d, 1)]])",
    )
    assert mig == [*[NOT_SUPPORTED] * 6, 0, 0]
    assert errors == [0, 0, 0, [1, 1], 0, 0, [0, 0, 0, 0], NOT_SUPPORTED, 2, NOT_SUPPORTED]
    assert accounting == [0, 4000, NOT_SUPPORTED, NOT_SUPPORTED, NO_PERMISSION]


def test_a_card_is_found_by_each_of_its_names(make_machine: Callable[..., Machine]) -> None:
    machine = make_machine("h200*2")
    assert ask(
        machine,
        "x = devices[1]; serial = text(n.nvmlDeviceGetSerial(x)); uuid = text(n.nvmlDeviceGetUUID(x))\n"
        "out([n.nvmlDeviceGetIndex(f(v)) for f, v in ((n.nvmlDeviceGetHandleBySerial, serial),"
        " (n.nvmlDeviceGetHandleByUUID, uuid),"
        " (n.nvmlDeviceGetHandleByPciBusId, text(n.nvmlDeviceGetPciInfo(x).busIdLegacy)))]"
        " + [refused(n.nvmlDeviceGetHandleBySerial, '1'), serial != text(n.nvmlDeviceGetSerial(d))])",
    ) == [1, 1, 1, 6, True]
