"""A memory quota holds on the machine at hand, and every view of it agrees."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Gpu

pytestmark = pytest.mark.gpu

GIB = 1 << 30
TAKE_3G = ("--seconds=0", "--alloc-mib=3072")


def test_a_quota_is_where_allocations_end(gpu: Gpu) -> None:
    memory = gpu.workload(["--mem=2G"], *TAKE_3G)["memory"]
    assert memory["refused"] == "CUDA_ERROR_OUT_OF_MEMORY"
    assert GIB <= memory["got_bytes"] < 2 * GIB  # the context takes its part
    assert memory["total_bytes"] == 2 * GIB
    assert memory["free_bytes"] < 64 << 20


def test_without_a_quota_they_go_on(gpu: Gpu) -> None:
    for limits in (None, []):
        memory = gpu.workload(limits, *TAKE_3G)["memory"]
        assert memory["refused"] is None
        assert memory["got_bytes"] == 3 * GIB


def test_what_the_device_really_gave_is_within_the_quota(gpu: Gpu) -> None:
    process = gpu.start(["--mem=2G"], "-m", "gshare.benchmarks.workload", *TAKE_3G, "--stay")
    assert process.stdout is not None
    said = json.loads(process.stdout.readline())
    physical_bytes = gpu.used_by(process.pid)
    process.communicate()
    assert said["got_bytes"] < physical_bytes <= 2 * GIB
