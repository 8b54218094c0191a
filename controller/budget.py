"""What may be promised together, of a GPU or to somebody: who holds how much of it, and what is left."""

from collections.abc import Callable

from gshare.controller.errors import OverCapacity, UsageError
from gshare.controller.policy import Grant
from gshare.controller.units import format_percent, format_size

Sees = Callable[[str], bool]
"""Whether who asks may know a tenant's name."""

OTHERS = "others"
"""In the place of the names that they may not."""

WAIT_HINT = "ask for less, or wait until one ends"


class NoRoom(OverCapacity):
    """More than is left now: once others have ended there may be enough."""

    nearest: tuple[str, ...] = ()
    """The devices that would have to be kept free for it."""


class Budget:
    """So much memory and GPU time, and the parts of it that are promised; None is no bound."""

    def __init__(
        self, name: str, memory_bytes: int | None, compute_ppm: int | None, *, strict: bool = False
    ) -> None:
        """`strict`: who has no limit of something has more of it than there is."""
        self.name = name
        self.memory_bytes = memory_bytes
        self.compute_ppm = compute_ppm
        self.strict = strict
        self.held: dict[str, Grant] = {}
        self.promised_memory_bytes = 0
        self.promised_compute_ppm = 0

    def add(self, holder: str, grant: Grant) -> None:
        """Promise somebody a part, who holds none yet."""
        self.held[holder] = grant
        self.promised_memory_bytes += grant.memory_bytes or 0
        self.promised_compute_ppm += grant.compute_ppm or 0

    def remove(self, holder: str) -> None:
        """Take back what somebody has been promised, if anything."""
        grant = self.held.pop(holder, Grant(None, None))
        self.promised_memory_bytes -= grant.memory_bytes or 0
        self.promised_compute_ppm -= grant.compute_ppm or 0

    def left(self) -> Grant:
        """What can still be promised; below zero where more was promised than there is now."""
        memory, compute = self.memory_bytes, self.compute_ppm
        return Grant(
            None if memory is None else memory - self.promised_memory_bytes,
            None if compute is None else compute - self.promised_compute_ppm,
        )

    def missing(self, wanted: Grant) -> float:
        """How much more would have to be left, as a part of the whole; 0: it fits."""
        left = self.left()
        return max(
            _missing(wanted.memory_bytes, left.memory_bytes, self.memory_bytes),
            _missing(wanted.compute_ppm, left.compute_ppm, self.compute_ppm),
        )

    def check(self, wanted: Grant, sees: Sees = lambda name: True) -> None:
        """Raise NoRoom for more than is left, OverCapacity for more than there will ever be, in numbers."""
        left = self.left()
        for option, show, amount, rest, total, of in (
            ("--mem", format_size, wanted.memory_bytes, left.memory_bytes, self.memory_bytes, 0),
            ("--compute", format_percent, wanted.compute_ppm, left.compute_ppm, self.compute_ppm, 1),
        ):
            if total is None or rest is None:
                continue
            if amount is None and self.strict:
                why = f"{self.name} may have {show(total)}, and no limit would be more"
                raise UsageError(option, why, f"give {option}, {show(total)} at most")
            if not amount or amount <= rest:
                continue
            asked, there = (
                f"{option} {show(amount)}",
                f"{show(max(rest, 0))} left to promise of {show(total)}",
            )
            if amount > total:
                raise OverCapacity(asked, f"{self.name} has {show(total)} at most", "ask for less")
            raise NoRoom(asked, f"{self.name} has {there}; {self._holders(of, show, sees)}", WAIT_HINT)

    def _holders(self, of: int, show: Callable[[int], str], sees: Sees) -> str:
        """`a 4G, b 2G and 3 more hold the rest`; `of` is 0 for memory and 1 for compute."""
        amounts: dict[str, int] = {}
        for name, grant in self.held.items():
            shown = name if sees(name) else OTHERS
            amounts[shown] = amounts.get(shown, 0) + (grant[of] or 0)
        most = sorted(((amount, name) for name, amount in amounts.items() if amount), reverse=True)
        if not most:
            return "nobody holds any"
        named = ", ".join(f"{name} {show(amount)}" for amount, name in most[:3])
        more = f" and {len(most) - 3} more" if len(most) > 3 else ""
        return f"{named}{more} hold{'' if len(most) > 1 or most[0][1] == OTHERS else 's'} the rest"


def _missing(wanted: int | None, left: int | None, total: int | None) -> float:
    if not wanted or left is None or wanted <= left:
        return 0.0
    return (wanted - left) / max(total or 1, 1)
