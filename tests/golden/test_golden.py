"""The simulated GPU against recordings of real ones; and that a difference would be found."""

from __future__ import annotations

import json
import signal
import subprocess
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from golden import (
    SCHEMA,
    Deviation,
    Difference,
    Model,
    Recorder,
    by_name,
    deviations,
    differences,
    nearest,
    recordings,
    verdict,
)

from gshare.shim import sim

RECORDINGS = recordings()


@pytest.fixture(scope="module")
def simulated(recorder: Recorder) -> dict[str, Any]:
    return recorder.run("h200")


@pytest.fixture(scope="module")
def models(recorder: Recorder) -> dict[str, Model]:
    return {profile: Model.of(recorder.run(profile, "--group", "pitched")) for profile in sim.PROFILES}


@pytest.mark.skipif(
    not RECORDINGS, reason="no recording of a real GPU exists yet (tests/gpu/run.sh makes one)"
)
@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.stem)
def test_the_simulated_gpu_answers_as_the_recorded_one(
    path: Path, recorder: Recorder, models: dict[str, Model]
) -> None:
    recorded = json.loads(path.read_text())
    assert recorded["schema"] == SCHEMA
    found = differences(recorded, recorder.run(nearest(Model.of(recorded), models)))
    unlisted, stale = verdict(path.name, found, deviations())
    assert unlisted == []
    assert stale == []


def test_every_deviation_has_a_reason() -> None:
    assert all(len(entry.reason) > 20 for entry in deviations())


def test_the_recorder_makes_hundreds_of_calls_and_loses_none(simulated: dict[str, Any]) -> None:
    assert simulated["schema"] == SCHEMA
    assert simulated["device"] == "NVIDIA H200"
    groups, rows = simulated["groups"], simulated["rows"]
    assert [group for group in groups if group["end"] != "done" or group["restarts"]] == []
    assert sum(group["rows"] for group in groups) == len(rows)
    assert len(rows) >= 400
    assert len({row["call"] for row in rows}) >= 200
    assert {type(row["code"]) for row in rows} == {int}
    assert sum(row["code"] == 0 for row in rows) >= 400
    assert sum(row["code"] != 0 for row in rows) >= 400


def test_a_recording_of_the_simulated_gpu_is_like_another(
    recorder: Recorder, simulated: dict[str, Any]
) -> None:
    again = recorder.run("h200")
    assert again == simulated
    assert differences(simulated, again) == []


def test_another_model_differs_in_its_own_values_only(recorder: Recorder, simulated: dict[str, Any]) -> None:
    other = recorder.run("a100")
    assert other["rows"] != simulated["rows"]
    in_codes = {difference.row for difference in differences(simulated, other)}
    # Compute capability 9.0 has clusters and multicast, and how large the most is depends on the model.
    specific = {"launch", "limits", "occupancy", "green contexts", "vmm"}
    assert {row.split("/")[0] for row in in_codes} <= specific
    renamed = {**other, "device": simulated["device"]}
    assert any(difference.what == "GiB" for difference in differences(simulated, renamed))


def doctored(recording: dict[str, Any], number: int, **changes: Any) -> dict[str, Any]:
    copy = deepcopy(recording)
    copy["rows"][number].update(changes)
    return copy


def test_a_doctored_recording_is_caught_whichever_side_it_is_on(simulated: dict[str, Any]) -> None:
    rows = simulated["rows"]
    names = list(by_name(rows))
    number = next(i for i, row in enumerate(rows) if row["call"] == "cuMemAllocPitch_v2" and "values" in row)
    pitch = rows[number]["values"]["pitch"]

    code = doctored(simulated, number, code=2)
    assert differences(code, simulated) == [Difference(names[number], "code", 2, 0)]
    assert differences(simulated, code) == [Difference(names[number], "code", 0, 2)]

    value = doctored(simulated, number, values={**rows[number]["values"], "pitch": pitch + 1})
    assert differences(value, simulated) == [Difference(names[number], "pitch", pitch + 1, pitch)]
    assert differences(simulated, value) == [Difference(names[number], "pitch", pitch, pitch + 1)]

    shorter = deepcopy(simulated)
    del shorter["rows"][number]
    assert differences(shorter, simulated) == [Difference(names[number], "row", None, 0)]
    assert differences(simulated, shorter) == [Difference(names[number], "row", 0, None)]

    crashed = doctored(simulated, number, code="signal 11")
    assert differences(crashed, simulated) == [Difference(names[number], "code", "signal 11", 0)]


