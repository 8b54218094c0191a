"""The ledger never forgets or mixes up a handle, and costs the same however long it is."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def ledger(build: Callable[..., Path]) -> Path:
    return build("ledger", "ledger.c", "../../shim/src/ledger.c", "../../shim/src/lock.c")


@pytest.mark.parametrize("seed", range(5))
def test_random_operations(ledger: Path, seed: int) -> None:
    assert subprocess.run([ledger, "check", str(seed)], check=False).returncode == 0


def test_threads_do_not_disturb_each_other(ledger: Path) -> None:
    assert subprocess.run([ledger, "threads"], check=False).returncode == 0


def test_cost_does_not_grow_with_the_ledger(ledger: Path) -> None:
    """A list would take thousands of times as long at 100,000; caches may make it a few times."""

    def cost_ns(live: int) -> int:
        return min(
            int(subprocess.run([ledger, "cost", str(live)], capture_output=True, check=True).stdout)
            for _ in range(3)
        )

    few, many = cost_ns(10), cost_ns(100_000)
    print(f"{few} ns with 10 live handles, {many} ns with 100,000")
    assert many <= 10 * few
