"""Who is let in first: properties of the order on made-up machines, with time as it is told."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gshare.controller import placement, queue
from gshare.controller.budget import Budget
from gshare.controller.policy import Grant

PATIENCE_NS = 60
WHOLE = 100


@dataclass(frozen=True)
class Asks:
    """A request for so much of one device."""

    number: int
    user: int
    rank: int
    since_ns: int
    amount: int
    lasts_ns: int
    waits: bool = True


asks = st.builds(
    Asks,
    number=st.integers(0, 1 << 30),
    user=st.integers(0, 4),
    rank=st.integers(0, 2),
    since_ns=st.integers(0, 100),
    amount=st.integers(1, WHOLE),
    lasts_ns=st.integers(1, 50),
)


@dataclass
class Machine:
    """Devices of WHOLE bytes each, and when what runs there ends."""

    devices: int
    how: str = placement.BEST_FIT
    ends: dict[Asks, tuple[int, str]] = field(default_factory=dict)
    turns: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.budgets = {str(index): [Budget(f"GPU {index}", WHOLE, None)] for index in range(self.devices)}

    def at(self, now_ns: int, waiting: list[Asks]) -> tuple[list[Asks], list[Asks]]:
        """End what ends, let in who fits; returns who came in, in that order, and who is left."""
        for asked, (end_ns, uuid) in list(self.ends.items()):
            if end_ns <= now_ns:
                self.budgets[uuid][0].remove(str(asked))
                del self.ends[asked]
        came: list[Asks] = []

        def attempt(asked: Asks, kept: Mapping[str, Asks]) -> queue.Attempt:
            wanted = {uuid: Grant(asked.amount, None) for uuid in self.budgets if uuid not in kept}
            uuid = placement.choose(self.how, wanted, self.budgets)
            if uuid is None:
                near = placement.nearest(wanted, self.budgets)
                return queue.Attempt(False, (near,) if near else ())
            self.budgets[uuid][0].add(str(asked), wanted[uuid])
            self.ends[asked] = now_ns + asked.lasts_ns, uuid
            came.append(asked)
            return queue.Attempt(True)

        left, _ = queue.let_in(waiting, self.turns, now_ns, PATIENCE_NS, attempt)
        for (budget,) in self.budgets.values():
            assert sum(grant.memory_bytes or 0 for grant in budget.held.values()) <= WHOLE
            assert budget.promised_memory_bytes <= WHOLE
        return came, left


@given(
    st.lists(asks, unique_by=lambda asked: asked.number),
    st.dictionaries(st.integers(0, 4), st.integers(1, 9)),
)
def test_everybody_is_tried_once_and_high_priority_first(waiting: list[Asks], turns: dict[int, int]) -> None:
    found = queue.order(waiting, turns)
    assert sorted(asked.number for asked in found) == sorted(asked.number for asked in waiting)
    assert [asked.rank for asked in found] == sorted((asked.rank for asked in found), reverse=True)
    for rank in range(3):
        for user in range(5):
            own = [asked.since_ns for asked in found if (asked.rank, asked.user) == (rank, user)]
            assert own == sorted(own)  # each user's in the order in which they came


@given(
    st.lists(asks, unique_by=lambda asked: asked.number),
    st.integers(1, 3),
    st.sampled_from(["best-fit", "spread"]),
)
def test_who_fits_is_let_in_and_who_is_left_did_not_fit(waiting: list[Asks], devices: int, how: str) -> None:
    """While nobody is out of patience, nothing is kept free: whoever is left fits nowhere."""
    machine = Machine(devices, how)
    came, left = machine.at(0, [asked for asked in waiting if asked.since_ns == 0])
    assert len(came) + len(left) == sum(asked.since_ns == 0 for asked in waiting)
    for asked in left:
        assert all(budget.missing(Grant(asked.amount, None)) for (budget,) in machine.budgets.values())


def test_users_take_turns_however_much_one_asks_for() -> None:
    """User 0 asked for fifty before anybody came; the others have their turns nevertheless."""
    flood = [Asks(number, 0, 1, number, WHOLE, 1) for number in range(50)]
    others = [Asks(100 + number, 1 + number % 2, 1, 50 + number, WHOLE, 1) for number in range(10)]
    machine = Machine(1)
    waiting, users = flood + others, []
    for now_ns in range(100, 160):
        came, waiting = machine.at(now_ns, waiting)
        users += [asked.user for asked in came]
    assert len(users) == 60
    assert users[:15] == [0, 1, 2] * 5
    assert set(users[15:]) == {0}


def test_a_turn_is_remembered_where_the_queue_was_empty_meanwhile() -> None:
    machine = Machine(1)
    machine.at(0, [Asks(0, 0, 1, 0, WHOLE, 10)])
    both = [Asks(1, 0, 1, 1, WHOLE, 10), Asks(2, 1, 1, 5, WHOLE, 10)]
    came, _ = machine.at(10, both)
    assert [asked.user for asked in came] == [1]


def test_a_small_one_passes_a_large_one_that_has_not_waited_long() -> None:
    machine = Machine(1)
    machine.at(0, [Asks(0, 0, 1, 0, 50, 1000)])
    large, small = Asks(1, 1, 1, 0, WHOLE, 10), Asks(2, 2, 1, 1, 50, 10)
    came, left = machine.at(PATIENCE_NS - 1, [large, small])
    assert (came, left) == ([small], [large])
    came, left = machine.at(PATIENCE_NS + 10, [large, Asks(3, 3, 1, PATIENCE_NS, 50, 10)])
    assert came == []
    came, _ = machine.at(1000, left)
    assert came == [large]


def test_only_where_it_is_kept_nobody_passes() -> None:
    """With a second GPU on which more is missing, the small ones go on there."""
    machine = Machine(2, "spread")
    machine.at(0, [Asks(0, 0, 1, 0, 90, 1000), Asks(1, 0, 1, 0, 30, 1000)])
    large = Asks(2, 1, 1, 0, WHOLE, 10)
    small = [Asks(3 + number, 2, 1, PATIENCE_NS, 5, 1000) for number in range(6)]
    came, left = machine.at(PATIENCE_NS, [large, *small])
    assert {machine.ends[asked][1] for asked in came} == {"0"}
    assert len(came) == 2
    assert large in left


def test_a_higher_priority_is_let_in_where_it_is_kept_for_a_lower_one() -> None:
    machine = Machine(1)
    machine.at(0, [Asks(0, 0, 1, 0, 50, 1000)])
    large = Asks(1, 1, 1, 0, WHOLE, 10)
    came, left = machine.at(PATIENCE_NS, [large, Asks(2, 2, 2, PATIENCE_NS, 50, 10)])
    assert [asked.number for asked in came] == [2]
    assert left == [large]


@settings(max_examples=60)
@given(
    st.lists(asks, max_size=25, unique_by=lambda asked: asked.number),
    st.integers(1, 3),
    st.integers(0, 3),
    st.integers(1, WHOLE),
)
def test_nobody_starves(crowd: list[Asks], devices: int, users: int, amount: int) -> None:
    """A request for a whole device is let in beside an endless stream of small ones that always fit.

    All of one priority.  Each of the crowd may have a turn before it, and what runs then has to end.
    """
    machine = Machine(devices)
    crowd = [Asks(asked.number, asked.user, 1, 0, asked.amount, asked.lasts_ns) for asked in crowd]
    large = Asks(-1, 9, 1, 0, WHOLE, 10)
    waiting = [*crowd, large]
    longest_ns = 50
    bound_ns = PATIENCE_NS + (len(crowd) + users + 2) * longest_ns
    for now_ns in range(bound_ns):
        waiting += [
            Asks(-2 - now_ns * 4 - user, 10 + user, 1, now_ns, amount, longest_ns) for user in range(users)
        ]
        came, waiting = machine.at(now_ns, waiting)
        if large in came:
            return
    pytest.fail(f"still waits after {bound_ns}")


@pytest.mark.parametrize(("how", "expected"), [("best-fit", "1"), ("spread", "2")])
def test_placement_takes_the_fullest_or_the_emptiest(how: str, expected: str) -> None:
    budgets = {name: [Budget(name, WHOLE, None)] for name in "0123"}
    for name, held in (("0", 95), ("1", 60), ("2", 10), ("3", 10)):
        budgets[name][0].add("x", Grant(held, None))
    wanted = {name: Grant(20, None) for name in "0123"}
    assert placement.choose(how, wanted, budgets) == expected
    assert placement.choose(how, {name: Grant(91, None) for name in "0123"}, budgets) is None
    assert placement.nearest({name: Grant(91, None) for name in "0123"}, budgets) == "2"


@given(
    st.lists(st.tuples(st.integers(0, WHOLE), st.integers(0, WHOLE)), min_size=1, max_size=6),
    st.tuples(st.integers(1, WHOLE), st.integers(1, WHOLE)),
    st.sampled_from(["best-fit", "spread"]),
)
def test_a_placement_fits_and_none_that_is_better_was_left(
    held: list[tuple[int, int]], wanted: tuple[int, int], how: str
) -> None:
    budgets = {}
    for index, promised in enumerate(held):
        budgets[str(index)] = [Budget(str(index), WHOLE, WHOLE)]
        budgets[str(index)][0].add("x", Grant(*promised))
    fits = {
        str(index): sum(promised)
        for index, promised in enumerate(held)
        if all(h + w <= WHOLE for h, w in zip(promised, wanted, strict=True))
    }
    chosen = placement.choose(how, dict.fromkeys(budgets, Grant(*wanted)), budgets)
    assert (chosen is None) == (not fits)
    if chosen is not None:
        best = max(fits.values()) if how == "best-fit" else min(fits.values())
        assert fits[chosen] == best
        assert next(name for name in fits if fits[name] == best) == chosen