def test_a_function_newer_than_the_recorded_driver_is_no_difference(simulated: dict[str, Any]) -> None:
    rows = simulated["rows"]
    new = next(i for i, row in enumerate(rows) if row["call"] == "cuLibraryUnload")  # came with 12.0
    old = next(i for i, row in enumerate(rows) if row["call"] == "cuMemAlloc_v2")
    recorded = doctored(simulated, new, code="absent")
    assert len(differences(recorded, simulated)) == 1
    assert differences({**recorded, "driver_version": 11080}, simulated) == []
    assert (
        len(differences({**doctored(simulated, old, code="absent"), "driver_version": 11080}, simulated)) == 1
    )


def test_a_listed_deviation_excuses_its_rows_and_no_others() -> None:
    found = [
        Difference("copy/cuMemcpy/0 bytes", "code", 1, 0),
        Difference("pool/cuMemPoolCreate/", "code", 1, 0),
    ]
    listed = Deviation("copy/*", "why")
    assert verdict("a.json", found, [listed]) == (found[1:], [])
    assert verdict("a.json", found, []) == (found, [])
    everything = Deviation("*", "why")
    assert verdict("a.json", found, [everything]) == ([], [])
    assert verdict("a.json", [], [everything]) == ([], [everything])
    elsewhere = Deviation("*", "why", recordings="b.json")
    assert verdict("a.json", found, [elsewhere]) == (found, [])


def test_a_recording_is_compared_with_the_model_most_like_it(models: dict[str, Model]) -> None:
    assert {profile: nearest(model, models) for profile, model in models.items()} == {p: p for p in models}
    gib = 1 << 30
    assert nearest(Model("NVIDIA H100 80GB HBM3", (9, 0), 80 * gib), models) == "h200"
    assert nearest(Model("NVIDIA A10G", (8, 6), 22 * gib), models) == "l4"
    assert nearest(Model("Tesla V100-SXM2-16GB", (7, 0), 16 * gib), models) == "t4"
    assert nearest(Model("NVIDIA B200", (10, 0), 180 * gib), models) == "h200"


CRASHING = r"""
#include <unistd.h>
/* In front of the simulated driver: one call that crashes, one that does not come back. */
int cuMemsetD2D8_v2(void) { __builtin_trap(); }
int cuMemsetD2D16_v2(void) { for (;;) pause(); }
"""


def test_a_call_that_crashes_or_hangs_costs_no_other_row(
    recorder: Recorder, simulated: dict[str, Any], tmp_path: Path
) -> None:
    library = tmp_path / "libcrashing.so"
    command = ["cc", "-shared", "-fPIC", "-x", "c", "-", "-o", str(library)]
    driver = ["-Wl,--no-as-needed", f"-L{sim.LIBRARY_DIR}", "-l:libcuda.so.1"]
    subprocess.run([*command, *driver], input=CRASHING, text=True, check=True)

    run = recorder.run("h200", "--group", "memory", "--limit", "0.5", RECORDER_DRIVER=str(library))
    codes = {row["call"]: row["code"] for row in run["rows"]}
    assert codes["cuMemsetD2D8_v2"] == f"signal {signal.SIGILL.value}"
    assert codes["cuMemsetD2D16_v2"] == "hangs"
    (ending,) = [group for group in run["groups"] if group["name"] == "memory"]
    assert ending["end"] == "done"
    assert ending["restarts"] == sum("D2D8" in row["call"] or "D2D16" in row["call"] for row in run["rows"])
    others = [row for row in run["rows"] if isinstance(row["code"], int)]
    before = [row for row in simulated["rows"] if row["group"] == "memory" and row["call"] not in CRASHING]
    assert others == before
