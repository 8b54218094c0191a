"""A limit to how long something may take, so that what hangs under one library ends nothing else."""

from __future__ import annotations

import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SOON_S = 0.05
OVER = "not done within"
HELD = {subprocess.__file__, threading.__file__}
"""Who is interrupted in one of these may keep a lock for good."""


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Raise TimeoutError in the block when the time is over; inner limits are forgotten with their blocks."""

    def over(number: int, frame: FrameType | None) -> None:
        at = frame
        while at:
            if at.f_code.co_filename in HELD:
                signal.setitimer(signal.ITIMER_REAL, SOON_S)
                return
            at = at.f_back
        raise TimeoutError(f"{OVER} {seconds:g} s")

    before = signal.signal(signal.SIGALRM, over)
    left, _ = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, left)
        signal.signal(signal.SIGALRM, before)
