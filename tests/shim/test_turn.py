"""Whose turn it is, as shipped (turn.h): on virtual time, for any table."""

import ctypes

from hypothesis import given
from hypothesis import strategies as st
from share_core import MS, Owed, Part, Turns, core

PERIOD = 40 * MS
NOBODY = 2**32 - 1

TABLES = st.lists(st.integers(1, PERIOD - 1), max_size=255, unique=True).map(lambda cuts: [0, *sorted(cuts)])
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


OWED = st.integers(-(10**9), 10**9)


def holder_of(turns: Turns, place: int, wants: list[bool], owed_ns: list[int]) -> int:
    count = len(wants)
    c_wants, c_owed = (ctypes.c_bool * count)(*wants), (ctypes.c_int64 * count)(*owed_ns)
    return int(core().core_turn_holder(turns, place, c_wants, c_owed))


@given(TABLES, st.data(), st.integers(0, PERIOD - 1))
def test_nobody_who_wants_to_is_owed_more_than_who_holds(
    begins: list[int], data: st.DataObject, now_ns: int
) -> None:
    turns, count = table(begins), len(begins)
    wants = data.draw(st.lists(st.booleans(), min_size=count, max_size=count).filter(any))
    owed_ns = data.draw(st.lists(OWED, min_size=count, max_size=count))
    holder = holder_of(turns, place_at(turns, now_ns)[0], wants, owed_ns)
    assert wants[holder]
    assert owed_ns[holder] == max(owed for owed, want in zip(owed_ns, wants, strict=True) if want)


@given(TABLES, st.data(), st.integers(0, PERIOD - 1))
def test_who_holds_wants_to_and_its_own_tenant_comes_first(
    begins: list[int], data: st.DataObject, now_ns: int
) -> None:
    turns, count = table(begins), len(begins)
    wants = data.draw(st.lists(st.booleans(), min_size=count, max_size=count))
    place, _, _ = place_at(turns, now_ns)
    holder = holder_of(turns, place, wants, [data.draw(OWED)] * count)
    if not any(wants):
        assert holder == NOBODY
        return
    distance = (holder - place) % count
    assert wants[holder]
    assert not any(wants[(place + i) % count] for i in range(distance))


def test_a_table_that_is_being_written_is_not_taken_and_an_impossible_one_is_none() -> None:
    shared, copy = table([0, 10 * MS]), Turns()
    assert core().core_turns_read(shared, copy)
    assert (copy.count, copy.turn[1].from_ns, copy.turn[1].tenant_index) == (2, 10 * MS, 101)
    shared.seq = 5
    assert not core().core_turns_read(shared, copy)
    shared.seq, shared.count = 6, 257
    assert core().core_turns_read(shared, copy)
    assert copy.count == 0
    shared.count, shared.period_ns = 2, 0
    assert core().core_turns_read(shared, copy)
    assert copy.count == 0


# -------- what is owed --------

SHARES = st.lists(st.integers(1, 20), min_size=2, max_size=8)
MOST_OWED = 20 * MS


class Account:
    """One tenant's account of what all had."""

    def __init__(self, turns: Turns, own: int, lengths: list[int]) -> None:
        self.turns, self.own, self.lengths = turns, own, lengths
        self.owed = Owed()
        self.part = Part(lengths[own], sum(lengths))

    def look(self, now_ns: int, had: list[int], need_ns: int = 0, waited_ns: int = 0) -> int:
        """What is owed, beyond what the table says."""
        end = sum(self.lengths[: self.own + 1])
        left = (end - now_ns) % PERIOD or PERIOD
        due = core().core_owed_due(self.turns, self.own, left)
        core().core_owed_look(self.owed, had[self.own], sum(had), due, self.part, need_ns, waited_ns)
        return int(self.owed.owed_ns - self.owed.due_ns)

    def window(self, left_ns: int, in_flight_ns: int = 0) -> int:
        return int(core().core_owed_window(self.owed, self.part, left_ns, in_flight_ns, in_flight_ns))


