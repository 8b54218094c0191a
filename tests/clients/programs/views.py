"""What everybody says of a device's memory: one line of JSON for each line of stdin.

usage: views.py VIEW…   of cuda-bindings, numba, nvml, gpustat, nvitop, in the order in which they begin

A line `take BYTES` allocates first, `give` frees that.  Each view says [total, used or None, free] and, where
it knows, what each process has, by pid.  gpustat knows MiB.
"""

import json
import sys
import warnings
from collections.abc import Callable
from typing import Any

import pynvml

memory_info = pynvml.nvmlDeviceGetMemoryInfo  # others of these put their own in its place
warnings.simplefilter("ignore")

Said = tuple[list[int | None], dict[int, int] | None]


def bindings() -> Callable[[], Said]:
    from cuda.bindings import driver

    driver.cuInit(0)
    driver.cuCtxSetCurrent(driver.cuDevicePrimaryCtxRetain(0)[1])

    def ask() -> Said:
        (_, free, total), (_, whole) = driver.cuMemGetInfo(), driver.cuDeviceTotalMem(0)
        assert total == whole
        return [int(total), None, int(free)], None

    return ask


def numba() -> Callable[[], Said]:
    from numba import cuda

    def ask() -> Said:
        free, total = cuda.current_context().get_memory_info()
        return [int(total), None, int(free)], None

    ask()
    return ask


def nvml() -> Callable[[], Said]:
    pynvml.nvmlInit()
    device = pynvml.nvmlDeviceGetHandleByIndex(0)

    def ask() -> Said:
        memory = memory_info(device)
        second = memory_info(device, version=pynvml.nvmlMemory_v2)
        assert (memory.total, memory.used, memory.free) == (second.total, second.used, second.free)
        lists = [
            pynvml.nvmlDeviceGetComputeRunningProcesses_v2(device),
            pynvml.nvmlDeviceGetComputeRunningProcesses_v3(device),
            pynvml.nvmlDeviceGetRunningProcessDetailList(device, pynvml.nvmlProcessDetailList_v1, 0),
        ]
        first, *others = ({entry.pid: entry.usedGpuMemory for entry in entries} for entries in lists)
        assert others == [first, first]
        return [memory.total, memory.used, memory.free], first

    return ask


def gpustat() -> Callable[[], Said]:
    from gpustat import GPUStatCollection

    def ask() -> Said:
        (gpu,) = GPUStatCollection.new_query()
        processes = {process["pid"]: process["gpu_memory_usage"] for process in gpu.processes}
        return [gpu.memory_total, gpu.memory_used, gpu.memory_free], processes

    ask()
    return ask


def nvitop() -> Callable[[], Said]:
    from nvitop import Device

    device = Device(0)

    def ask() -> Said:
        memory = device.memory_info()
        processes = {pid: process.gpu_memory() for pid, process in device.processes().items()}
        return [memory.total, memory.used, memory.free], processes

    ask()
    return ask


VIEWS: dict[str, Callable[[], Callable[[], Said]]] = {
    "cuda-bindings": bindings,
    "numba": numba,
    "nvml": nvml,
    "gpustat": gpustat,
    "nvitop": nvitop,
}


def change(words: list[str], held: list[Any]) -> None:
    from cuda.bindings import driver

    if words[0] == "take":
        code, pointer = driver.cuMemAlloc(int(words[1]))
        assert code == driver.CUresult.CUDA_SUCCESS, code
        held.append(pointer)
    else:
        driver.cuMemFree(held.pop())


def main(names: list[str]) -> None:
    views = {name: VIEWS[name]() for name in names}
    held: list[Any] = []
    for line in sys.stdin:
        if words := line.split():
            change(words, held)
        print(json.dumps({name: ask() for name, ask in views.items()}), flush=True)


main(sys.argv[1:])
