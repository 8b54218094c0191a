"""NVIDIA's own drivers, which say a lot without a GPU, against the simulated one that has no device."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from golden import Recorder, deviations, differences, verdict

REAL = [path for path in os.environ.get("GSHARE_TEST_REAL_LIBCUDA", "").split(":") if path]
NO_DEVICE = 100


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
