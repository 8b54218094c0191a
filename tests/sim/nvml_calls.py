"""What the monitors of these tests ask, over nvidia-ml-py."""

from __future__ import annotations

import json
import time
from typing import Any

import pynvml as n

n.nvmlInit()
devices = [n.nvmlDeviceGetHandleByIndex(i) for i in range(n.nvmlDeviceGetCount())]
d = devices[0]


def text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode()


def out(value: Any) -> None:
    print(json.dumps(value), flush=True)


def refused(function: Any, *arguments: Any) -> int:
    """Return the code with which a function refuses; 0 where it does not."""
    try:
        function(*arguments)
    except n.NVMLError as error:
        return int(error.value)
    return 0


def now_us() -> int:
    return time.time_ns() // 1000


def busy() -> int:
    """Percent."""
    return int(n.nvmlDeviceGetUtilizationRates(d).gpu)


def shares(since_us: int = 0) -> list[list[int]]:
    """Process, percent, time: of the processes that had the device."""
    try:
        samples = n.nvmlDeviceGetProcessUtilization(d, since_us)
    except n.NVMLError_NotFound:
        return []
    return sorted([s.pid, s.smUtil, s.timeStamp] for s in samples)


def samples(since_us: int = 0, kind: int = n.NVML_GPU_UTILIZATION_SAMPLES) -> list[list[int]]:
    """Value, time."""
    try:
        _, found = n.nvmlDeviceGetSamples(d, kind, since_us)
    except n.NVMLError_NotFound:
        return []
    return [[s.sampleValue.uiVal, s.timeStamp] for s in found]


def processes() -> list[list[int]]:
    found = n.nvmlDeviceGetComputeRunningProcesses(d)
    return [[p.pid, p.usedGpuMemory, p.gpuInstanceId] for p in found]
