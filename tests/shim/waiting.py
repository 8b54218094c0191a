"""Waits until something is so; who waits in vain fails."""

import time
from collections.abc import Callable
from typing import Any

PATIENCE_S = 60.0


def until(true: Callable[[], Any], patience_s: float = PATIENCE_S) -> Any:
    """What is true in the end."""
    deadline = time.monotonic() + patience_s
    while not (found := true()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found
