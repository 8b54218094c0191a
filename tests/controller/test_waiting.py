"""Those who wait: what each question is answered, who leaves the queue, and what others see of it."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from gshare.controller.budget import NoRoom
from gshare.controller.identity import Peer, controller_itself
from gshare.controller.protocol import Admit, Limits
from gshare.controller.region import now_ns
from gshare.controller.replies import Admitted, Queued
from gshare.controller.units import Memory
from gshare.controller.waiting import SILENT_NS, WaitingRoom

from .conftest import GIB, House

ROOT = controller_itself()
ALICE = Peer(54321, 54321, 1, frozenset({54321}), administrator=False)
BOB = Peer(54322, 54322, 1, frozenset({54322}), administrator=False)


def asks(house: House, size: int, **more: object) -> Admit:
    return house.request(Limits(Memory(size * GIB, None)), **{"wait_ms": 5000, **more})


def in_room(house: House, does: Callable[[WaitingRoom], Awaitable[None]]) -> None:
    async def go() -> None:
        await does(WaitingRoom(house.registry.admission, house.registry.forget_run))

    asyncio.run(asyncio.wait_for(go(), 30))


def test_the_first_answer_tells_to_wait_and_the_next_one_waits(house: House) -> None:
    async def does(room: WaitingRoom) -> None:
        first = asks(house, 60)
        assert isinstance(await room.admit(first, ROOT), Admitted)
        request = asks(house, 40)
        told = await room.admit(request, ROOT)
        assert isinstance(told, Queued)
        assert (told.place, told.waiting, told.what) == (1, 1, "--mem 40G")
        assert "20G left to promise of 80G" in told.why
        again = asyncio.ensure_future(room.admit(request, ROOT))
        await asyncio.sleep(0.05)
        assert not again.done()
        house.end(first.pid)
        room.pump_soon()
        assert isinstance(await again, Admitted)
        assert not room

    in_room(house, does)


def test_a_mode_that_somebody_else_is_against_is_waited_for(house: House) -> None:
    async def does(room: WaitingRoom) -> None:
        first = house.request(Limits(mode="concurrent", weight=1), tenant="first")
        request = house.request(Limits(mode="turns", weight=1), wait_ms=5000)
        assert isinstance(await room.admit(first, ROOT), Admitted)
        told = await room.admit(request, ROOT)
        assert isinstance(told, Queued)
        assert (told.what, told.why) == ("--mode turns", "tenant first on GPU 0 asked for concurrent")
        told = await room.admit(house.request(Limits(mode="turns", weight=1), wait_ms=5000), ALICE)
        assert isinstance(told, Queued)
        assert told.why == "another user's tenant on GPU 0 asked for concurrent"
        house.end(first.pid)
        room.pump_soon()
        assert isinstance(await room.admit(request, ROOT), Admitted)

    in_room(house, does)


def test_a_new_question_takes_the_place_of_the_last(house: House) -> None:
    async def does(room: WaitingRoom) -> None:
        await room.admit(asks(house, 80), ROOT)
        request = asks(house, 40)
        await room.admit(request, ROOT)
        held = asyncio.ensure_future(room.admit(request, ROOT))
        await asyncio.sleep(0)
        newer = [asyncio.ensure_future(room.admit(request, ROOT)) for _ in range(20)]
        assert isinstance(await held, Queued)
        for question in newer[:-1]:
            assert isinstance(await question, Queued)
        assert not newer[-1].done()
        newer[-1].cancel()

    in_room(house, does)


def test_who_does_not_wait_is_refused_and_who_is_silent_has_left(house: House) -> None:
    async def does(room: WaitingRoom) -> None:
        left: list[str] = []
        room.on_wait = lambda what, entry: left.append(what)
        await room.admit(asks(house, 80), ROOT)
        with pytest.raises(NoRoom):
            await room.admit(asks(house, 1, wait_ms=None), ROOT)
        await room.admit(asks(house, 1), ROOT)
        room.pump(now_ns() + SILENT_NS // 2)
        assert left == ["queued"]
        room.pump(now_ns() + SILENT_NS + 1)
        assert (left, bool(room)) == (["queued", "dequeued"], False)

    in_room(house, does)


def test_nobody_has_waited_since_before_they_were_there(house: House) -> None:
    async def does(room: WaitingRoom) -> None:
        begin_ns = now_ns() - 60_000_000_000
        await room.admit(asks(house, 80), ROOT)
        for since_ns in (1, now_ns() + 10**12):
            await room.admit(asks(house, 1, since_ns=since_ns), ROOT)
        assert all(begin_ns < row.since_ns <= now_ns() for row in room.shown(ROOT).waiting)

    in_room(house, does)


def test_of_others_nothing_is_seen_but_that_they_wait(house: House) -> None:
    async def does(room: WaitingRoom) -> None:
        await room.admit(asks(house, 80), ROOT)
        request = asks(house, 1)
        await room.admit(request, ALICE)
        await room.admit(replace_command(asks(house, 2), "/secret"), BOB)
        own, other = room.shown(ALICE).waiting
        assert (own.pid, bool(own.why), own.command) == (request.pid, True, request.command)
        assert (other.user, other.why, other.command, other.tenant) == (str(BOB.uid), "", "", "")
        assert [row.command for row in room.shown(ROOT).waiting] == [request.command, "/secret"]
        assert "others 80G hold the rest" in own.why

    in_room(house, does)


def replace_command(request: Admit, command: str) -> Admit:
    return Admit(
        **{name: getattr(request, name) for name in request.__struct_fields__} | {"command": command}
    )


def test_high_priority_comes_first(house: House) -> None:
    async def does(room: WaitingRoom) -> None:
        await room.admit(asks(house, 80), ROOT)
        pids = {}
        for priority in ("low", "normal", "high"):
            request = house.request(Limits(Memory(GIB, None), priority=priority), wait_ms=0)
            pids[priority] = request.pid
            await room.admit(request, ROOT)
        assert [row.pid for row in room.shown(ROOT).waiting] == [pids["high"], pids["normal"], pids["low"]]

    in_room(house, does)
