"""NVML's lists of processes show a tenant its own ones, each with what it is charged."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tenants import MIB, Tenant

# `listed(name)` is [pid, bytes] of each process on a list, asked as programs do: how many, then which.
LISTS = """
import ctypes, os
import pynvml
nvml = ctypes.CDLL("libnvidia-ml.so.1")
nvml.nvmlInit_v2()
device = ctypes.c_void_p()
nvml.nvmlDeviceGetHandleByIndex_v2(0, ctypes.byref(device))
KINDS = "Compute", "Graphics", "MPSCompute"
COMPUTE, GRAPHICS, MPS = (f"nvmlDeviceGet{kind}RunningProcesses" for kind in KINDS)

class Short(ctypes.Structure):
    _fields_ = [("pid", ctypes.c_uint), ("bytes", ctypes.c_ulonglong)]

class Entry(ctypes.Structure):
    _fields_ = [*Short._fields_, ("gpu_instance", ctypes.c_uint), ("compute_instance", ctypes.c_uint)]

class Long(ctypes.Structure):
    _fields_ = [*Entry._fields_, ("protected", ctypes.c_ulonglong)]

class Details(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint), ("mode", ctypes.c_uint), ("count", ctypes.c_uint),
                ("entries", ctypes.POINTER(Long))]
    VERSION = 1 << 24 | 24

def entries(name, form=None):
    form = form or (Entry if name[-3:-1] == "_v" else Short)
    count = ctypes.c_uint()
    function = getattr(nvml, name)
    code = function(device, ctypes.byref(count), None)
    if code == 0:
        return []
    assert code == pynvml.NVML_ERROR_INSUFFICIENT_SIZE, code
    space = (form * count.value)()
    code = function(device, ctypes.byref(count), space)
    assert code == 0, code
    return list(space[:count.value])

def details(mode=0):
    found = Details(Details.VERSION, mode)
    if nvml.nvmlDeviceGetRunningProcessDetailList(device, ctypes.byref(found)):
        found.entries = (Long * found.count)()
        assert nvml.nvmlDeviceGetRunningProcessDetailList(device, ctypes.byref(found)) == 0
    return found.entries[:found.count]

def used():
    pynvml.nvmlInit()
    return pynvml.nvmlDeviceGetMemoryInfo(pynvml.nvmlDeviceGetHandleByIndex(0)).used

def rows(found):
    return sorted([e.pid, e.bytes] for e in found)

def listed(name, form=None):
    return rows(entries(name, form))
"""

WORKER = "start(); alloc({0} * MIB); out(os.getpid()); sys.stdin.readline()"


class Started:
    """A program that holds memory until it is told to end."""

    def __init__(self, tenant: Tenant, mib: int, *, limited: bool = True) -> None:
        self.process = tenant.start(WORKER.format(mib), limited=limited)
        assert self.process.stdout is not None
        assert json.loads(self.process.stdout.readline()) == self.process.pid
        self.row = [self.process.pid, tenant.context_bytes[0] + mib * MIB]

    def end(self) -> None:
        self.process.communicate("\n", timeout=60)


@pytest.fixture
def start(tenant: Tenant) -> Any:
    started: list[Started] = []

    def run(mib: int, **more: bool) -> Started:
        started.append(Started(tenant, mib, **more))
        return started[-1]

    yield run
    for each in started:
        if each.process.poll() is None:
            each.end()


def test_without_a_limit_all_processes_are_shown(tenant: Tenant, start: Callable[..., Started]) -> None:
    everybody = sorted([start(10).row, start(20, limited=False).row])
    program = LISTS + "out([listed(COMPUTE), listed(COMPUTE + '_v3'), rows(details())])"
    assert tenant.run(program, limited=False) == [everybody] * 3
    tenant.environ["GSHARE_TENANT_DIR"] = ""
    assert tenant.run(program) == [everybody] * 3


def test_without_a_memory_limit_all_processes_are_shown(
    tenant: Tenant, start: Callable[..., Started]
) -> None:
    from gshare.shim import abi

    tenant.limits.set_memory_limit(0, abi.NO_LIMIT_BYTES)
    everybody = sorted([start(10).row, start(20, limited=False).row])
    assert tenant.run(LISTS + "out(listed(COMPUTE + '_v3'))") == everybody


@pytest.mark.parametrize("first", ["start(); ", ""])
def test_a_tenant_is_shown_its_own_processes_and_what_they_are_charged(
    tenant: Tenant, start: Callable[..., Started], first: str
) -> None:
    """All lists alike, and their sum is what the device shows as used."""
    start(100, limited=False)
    own = [start(10).row, start(20).row]
    every = "[listed(COMPUTE), listed(COMPUTE + '_v2'), listed(COMPUTE + '_v3'), rows(details())]"
    me, lists, used = tenant.run(f"{first}{LISTS}out([os.getpid(), {every}, used()])")
    if first:
        own.append([me, tenant.context_bytes[0]])
    assert lists == [sorted(own)] * 4
    assert used == sum(held for _, held in own)


def test_the_lists_follow_what_the_processes_do(tenant: Tenant, start: Callable[..., Started]) -> None:
    worker, ended = start(10), start(20)
    program = (
        LISTS
        + """
