"""Random programs in several processes: the books hold, no call hangs, every code is a documented one."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from documented_errors import allowed, cuda_headers, documented
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from simulated import Machine, tell

DOCUMENTED = documented(cuda_headers())
PROGRAM = Path(__file__).with_name("random_program.py")
NUMBER = st.integers(0, 99)
STEPS = st.lists(st.tuples(NUMBER, NUMBER, NUMBER, NUMBER), min_size=5, max_size=100)
PROGRAMS = st.lists(STEPS, min_size=1, max_size=4)


def books(machine: Machine) -> None:
    for device in machine.device(0), machine.device(1):
        processes = device["processes"]
        assert all(sum(p["memory"].values()) == p["used_bytes"] <= p["peak_bytes"] for p in processes)
        assert sum(p["used_bytes"] for p in processes) == device["used_bytes"] <= device["memory_bytes"]
        gpu_ns = sum(p["gpu_ns"] for p in processes) + device["forgotten_gpu_ns"]
        assert gpu_ns + device["idle_ns"] + device["switch_ns"] == device["elapsed_ns"]


def hold(machine: Machine, programs: list[Any]) -> None:
    """Run the programs at once: what they answer is documented, what they leave is nothing."""
    running = [
        subprocess.Popen(
            [sys.executable, str(PROGRAM), json.dumps(steps)],
            env=machine.environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for steps in programs
    ]
    said = []
    for program in running:
        assert program.stdout is not None
        said.append(program.stdout.readline())
    books(machine)
    for program, line in zip(running, said, strict=True):
        if program.poll() is None:
            tell(program)
        _, errors = program.communicate(timeout=60)
        assert program.returncode == 0, (program.returncode, errors)
        answers = json.loads(line)["answers"]
        if DOCUMENTED:
            wrong = [a for a in answers if a[1] not in allowed(a[0], DOCUMENTED, capturing=True)]
            assert wrong == []
    books(machine)
    assert machine.device()["used_bytes"] == 0


def explore(make_machine: Callable[..., Machine], examples: int) -> None:
    machine = make_machine("t4*2")
    assert machine.run("start(); out(1)") == 1

    @settings(
        max_examples=examples,
        deadline=None,
        derandomize=examples < 100,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    )
    @given(programs=PROGRAMS)
    def check(programs: list[Any]) -> None:
        hold(machine, programs)

    check()


@pytest.mark.parametrize(
    "examples", [20, pytest.param(1000, marks=[pytest.mark.soak, pytest.mark.timeout(1800)])]
)
def test_the_books_hold_whatever_programs_do(make_machine: Callable[..., Machine], examples: int) -> None:
    explore(make_machine, examples)
