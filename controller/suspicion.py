"""Who does not keep to what gshare says, as far as the driver's word and the books show it: pure functions.

A tenant's books are its own processes' words, and may be anything.  What the driver says may not.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

UNMANAGED, OVER_QUOTA, TAMPERING, OVER_SHARE = "unmanaged", "over-quota", "tampering", "over-share"

WITHOUT_GSHARE, BOOKS_TOO_LOW, BOOKS_DISAGREE = "without-gshare", "books-too-low", "books-disagree"
"""How a process tampers: it has no books; it has more than they say; they contradict themselves."""

UNCHARGED, NOT_HELD_BACK = "uncharged", "not-held-back"
"""How a tenant has more than its share: it is not charged for it, or launches while it is in debt."""

GROWTH_BYTES = 256 << 20
"""So much the driver may add to a process by itself, before its books are said to be too low."""

TOLERANCE_BYTES = 2 << 20

EXCESS_PPM = 200_000
"""Of a device's time: so far a tenant may be above its share."""

WINDOW_NS, DEBT_WINDOW_NS = 5_000_000_000, 7_000_000_000
"""So long it must have been."""

DEBT_NS = 200_000_000
"""Who owes so much of a device's time is not let launch."""


class Suspect(NamedTuple):
    """Whom something is found about, and what."""

    what: str
    tenant: str
    """Empty for nobody's process."""
    uuid: str
    pid: int = 0
    """0: all of the tenant."""
    start_ticks: int = 0
    how: str = ""


Found = dict[Suspect, dict[str, Any]]
"""With what there is to tell."""


class Books(NamedTuple):
    """What a process says that it has of a device."""

    held_bytes: int
    for_bytes: int
    """The sum of what it says to have it for."""
    gpu_ns: int = 0


def tampers(present_bytes: int | None, books: Books | None) -> str:
    """How a process of a tenant tampers that has so much of a device, or empty."""
    if books is None:
        return WITHOUT_GSHARE
    if books.for_bytes > books.held_bytes + TOLERANCE_BYTES:
        return BOOKS_DISAGREE
    if present_bytes is not None and present_bytes > books.held_bytes + GROWTH_BYTES:
        return BOOKS_TOO_LOW
    return ""


def total_is_too_low(total_bytes: int, books: Sequence[Books]) -> bool:
    """Whether a tenant's processes have more, by their own books, than is held against its limit."""
    return sum(book.held_bytes for book in books) > total_bytes + TOLERANCE_BYTES


class Use(NamedTuple):
    """A tenant's use of a device's time by `at_ns`; all of it only grows."""

    at_ns: int
    used_ns: int
    """By the driver's word."""
    charged_ns: int
    spent_ns: int
    """What its bucket was charged: the same, but for what is not measured yet."""
    allowed_ns: int
    """What its line allowed."""
    launches: int

    @property
    def owes_ns(self) -> int:
        return self.spent_ns - self.allowed_ns


def over_share(uses: Sequence[Use]) -> tuple[str, int]:
    """How a tenant has had more of the last seconds than its share, and how much above it in ppm; or empty.

    Who is in debt for one long kernel launches nothing more: that is no more than its share in the long run.
    """
    for window_ns, how in ((WINDOW_NS, UNCHARGED), (DEBT_WINDOW_NS, NOT_HELD_BACK)):
        window = _window(uses, window_ns)
        if not window:
            continue
        first, last = window[0], window[-1]
        elapsed_ns = last.at_ns - first.at_ns
        allowed_ns = min(last.allowed_ns - first.allowed_ns, elapsed_ns)
        above_ppm = (last.used_ns - first.used_ns - allowed_ns) * 1_000_000 // elapsed_ns
        if above_ppm <= EXCESS_PPM:
            continue
        charged_ns = min(last.charged_ns - first.charged_ns, last.spent_ns - first.spent_ns)
        uncharged_ns = last.used_ns - first.used_ns - charged_ns
        if how == UNCHARGED and uncharged_ns * 1_000_000 > EXCESS_PPM * elapsed_ns:
            return how, above_ppm
        launches = last.launches > first.launches
        if how == NOT_HELD_BACK and launches and all(use.owes_ns > DEBT_NS for use in window):
            return how, above_ppm
    return "", 0


def _window(uses: Sequence[Use], length_ns: int) -> Sequence[Use]:
    """The latest uses that span the length, as few as do."""
    until_ns = uses[-1].at_ns - length_ns if uses else 0
    for start in range(len(uses) - 1, -1, -1):
        if uses[start].at_ns <= until_ns:
            return uses[start:]
    return ()


def confirmed(found: Found, before: Mapping[Suspect, Any]) -> Found:
    """What was found the last time, too: processes come and go while one looks."""
    return {suspect: details for suspect, details in found.items() if suspect in before}
