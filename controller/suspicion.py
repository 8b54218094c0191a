"""Who does not keep to what gshare says, as far as the driver's word and the books show it: pure functions.

A tenant's books are its own processes' words, and may be anything.  What the driver says may not.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

UNMANAGED, OVER_QUOTA, TAMPERING, OVER_SHARE = "unmanaged", "over-quota", "tampering", "over-share"

WITHOUT_GSHARE, BOOKS_TOO_LOW, BOOKS_DISAGREE = "without-gshare", "books-too-low", "books-disagree"
"""How a process tampers: it has no books; it has more than they say; they contradict themselves."""

GROWTH_BYTES = 256 << 20
"""So much the driver may add to a process by itself, before its books are said to be too low."""

TOLERANCE_BYTES = 2 << 20


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


def total_is_too_low(total_bytes: int, held_bytes: int) -> bool:
    """Whether a tenant's processes have more, by their own books, than is held against its limit."""
    return held_bytes > total_bytes + TOLERANCE_BYTES


def confirmed(found: Found, before: Mapping[Suspect, Any]) -> Found:
    """What was found the last time, too: processes come and go while one looks."""
    return {suspect: details for suspect, details in found.items() if suspect in before}