def accounts(weights: list[int]) -> tuple[list[Account], list[int]]:
    lengths = [PERIOD * weight // sum(weights) for weight in weights]
    lengths[-1] += PERIOD - sum(lengths)
    turns = table([sum(lengths[:i]) for i in range(len(lengths))])
    return [Account(turns, own, lengths) for own in range(len(lengths))], lengths


@given(SHARES, st.integers(1, 40))
def test_by_the_table_nobody_is_owed_anything(weights: list[int], steps: int) -> None:
    """However often all look: the window is what is left of the turn."""
    tenants, lengths = accounts(weights)
    had = [0] * len(weights)
    for tenant in tenants:
        tenant.look(0, had)
    now_ns = 0
    for holder, length in enumerate(lengths):
        for step in range(steps):
            share = length * (step + 1) // steps - length * step // steps
            now_ns, had[holder] = now_ns + share, had[holder] + share
            beyond = [tenant.look(now_ns, had) for tenant in tenants]
            assert max(map(abs, beyond)) <= 100 + 2 * steps * len(weights)
            left = sum(lengths[: holder + 1]) - now_ns
            assert abs(tenants[holder].window(left) - left) <= 100_000


@given(SHARES, st.lists(st.tuples(st.integers(0, 7), st.integers(0, 2 * MS)), max_size=9))
def test_what_one_owes_the_others_are_owed(weights: list[int], ran: list[tuple[int, int]]) -> None:
    tenants, _ = accounts(weights)
    had = [0] * len(weights)
    for tenant in tenants:
        tenant.look(0, had)
    for who, ns in ran:
        had[who % len(had)] += ns
        beyond = [tenant.look(0, had) for tenant in tenants]
        assert abs(sum(beyond)) <= 100 * (1 + len(ran))
    if any(had):
        most = max(range(len(had)), key=lambda i: had[i] / weights[i])
        assert beyond[most] <= 100


@given(SHARES, st.integers(0, 10**12), st.integers(0, 10**12))
def test_who_sleeps_saves_nothing_and_debts_stay_within_bounds(
    weights: list[int], own_ns: int, all_ns: int
) -> None:
    tenant = accounts(weights)[0][0]
    had = [0] * len(weights)
    tenant.look(0, had)
    had[0], had[1] = own_ns, all_ns
    before = tenant.look(0, had)
    assert -MOST_OWED <= before <= MOST_OWED
    tenant.owed.known = False
    had[1] += 10**15  # the others had everything for days
    assert tenant.look(0, had) == min(before, 0)


WAITS = st.lists(st.integers(1, MS), min_size=1, max_size=50)


@given(SHARES, st.integers(1, 20 * MS), WAITS)
def test_debts_are_worked_off_while_others_do_nothing(
    weights: list[int], debt_ns: int, waits_ns: list[int]
) -> None:
    """For three quarters of the time: who has turns and never runs keeps nobody in debt for ever."""
    tenant = accounts(weights)[0][0]
    had = [0] * len(weights)
    tenant.look(0, had)
    had[0] = debt_ns
    debts = [tenant.look(0, had)]
    for i in range(len(waits_ns)):
        debts.append(tenant.look(0, had, waited_ns=sum(waits_ns[: i + 1])))
    worked_off_ns = sum(waits_ns) * 0.75 * tenant.part.length_ns / tenant.part.wanted_ns
    assert debts == sorted(debts)
    assert abs(debts[-1] - min(debts[0] + worked_off_ns, 0)) <= 4 * len(waits_ns) + MS * (debts[-1] > 0)


@given(SHARES, st.integers(0, 20 * MS), st.integers(1, 30 * MS))
def test_any_launch_fits_at_last_while_others_do_nothing(
    weights: list[int], debt_ns: int, need_ns: int
) -> None:
    tenant = accounts(weights)[0][0]
    had = [0] * len(weights)
    tenant.look(0, had, need_ns)
    had[0] = debt_ns
    waits = 2 + 4 * (debt_ns + need_ns) * tenant.part.wanted_ns // tenant.part.length_ns // (3 * MS)
    for i in range(waits):
        tenant.look(0, had, need_ns, waited_ns=(i + 1) * MS)
    assert tenant.window(tenant.part.length_ns) >= need_ns // 2 - 1000


@given(SHARES, st.integers(1, 20 * MS), WAITS, st.integers(1, 9))
def test_what_is_forgiven_is_taken_back_when_others_say_that_they_ran(
    weights: list[int], debt_ns: int, waits_ns: list[int], every: int
) -> None:
    """They say so late: in the end it is as if nothing had been forgiven."""
    tenants = accounts(weights)[0][0], accounts(weights)[0][0]
    had = [0] * len(weights)
    for tenant in tenants:
        tenant.look(0, had)
    had[0] = debt_ns
    for i in range(len(waits_ns)):
        if i % every == 0 or i == len(waits_ns) - 1:
            had[1] = sum(waits_ns[: i + 1])
        forgiving, plain = (
            tenant.look(0, had, waited_ns=waited_ns)
            for tenant, waited_ns in zip(tenants, (sum(waits_ns[: i + 1]), 0), strict=True)
        )
    assert abs(forgiving - plain) <= 4 * len(waits_ns)


@given(SHARES, st.integers(0, 10 * MS), st.integers(0, 10 * MS), st.integers(1, 10 * MS))
def test_who_is_owed_more_has_a_longer_turn(
    weights: list[int], left_ns: int, in_flight_ns: int, more_ns: int
) -> None:
    tenant = accounts(weights)[0][0]
    tenant.look(0, [0] * len(weights))
    before = tenant.window(left_ns, in_flight_ns)
    tenant.owed.owed_ns += more_ns
    assert before <= tenant.window(left_ns, in_flight_ns) <= before + more_ns + 1000  # whole microseconds


# -------- long kernels --------

KERNELS_NS = st.lists(st.integers(3 * MS, 9 * MS), min_size=100, max_size=100)
MOST_SAID = 50 * MS


class Crowd:
    """Tenants that always want to run, of which each knows of the others what these say."""

    def __init__(self, weights: list[int]) -> None:
        self.tenants, self.lengths = accounts(weights)
        self.turns = self.tenants[0].turns
        self.had = [0] * len(weights)
        self.ran_ns = [0] * len(weights)
        self.now_ns = 0
        for tenant in self.tenants:
            tenant.look(0, self.had)
            tenant.owed.owed_ns = tenant.owed.due_ns = 0

    def say(self, kernel_ns: int) -> list[int]:
        found = []
        for tenant, ran_ns in zip(self.tenants, self.ran_ns, strict=True):
            tenant.look(self.now_ns, self.had)
            late = core().core_turn_is_late(self.turns, tenant.part, kernel_ns, self.now_ns - ran_ns)
            found.append(core().core_owed_say(tenant.owed, tenant.part, late))
        return found

    def hear(self, said: list[int]) -> list[int]:
        all_ns = sum(self.had)
        return [
            core().core_owed_hear(word, had, all_ns, tenant.part)
            for word, had, tenant in zip(said, self.had, self.tenants, strict=True)
        ]

    def run(self, who: int, kernel_ns: int) -> None:
        self.now_ns += kernel_ns
        self.had[who] += kernel_ns
        self.ran_ns[who] = self.now_ns

    def next(self, owed_ns: list[int]) -> int:
        place, _, _ = place_at(self.turns, self.now_ns)
        return holder_of(self.turns, place, [True] * len(owed_ns), owed_ns)


@given(SHARES, KERNELS_NS)
def test_who_is_owed_most_is_next_and_all_have_their_parts_but_for_a_few_kernels(
    weights: list[int], kernels_ns: list[int]
) -> None:
    crowd = Crowd(weights)
    for kernel_ns in kernels_ns:
        crowd.run(crowd.next(crowd.hear(crowd.say(6 * MS))), kernel_ns)
    for had, length in zip(crowd.had, crowd.lengths, strict=True):
        assert abs(had - crowd.now_ns * length / PERIOD) <= 9 * MS * len(weights)


@given(st.lists(st.integers(10, 20), min_size=2, max_size=4), KERNELS_NS)
def test_nobody_waits_much_longer_for_long_kernels_than_by_the_table(
    weights: list[int], kernels_ns: list[int]
) -> None:
    crowd, longest_ns = Crowd(weights), 0
    for kernel_ns in kernels_ns:
        who = crowd.next(crowd.hear(crowd.say(6 * MS)))
        longest_ns = max(longest_ns, crowd.now_ns - crowd.ran_ns[who])
        crowd.run(who, kernel_ns)
    assert longest_ns <= 3 * PERIOD // 2 + 9 * MS * len(weights)


@given(SHARES, st.integers(-(2**62), 2**62), st.integers(0, 2**62), st.integers(0, 2**62))
def test_what_one_says_is_believed_within_bounds_and_is_what_it_is_owed(
    weights: list[int], from_ns: int, own_ns: int, all_ns: int
) -> None:
    tenant = accounts(weights)[0][0]
    assert abs(core().core_owed_hear(from_ns, own_ns, all_ns, tenant.part)) <= MOST_SAID
    tenant.look(0, [own_ns] + [0] * (len(weights) - 1))
    owed_ns = tenant.owed.owed_ns
    said = core().core_owed_say(tenant.owed, tenant.part, False)
    assert said != 0
    assert 0 <= core().core_owed_hear(said, own_ns, own_ns, tenant.part) - owed_ns <= 1
    late = core().core_owed_say(tenant.owed, tenant.part, True)
    assert core().core_owed_hear(late, own_ns, own_ns, tenant.part) == MOST_SAID
