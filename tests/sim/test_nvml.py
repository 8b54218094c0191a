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

ASK = """
import json, sys, pynvml as n
n.nvmlInit()
def text(value): return value if isinstance(value, str) else value.decode()
def refused(function, *arguments):
    try:
        function(*arguments)
    except n.NVMLError as error:
        return error.value
    return 0
def out(value): print(json.dumps(value), flush=True)
devices = [n.nvmlDeviceGetHandleByIndex(i) for i in range(n.nvmlDeviceGetCount())]
d = devices[0]
def processes():
    return [[p.pid, p.usedGpuMemory, p.gpuInstanceId] for p in n.nvmlDeviceGetComputeRunningProcesses(d)]
"""
HOLD = "start(); alloc(1 << 30); out(os.getpid()); wait()"


def ask(machine: Machine, code: str) -> Any:
    done = subprocess.run(
        [sys.executable, "-c", ASK + code],
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


def test_utilisation_is_the_time_that_was_used(machine: Machine) -> None:
    assert ask(machine, "out(n.nvmlDeviceGetUtilizationRates(d).gpu)") == 0
    program = machine.start("start(); function(); out(os.getpid()); wait(); spin(3_000 * MS); sync()")
    pid = line(program)
    monitor = subprocess.Popen(
        [
            *(sys.executable, "-c"),
            ASK + "import time; sys.stdin.readline(); n.nvmlDeviceGetUtilizationRates(d); time.sleep(0.4)\n"
            "sample = n.nvmlDeviceGetProcessUtilization(d, 0)[0]\n"
            "out([n.nvmlDeviceGetUtilizationRates(d).gpu, sample.pid, sample.smUtil,"
            " refused(n.nvmlDeviceGetProcessUtilization, d, sample.timeStamp)])",
        ],
        env=machine.environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    tell(program)
    tell(monitor)
    output, _ = monitor.communicate(timeout=60)
    gpu, seen, sm, again = json.loads(output)
    assert seen == pid
    assert gpu >= 90
    assert sm >= 90
    assert again == 6
    program.kill()
    program.wait(30)


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
