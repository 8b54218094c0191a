"""The reservation as a model, explored exhaustively: the steps of shim/src/quota.c by their names there.

A state is the shared words plus every process's place in its program.  From each state every process may
make its next step, or be killed.  A killed process's slot is repaired by whoever would otherwise refuse, or
taken over by a newcomer, and these may be killed as well.  The state space is finite and searched whole.
"""

from collections.abc import Callable
from typing import NamedTuple

LIMIT = 3


class Slot(NamedTuple):
    """The words of one slot that other processes see."""

    held: tuple[int, int] = (0, 0)
    sequence: int = 0
    applied: int = 0
    claimed: bool = False


class Worker(NamedTuple):
    """A process: where it is in its program, and its registers."""

    todo: tuple[int, ...]
    """Changes to make, in bytes; a release that follows a refused reservation is skipped with it."""
    home: int  # its slot; -1: a newcomer that has none yet
    step: str = "IDLE"
    alive: bool = True
    slot: int = 0  # being changed: the own one, or a dead one under repair
    number: int = 0  # sequence of the change
    before: int = 0
    after: int = 0
    seen: tuple[int, tuple[int, int]] = (0, (0, 0))
    applied: int = 0
    repaired: bool = False  # dead slots have been looked at for this change
    scan: int = 0  # next slot to look at
    dead_before: frozenset[tuple[int, int]] = frozenset()  # what had been left over when this change began
    holds: int = 0  # what the program thinks it has
    refusals: int = 0


class State(NamedTuple):
    used: int
    last: tuple[int, int]  # slot and sequence
    slots: tuple[Slot, ...]
    workers: tuple[Worker, ...]
    locks: tuple[int, ...]
    """Who holds each slot's lock: a worker, or -1."""
    emptied: tuple[bool, ...]
    """Whether that lock is the longer one: of whoever empties a slot that is not (yet) its own."""


class Violation(AssertionError):
    pass


def effective(state: State, slot: int, *, last: tuple[int, int] | None = None) -> int:
    """The slot's last change that took effect."""
    words = state.slots[slot]
    took_effect = (last or state.last) == (slot, words.sequence) or words.applied >= words.sequence
    return words.sequence if took_effect else words.sequence - 1


def held(state: State, slot: int) -> int:
    return state.slots[slot].held[effective(state, slot) & 1]


def with_slot(state: State, index: int, **words: object) -> State:
    slots = list(state.slots)
    slots[index] = slots[index]._replace(**words)
    return state._replace(slots=tuple(slots))


def with_worker(state: State, index: int, **registers: object) -> State:
    workers = list(state.workers)
    workers[index] = workers[index]._replace(**registers)
    return state._replace(workers=tuple(workers))


def with_lock(state: State, slot: int, holder: int, *, emptied: bool = False) -> State:
    return state._replace(
        locks=(*state.locks[:slot], holder, *state.locks[slot + 1 :]),
        emptied=(*state.emptied[:slot], emptied, *state.emptied[slot + 1 :]),
    )


def is_left_over(state: State, slot: int) -> bool:
    """The slot holds something that belongs to nobody alive."""
    owned = any(worker.alive and worker.home == slot for worker in state.workers)
    return not owned and held(state, slot) > 0


