"""A simulated machine of one test: programs on it, and its truth."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import starting

from gshare.shim import sim

ROOT = Path(__file__).resolve().parents[2]
PREAMBLE = starting.PREAMBLE + "from device_work import *\n"


class Machine:
    """A machine of one test: every program starts with the names of driver_calls.py and device_work.py."""

    def __init__(self, path: Path, profile: str, **variables: str) -> None:
        self.path = str(path)
        clean = {
            k: v for k, v in os.environ.items() if not k.startswith(("LD_", "GSHARE_", "SIMGPU_", "CUDA_"))
        }
        folders = [str(ROOT / "tests" / name) for name in ("sim", "shim")]
        self.environ = {
            **clean,
            **sim.environment(self.path, profile),
            **starting.VARIABLES,
            "PYTHONPATH": os.pathsep.join(folders),
            **variables,
        }

    def start(self, code: str, **variables: str) -> subprocess.Popen[str]:
        """Start a program; `out(value)` in it writes a line of JSON, `wait()` waits for one from the test."""
        return subprocess.Popen(
            [*starting.PYTHON, PREAMBLE + code],
            env={**self.environ, **variables},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, code: str, **variables: str) -> Any:
        """Run a program to its end; returns what its last `out` said."""
        program = self.start(code, **variables)
        output, _ = program.communicate(timeout=100)
        assert program.returncode == 0, output
        return json.loads(output.splitlines()[-1])

    def device(self, index: int = 0) -> dict[str, Any]:
        """Return the truth about one device."""
        device: dict[str, Any] = sim.stat(self.path)["devices"][index]
        return device

    def process(self, pid: int, index: int = 0) -> dict[str, Any]:
        return next(p for p in self.device(index)["processes"] if p["pid"] == pid)


def compiled(sources: Sequence[Path], options: Sequence[str | Path], folder: Path) -> list[Path]:
    """Compile many sources, on two processors; their objects."""

    def compile_some(some: Sequence[Path]) -> None:
        subprocess.run(["gcc", *options, "-c", *some], cwd=folder, check=True)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(compile_some, [sources[::2], sources[1::2]]))
    return [folder / f"{source.stem}.o" for source in sources]


def line(program: subprocess.Popen[str]) -> Any:
    """Return what a running program says next."""
    assert program.stdout is not None
    return json.loads(program.stdout.readline())


def tell(program: subprocess.Popen[str]) -> None:
    """Let a program go on that waits."""
    assert program.stdin is not None
    program.stdin.write("\n")
    program.stdin.flush()
