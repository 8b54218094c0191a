"""The ways to run one and the same program for a comparison: bare, and as a tenant of `gshare run`."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gshare.benchmarks import callgrind
from gshare.cli.sandbox import Sandbox
from gshare.controller.errors import GshareError

TIMEOUT_S = 600
LOOPS = (sys.executable, "-m", "gshare.benchmarks.loops")

Instructions = dict[tuple[str, str], float]
"""By object and function."""


class Arm:
    """`python -m gshare.benchmarks.loops …` bare (limits None), or as a tenant with `limits`.

    `others` processes hold memory meanwhile, of the same tenant; busy ones allocate and free without end.
    """

    def __init__(
        self, sandbox: Sandbox, limits: Sequence[str] | None, others: int = 0, busy: bool = False
    ) -> None:
        self.sandbox = sandbox
        self.limits = limits
        self.company = (
            [*LOOPS, "company", f"--processes={others}", *["--busy"] * busy, "--"] if others else []
        )
        self.environment = dict(sandbox.environment)
        if limits is None and sandbox.simulated:
            from gshare.shim import sim

            machine = sandbox.environment["SIMGPU_MACHINE"]
            self.environment |= sim.environment(machine=machine, profile=sandbox.profile or None)

    def loops(self, *case: str) -> dict[str, Any]:
        """Run one case of the loops, and return what it printed."""
        return self._run([*LOOPS, *case])

    def ns(self, *case: str) -> float:
        """Median nanoseconds of one call in this case, over the batches of one process."""
        samples: list[float] = self.loops(*case)["ns"]
        return statistics.median(samples)

    def instructions(self, *case: str) -> Instructions:
        """Instructions per counted call, by object and function; the program runs under callgrind."""
        with tempfile.TemporaryDirectory(prefix="gshare-") as directory:
            profile = Path(directory) / "callgrind.out"
            count = self._run([*callgrind.prefix(profile), *LOOPS, *case])["count"]
            with profile.open() as lines:
                sums = callgrind.instructions(lines)
        return {where: total / count for where, total in sums.items()}

    def _run(self, command: Sequence[str]) -> dict[str, Any]:
        command = [*self.company, *command]
        if self.limits is not None:
            command = self.sandbox.run(self.limits, command)
        done = subprocess.run(
            command,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1]) if done.stdout.strip() else {}
        if done.returncode or "error" in said:
            words = said.get("error") or (done.stderr.strip().splitlines() or ["no output"])[-1]
            raise GshareError(" ".join(command), f"ended with {done.returncode}: {words}")
        return said
