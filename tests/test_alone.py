"""Where tests run side by side, one that is marked `alone` is alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

TESTS = """
import time
from pathlib import Path
import pytest

def log(word):
    with Path("log").open("a") as file:
        print(word, file=file)

def meet(seconds):
    log("together")
    until = time.monotonic() + 60
    while Path("log").read_text().count("together") < 2:
        assert time.monotonic() < until
        time.sleep(0.01)
    time.sleep(seconds)
    log("end")

def stay():
    log("begin")
    time.sleep(0.2)
    log("end")

def test_a(): meet(0)

@pytest.mark.alone
def test_first(): stay()

def test_b(): meet(0.2)

@pytest.mark.alone
def test_second(): stay()
"""
"""The first worker takes the first two, the other the last two."""


def test_nothing_runs_beside_it(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(Path(__file__).with_name("conftest.py").read_text())
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = alone: as in pyproject.toml\n")
    (tmp_path / "test_beside.py").write_text(TESTS)
    command = [sys.executable, *"-m pytest -p xdist -n 2 --dist worksteal --basetemp temp".split()]
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    words = (tmp_path / "log").read_text().split()
    assert words == ["together", "together", "end", "end", "begin", "end", "begin", "end"]