for line in sys.stdin:
    out(listed(COMPUTE))
"""
    )
    with tenant.start(program) as monitor:
        assert monitor.stdin is not None
        assert monitor.stdout is not None

        def seen() -> list[list[int]]:
            print(file=monitor.stdin, flush=True)
            assert monitor.stdout is not None
            rows: list[list[int]] = json.loads(monitor.stdout.readline())
            return rows

        assert seen() == sorted([worker.row, ended.row])
        ended.process.kill()
        ended.process.wait()
        assert seen() == [worker.row]
        worker.end()
        assert seen() == []
        monitor.stdin.close()
        assert monitor.wait(timeout=60) == 0


def test_who_has_no_context_is_not_listed(tenant: Tenant) -> None:
    program = (
        LISTS
        + """
must("cuInit", 0)
before = listed(COMPUTE)
start()
between = listed(COMPUTE)
must("cuDevicePrimaryCtxReset_v2", 0)
out([before, [pid == os.getpid() for pid, _ in between], listed(COMPUTE)])
"""
    )
    assert tenant.run(program) == [[], [True], []]


def test_too_little_space_is_answered_with_how_many_there_are(
    tenant: Tenant, start: Callable[..., Started]
) -> None:
    start(100, limited=False)
    for _ in range(3):
        start(1)
    program = (
        LISTS
        + """
def ask(name, form, room, space=True):
    count, there = ctypes.c_uint(room), (form * 8)()
    code = getattr(nvml, name)(device, ctypes.byref(count), there if space else None)
    return [code, count.value, sum(1 for e in there if e.pid)]
answers = []
for name, form in (COMPUTE, Short), (COMPUTE + "_v2", Entry), (COMPUTE + "_v3", Entry):
    answers += [[ask(name, form, 0, False), ask(name, form, 2), ask(name, form, 3), ask(name, form, 8)]]
found = Details(Details.VERSION, 0, 2, (Long * 2)())
answers += [[nvml.nvmlDeviceGetRunningProcessDetailList(device, ctypes.byref(found)), found.count]]
out([answers, ask(COMPUTE, Short, 8, False)[0]])
"""
    )
    answers, without_space = tenant.run(program)
    insufficient, invalid = 7, 2
    for none, few, enough, plenty in answers[:3]:
        assert none[:2] == few[:2] == [insufficient, 3]
        assert few[2] <= 2, "nothing is written beyond the space"
        assert enough == plenty == [0, 3, 3]
    assert answers[3] == [insufficient, 3]
    assert without_space == invalid


def test_bad_arguments_get_the_drivers_own_answer(tenant: Tenant) -> None:
    program = (
        LISTS
        + """
start()
def codes(name):
    function, n = getattr(nvml, name), ctypes.c_uint(5)
    none = ctypes.c_void_p(8)
    return [function(None, ctypes.byref(n), None), function(device, None, None), function(none, None, None)]
answers = [codes(name + version) for name in (COMPUTE, GRAPHICS, MPS) for version in ("", "_v2", "_v3")]
ask = nvml.nvmlDeviceGetRunningProcessDetailList
answers += [ask(device, None), ask(None, ctypes.byref(Details(Details.VERSION))),
            ask(device, ctypes.byref(Details(7))), ask(device, ctypes.byref(Details(Details.VERSION, 9)))]
answers += [nvml.nvmlDeviceGetProcessUtilization(device, None, None, ctypes.c_ulonglong(0)),
            nvml.nvmlDeviceGetProcessesUtilizationInfo(device, None)]
nvml.nvmlShutdown()
out([*answers, codes(COMPUTE)])
"""
    )
    assert tenant.run(program) == tenant.run(program, limited=False)


def test_a_device_that_is_not_granted_has_nobody_on_it(tenant: Tenant, start: Callable[..., Started]) -> None:
    start(10, limited=False)
    tenant.limits.set_memory_limit(0, 0)
    assert tenant.run(LISTS + "out([listed(COMPUTE), rows(details())])") == [[], []]


def test_how_busy_others_are_is_not_shown(tenant: Tenant) -> None:
    worker = """
