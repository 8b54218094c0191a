"""`gshare bench budgets controller`: what it measures is the controller's, and too much is told."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gshare.benchmarks import controller


@pytest.mark.parametrize("options", [("--smoke",), pytest.param((), marks=pytest.mark.timeout(1200))])
@pytest.mark.soak  # .ci/run has the short one as a step of its own
def test_it_is_within_its_budgets(tmp_path: Path, options: tuple[str, ...]) -> None:
    output = tmp_path / "controller.json"
    command = [sys.executable, "-m", "gshare.benchmarks", "budgets", "controller", "--sim", *options]
    done = subprocess.run([*command, "--output", output], capture_output=True, text=True, check=False)
    assert output.exists(), done.stdout + done.stderr
    rows = {row["name"]: row for row in json.loads(output.read_text())["rows"]}
    assert done.returncode == 0, json.dumps([row for row in rows.values() if row["within"] is False])
    assert rows["requests_p99"]["details"]["requests"] >= 4 * controller.REQUESTS_PER_S
    assert ("growth" in rows) == (not options)


def test_more_than_the_budget_is_not_within_it_and_short_runs_forgive_some() -> None:
    assert controller._row("busy", 3.0, False, {}).within is True
    assert controller._row("busy", 3.1, False, {}).within is False
    assert controller._row("busy", 9.1, True, {}).within is False
    assert controller._row("requests_p99", 190.0, True, {}).within is True


def test_cpu_time_is_that_of_the_process() -> None:
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as busy:
        before, own = controller.cpu_s(busy.pid), controller.cpu_s(os.getpid())
        deadline = time.monotonic() + 20
        while controller.cpu_s(busy.pid) - before < 0.1:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert controller.cpu_s(os.getpid()) - own < 0.1
        busy.kill()
