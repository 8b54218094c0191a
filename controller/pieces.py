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


def at_once(work: Work[Result]) -> Result:
    """Do all of it."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            result: Result = end.value
            return result


async def by_turns(work: Work[Result]) -> Result:
    """Do it, with others in between."""
    until = time.monotonic() + TURN_S
    while True:
        try:
            next(work)
        except StopIteration as end:
            result: Result = end.value
            return result
        if time.monotonic() >= until:
            await asyncio.sleep(0)
            until = time.monotonic() + TURN_S
