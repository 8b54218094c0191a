"""SIMGPU_FAULTS: errors, delays, broken kernels and lost devices on demand."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest
from simulated import PREAMBLE, Machine, line, tell

ALLOCS = "start(); out([alloc(512)[0] for _ in range({count})])"


def allocs(machine: Machine, faults: str, count: int = 6) -> list[int]:
    codes: list[int] = machine.run(ALLOCS.format(count=count), SIMGPU_FAULTS=faults)
    return codes


def test_errors_come_by_name_and_count(machine: Machine) -> None:
    code = 'start(); out([[alloc(512)[0] for _ in range(4)], [call("cuCtxSynchronize") for _ in range(2)]])'
    faults = "cuMemAlloc_v2:2-3:46,cuCtxSynchronize:1-:719"
    assert machine.run(code, SIMGPU_FAULTS=faults) == [[0, 46, 46, 0], [719, 719]]
    assert machine.run("out(call('cuInit', 0))", SIMGPU_FAULTS="cuInit:1:100") == 100


@pytest.mark.parametrize(
    ("faults", "codes"),
    [
        ("cuMemAlloc:2:2", [0, 2, 0, 0, 0, 0]),  # any version of it
        ("cuMem*:3-4:46", [0, 0, 46, 46, 0, 0]),
        ("cu*Alloc_v?:5-:CUDA_ERROR_UNKNOWN", [0, 0, 0, 0, 999, 999]),
        ("cuMemAlloc_v2:1:CUDA_ERROR_OUT_OF_MEMORY,cuMemAlloc:2:46", [2, 46, 0, 0, 0, 0]),
        ("cuMemFree:1-:1", [0, 0, 0, 0, 0, 0]),
        ("cuMemAlloc:p1:46", [46] * 6),
    ],
)
def test_names_globs_and_error_names(machine: Machine, faults: str, codes: list[int]) -> None:
    assert allocs(machine, faults) == codes


def test_a_chance_with_a_seed_gives_the_same_calls_again(machine: Machine) -> None:
    def failed(faults: str) -> list[int]:
        return [i for i, code in enumerate(allocs(machine, faults, 2000)) if code]

    first = failed("cuMemAlloc:p0.05@7:2")
    assert 60 < len(first) < 140
    assert failed("cuMemAlloc:p0.05@7:2") == first
    assert failed("cuMemAlloc:p0.05@8:2") != first


def test_a_slow_call_takes_its_time_and_works(machine: Machine) -> None:
    code = """
start(); took = []
for i in range(3):
    before = time.monotonic(); must('cuMemAlloc_v2', ctypes.byref(u64()), 512)
    took.append(time.monotonic() - before)
out(took)
"""
    took = machine.run("import ctypes\n" + code, SIMGPU_FAULTS="cuMemAlloc:2:+150ms")
    assert took[1] >= 0.15
    assert max(took[0], took[2]) < took[1]


def test_a_kernel_can_be_made_slower(machine: Machine) -> None:
    code = """
