"""Long work is done a piece at a time: who asks for little meanwhile does not wait for all of it.

Such work is a generator that stops wherever it may be interrupted, and returns what it comes to.
"""

import asyncio
import time
from collections.abc import Generator
from typing import TypeVar

Result = TypeVar("Result")
Work = Generator[None, None, Result]

TURN_S = 0.002
"""Then others have theirs."""


def _keeping(work: Work[Result], kept: list[Result]) -> Generator[None, None, None]:
    """The same work, whose result goes into a list."""
    kept.append((yield from work))


def at_once(work: Work[Result]) -> Result:
    """Do all of it."""
    kept: list[Result] = []
    for _ in _keeping(work, kept):
        pass
    return kept[0]


async def by_turns(work: Work[Result]) -> Result:
    """Do it, with others in between."""
    kept: list[Result] = []
    until = time.monotonic() + TURN_S
    for _ in _keeping(work, kept):
        if time.monotonic() >= until:
            await asyncio.sleep(0)
            until = time.monotonic() + TURN_S
    return kept[0]
