"""The facts of time that the recorder measures are those that the simulated GPU is built on."""

from __future__ import annotations

from statistics import mean, median
from typing import Any

import pytest
from golden import Recorder

pytestmark = pytest.mark.alone

MIB = 1 << 20
US, MS = 1_000, 1_000_000
SHORT_KERNEL_NS = 20 * US


def facts(recorder: Recorder, measurement: str, **variables: str) -> dict[str, Any]:
    """Measure one thing on an h200; the facts by name, each with its raw samples."""
    recording = recorder.run("h200", "--timings", "--group", measurement, **variables)
    assert recording["schema"] == "gshare/timings/v1"
    ends = {entry["name"]: entry["end"] for entry in recording["measurements"]}
    assert ends.pop(measurement) == "done"
    assert set(ends.values()) == {"not asked for"}
    return {fact["name"]: fact for fact in recording["facts"]}


@pytest.mark.parametrize(("slice_ns", "switch_ns"), [(1_024_000, 50_000), (3_000_000, 250_000)])
@pytest.mark.parametrize("others", [1, 2])
def test_slices_and_switches_are_measured_as_they_are(
    recorder: Recorder, slice_ns: int, switch_ns: int, others: int
) -> None:
    name = f"beside {'one' if others == 1 else 'two'}"
    variables = {"SIMGPU_SLICE_NS": str(slice_ns), "SIMGPU_SWITCH_NS": str(switch_ns)}
    found = facts(recorder, f"slices, {name}", **variables)
    slices, gaps = found[f"slice, {name}"]["samples"], found[f"gap between slices, {name}"]["samples"]
    assert len(slices) > 20
    assert median(slices) == pytest.approx(slice_ns, abs=SHORT_KERNEL_NS)
    whole = [length for length in slices if abs(length - slice_ns) <= SHORT_KERNEL_NS]
    assert len(whole) > len(slices) / 2  # a stall of this program cuts or lengthens one now and then
    assert mean(whole) == pytest.approx(slice_ns, rel=0.01)
    assert median(gaps) == pytest.approx(others * slice_ns + (others + 1) * switch_ns, rel=0.01)


def test_whether_a_start_event_waits_for_the_turn_is_seen(recorder: Recorder) -> None:
    measurement = "start stamps, beside one"
    name = "event, kernel of 100 us, event, beside one"
    waits = facts(recorder, measurement)[name]["samples"]
    assert median(waits) == pytest.approx(100 * US, rel=0.01)
    eager = facts(recorder, measurement, SIMGPU_EAGER_STAMPS="1")[name]["samples"]
    assert median(eager) > 200 * US


def test_a_late_kernel_counts_from_its_start_event(recorder: Recorder) -> None:
    found = facts(recorder, "start stamps, alone")
    assert min(found["event, kernel of 100 us, event, alone"]["samples"]) >= 99 * US
    assert min(found["the same, host 5 ms late with the kernel, alone"]["samples"]) >= 5 * MS


def test_contexts_and_copies_cost_what_the_profile_says(recorder: Recorder) -> None:
    memory = facts(recorder, "context memory")
    assert memory["memory of a context"]["samples"] == [528 * MIB]
    assert memory["memory of a stream"]["samples"] == [0]
    copies = facts(recorder, "copies")
    assert median(copies["copy of 64 MiB, host to device"]["samples"]) == pytest.approx(50_000, rel=0.02)
    assert median(copies["copy of 64 MiB, device to host"]["samples"]) == pytest.approx(50_000, rel=0.02)


def test_calls_are_timed_one_by_one(recorder: Recorder) -> None:
    found = facts(recorder, "calls")
    assert {fact["unit"] for fact in found.values()} == {"ns"}
    assert {fact["code"] for fact in found.values()} == {0}
    assert len(found["cuLaunchKernel"]["samples"]) == 2000
    assert all(
        median(fact["samples"]) >= median(found["the clock itself"]["samples"]) for fact in found.values()
    )
