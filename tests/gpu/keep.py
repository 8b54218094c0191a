"""Put what run.sh brought back where it belongs, and say what of the simulated GPU is to be set by it.

usage: keep.py NAME FOLDER…     NAME is a date and a GPU, as 2026-11-30-h200; each FOLDER is one of run.sh's

Raw results go to benchmarks/results/NAME, the driver's answers to tests/golden/NAME.json, against which the
simulated GPU is held from then on.  What a simulated GPU measured is refused.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
ANSWERS = "answers.json"
EACH_HAS = ("summary.json", "log.txt")
"""Named after their folder, so that none is lost."""


class Setting(NamedTuple):
    where: str
    file: str
    name: str
    """A row of points.json, or a fact of timings.json."""
    unit: str


PROFILE, MACHINE = "shim/sim/core/profile.c", "shim/sim/core/file.c"
SETTINGS = (
    Setting(f"{MACHINE}: DEFAULT_SLICE_NS", "points.json", "slice", "ns"),
    Setting(f"{MACHINE}: DEFAULT_SWITCH_NS", "points.json", "switch_2", "ns"),
    Setting(f"{MACHINE}: SIMGPU_EAGER_STAMPS, 1 if above 1.5", "points.json", "start_stamp", ""),
    Setting(f"{PROFILE}: .context_bytes", "timings.json", "memory of a context", "B"),
    Setting(f"{PROFILE}: .host_bytes_per_us", "timings.json", "copy of 64 MiB, host to device", "B/us"),
    Setting(
        f"{PROFILE}: .memory_bytes_per_us, half of it",
        "timings.json",
        "copy of 64 MiB, device to device",
        "B/us",
    ),
    *(
        Setting(f"shim/sim/driver/cost.c: {call.partition(' ')[0]}", "timings.json", call, "ns")
        for call in (
            *("cuLaunchKernel", "cuEventRecord", "cuEventQuery", "cuEventCreate"),
            *("cuMemAlloc of 4 KiB", "cuMemFree of 4 KiB"),
        )
    ),
)


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def measured(folder: Path) -> Iterator[tuple[Setting, float]]:
    """What of the settings is known by the results in a folder."""
    values: dict[tuple[str, str], float] = {}
    if (folder / "points.json").exists():
        rows = read(folder / "points.json")["rows"]
        values |= {("points.json", row["name"]): row["value"] for row in rows if row["value"] is not None}
    if (folder / "timings.json").exists():
        facts = read(folder / "timings.json")["facts"]
        values |= {
            ("timings.json", fact["name"]): statistics.median(fact["samples"])
            for fact in facts
            if fact["samples"] and not fact["code"]
        }
    for setting in SETTINGS:
        if (setting.file, setting.name) in values:
            yield setting, values[setting.file, setting.name]


def keep(name: str, folders: list[Path], root: Path = ROOT) -> list[Path]:
    """Copy all; where to.  Raises ValueError for what no GPU has measured."""
    for folder in folders:
        if read(folder / "summary.json")["simulated"]:
            raise ValueError(f"{folder} is of a rehearsal")
    results = root / "benchmarks" / "results" / name
    kept = []
    for folder in folders:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            parts = path.relative_to(folder)
            target = results / (f"{folder.name}-{parts}" if parts.name in EACH_HAS else parts)
            if str(parts) == ANSWERS:
                target = root / "tests" / "golden" / f"{name}.json"
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
            kept.append(target)
    return kept


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("name", metavar="NAME")
    options.add_argument("folders", metavar="FOLDER", nargs="+", type=lambda path: Path(path).resolve())
    chosen = options.parse_args()
    try:
        kept = keep(chosen.name, chosen.folders)
    except (OSError, ValueError, KeyError) as error:
        raise SystemExit(f"keep.py: {error}") from None
    print(*kept, sep="\n")
    print("\nwhere the simulated GPU is set, and what was measured:")
    for folder in chosen.folders:
        for setting, value in measured(folder):
            print(f"  {setting.where:<62} {value:16,.2f} {setting.unit}")


if __name__ == "__main__":
    main()
