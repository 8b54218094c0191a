"""Frameworks and a memory quota: each sees it as its GPU, meets its own error at its end, stays within it.

usage: memory_quota.py --output FILE [--only NAME…]

Every workload runs twice: as a tenant with a quota, and without gshare, where it must get more (the control).
Meanwhile its memory is watched from outside by NVML.  A row's value is the most that it had.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from place import NO_RUNTIME, PROGRAMS, PYTHON, REHEARSAL, Place, Watch, end, missing, said

from gshare.benchmarks.results import Row

MIB, GIB = 1 << 20, 1 << 30
QUOTA = 3 * GIB // 2 if REHEARSAL else 4 * GIB  # simulated memory is the host's
TARGET = QUOTA * 5 // 4
"""At which a program stops asking: only a quota ends it before."""
CONTEXT_SHARE = 32 * MIB
"""What a driver may add to a context by itself, of which the quota learns afterwards (README: Limits)."""
LEAST = 0.25
"""Of the quota, so much at least is the program's own."""
RUN_S = 100.0

TORCH_ERROR = r"OutOfMemoryError: .*(out of memory|Allocation)"
DRIVER_ERROR = r"OUT_OF_MEMORY"


@dataclass(frozen=True)
class Workload:
    """One program in one setting."""

    name: str
    what: str
    program: str
    modules: Sequence[str]
    refusal: str
    """A regular expression: the framework's own error."""
    environment: Mapping[str, str] = field(default_factory=dict)
    simulated: bool = False
    """Whether the simulated GPU can run it."""
    by_device: bool = False
    """NVML need not tell whose managed pages are: what is used beyond what was is what counts."""


def torch(name: str, what: str, program: str = "fill_torch", **environment: str) -> Workload:
    return Workload(f"torch_{name}", f"torch, {what}", program, ["torch"], TORCH_ERROR, environment)


def cupy(name: str, what: str, pool: str) -> Workload:
    refusal = r"OutOfMemoryError|cudaErrorMemoryAllocation"
    managed = pool == "managed"
    environment = {"FILL_POOL": pool}
    return Workload(
        f"cupy_{name}", f"CuPy, {what}", "fill_cupy", ["cupy"], refusal, environment, by_device=managed
    )


def jax(name: str, what: str, **environment: str) -> Workload:
    return Workload(
        f"jax_{name}", f"JAX, {what}", "fill_jax", ["jax", "jaxlib"], "RESOURCE_EXHAUSTED", environment
    )


def simple(
    name: str, what: str, program: str, modules: Sequence[str] = (), simulated: bool = True
) -> Workload:
    return Workload(name, what, program, modules, DRIVER_ERROR, simulated=simulated)


WORKLOADS = (
    simple("driver", "the driver API", "fill_driver"),
    simple("children", "two processes of one tenant, by the driver", "fill_children"),
    simple("bindings", "cuda-bindings", "fill_bindings", ["cuda.bindings"]),
    simple("numba", "numba-cuda", "fill_numba", ["numba", "numba_cuda", "numpy"]),
    simple("triton", "Triton over memory of the driver", "fill_triton", ["triton"]),
    simple("serve_driver", "KV cache, workspaces and graphs as vLLM has, by the driver", "serve_driver"),
    torch("caching", "caching allocator"),
    torch("expandable", "expandable segments", PYTORCH_CUDA_ALLOC_CONF="expandable_segments:True"),
    torch("async", "cudaMallocAsync", PYTORCH_CUDA_ALLOC_CONF="backend:cudaMallocAsync"),
    torch("serve", "KV cache, workspaces and graphs as vLLM has", "serve_torch"),
    torch(
        "serve_expandable",
        "the same, expandable segments",
        "serve_torch",
        PYTORCH_CUDA_ALLOC_CONF="expandable_segments:True",
    ),
    cupy("default", "default pool", "default"),
    cupy("async", "stream-ordered pool", "async"),
    cupy("managed", "managed memory", "managed"),
    jax("preallocated", "one block from the start", XLA_PYTHON_CLIENT_PREALLOCATE="true"),
    jax(
        "growing",
        "as it is needed",
        XLA_PYTHON_CLIENT_PREALLOCATE="false",
        XLA_PYTHON_CLIENT_MEM_FRACTION=".95",
    ),
    jax(
        "platform",
        "the driver's own allocator",
        XLA_PYTHON_CLIENT_PREALLOCATE="false",
        XLA_PYTHON_CLIENT_ALLOCATOR="platform",
    ),
    simple("nccl", "NCCL, two communicators of one rank", "fill_nccl", ["nvidia.nccl"], simulated=False),
    torch("compiled", "torch.compile", FILL_COMPILED="1"),
)


