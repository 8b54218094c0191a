"""The suite from end to end: limits act, what runs without fails, stopped runs go on; pictures, the page."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gshare.benchmarks.suite import record

BENCH = [sys.executable, "-m", "gshare.cli", "bench"]
GROUPS = ("memory", "shares")
TOGETHER_S = 60.0


def bench(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [*BENCH, *options, "--sim", "--quick", "--output", str(folder)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_limits_hold_and_what_runs_without_them_fails(tmp_path: Path) -> None:
    done = bench(tmp_path, *GROUPS, "--blocks", "1", "--no-report")
    assert done.returncode == 0, done.stdout + done.stderr
    found = record.load(tmp_path / "result.json")
    assert all(control.in_effect for control in found.controls)
    assert {control.what.partition(",")[0] for control in found.controls} == {"memory", "compute", "priority"}
    assert "compute, kernels of 20 ms at 30 %" in {control.what for control in found.controls}
    computing = {"shares.arithmetic_copies", "shares.chases_arithmetic"}  # which simulated kernels do not
    isolation = [m for m in found.metrics if m.must is not None and m.id not in computing]
    assert len(isolation) > 8
    for metric in isolation:
        assert metric.control_failed is True, metric.id
        assert metric.must is not None
        ours = metric.arms["gshare"].median
        assert ours is not None
        assert ours <= metric.must, metric.id
    assert not (tmp_path / "partial.jsonl").exists()


def test_a_run_that_is_stopped_goes_on(tmp_path: Path) -> None:
    command = [
        *BENCH,
        "memory",
        "--sim",
        "--quick",
        "--blocks",
        "2",
        "--no-report",
        "--output",
        str(tmp_path),
    ]
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    journal, give_up = tmp_path / "partial.jsonl", time.monotonic() + TOGETHER_S
    while not journal.exists() or len(journal.read_text().splitlines()) < 2:
        assert time.monotonic() < give_up
        time.sleep(0.02)
    os.kill(running.pid, signal.SIGINT)
    _, said = running.communicate()
    assert running.returncode == 130
    assert "the same command goes on from here" in said
    before = [json.loads(line) for line in journal.read_text().splitlines()[1:]]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"Going on from {len(before)} runs" in done.stderr
    runs = json.loads((tmp_path / "result.json").read_text())["runs"]
    assert runs[: len(before)] == before
    assert len(runs) == 2 * 2 * 2  # blocks, trials, arms


def test_a_group_that_there_is_not_is_named(tmp_path: Path) -> None:
    done = bench(tmp_path, "nonsense")
    assert done.returncode == 2
    assert "there is no group nonsense" in done.stderr
    assert "overhead" in done.stderr


@pytest.mark.soak
def test_a_result_has_pictures_and_a_page_that_needs_nothing_else(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from gshare.benchmarks.suite import report

    results = Path(__file__).resolve().parents[2] / "benchmarks" / "results"
    (path,) = results.glob("*-suite-simulated/result.json")
    report.write(record.load(path), tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert "prefers-color-scheme: dark" in page
    assert "http" not in page.replace("data:image", "")
    for name in "share_over_time", "asked_against_got", "latencies", "overhead", "scaling", "coverage":
        for theme in "light", "dark":
            assert (tmp_path / f"{name}-{theme}.png").read_bytes().startswith(b"\x89PNG")
    assert page.count("<picture>") == 6


@pytest.mark.soak  # .ci/run has this as a step of its own
@pytest.mark.timeout(400)
def test_all_groups_in_short(tmp_path: Path) -> None:
    done = bench(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    found = record.load(tmp_path / "result.json")
    assert not [run for run in found.runs if run.failed]
