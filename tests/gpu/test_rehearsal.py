"""tests/gpu/run.sh runs from end to end on the simulated GPU: typos must not cost time on a GPU machine."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

MOST_FILES = 8


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_the_whole_script_runs_on_the_simulated_gpu(tmp_path: Path) -> None:
    script = Path(__file__).with_name("run.sh")
    done = subprocess.run(
        ["sh", str(script), "--sim", str(tmp_path)],
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "PYTHON": sys.executable},
        capture_output=True,
        text=True,
        check=False,
    )
    log = (tmp_path / "log.txt").read_text()
    assert done.returncode == 0, done.stdout + done.stderr + log[-4000:]
    assert all("code 0" in line for line in (tmp_path / "summary.txt").read_text().splitlines())
    assert json.loads((tmp_path / "demo.json").read_text())["simulated"] is True
    answers = json.loads((tmp_path / "answers.json").read_text())
    assert len(answers["rows"]) >= 400
    assert {group["end"] for group in answers["groups"]} == {"done"}
    timings = json.loads((tmp_path / "timings.json").read_text())
    assert {measurement["end"] for measurement in timings["measurements"]} == {"done"}
    assert len(list(tmp_path.iterdir())) <= MOST_FILES