def carry_out(place: Place, workload: Workload, limits: Sequence[str] | None) -> dict[str, Any]:
    """Run it once; what it said, and what it had at most by the device's own books."""
    command = [PYTHON, str(PROGRAMS / f"{workload.program}.py"), f"--target={TARGET}"]
    process = place.start(limits, command, workload.environment)
    with Watch(place.books(), process.pid) as watch:
        try:
            output, errors = process.communicate(timeout=RUN_S)
        except subprocess.TimeoutExpired:
            output, errors = end(process)
            errors += f"\nstopped after {RUN_S:g} s"
    lines = said(output)
    if process.returncode or not lines:
        words = (errors.strip().splitlines() or ["it said nothing"])[-1]
        raise RuntimeError(f"ended with {process.returncode}: {words[:300]}")
    by_device = workload.by_device or not watch.process_peak_bytes
    return lines[-1] | {
        "peak_bytes": watch.device_peak_bytes if by_device else watch.process_peak_bytes,
        "peak_by": "device" if by_device else "process",
        "device_peak_bytes": watch.device_peak_bytes,
        "samples": watch.samples,
    }


def faults(
    workload: Workload, limited: Mapping[str, Any], control: Mapping[str, Any], most: int
) -> list[str]:
    """What is not as it should be."""
    found = []
    for view in "total_bytes", "info_total_bytes", "own_total_bytes":
        if limited[view] not in (QUOTA, None):
            found.append(f"{view} is {limited[view]}")
    if not re.search(workload.refusal, limited["refusal"] or "", re.DOTALL):
        found.append(f"refused by {limited['refusal']}")
    if not LEAST * QUOTA < limited["got_bytes"] < QUOTA:
        found.append(f"got {limited['got_bytes']} bytes")
    if limited["again_bytes"] < limited["got_bytes"] // 2 - 64 * MIB:
        found.append(f"once it had given them back it got {limited['again_bytes']}")
    if limited["right"] is False or control["right"] is False:
        found.append("computed something else")
    if limited["peak_bytes"] > most:
        found.append(f"had {limited['peak_bytes'] - most} bytes too many")
    if control["refusal"]:
        found.append(f"refused without gshare: {control['refusal']}")
    if control["peak_bytes"] <= QUOTA:
        found.append("had no more without gshare: nothing is shown")
    return found


def measure(place: Place, workload: Workload, device_bytes: int) -> Row:
    """`device_bytes`: what the device's own figure has beyond its processes'."""
    limited = carry_out(place, workload, [f"--mem={QUOTA}"])
    control = carry_out(place, workload, None)
    most = QUOTA + CONTEXT_SHARE + (device_bytes if limited["peak_by"] == "device" else 0)
    wrong = faults(workload, limited, control, most)
    return Row(
        workload.name,
        f"{workload.what}: most memory under a quota of {QUOTA / GIB:g} GiB",
        limited["peak_bytes"],
        "B",
        most,
        not wrong,
        "; ".join(wrong),
        {"limited": limited, "control": control, "environment": dict(workload.environment)},
    )


def row(place: Place, workload: Workload, device_bytes: int) -> Row:
    reason = NO_RUNTIME if place.simulated and not workload.simulated else missing(workload.modules)
    if reason:
        return Row(workload.name, workload.what, None, "B", note=reason)
    try:
        return measure(place, workload, device_bytes)
    except (RuntimeError, LookupError, OSError, ValueError, TypeError) as error:
        traceback.print_exc()
        return Row(workload.name, workload.what, None, "B", within=False, note=str(error))


def beyond_processes(place: Place) -> int:
    """What the device's own figure says beyond what its processes have, of a program with a context."""
    found = carry_out(place, WORKLOADS[0], None)
    return max(0, int(found["device_peak_bytes"]) - int(found["peak_bytes"]))


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--output", type=Path, required=True)
    options.add_argument("--only", nargs="*", default=[])
    chosen = options.parse_args()
    workloads = [w for w in WORKLOADS if not chosen.only or w.name in chosen.only]
    rows: list[Row] = []
    with Place() as place:
        device_bytes = beyond_processes(place)
        for workload in workloads:
            rows.append(row(place, workload, device_bytes))
            words = rows[-1].note or f"{rows[-1].value / GIB:.3f} GiB"
            print(f"{workload.name}: {words}", file=sys.stderr, flush=True)
            place.write("memory-hardware", rows, chosen.output)
    return 0 if all(r.within is not False for r in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
