"""A short run of `gshare bench overhead` is within every budget, and says what it measured."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from gshare.benchmarks import callgrind, overhead


@pytest.mark.soak  # .ci/run has this as a step of its own
@pytest.mark.timeout(300)
def test_a_smoke_run_is_within_budget(tmp_path: Path) -> None:
    output = tmp_path / "overhead.json"
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "gshare.cli",
            "bench",
            "overhead",
            "--sim",
            "--smoke",
            "--output",
            str(output),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert output.exists(), done.stdout + done.stderr
    result = json.loads(output.read_text())
    rows = {row["name"]: row for row in result["rows"]}
    assert done.returncode == 0, json.dumps(
        [row for row in result["rows"] if row["within"] is False], indent=1
    )
    assert result["simulated"] is True
    assert set(overhead.BUDGETS.promised) <= set(rows)
    for name, budget in overhead.BUDGETS.promised.items():
        if budget.unit == "instructions" and not callgrind.available():
            assert rows[name]["value"] is None
            assert "valgrind" in rows[name]["note"]
        elif rows[name]["note"] == "":
            assert rows[name]["value"] > 0
