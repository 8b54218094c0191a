"""`gshare bench simulator` is within its budgets: the simulated GPU is as fast as it claims to be."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from gshare.benchmarks import simulator


def bench(output: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gshare.benchmarks", "simulator", *options, "--output", str(output)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "options",
    [("--smoke",), pytest.param((), marks=pytest.mark.timeout(600))],
    ids=["smoke", "full"],
)
@pytest.mark.soak  # .ci/run has the short one as a step of its own
def test_it_is_within_its_budgets(tmp_path: Path, options: tuple[str, ...]) -> None:
    output = tmp_path / "simulator.json"
    done = bench(output, "--sim", *options)
    assert output.exists(), done.stdout + done.stderr
    rows = {row["name"]: row for row in json.loads(output.read_text())["rows"]}
    assert done.returncode == 0, json.dumps([row for row in rows.values() if not row["within"]], indent=1)
    assert {name: row["budget"] for name, row in rows.items()} == {
        name: budget.limit for name, budget in simulator.BUDGETS.items()
    }
    assert len(rows["start"]["details"]["ms"]) == 20


def test_a_value_over_its_budget_is_not_within_it() -> None:
    assert simulator._row("launch_idle", 300.0, {}).within is True
    assert simulator._row("launch_idle", 301.0, {}).within is False
    assert simulator._row("start", None, {}, note="not measured").within is None
