"""What a GPU machine brought back goes where it belongs, and nothing of a rehearsal does."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


@pytest.fixture
def keep() -> Iterator[ModuleType]:
    sys.path.insert(0, str(Path(__file__).parent))
    try:
        yield importlib.import_module("keep")
    finally:
        sys.path.pop(0)
        sys.modules.pop("keep", None)


def stage(folder: Path, simulated: bool, **files: Any) -> Path:
    folder.mkdir()
    for name, content in {"summary": {"simulated": simulated}, **files}.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    (folder / "log.txt").write_text("log")
    return folder


def test_each_file_has_its_place_and_none_is_lost(keep: ModuleType, tmp_path: Path) -> None:
    stages = [
        stage(tmp_path / "1", False, answers={"schema": "gshare/golden/v1"}, points={}),
        stage(tmp_path / "4", False, shares={}),
    ]
    (stages[1] / "suite").mkdir()
    (stages[1] / "suite" / "result.json").write_text("{}")
    kept = {str(path.relative_to(tmp_path)) for path in keep.keep("day-gpu", stages, tmp_path)}
    names = ("1-log.txt", "1-summary.json", "4-log.txt", "4-summary.json", "points.json", "shares.json")
    assert kept == {
        "tests/golden/day-gpu.json",
        "benchmarks/results/day-gpu/suite/result.json",
        *(f"benchmarks/results/day-gpu/{name}" for name in names),
    }
    assert all((tmp_path / path).is_file() for path in kept)


def test_nothing_of_a_rehearsal_is_kept(keep: ModuleType, tmp_path: Path) -> None:
    stages = [stage(tmp_path / "1", False), stage(tmp_path / "2", True)]
    with pytest.raises(ValueError, match="of a rehearsal"):
        keep.keep("day-gpu", stages, tmp_path)
    assert not (tmp_path / "benchmarks").exists()


def test_settings_are_told_as_far_as_they_were_measured(keep: ModuleType, tmp_path: Path) -> None:
    rows = [{"name": "slice", "value": 5.0}, {"name": "switch_2", "value": None}]
    facts = [
        {"name": "memory of a context", "code": 0, "samples": [1, 9, 3]},
        {"name": "cuEventQuery", "code": 801, "samples": [7]},
    ]
    folder = stage(tmp_path / "1", False, points={"rows": rows}, timings={"facts": facts})
    found = {setting.name: value for setting, value in keep.measured(folder)}
    assert found == {"slice": 5, "memory of a context": 3}
    assert all((keep.ROOT / setting.where.partition(":")[0]).is_file() for setting in keep.SETTINGS)
