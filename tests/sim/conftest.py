"""A simulated machine for each test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from simulated import Machine

from gshare.shim import sim


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
