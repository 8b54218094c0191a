"""NVIDIA's own drivers, which say a lot without a GPU, against the simulated one that has no device."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from golden import Recorder, deviations, differences, verdict, versions

from gshare.shim import sim

REAL = [path for path in os.environ.get("GSHARE_TEST_REAL_LIBCUDA", "").split(":") if path]
NO_DEVICE, NOT_INITIALIZED = 100, 3
UNCALLED = {"cuInit", "cuGetProcAddress", "cuGetProcAddress_v2"}

# Calls each function with nothing but zeros, each in a process of its own; with an argument, in a context.
ZEROS = """
import ctypes, json, os, sys
library, names, answers = ctypes.CDLL(sys.argv[1]), json.load(sys.stdin), {}
for name in names:
    if not hasattr(library, name):
        continue
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        context = ctypes.c_uint64()
        if sys.argv[2:]:
            assert library.cuInit(0) == 0
            assert library.cuDevicePrimaryCtxRetain(ctypes.byref(context), 0) == 0
            assert library.cuCtxSetCurrent(context) == 0
        os.write(write, str(getattr(library, name)(*[ctypes.c_uint64(0)] * 12)).encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(write)
    answer = os.read(read, 20)
    os.close(read)
    if answer:
        answers[name] = int(answer)
print(json.dumps(answers))
"""

# Where a real driver looks at another argument first: both answers are documented for the call.
OTHER_ARGUMENT = {
    *(
        "cuArrayGetDescriptor",
        "cuArrayGetDescriptor_v2",
        "cuArray3DGetDescriptor",
        "cuArray3DGetDescriptor_v2",
    ),
    *("cuCtxGetDevResource", "cuGreenCtxGetDevResource", "cuGreenCtxStreamCreate"),
    *("cuGraphAddEventRecordNode", "cuGraphAddEventWaitNode", "cuEventElapsedTime"),
}


@pytest.fixture(scope="module")
def simulated(recorder: Recorder) -> dict[str, Any]:
    return recorder.run("h200", CUDA_VISIBLE_DEVICES="")


def test_without_a_device_cuInit_says_so_and_nothing_else_works(simulated: dict[str, Any]) -> None:
    assert simulated["init_code"] == NO_DEVICE
    assert all(group["end"] in ("done", "no device") for group in simulated["groups"])
    codes = {(row["call"], row["code"]) for row in simulated["rows"] if row["group"] == "no context"}
    assert len(codes) > 30
    assert {code for _, code in codes} <= {1, 3, 400}


@pytest.mark.skipif(
    not REAL, reason="GSHARE_TEST_REAL_LIBCUDA names no real libcuda.so.1 (.ci/real-libcuda.sh)"
)
@pytest.mark.parametrize("library", REAL, ids=lambda path: Path(path).parent.name)
def test_without_a_device_it_answers_as_a_real_driver(
    library: str, recorder: Recorder, simulated: dict[str, Any]
) -> None:
    real = recorder.run("h200", CUDA_VISIBLE_DEVICES="", RECORDER_DRIVER=library)
    assert real["init_code"] == NO_DEVICE
    assert len(real["rows"]) > 600
    found = differences({**real, "device": simulated["device"]}, simulated)
    listed = [entry for entry in deviations() if entry.recordings != "*"]
    unlisted, stale = verdict(f"no device, {real['driver_version']}", found, listed)
    assert unlisted == []
    assert stale == []


def zeros(library: str, names: list[str], *options: str, **variables: str) -> dict[str, int]:
    """Return what each function answers to zeros; those that crash are left out."""
    done = subprocess.run(
        [sys.executable, "-c", ZEROS, library, *options],
        input=json.dumps(names),
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=True,
        timeout=100,
    )
    answers: dict[str, int] = json.loads(done.stdout)
    return answers


@pytest.mark.skipif(
    not REAL, reason="GSHARE_TEST_REAL_LIBCUDA names no real libcuda.so.1 (.ci/real-libcuda.sh)"
)
def test_what_a_real_driver_refuses_before_it_looks_at_its_state_is_refused_alike(tmp_path: Path) -> None:
    """A real driver looks at many arguments first: what it then says is also what it says with a device."""
    names = sorted(set(versions()) - UNCALLED)
    newest = zeros(REAL[-1], names)
    older = [zeros(library, names) for library in REAL[:-1]]
    first = {
        name: code
        for name, code in newest.items()
        if code != NOT_INITIALIZED and all(real.get(name, code) in (code, NOT_INITIALIZED) for real in older)
    }
    assert len(first) > 100
    ours = zeros(
        f"{sim.LIBRARY_DIR}/libcuda.so.1",
        list(first),
        "in a context",
        **sim.environment(str(tmp_path / "machine"), "h200"),
    )
    assert ours.keys() == first.keys()  # no crash
    not_supported = {name for name, code in ours.items() if code == 801}
    wrong = {name: (code, ours[name]) for name, code in first.items() if code != ours[name]}
    assert {name: codes for name, codes in wrong.items() if name not in OTHER_ARGUMENT | not_supported} == {}
    assert OTHER_ARGUMENT & first.keys() <= wrong.keys()  # else it need not be listed
    assert all("Semaphore" in name or "Profiler" in name for name in not_supported)