class Algorithm:
    """quota.c step for step.  Subclasses leave something out, to show that the search would notice."""

    def step(self, state: State, me: int) -> State | None:
        """The process's next step; the same state when it waits; None at the end of its program."""
        worker = state.workers[me]
        method: Callable[[State, int, Worker], State | None] = getattr(self, worker.step.lower())
        return method(state, me, worker)

    def claim(self, state: State, me: int, worker: Worker) -> State | None:
        """A newcomer takes the first slot that nobody owns, and empties it before it is its own."""
        for slot, owner in enumerate(state.locks):
            if owner == -1:
                state = with_lock(state, slot, me, emptied=True)
                return with_worker(state, me, step="EFFECTIVE_LAST", slot=slot)
        return None

    def idle(self, state: State, me: int, worker: Worker) -> State | None:
        if not worker.todo:
            return None
        delta = worker.todo[0]
        if delta < 0 and worker.holds < -delta:  # its reservation was refused
            return with_worker(state, me, todo=worker.todo[1:])
        if not worker.repaired:
            dead = frozenset(
                (i, effective(state, i)) for i in range(len(state.slots)) if is_left_over(state, i)
            )
            state = with_worker(state, me, dead_before=dead)
        number = state.slots[worker.home].sequence + 1
        before = state.slots[worker.home].held[(number - 1) & 1]
        return with_worker(
            state, me, step="WRITE_HELD", slot=worker.home, number=number, before=before, after=before + delta
        )

    def write_held(self, state: State, me: int, worker: Worker) -> State:
        both = list(state.slots[worker.slot].held)
        both[worker.number & 1] = worker.after
        return with_worker(with_slot(state, worker.slot, held=tuple(both)), me, step="WRITE_SEQUENCE")

    def write_sequence(self, state: State, me: int, worker: Worker) -> State:
        following = "READ_LAST" if worker.slot == worker.home else "READ_TOTAL"
        return with_worker(with_slot(state, worker.slot, sequence=worker.number), me, step=following)

    def read_last(self, state: State, me: int, worker: Worker) -> State:
        return with_worker(state, me, step="READ_USED", seen=(0, state.last))

    def read_used(self, state: State, me: int, worker: Worker) -> State:
        """The fast path: the halves may not belong together, and nothing follows from them but a swap."""
        _, last = worker.seen
        over = worker.after > worker.before and state.used + worker.after - worker.before > LIMIT
        if over or last[0] != worker.slot:
            return with_worker(state, me, step="READ_TOTAL")
        return with_worker(state, me, step="SWAP", seen=(state.used, last))

    def read_total(self, state: State, me: int, worker: Worker) -> State:
        over = worker.after > worker.before and state.used + worker.after - worker.before > LIMIT
        state = with_worker(state, me, step="GO_BACK" if over else "HELP_READ", seen=(state.used, state.last))
        if over and worker.repaired and worker.after <= LIMIT:
            self.check_refusal(state, me, worker)
        return state

    def check_refusal(self, state: State, me: int, worker: Worker) -> None:
        """What is charged leaves no room; that is a reason only if nothing of it was given up before."""
        if any(
            is_left_over(state, slot) and effective(state, slot) == last for slot, last in worker.dead_before
        ):
            raise Violation("refused for the sake of a process that was dead before")

    def go_back(self, state: State, me: int, worker: Worker) -> State:
        state = with_slot(state, worker.slot, sequence=worker.number - 1)
        if not worker.repaired and worker.after <= LIMIT:  # nobody else's end could make more room than that
            return with_worker(state, me, step="SCAN", scan=0)
        return with_worker(
            state, me, step="IDLE", todo=worker.todo[1:], repaired=False, refusals=worker.refusals + 1
        )

    def help_read(self, state: State, me: int, worker: Worker) -> State:
        owner, sequence = worker.seen[1]
        applied = state.slots[owner].applied
        done = owner == worker.slot or applied >= sequence
        return with_worker(state, me, step="SWAP" if done else "HELP_RAISE", applied=applied)

    def help_raise(self, state: State, me: int, worker: Worker) -> State:
        owner, sequence = worker.seen[1]
        if state.slots[owner].applied != worker.applied:
            return with_worker(state, me, step="HELP_READ")
        return with_worker(with_slot(state, owner, applied=sequence), me, step="SWAP")

    def swap(self, state: State, me: int, worker: Worker) -> State:
        if (state.used, state.last) != worker.seen:
            return with_worker(state, me, step="READ_TOTAL")
        change = worker.after - worker.before
        state = state._replace(used=state.used + change, last=(worker.slot, worker.number))
        if worker.slot != worker.home:
            return with_worker(state, me, step="NOTE")
        return with_worker(
            state, me, step="IDLE", todo=worker.todo[1:], holds=worker.holds + change, repaired=False
        )

    def scan(self, state: State, me: int, worker: Worker) -> State | None:
        if worker.scan == len(state.slots):
            return with_worker(state, me, step="IDLE", repaired=True)
        slot = worker.scan
        if slot == worker.home or not state.slots[slot].claimed or not any(state.slots[slot].held):
            return with_worker(state, me, scan=slot + 1)
        return with_worker(state, me, step="TRY_LOCK", slot=slot)

    def try_lock(self, state: State, me: int, worker: Worker) -> State:
        if state.locks[worker.slot] == -1:
            return with_worker(with_lock(state, worker.slot, me, emptied=True), me, step="EFFECTIVE_LAST")
        if state.emptied[worker.slot]:
            return state
        return with_worker(state, me, step="SCAN", scan=worker.slot + 1)  # its owner lives

    def effective_last(self, state: State, me: int, worker: Worker) -> State:
        return with_worker(state, me, step="EFFECTIVE_APPLIED", seen=(0, state.last))

    def effective_applied(self, state: State, me: int, worker: Worker) -> State:
        number = effective(state, worker.slot, last=worker.seen[1]) + 1
        before = state.slots[worker.slot].held[(number - 1) & 1]
        if not before:
            state = with_slot(state, worker.slot, sequence=number - 1)
            return with_worker(state, me, step="NOTE")
        return with_worker(state, me, step="WRITE_HELD", number=number, before=before, after=0)

    def note(self, state: State, me: int, worker: Worker) -> State:
        return with_worker(with_slot(state, worker.slot, claimed=worker.home == -1), me, step="UNLOCK")

    def unlock(self, state: State, me: int, worker: Worker) -> State:
        if worker.home == -1:
            return with_worker(with_lock(state, worker.slot, me), me, step="IDLE", home=worker.slot)
        return with_worker(with_lock(state, worker.slot, -1), me, step="SCAN", scan=worker.slot + 1)


