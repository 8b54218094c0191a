"""Tests may run side by side (`pytest -n 2`); beside one that is marked `alone` no other runs."""

from __future__ import annotations

import fcntl
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("busy host", deadline=None)
settings.load_profile("busy host")

QUEUE, FLOOR = 0, 1
"""Bytes of a file, locked by lockf: what a test forks does not go on holding them."""


@contextmanager
def floor(path: Path, alone: bool) -> Iterator[None]:
    """Share the floor, or have it; nobody gets past who waits for it."""
    with path.open("a+b") as file:
        fcntl.lockf(file, fcntl.LOCK_EX, 1, QUEUE)
        fcntl.lockf(file, fcntl.LOCK_EX if alone else fcntl.LOCK_SH, 1, FLOOR)
        fcntl.lockf(file, fcntl.LOCK_UN, 1, QUEUE)
        yield


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Around the whole of a test: its time limit does not count the wait."""
    if not hasattr(item.config, "workerinput"):
        return (yield)
    of_all_workers = Path(item.config.getoption("basetemp")).parent
    with floor(of_all_workers / "floor", item.get_closest_marker("alone") is not None):
        return (yield)
