"""What tenants got of a device over the last seconds: pure, time is an argument.

A reading is what the counters of a tenant on a device say at one time; they only grow.  Once a second one is
kept, for a minute (minute.pyx); a window is the difference of two.
"""

from collections.abc import Sequence
from typing import NamedTuple

WINDOWS_NS = (1_000_000_000, 10_000_000_000, 60_000_000_000)

PERIOD_NS = 1_000_000_000
"""Between two readings that are kept."""

SLACK_NS = 100_000_000
"""A window may be that much longer, so that one of a second fits between readings that came a little late."""


class Reading(NamedTuple):
    """What has been counted of a tenant on a device by `at_ns`."""

    at_ns: int
    gpu_ns: int = 0
    throttled_ns: int = 0
    """Its threads waited before launches, together."""
    launches: int = 0
    allowance_ns: int = 0
    """What its line allowed: how fast that grows is its share, what it borrowed included."""
    copied_bytes: tuple[int, int] = (0, 0)
    copy_waited_ns: int = 0
    room_waited_ns: int = 0
    """Its threads waited until earlier launches were through."""


class Window(NamedTuple):
    """What a tenant did on a device from one reading to another; ppm are of the time between them."""

    elapsed_ns: int
    share_ppm: int
    allowed_ppm: int
    throttled_ppm: int
    queue_wait_ns: int
    """How long a launch waited, on average."""
    copied_bytes_per_s: tuple[int, int]
    copy_waited_ppm: int


class Loan(NamedTuple):
    """Time in ppm that a tenant used above its guarantee, or left to others who did."""

    borrowed_ppm: int
    lent_ppm: int


def loans(used: Sequence[tuple[int, int]]) -> list[Loan]:
    """Who borrowed and who lent, of (share, guarantee) of each tenant of a device.

    What is lent is what was borrowed, divided by what each left unused; what is promised to nobody is lent
    by nobody.
    """
    borrowed = [max(share - guarantee, 0) for share, guarantee in used]
    unused = [max(guarantee - share, 0) for share, guarantee in used]
    lent = min(sum(borrowed), sum(unused))
    return [Loan(b, u * lent // sum(unused) if u else 0) for b, u in zip(borrowed, unused, strict=True)]
