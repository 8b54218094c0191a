"""What is left when programs die: their memory, at once; and limits, when nobody is there to watch them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from contextlib import suppress
from typing import Any

from gshare.benchmarks.suite.arms import MEMORY, TENANTS, Arm
from gshare.benchmarks.suite.ground import GIB, Ground
from gshare.benchmarks.suite.metrics import DIFFERENCE, Found, Metric, Trial
from gshare.benchmarks.suite.rivals import Ask, daemon

QUOTA = 4 * GIB
WANTED = 2 * GIB
KILLS, KILLS_QUICK = 10, 3
TENANT = "killed"

BACK = Metric("resilience.back", "kill -9 of who has the whole quota: until another has half of it", "ms")
LEAK = Metric("resilience.leak", f"of the quota, what {KILLS} kills cost for good", "%", compared=DIFFERENCE)
ORPHAN = Metric(
    "resilience.orphan",
    "the controller is killed: refused all the same, 0; given, 100",
    "%",
    compared=DIFFERENCE,
    must=0,
)


def _listen(program: subprocess.Popen[str]) -> dict[str, Any]:
    assert program.stdout is not None
    line = program.stdout.readline()
    if not line:
        raise RuntimeError(f"a worker ended with {program.wait()}")
    said: dict[str, Any] = json.loads(line)
    return said


def _tell(program: subprocess.Popen[str]) -> None:
    assert program.stdin is not None
    program.stdin.write("\n")
    program.stdin.flush()


def _end(program: subprocess.Popen[str]) -> None:
    with suppress(ProcessLookupError):
        program.kill()
    program.communicate()


def _kill_9(ground: Ground, arm: Arm, block: int) -> Found:
    ask, tenant = Ask(memory_bytes=QUOTA), f"{TENANT}-{block}"
    if arm.is_gshare:
        ground.controller("quota", "set", tenant, f"--mem={QUOTA}")
        ask = Ask()
    folder, taken, back_ms = ground.folder(), [], []
    with daemon(arm.rival, arm.library):
        other = ground.start(arm, ask, ["wait-for", str(WANTED), "5"], folder, tenant)
        try:
            _listen(other)
            for _ in range(KILLS_QUICK if ground.quick else KILLS):
                holder = ground.start(arm, ask, ["hold", str(QUOTA)], folder, tenant)
                try:
                    taken.append(_listen(holder)["taken"])
                    begin = time.perf_counter_ns()
                    os.kill(holder.pid, signal.SIGKILL)
                    _tell(other)
                    if _listen(other)["code"]:
                        raise RuntimeError("the memory of who was killed did not come back")
                    back_ms.append((time.perf_counter_ns() - begin) / 1e6)
                finally:
                    _end(holder)
        finally:
            _end(other)
    leaked = max(0, taken[0] - taken[-1])
    values = {BACK.id: sorted(back_ms)[len(back_ms) // 2], LEAK.id: 100 * leaked / QUOTA}
    return Found(values, {"ms": [round(ms, 2) for ms in back_ms], "taken": taken})


def _orphan(ground: Ground, arm: Arm, block: int) -> Found:
    """What watches over limits, if anything does, is killed while a program runs."""
    folder = ground.folder()
    program = ground.start(arm, Ask(memory_bytes=QUOTA), ["wait-for", str(QUOTA + GIB), "0.5"], folder)
    try:
        _listen(program)
        if arm.is_gshare:
            _kill_controller(ground)
        _tell(program)
        given = _listen(program)["code"] == 0
    finally:
        _end(program)
    return Found({ORPHAN.id: 100.0 if given else 0.0})


def _unfit(ground: Ground) -> str:
    return "" if ground.simulated else "not applicable: the controller is the user's own"


def _kill_controller(ground: Ground) -> None:
    from gshare.cli.sandbox import GSHARE

    done = subprocess.run(
        [*GSHARE, "status", "--json"],
        env=ground.sandbox.environment,
        capture_output=True,
        text=True,
        check=True,
    )
    os.kill(json.loads(done.stdout)["controller"]["pid"], signal.SIGKILL)


TRIALS = [
    Trial("kill", "resilience", (BACK, LEAK), _kill_9, frozenset({MEMORY, TENANTS}), seconds=4.0),
    Trial("orphan", "resilience", (ORPHAN,), _orphan, frozenset({MEMORY}), unfit=_unfit, seconds=6.0),
]
