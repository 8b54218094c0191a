"""tests/gpu/run.sh runs from end to end on the simulated GPU: typos must not cost time on a GPU machine."""

from __future__ import annotations

import json
import lzma
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("run.sh")
KEPT = ("GSHARE_TEST_CLIENTS",)
"""A Python with frameworks, if it is another one."""


def rehearse(out: Path, *options: str) -> dict[str, str]:
    """Run the script; how each part ended."""
    environment = {name: os.environ[name] for name in KEPT if name in os.environ}
    done = subprocess.run(
        ["sh", str(SCRIPT), "--sim", *options, str(out)],
        env={"PATH": "/usr/bin:/bin", "HOME": str(out), "PYTHON": sys.executable, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    log = (out / "log.txt").read_text()
    assert done.returncode == 0, done.stdout + done.stderr + log[-4000:]
    summary = json.loads((out / "summary.json").read_text())
    assert summary["simulated"] is True
    return {part["name"]: part["end"] for part in summary["parts"]}


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_the_whole_script_runs_on_the_simulated_gpu(tmp_path: Path) -> None:
    ends = rehearse(tmp_path)
    assert set(ends.values()) == {"passed"}
    answers = json.loads((tmp_path / "answers.json").read_text())
    assert len(answers["rows"]) >= 400
    assert {group["end"] for group in answers["groups"]} == {"done"}
    timings = json.loads((tmp_path / "timings.json").read_text())
    assert {measurement["end"] for measurement in timings["measurements"]} == {"done"}
    points = {row["name"]: row for row in json.loads((tmp_path / "points.json").read_text())["rows"]}
    unmeasured = {name for name, row in points.items() if row["value"] is None}
    assert unmeasured == {"gap_2", "gap_3", "span_mps", "write_value_mps"}
    memory = json.loads((tmp_path / "memory.json").read_text())
    driver = next(row for row in memory["rows"] if row["name"] == "driver")
    assert driver["within"] is True
    assert driver["details"]["control"]["peak_bytes"] > driver["details"]["limited"]["peak_bytes"]


@pytest.mark.soak
@pytest.mark.timeout(300)
def test_what_was_built_is_taken_again(tmp_path: Path) -> None:
    site = f"--site={tmp_path}/site"
    assert rehearse(tmp_path, site, "--only=doctor") == {"build": "passed", "doctor": "passed"}
    assert rehearse(tmp_path, site, "--only=doctor") == {"build": "passed", "doctor": "passed"}
    assert "as it was built before" in (tmp_path / "log.txt").read_text()


@pytest.mark.soak
@pytest.mark.timeout(300)
def test_of_the_wheels_only_what_is_lacking_is_installed(tmp_path: Path) -> None:
    wheels, site = tmp_path / "wheels", tmp_path / "site"
    wheels.mkdir()
    with lzma.open(wheels / "libsome.so.1.xz", "wb") as library:
        library.write(b"a library")
    script = ["sh", str(SCRIPT.with_name("build.sh")), str(SCRIPT.parents[2]), str(site), str(wheels)]
    built = subprocess.run(
        script, capture_output=True, text=True, check=True, env=os.environ | {"PYTHON": sys.executable}
    )
    assert built.stdout.strip() == "of the wheels:"  # the tests' Python has all
    assert (site / "gshare").is_dir()
    assert not (site / "cffi").exists()
    assert (site / "lib" / "libsome.so.1").read_bytes() == b"a library"
