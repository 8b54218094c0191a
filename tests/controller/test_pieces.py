"""Long work in pieces: the same result, and others in between."""

import asyncio
import time

from gshare.controller.pieces import TURN_S, Work, at_once, by_turns

PIECES = 20


def work(each_s: float = 0.0) -> Work[list[int]]:
    done = []
    for piece in range(PIECES):
        until = time.monotonic() + each_s
        while time.monotonic() < until:
            pass
        done.append(piece)
        yield
    return done


def test_work_comes_to_the_same_at_once_and_in_turn_with_others() -> None:
    assert at_once(work()) == asyncio.run(by_turns(work())) == list(range(PIECES))


async def turns_during(each_s: float) -> int:
    """How often others have their turn while there is work."""
    turns, working = 0, asyncio.create_task(by_turns(work(each_s)))
    while not working.done():
        turns += 1
        await asyncio.sleep(0)
    return turns


def test_others_have_their_turn_between_long_pieces() -> None:
    assert asyncio.run(turns_during(TURN_S)) >= PIECES
