"""A simulated machine for each test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from simulated import Machine
from told import Program

from gshare.shim import sim
from gshare.shim.sim.virtual import VirtualClock


@pytest.fixture
def make_machine(tmp_path: Path) -> Iterator[Callable[..., Machine]]:
    """Return a function that makes a machine: a profile, and SIMGPU_ variables."""
    machines: list[Machine] = []

    def make(profile: str = "l4", **variables: str) -> Machine:
        machines.append(Machine(tmp_path / f"machine{len(machines)}", profile, **variables))
        return machines[-1]

    yield make
    for machine in machines:
        sim.stop(machine.path)


@pytest.fixture
def machine(make_machine: Callable[..., Machine]) -> Machine:
    return make_machine()


@pytest.fixture
def program(machine: Machine) -> Iterator[Callable[..., Program]]:
    """Return a function that starts a program on the test's machine which does what it is told."""
    programs: list[Program] = []

    def start(**variables: str) -> Program:
        programs.append(Program(machine, **variables))
        return programs[-1]

    yield start
    for one in programs:
        one.process.kill()
        one.process.wait()


@pytest.fixture
def make_clock(tmp_path: Path) -> Iterator[Callable[..., VirtualClock]]:
    """Return a function that makes a machine on a virtual clock; the one before is closed."""
    clocks: list[VirtualClock] = []

    def make(profile: str = "l4") -> VirtualClock:
        for clock in clocks:
            clock.close()
        clocks.append(VirtualClock(str(tmp_path / f"machine{len(clocks)}"), profile))
        return clocks[-1]

    yield make
    for clock in clocks:
        clock.close()


@pytest.fixture
def clock(make_clock: Callable[..., VirtualClock]) -> VirtualClock:
    return make_clock()
