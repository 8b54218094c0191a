"""A benchmark over its budget ends with 1, one within it with 0, and the result file is whole either way."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gshare.benchmarks import __main__ as command
from gshare.benchmarks import memory, overhead
from gshare.benchmarks.results import Row
from gshare.cli import bench as cli_bench


def test_the_command_line_knows_every_benchmark() -> None:
    assert set(command.BENCHES) == set(cli_bench.BUDGETS)


def test_a_smoke_run_forgives_the_clock_and_not_the_instructions() -> None:
    assert memory.BUDGETS.row("init", 15.0, smoke=True).within is True
    assert memory.BUDGETS.row("init", 15.0, smoke=False).within is False
    assert memory.BUDGETS.row("init", 21.0, smoke=True).within is False
    assert overhead.BUDGETS.row("launch_unlimited", 16, smoke=True).within is False
    assert overhead.BUDGETS.row("launch_unlimited", 15, smoke=True).within is True
    assert memory.BUDGETS.row("alloc_free_live", 1.3, smoke=True).within is False


def test_what_was_not_measured_is_not_within_the_budget() -> None:
    row = overhead.BUDGETS.row("launch_unlimited", None, smoke=False, note="not measured: no counter")
    assert row.value is None
    assert row.within is None


@pytest.mark.parametrize(("within", "code"), [(True, 0), (False, 1), (None, 0)])
def test_the_exit_code_and_the_file_tell_the_verdict(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, within: bool | None, code: int
) -> None:
    rows = [Row("launch", "a launch", 12.0, "instructions", 15.0, within)]
    bench = SimpleNamespace(run=lambda sandbox, *, smoke, say: rows)
    monkeypatch.setitem(command.BENCHES, "overhead", "fake_bench")
    monkeypatch.setitem(sys.modules, "fake_bench", bench)
    monkeypatch.setattr(command, "Arm", _Arm)
    output = tmp_path / "result.json"
    monkeypatch.setattr(
        sys, "argv", ["bench", "budgets", "overhead", "--sim", "--json", "--output", str(output)]
    )
    assert command.main() == code
    stored: dict[str, Any] = json.loads(output.read_text())
    assert stored["schema"] == "gshare/bench/v1"
    assert stored["simulated"] is True
    assert stored["device"] == "Simulated"
    assert stored["driver"] == "13.0"
    assert stored["within_budget"] is (within is not False)
    assert stored["rows"][0]["within"] is within


class _Arm:
    """Answers which device it is, without starting a process."""

    def __init__(self, sandbox: object, limits: object) -> None:
        pass

    def loops(self, case: str) -> dict[str, Any]:
        return {"device": "Simulated", "driver": 13000}