start(); a, b = event(), event(); function(); spin(50*MS)
record(a); spin(MS); record(b); sync(); out(elapsed_ns(a, b))
"""
    assert machine.run(code, SIMGPU_FAULTS="kernel:sp*:2:+4ms") == 5_000_000


@pytest.mark.parametrize(
    ("item", "says"),
    [
        ("cuMemAlloc", "what:when:effect is meant"),
        ("cuMemAlloc:1", "what:when:effect is meant"),
        ("cuMemAllok:1:2", "no function of the driver has that name"),
        ("cuMemAlloc:0:2", "when is a count (3, 3-7, 3-) or a probability (p0.01, p0.01@seed)"),
        ("cuMemAlloc:3-2:2", "when is a count (3, 3-7, 3-) or a probability (p0.01, p0.01@seed)"),
        ("cuMemAlloc:p1.5:2", "when is a count (3, 3-7, 3-) or a probability (p0.01, p0.01@seed)"),
        ("cuMemAlloc:p0.5@:2", "when is a count (3, 3-7, 3-) or a probability (p0.01, p0.01@seed)"),
        ("cuMemAlloc:1:12345", "the effect is an error (its number or name) or a delay (+5ms)"),
        ("cuMemAlloc:1:CUDA_ERROR_NONE", "the effect is an error (its number or name) or a delay (+5ms)"),
        ("cuMemAlloc:1:+5", "the effect is an error (its number or name) or a delay (+5ms)"),
        ("cuMemAlloc:1:lost", "the effect is an error (its number or name) or a delay (+5ms)"),
        ("kernel:spin:1:2", "no context fails with that error"),
        ("device:4:1:lost", "no such device"),
        ("device:0:1:2", "no context fails with that error"),
    ],
)
def test_what_is_no_rule_is_named_in_one_line(machine: Machine, item: str, says: str) -> None:
    program = subprocess.run(
        [sys.executable, "-c", PREAMBLE + "out(call('cuInit', 0))"],
        env={**machine.environ, "SIMGPU_FAULTS": f"cuMemFree:1:1,{item}"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert program.stdout == "802\n"
    assert program.stderr == f"simgpu: SIMGPU_FAULTS: {item}: {says}\n"


LOSE = """
start(); spin(1000*MS)
codes = [call('cuCtxGetDevice', ctypes.byref(ctypes.c_int())) for _ in range(3)]
codes += [call('cuCtxSynchronize'), alloc(512)[0], call('cuDevicePrimaryCtxReset_v2', 0)]
out(codes + [new('cuDevicePrimaryCtxRetain', 0)[0]])
"""


def test_a_lost_device_is_lost_for_all_and_other_devices_go_on(make_machine: Callable[..., Machine]) -> None:
    machine = make_machine("l4*2")
    neighbour = machine.start(
        "import ctypes\nstart(); function(); alloc(MIB); spin(1000*MS); out(1); wait()\n"
        "out([call('cuCtxSynchronize'), alloc(MIB)[0]])"
    )
    other = machine.start("start(1); function(); out(1); wait(); spin(MS); sync(); out(alloc(MIB)[0])")
    assert line(neighbour) == line(other) == 1
    first = machine.run("import ctypes\n" + LOSE, SIMGPU_FAULTS="device:0:8:lost")
    assert first[3:] == [999, 999, 0, 999]
    tell(neighbour)
    tell(other)
    assert line(neighbour) == [999, 999]
    assert line(other) == 0
    nvml = """
import pynvml
pynvml.nvmlInit()
def ask(i):
    try: return pynvml.nvmlDeviceGetMemoryInfo(pynvml.nvmlDeviceGetHandleByIndex(i)).total > 0
    except pynvml.NVMLError as error: return error.value
out([ask(0), ask(1)])
"""
    assert machine.run(nvml) == [15, True]  # NVML_ERROR_GPU_IS_LOST
    later = "must('cuInit', 0); out([new('cuDevicePrimaryCtxRetain', i)[0] for i in (0, 1)])"
    assert machine.run(later) == [999, 0]
    for program in (neighbour, other):
        program.communicate("\n")
    assert machine.device(0)["used_bytes"] == 0


def test_an_uncorrectable_error_breaks_everybodys_contexts_and_new_ones_work(machine: Machine) -> None:
    neighbour = machine.start("start(); out(1); wait(); out(call('cuCtxSynchronize'))")
    assert line(neighbour) == 1
    code = """
start(); codes = [alloc(512)[0], alloc(512)[0]]
must('cuDevicePrimaryCtxReset_v2', 0)
start(); spin(MS); sync()
out(codes + [alloc(512)[0]])
"""
    assert machine.run(code, SIMGPU_FAULTS="device:0:4:CUDA_ERROR_ECC_UNCORRECTABLE") == [214, 214, 0]
    tell(neighbour)
    assert line(neighbour) == 214
    neighbour.communicate("\n")