def killed(state: State, me: int) -> State:
    """The process is gone; the kernel lets go of every lock that it had."""
    workers = list(state.workers)
    workers[me] = Worker(todo=(), home=-1, step="DEAD", alive=False)
    return state._replace(
        workers=tuple(workers),
        locks=tuple(-1 if holder == me else holder for holder in state.locks),
        emptied=tuple(
            longer and holder != me for longer, holder in zip(state.emptied, state.locks, strict=True)
        ),
    )


def check(state: State) -> None:
    total = sum(held(state, slot) for slot in range(len(state.slots)))
    if total != state.used:
        raise Violation(f"slots hold {total}, the total says {state.used}")
    if not 0 <= state.used <= LIMIT:
        raise Violation(f"{state.used} of {LIMIT} granted")
    for index, worker in enumerate(state.workers):
        if worker.alive and worker.home != -1 and not state.slots[worker.home].claimed:
            raise Violation(f"nobody looks at the slot of process {index}")
        if worker.alive and worker.step == "IDLE" and held(state, worker.home) != worker.holds:
            raise Violation(f"process {index} holds {worker.holds}, its slot says {held(state, worker.home)}")


def after_everything(algorithm: Algorithm, state: State) -> int:
    """Bytes charged for nobody once one more process has come by and repaired all."""
    me = len(state.workers)
    state = state._replace(
        slots=(*state.slots, Slot()),
        workers=(*state.workers, Worker(todo=(), home=len(state.slots), step="SCAN")),
        locks=(*state.locks, me),
        emptied=(*state.emptied, False),
    )
    while (following := algorithm.step(state, me)) is not None:
        if following == state:
            raise Violation("the repairer waits for ever")
        state = following
    return state.used - sum(worker.holds for worker in state.workers if worker.alive)


def explore(
    algorithm: Algorithm, programs: list[tuple[int, ...]], kills: int, newcomer: tuple[int, ...] = ()
) -> int:
    """Search all interleavings of the programs, with up to `kills` kills; returns the number of states.

    A newcomer has a program and no slot, and takes a dead one's.
    """
    workers = [Worker(todo=program, home=index) for index, program in enumerate(programs)]
    if newcomer:
        workers.append(Worker(todo=newcomer, home=-1, step="CLAIM"))
    start = State(
        used=0,
        last=(0, 0),
        slots=tuple(Slot(claimed=True) for _ in programs),
        workers=tuple(workers),
        locks=tuple(range(len(programs))),
        emptied=tuple(False for _ in programs),
    )
    seen = {(start, kills)}
    stack = [(start, kills)]
    while stack:
        state, left = stack.pop()
        check(state)
        alive = [me for me, worker in enumerate(state.workers) if worker.alive]
        steps = [after for me in alive if (after := algorithm.step(state, me)) is not None]
        kills_here = [killed(state, me) for me in alive] if left else []
        if steps and not kills_here and all(after == state for after in steps):
            raise Violation("all wait for each other")
        if not steps and (lost := after_everything(algorithm, state)):
            raise Violation(f"{lost} bytes lost for good")
        for item in [*((after, left) for after in steps), *((after, left - 1) for after in kills_here)]:
            if item not in seen:
                seen.add(item)
                stack.append(item)
    return len(seen)
