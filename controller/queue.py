"""In which order those who wait are let in: pure functions, time is an argument.

High priority goes first.  Among those of one priority the users take turns: whose last turn was longest ago
goes first, with the oldest of what they wait for; who comes anew is behind all but those who just had one.
Who is next and does not fit may be passed by others who do, but not for ever: once it has waited for
`patience`, the GPU where the least is missing for it is kept from all who come after it.  Whoever is before
it has one turn and is behind it then; what runs on that GPU ends some day, nothing is added, and the request
fits, however large.  Priority is strict: nothing is kept from a higher one.
"""

import heapq
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from typing import NamedTuple, Protocol, TypeVar


class Waiter(Protocol):
    """Somebody who wants to be let in."""

    @property
    def user(self) -> int:
        """Whose turn it would be."""

    @property
    def rank(self) -> int:
        """Higher goes first."""

    @property
    def since_ns(self) -> int:
        """When it began to wait."""

    @property
    def waits(self) -> bool:
        """Whether it stays if it is not let in now."""


Any_Waiter = TypeVar("Any_Waiter", bound=Waiter)

Turns = MutableMapping[int, int]
"""When each user had a turn last, or came, counted in TURNs."""

TURN = 2


class Attempt(NamedTuple):
    """What came of trying to let somebody in."""

    admitted: bool
    nearest: tuple[str, ...] = ()
    """The devices that have to be kept free for it to be let in some day."""


def order(waiters: Iterable[Any_Waiter], turns: Mapping[int, int]) -> list[Any_Waiter]:
    """Everybody, as they are to be tried."""
    lines: dict[int, dict[int, deque[Any_Waiter]]] = defaultdict(lambda: defaultdict(deque))
    for waiter in sorted(waiters, key=lambda waiter: waiter.since_ns):
        lines[waiter.rank][waiter.user].append(waiter)
    found: list[Any_Waiter] = []
    turn = latest = max(turns.values(), default=0)
    for rank in sorted(lines, reverse=True):
        users = lines[rank]
        heads = [(turns.get(user, latest - 1), line[0].since_ns, user) for user, line in users.items()]
        heapq.heapify(heads)
        while heads:
            _, _, user = heapq.heappop(heads)
            found.append(users[user].popleft())
            turn += TURN
            if users[user]:
                heapq.heappush(heads, (turn, users[user][0].since_ns, user))
    return found


def let_in(
    waiters: Iterable[Any_Waiter],
    turns: Turns,
    now_ns: int,
    patience_ns: int,
    attempt: Callable[[Any_Waiter, Mapping[str, Any_Waiter]], Attempt],
) -> tuple[list[Any_Waiter], dict[str, Any_Waiter]]:
    """Try everybody in order; returns those who are not in, and the devices that are kept, with for whom.

    `attempt` is given who is tried, and what is kept by then.
    """
    there = list(waiters)
    latest = max(turns.values(), default=0)
    for waiter in there:
        turns.setdefault(waiter.user, latest - 1)
    kept: dict[str, Any_Waiter] = {}
    left = []
    for waiter in order(there, turns):
        outcome = attempt(waiter, kept)
        if outcome.admitted:
            turns[waiter.user] = max(turns.values(), default=0) + TURN
            continue
        left.append(waiter)
        if waiter.waits and now_ns - waiter.since_ns >= patience_ns:
            for uuid in outcome.nearest:
                kept.setdefault(uuid, waiter)
    return left, kept
