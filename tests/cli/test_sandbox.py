"""A sandbox that is killed leaves its simulated machine behind; the next one removes it, and no other."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gshare.cli import sandbox

HOLD = """
import sys
from gshare.cli import sandbox
sandbox.MACHINES = __import__("pathlib").Path(sys.argv[1])
with sandbox.Sandbox(simulated=True) as box:
    print(box.environment["SIMGPU_MACHINE"], flush=True)
    sys.stdin.readline()
"""


def hold(folder: Path) -> tuple[subprocess.Popen[str], Path]:
    """Start a sandbox; returns its process and its machine's directory, made to look an hour old."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    directory = Path(holder.stdout.readline().strip()).parent
    os.utime(directory, (time.time() - 3600,) * 2)
    return holder, directory


def test_only_what_killed_sandboxes_left_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "MACHINES", tmp_path)
    victim, left = hold(tmp_path)
    other, kept = hold(tmp_path)
    fresh = tmp_path / f"{sandbox.MACHINE_PREFIX}fresh"
    fresh.mkdir()
    foreign = tmp_path / "simgpu-1000"
    foreign.mkdir()
    os.utime(foreign, (time.time() - 3600,) * 2)
    victim.kill()
    victim.wait()
    (left / "machine").write_bytes(b"1")
    os.utime(left, (time.time() - 3600,) * 2)
    sandbox.sweep()
    assert not left.exists()
    assert all(path.exists() for path in (kept, fresh, foreign))
    other.communicate("\n")
    assert other.returncode == 0
    assert not kept.exists()
