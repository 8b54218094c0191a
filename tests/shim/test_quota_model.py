"""No interleaving of the reservation's steps, and no kill at any of them, loses or grants too much.

quota_model.py has the steps; the mistakes below show that the search would notice what it is for.
"""

import pytest
from quota_model import Algorithm, State, Violation, Worker, effective, explore, with_slot, with_worker

CASES = [
    pytest.param([(2, -2), (2, -2), (1,)], 2, (), id="three processes"),
    pytest.param(
        [(2, -1, 1), (1, -1, 2)], 2, (2,), id="two processes and a newcomer", marks=pytest.mark.soak
    ),
    pytest.param([(2, -1, 2), (2, -2, 1)], 2, (), id="two processes, three changes each"),
    pytest.param([(2, 2, -1), (2, -1)], 2, (1,), id="one that wants more than there is"),
]


@pytest.mark.parametrize(("programs", "kills", "newcomer"), CASES)
def test_no_interleaving_and_no_kill_breaks_the_reservation(
    programs: list[tuple[int, ...]], kills: int, newcomer: tuple[int, ...]
) -> None:
    assert explore(Algorithm(), programs, kills, newcomer) > 5000


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("programs", "newcomer"),
    [([(2,), (2,), (1,)], (2,)), ([(2, -1, 1), (1, -1, 2)], (2, -2))],
    ids=["three processes and a newcomer", "a newcomer that releases, too"],
)
def test_more_interleavings(programs: list[tuple[int, ...]], newcomer: tuple[int, ...]) -> None:
    states = explore(Algorithm(), programs, 2, newcomer)
    print(f"{states} states")
    assert states > 100_000


class WithoutHelp(Algorithm):
    """Overwrites the trace of somebody's change without noting that it took effect."""

    def help_read(self, state: State, me: int, worker: Worker) -> State:
        return with_worker(state, me, step="SWAP")


class SequenceFirst(Algorithm):
    """Announces a change before it has written what the change leads to."""

    def idle(self, state: State, me: int, worker: Worker) -> State | None:
        following = super().idle(state, me, worker)
        if following and following.workers[me].step == "WRITE_HELD":
            return with_worker(following, me, step="WRITE_SEQUENCE")
        return following

    def write_sequence(self, state: State, me: int, worker: Worker) -> State:
        return with_worker(super().write_sequence(state, me, worker), me, step="WRITE_HELD")

    def write_held(self, state: State, me: int, worker: Worker) -> State:
        return with_worker(super().write_held(state, me, worker), me, step="READ_TOTAL")


class AppliedFirst(Algorithm):
    """Reads the two traces of a dead process's change in the wrong order."""

    def effective_last(self, state: State, me: int, worker: Worker) -> State:
        applied = state.slots[worker.slot].applied
        return with_worker(state, me, step="EFFECTIVE_APPLIED", applied=applied)

    def effective_applied(self, state: State, me: int, worker: Worker) -> State:
        before = with_slot(state, worker.slot, applied=worker.applied)
        number = effective(before, worker.slot) + 1
        held_before = state.slots[worker.slot].held[(number - 1) & 1]
        return with_worker(state, me, step="WRITE_HELD", number=number, before=held_before, after=0)


class BlindSwap(Algorithm):
    """Checks the limit, and then adds to whatever the total has become."""

    def swap(self, state: State, me: int, worker: Worker) -> State:
        return super().swap(state, me, worker._replace(seen=(state.used, state.last)))


class HalfSwap(Algorithm):
    """Swaps where only the bytes are what they were, and so may overwrite a trace that it has not seen."""

    def swap(self, state: State, me: int, worker: Worker) -> State:
        used, _ = worker.seen
        return super().swap(state, me, worker._replace(seen=(used, state.last)))


class TwoLocks(Algorithm):
    """Takes a slot that somebody empties for one whose owner lives."""

    def try_lock(self, state: State, me: int, worker: Worker) -> State:
        following = super().try_lock(state, me, worker)
        if following == state:
            return with_worker(state, me, step="SCAN", scan=worker.slot + 1)
        return following


class EmptyFirst(Algorithm):
    """Notes that a slot is empty before it is."""

    def try_lock(self, state: State, me: int, worker: Worker) -> State:
        following = super().try_lock(state, me, worker)
        if following.workers[me].step == "EFFECTIVE_LAST":
            return with_slot(following, worker.slot, claimed=False)
        return following


class NeverClaimed(Algorithm):
    """A newcomer does not note that its slot is to be looked at."""

    def note(self, state: State, me: int, worker: Worker) -> State:
        return with_worker(with_slot(state, worker.slot, claimed=False), me, step="UNLOCK")


class WithoutRepair(Algorithm):
    """Refuses without having looked for dead processes."""

    def go_back(self, state: State, me: int, worker: Worker) -> State:
        following = super().go_back(state, me, worker)
        if following.workers[me].step == "SCAN":
            return with_worker(following, me, step="IDLE", repaired=True)
        return following


MISTAKES = [
    WithoutHelp,
    SequenceFirst,
    AppliedFirst,
    BlindSwap,
    HalfSwap,
    TwoLocks,
    EmptyFirst,
    NeverClaimed,
    WithoutRepair,
]


@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_search_finds_mistakes(mistake: type[Algorithm]) -> None:
    def finds_it(programs: list[tuple[int, ...]], kills: int, newcomer: tuple[int, ...]) -> bool:
        try:
            explore(mistake(), programs, kills, newcomer)
        except Violation:
            return True
        return False

    assert any(finds_it(*case.values) for case in reversed(CASES))
