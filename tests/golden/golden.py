"""Recordings of what a driver answers, and how the simulated GPU differs from one."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from math import log
from pathlib import Path
from typing import Any, NamedTuple

from gshare.shim import sim

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parents[1]
SCHEMA = "gshare/golden/v1"
DEVIATIONS = FOLDER / "deviations.toml"
ABSENT = "absent"

Recording = Mapping[str, Any]


def recordings() -> list[Path]:
    """Return the recordings of real drivers."""
    return sorted(FOLDER.glob("*.json"))


def build(target: Path) -> Path:
    """Compile the recorder; needs no CUDA."""
    sources = sorted(map(str, (FOLDER / "recorder").glob("*.c")))
    flags = ["-std=gnu17", "-O1", "-g", "-Wall", "-Wextra", "-Wno-unused-parameter", "-Werror"]
    subprocess.run(["cc", *flags, *sources, "-ldl", "-lpthread", "-o", str(target)], check=True)
    return target


class Recorder:
    """Runs the recorder on simulated GPUs, each run on a machine of its own."""

    def __init__(self, program: Path, folder: Path) -> None:
        self.program = program
        self.folder = folder
        self.runs = 0

    def run(self, profile: str, *options: str, **variables: str) -> dict[str, Any]:
        self.runs += 1
        machine, out = self.folder / f"machine{self.runs}", self.folder / f"run{self.runs}.json"
        clean = {
            k: v for k, v in os.environ.items() if not k.startswith(("LD_", "GSHARE_", "SIMGPU_", "CUDA_"))
        }
        try:
            subprocess.run(
                [str(self.program), *options, str(out)],
                env={**clean, **sim.environment(str(machine), profile), **variables},
                check=True,
                timeout=100,
            )
        finally:
            sim.stop(str(machine))
        recording: dict[str, Any] = json.loads(out.read_text())
        return recording


class Model(NamedTuple):
    """What tells one model of GPU from another."""

    name: str
    capability: tuple[int, int]
    memory_bytes: int

    @classmethod
    def of(cls, recording: Recording) -> Model:
        major, minor = recording["compute_capability"]
        return cls(recording["device"], (major, minor), recording["memory_bytes"])

    def distance(self, other: Model) -> tuple[bool, float, float]:
        """How far apart they are: by name, then by compute capability, then by memory."""
        capability = abs(
            10 * (self.capability[0] - other.capability[0]) + self.capability[1] - other.capability[1]
        )
        return self.name != other.name, capability, abs(log(self.memory_bytes / other.memory_bytes))


def nearest(model: Model, profiles: Mapping[str, Model]) -> str:
    """Return the simulated device that is most like `model`."""
    return min(profiles, key=lambda key: model.distance(profiles[key]))


class Difference(NamedTuple):
    row: str
    what: str
    recorded: Any
    simulated: Any


class Deviation(NamedTuple):
    """Rows in which the simulated GPU is known to differ: a pattern of `group/call/case`, and why."""

    rows: str
    reason: str
    recordings: str = "*"

    def covers(self, row: str, recording: str) -> bool:
        return fnmatchcase(recording, self.recordings) and fnmatchcase(row, self.rows)


def deviations(path: Path = DEVIATIONS) -> list[Deviation]:
    listed = tomllib.loads(path.read_text()).get("deviation", [])
    return [Deviation(**{key: str(value) for key, value in entry.items()}) for entry in listed]


def versions() -> dict[str, int]:
    """Return with which CUDA version each exported function came, as 1000 * major + 10 * minor."""
    text = (ROOT / "shim" / "sim" / "driver" / "api.def").read_text()
    return {symbol: int(version) for symbol, version in re.findall(r"^API\((\w+), \w+, (\d+),", text, re.M)}


def by_name(rows: Iterable[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Return the rows by `group/call/case`; those that come again by `… (2)` and so on."""
    seen: Counter[str] = Counter()
    named = {}
    for row in rows:
        name = f"{row['group']}/{row['call']}/{row['case']}"
        seen[name] += 1
        named[name if seen[name] == 1 else f"{name} ({seen[name]})"] = row
    return named


def differences(recorded: Recording, simulated: Recording) -> list[Difference]:
    """Return where a simulated GPU answered otherwise than the recorded one.

    Values that depend on the model of GPU count only where both are the same model, and functions that are
    newer than the recorded driver do not.
    """
    newer = {name for name, version in versions().items() if version > recorded["driver_version"]}
    same_model = recorded["device"] == simulated["device"]
    kinds = ["values", "device_values"] if same_model else ["values"]
    theirs, ours = by_name(recorded["rows"]), by_name(simulated["rows"])
    found = []
    for name in [*theirs, *(name for name in ours if name not in theirs)]:
        their, our = theirs.get(name), ours.get(name)
        if their is None or our is None:
            row = their or our
            assert row is not None
            if row["call"] not in newer:
                codes = their and their["code"], our and our["code"]
                found.append(Difference(name, "row", *codes))
            continue
        if their["code"] == ABSENT and their["call"] in newer:
            continue
        if their["code"] != our["code"]:
            found.append(Difference(name, "code", their["code"], our["code"]))
            continue
        for kind in kinds:
            left, right = their.get(kind, {}), our.get(kind, {})
            found += [
                Difference(name, key, left.get(key), right.get(key))
                for key in sorted(left.keys() | right.keys())
                if left.get(key) != right.get(key)
            ]
    return found


def verdict(
    recording: str, found: Sequence[Difference], listed: Sequence[Deviation]
) -> tuple[list[Difference], list[Deviation]]:
    """Return the differences that nobody listed, and what is listed for this recording without need."""
    unlisted = [d for d in found if not any(entry.covers(d.row, recording) for entry in listed)]
    stale = [
        entry
        for entry in listed
        if fnmatchcase(recording, entry.recordings) and not any(entry.covers(d.row, recording) for d in found)
    ]
    return unlisted, stale
