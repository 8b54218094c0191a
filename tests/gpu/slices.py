"""Measure the GPU's own time slices: processes that keep it busy, each writing down when it had to stand by.

`python tests/gpu/slices.py OUT.json` runs one, two and three processes bare, without gshare.  Between two
gaps lies one slice, and a gap is the others' slices with the switches.  The simulated GPU takes its numbers
from here; itself it records no gaps, since it runs no kernel's instructions.
"""

from __future__ import annotations

import json
import statistics
import struct
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

from gshare.benchmarks.driver import Device, Driver, ffi

WALL_NS = 1_000_000_000
MOST = 4096


def watch() -> list[tuple[int, int]]:
    """Keep the GPU busy for WALL_NS; (beginning, length) in nanoseconds of each gap."""
    driver = Driver()
    device = Device(driver)
    module, function = ffi.new("CUmodule *"), ffi.new("CUfunction *")
    image = ffi.new("char[]", Path(__file__).with_name("gaps.ptx").read_bytes())
    driver.call("cuModuleLoadData", module, image)
    driver.call("cuModuleGetFunction", function, module[0], b"gaps")
    size = 8 + 16 * MOST
    out = device.allocate(size)
    driver.call("cuMemsetD8_v2", out, 0, size)
    values = ffi.new("uint64_t *", out), ffi.new("uint64_t *", WALL_NS), ffi.new("uint32_t *", MOST)
    params = ffi.new("void *[]", list(values))
    device.synchronize()
    print("ready", flush=True)
    sys.stdin.readline()
    driver.call("cuLaunchKernel", function[0], 1, 1, 1, 1, 1, 1, 0, ffi.NULL, params, ffi.NULL)
    device.synchronize()
    host = ffi.new("char[]", size)
    driver.call("cuMemcpyDtoH_v2", host, out, size)
    words = struct.unpack(f"<{1 + 2 * MOST}Q", ffi.buffer(host))
    return [(words[1 + 2 * i], words[2 + 2 * i]) for i in range(words[0])]


def together(processes: int) -> dict[str, Any]:
    """Run so many watchers at once; what the first of them saw."""
    children = [
        subprocess.Popen(
            [sys.executable, __file__, "--watch"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(processes)
    ]
    for child in children:
        assert child.stdout is not None
        child.stdout.readline()
    outputs = []
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    for child in children:
        outputs.append(child.communicate(timeout=60)[0])
    gaps = [tuple(gap) for gap in json.loads(outputs[0])]
    slices = [after - (before + length) for (before, length), (after, _) in pairwise(gaps)]
    return {
        "processes": processes,
        "gaps": len(gaps),
        "gap_ns": _spread([length for _, length in gaps]),
        "slice_ns": _spread(slices),
        "first_gaps": gaps[:200],
    }


def _spread(values: list[int]) -> dict[str, float]:
    if len(values) < 2:
        return {}
    tenths = statistics.quantiles(values, n=10)
    return {"min": min(values), "p10": tenths[0], "median": tenths[4], "p90": tenths[8], "max": max(values)}


if __name__ == "__main__":
    if sys.argv[1] == "--watch":
        print(json.dumps(watch()))
    else:
        answer = {"schema": "gshare/slices/v1", "runs": [together(count) for count in (1, 2, 3)]}
        Path(sys.argv[1]).write_text(json.dumps(answer, indent=1) + "\n")
