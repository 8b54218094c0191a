"""What tenants got of a device over the last seconds: pure, time is an argument.

A reading is what the counters of a tenant on a device say at one time; they only grow.  Once a second one is
kept, for a minute; a window is the difference of two.
"""

from collections import deque
from collections.abc import Hashable, Mapping, Sequence
from itertools import pairwise
from typing import Generic, NamedTuple, TypeVar

from gshare.controller.units import FULL_PPM

Key = TypeVar("Key", bound=Hashable)

WINDOWS_NS = (1_000_000_000, 10_000_000_000, 60_000_000_000)

PERIOD_NS = 1_000_000_000
"""Between two readings that are kept."""

SLACK_NS = 100_000_000
"""A window may be that much longer, so that one of a second fits between readings that came a little late."""

MOST = WINDOWS_NS[-1] // PERIOD_NS + 2


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


class History(Generic[Key]):
    """The readings of a minute, of each tenant and device."""

    def __init__(self) -> None:
        self._kept: dict[Key, deque[Reading]] = {}

    def keep(self, readings: Mapping[Key, Reading]) -> None:
        """Keep these, once every PERIOD_NS; whoever is not among them is forgotten."""
        for key in set(self._kept) - set(readings):
            del self._kept[key]
        for key, reading in readings.items():
            kept = self._kept.setdefault(key, deque(maxlen=MOST))
            if kept and _restarted(kept[-1], reading):
                kept.clear()  # another tenant of this name
            kept.append(reading)

    def window(self, key: Key, now: Reading, length_ns: int) -> Window | None:
        """The last `length_ns` up to now, or as much of it as there is; None without half of the shortest."""
        before = self._before(key, now, length_ns)
        if before is None or now.at_ns - before.at_ns < WINDOWS_NS[0] // 2 or _restarted(before, now):
            return None
        return difference(before, now)

    def shares_ppm(self, key: Key) -> list[int]:
        """What it got in each second of the last minute, oldest first."""
        return [
            (now.gpu_ns - before.gpu_ns) * FULL_PPM // max(now.at_ns - before.at_ns, 1)
            for before, now in pairwise(self._kept.get(key, ()))
        ]

    def _before(self, key: Key, now: Reading, length_ns: int) -> Reading | None:
        """The newest reading that is as old as the window, or else the oldest."""
        kept = self._kept.get(key)
        if not kept:
            return None
        until_ns = now.at_ns - length_ns + SLACK_NS
        return next((reading for reading in reversed(kept) if reading.at_ns <= until_ns), kept[0])


def difference(before: Reading, now: Reading) -> Window:
    """What happened between two readings."""
    elapsed_ns = max(now.at_ns - before.at_ns, 1)

    def part(amount: int) -> int:
        return max(amount, 0) * FULL_PPM // elapsed_ns

    throttled_ns, launches = now.throttled_ns - before.throttled_ns, now.launches - before.launches
    waited_ns = throttled_ns + now.room_waited_ns - before.room_waited_ns
    to_device, to_host = (
        max(new - old, 0) * 1_000_000_000 // elapsed_ns
        for old, new in zip(before.copied_bytes, now.copied_bytes, strict=True)
    )
    return Window(
        elapsed_ns=elapsed_ns,
        share_ppm=part(now.gpu_ns - before.gpu_ns),
        allowed_ppm=part(now.allowance_ns - before.allowance_ns),
        throttled_ppm=part(throttled_ns),
        queue_wait_ns=max(waited_ns, 0) // max(launches, 1),
        copied_bytes_per_s=(to_device, to_host),
        copy_waited_ppm=part(now.copy_waited_ns - before.copy_waited_ns),
    )


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


def _restarted(before: Reading, now: Reading) -> bool:
    """Whether the counters began anew."""
    return now.gpu_ns < before.gpu_ns or now.at_ns < before.at_ns
