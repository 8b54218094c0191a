"""Processes that call themselves by the same number, each in a PID namespace of its own, are told apart."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import ALLOCATE, Home

NAMESPACE = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]


@pytest.mark.skipif(
    subprocess.run([*NAMESPACE, "true"], capture_output=True, check=False).returncode != 0,
    reason="no PID namespace may be made here",
)
def test_ps_shows_each_by_its_number_outside(home: Home) -> None:
    programs = [
        home.start(
            *["run", "--sim", "--mem", "2G", "--tenant", "team"], *NAMESPACE, sys.executable, str(ALLOCATE)
        )
        for _ in range(2)
    ]
    for program, pieces in zip(programs, (1, 2), strict=True):
        assert program.stdin is not None
        assert program.stdout is not None
        program.stdin.write(f"take {pieces}\n")
        program.stdin.flush()
        assert program.stdout.readline() == f"{pieces}\n"
    rows = [
        row for row in json.loads(home.gshare("ps", "--json").stdout)["processes"] if row["used_bytes"] > 0
    ]
    assert len({row["pid"] for row in rows}) == 2
    for row in rows:
        own = Path(f"/proc/{row['pid']}/status").read_text().split("NSpid:")[1].splitlines()[0].split()
        assert own == [str(row["pid"]), "1"]
        assert "allocate.py" in row["command"]
    assert abs(rows[0]["used_bytes"] - rows[1]["used_bytes"]) == 64 << 20
    assert sum(row["used_bytes"] for row in rows) == rows[0]["tenant_used_bytes"]
