"""Whose turn it is, as shipped (turn.h): on virtual time, for any table."""

import ctypes

from hypothesis import given
from hypothesis import strategies as st
from share_core import MS, Turns, core

PERIOD = 40 * MS
NOBODY = 2**32 - 1

TABLES = st.lists(st.integers(1, PERIOD - 1), max_size=61, unique=True).map(lambda cuts: [0, *sorted(cuts)])
"""Where the places begin."""


core()  # compiled here, not in what hypothesis measures


def table(begins: list[int]) -> Turns:
    turns = Turns(count=len(begins), period_ns=PERIOD)
    for place, from_ns in enumerate(begins):
        turns.turn[place].from_ns, turns.turn[place].tenant_index = from_ns, 100 + place
    return turns


def place_at(turns: Turns, now_ns: int) -> tuple[int, int, int]:
    """The place, since when, and until when."""
    begin, until = ctypes.c_uint64(), ctypes.c_uint64()
    place = core().core_turn_place(turns, now_ns, ctypes.byref(begin), ctypes.byref(until))
    return place, begin.value, until.value


@given(TABLES, st.integers(0, 10**18))
def test_each_place_lasts_from_its_beginning_to_the_next_ones(begins: list[int], now_ns: int) -> None:
    place, begin_ns, until_ns = place_at(table(begins), now_ns)
    period_ns = now_ns - now_ns % PERIOD
    assert begin_ns == period_ns + begins[place]
    assert until_ns == period_ns + [*begins[1:], PERIOD][place]
    assert begin_ns <= now_ns < until_ns


@given(TABLES)
def test_in_a_period_every_place_comes_once_and_in_order(begins: list[int]) -> None:
    turns, now_ns, seen = table(begins), 7 * PERIOD, []
    while now_ns < 8 * PERIOD:
        place, _, now_ns = place_at(turns, now_ns)
        seen.append(place)
    assert seen == list(range(len(begins)))


@given(TABLES, st.integers(0, 2**62 - 1), st.integers(0, PERIOD - 1))
def test_who_holds_wants_to_and_its_own_tenant_comes_first(
    begins: list[int], wants: int, now_ns: int
) -> None:
    turns = table(begins)
    wants &= (1 << len(begins)) - 1
    place, _, _ = place_at(turns, now_ns)
    holder = core().core_turn_holder(turns, place, wants)
    if wants == 0:
        assert holder == NOBODY
        return
    distance = (holder - place) % len(begins)
    assert wants >> holder & 1
    assert not any(wants >> (place + i) % len(begins) & 1 for i in range(distance))


def test_a_table_that_is_being_written_is_not_taken_and_an_impossible_one_is_none() -> None:
    shared, copy = table([0, 10 * MS]), Turns()
    assert core().core_turns_read(shared, copy)
    assert (copy.count, copy.turn[1].from_ns, copy.turn[1].tenant_index) == (2, 10 * MS, 101)
    shared.seq = 5
    assert not core().core_turns_read(shared, copy)
    shared.seq, shared.count = 6, 63
    assert core().core_turns_read(shared, copy)
    assert copy.count == 0
    shared.count, shared.period_ns = 2, 0
    assert core().core_turns_read(shared, copy)
    assert copy.count == 0