image = b'''
.version 7.0
.target sm_50
.address_size 64
.visible .entry spin(.param .u64 ns) { ret; }
''' + bytes(1)
start()
code, module = new("cuModuleLoadData", image)
assert code == 0, code
code, function = new("cuModuleGetFunction", module, b"spin")
assert code == 0, code
ns = u64(50_000_000)
parameters = (ctypes.c_void_p * 1)(ctypes.cast(ctypes.byref(ns), ctypes.c_void_p))
out(os.getpid())
while True:
    must("cuLaunchKernel", u64(function), *([ctypes.c_uint(1)] * 6), ctypes.c_uint(0), None, parameters, None)
    must("cuCtxSynchronize")
"""
    look = """
import time
import pynvml
pynvml.nvmlInit()
device = pynvml.nvmlDeviceGetHandleByIndex(0)
def pids(ask):
    try:
        return sorted({sample.pid for sample in ask(device, 0)})
    except pynvml.NVMLError_NotFound:
        return []
expected = json.loads(os.environ["EXPECTED"])
end = time.monotonic() + 30
while True:
    seen = [pids(pynvml.nvmlDeviceGetProcessUtilization), pids(pynvml.nvmlDeviceGetProcessesUtilizationInfo)]
    if seen == [expected] * 2 or time.monotonic() > end:
        break
out(seen)
"""
    with tenant.start(worker) as own, tenant.start(worker, limited=False) as other:
        for program in own, other:
            assert program.stdout is not None
            program.stdout.readline()
        both = sorted([own.pid, other.pid])
        assert tenant.run(look, limited=False, EXPECTED=json.dumps(both)) == [both] * 2
        assert tenant.run(look, EXPECTED=json.dumps([own.pid])) == [[own.pid]] * 2
        own.kill()
        own.wait()
        assert tenant.run(look, EXPECTED="[]") == [[], []]
        other.kill()


# -------- an NVML that lists what the simulated one never does --------


@pytest.fixture
def listing(
    tenant: Tenant, build: Callable[..., Path], start: Callable[..., Started]
) -> Callable[..., tuple[Any, Started]]:
    """Return a function that runs a monitor of the tenant over a made-up NVML: what it saw, and a worker."""

    def run(code: str, *options: str, **variables: str) -> tuple[Any, Started]:
        worker = start(10)
        name = "listing" + "".join(options)
        nvml = build(f"{name}/libnvidia-ml.so.1", "listing_nvml.c", options=["-shared", *options])
        environ = {**tenant.environ, "UUID": tenant.devices()[0]["uuid"], **variables}
        environ["PIDS"] = f"1,{worker.process.pid},4000000"
        environ["LD_LIBRARY_PATH"] = f"{nvml.parent}:{environ['LD_LIBRARY_PATH']}"
        command = [sys.executable, "-c", f"from driver_calls import out\n{LISTS}{code}"]
        done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        return json.loads(done.stdout), worker

    return run


def test_who_draws_or_is_a_client_of_mps_is_shown_if_it_is_the_tenants(
    listing: Callable[..., tuple[Any, Started]],
) -> None:
    names = "[name + version for name in (GRAPHICS, MPS) for version in ('', '_v2', '_v3')]"
    code = f"out([[listed(name) for name in {names}], rows(details(1)), rows(details(2)), listed(COMPUTE)])"
    (lists, drawing, clients, computing), worker = listing(code)
    assert lists == [[worker.row]] * 6
    assert drawing == clients == computing == [worker.row]


def test_instances_of_mig_have_their_numbers(listing: Callable[..., tuple[Any, Started]]) -> None:
    code = """
def ids(found):
    return [[e.gpu_instance, e.compute_instance] for e in found]
out([ids(entries(COMPUTE + "_v3")), ids(details()), ids(entries(GRAPHICS + "_v3"))])
"""
    assert listing(code, INSTANCE="1")[0] == [[[3, 4]], [[3, 4]], [[7, 8]]]


def test_what_is_no_instance_has_none(listing: Callable[..., tuple[Any, Started]]) -> None:
    code = "out([[e.gpu_instance, e.compute_instance] for e in [*entries(COMPUTE + '_v3'), *details()]])"
    assert listing(code)[0] == [[0xFFFFFFFF] * 2] * 2


def test_early_drivers_have_long_entries_in_the_third_version(
    listing: Callable[..., tuple[Any, Started]],
) -> None:
    third = "[listed(name + '_v3', Long) for name in (COMPUTE, GRAPHICS)]"
    code = f"out([*{third}, listed(COMPUTE + '_v2')])"
    lists, worker = listing(code, "-DEARLY")
    assert lists == [[worker.row]] * 3
