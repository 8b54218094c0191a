"""A short run of `gshare bench memory` is within every budget."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from gshare.benchmarks import callgrind, memory


@pytest.mark.soak  # .ci/run has this as a step of its own
@pytest.mark.timeout(400)
def test_a_smoke_run_is_within_budget(tmp_path: Path) -> None:
    output = tmp_path / "memory.json"
    command = [
        sys.executable,
        "-m",
        "gshare.benchmarks",
        "memory",
        "--sim",
        "--smoke",
        "--output",
        str(output),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert output.exists(), done.stdout + done.stderr
    rows = {row["name"]: row for row in json.loads(output.read_text())["rows"]}
    assert done.returncode == 0, json.dumps(
        [row for row in rows.values() if row["within"] is False], indent=1
    )
    for name, budget in memory.BUDGETS.promised.items():
        if budget.by_the_clock or callgrind.available():
            assert rows[name]["value"] > 0
        else:
            assert "valgrind" in rows[name]["note"]
