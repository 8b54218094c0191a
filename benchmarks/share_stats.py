"""Samples of GPU time, and what is made of them: shares over windows, how far, fair, soon; all pure."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import NamedTuple

WINDOW_S = 1.0
SHORT_WINDOW_S = 0.5
"""For how soon a change is obeyed: a delay of a thirtieth of it already tells."""


class Sample(NamedTuple):
    """Running sums at one moment."""

    elapsed_ns: int
    left_ns: int
    """Of the elapsed time, what switches between contexts left."""
    busy_ns: int
    """The device's, without switches."""
    gpu_ns: tuple[int, ...]
    """True GPU time, tenant by tenant."""
    charged_ns: tuple[int, ...]
    """What gshare believes of the same."""


def shares(before: Sample, after: Sample) -> list[float]:
    """Each tenant's share, in percent of the time that switches left."""
    left_ns = after.left_ns - before.left_ns
    return [100 * (b - a) / left_ns for a, b in zip(before.gpu_ns, after.gpu_ns, strict=True)]


def windows(samples: Sequence[Sample], length_s: float = WINDOW_S) -> Iterator[tuple[Sample, Sample]]:
    """Each window of that length that begins at a sample, as its first and last sample."""
    times = [sample.elapsed_ns for sample in samples]
    for first in samples:
        last = bisect_left(times, first.elapsed_ns + round(length_s * 1e9))
        if last < len(samples):
            yield first, samples[last]


def points_off(samples: Sequence[Sample], asked: Sequence[float | None]) -> float:
    """The farthest that any window is from what was asked for, in points; None: nothing was."""
    return max(
        abs(share - want)
        for window in windows(samples)
        for share, want in zip(shares(*window), asked, strict=True)
        if want is not None
    )


def charges_off(samples: Sequence[Sample]) -> list[float]:
    """Least and most of what all were charged for a second, to what the device was busy."""
    ratios = [
        (sum(b.charged_ns) - sum(a.charged_ns)) / (b.busy_ns - a.busy_ns)
        for a, b in windows(samples)
        if b.busy_ns > a.busy_ns
    ]
    return [min(ratios), max(ratios)]


def jain(values: Sequence[float]) -> float:
    """Jain's index: 1 where all are the same, 1/n where one has everything."""
    squares = sum(value * value for value in values)
    return sum(values) ** 2 / (len(values) * squares) if squares else 0.0


def percentile(values: Sequence[float], percent: float) -> float:
    """The least value that so many percent do not exceed."""
    return sorted(values)[max(0, math.ceil(percent / 100 * len(values)) - 1)]


def settled_ms(
    samples: Sequence[Sample], change_ns: int, asked: Sequence[float | None], tolerance: float
) -> float | None:
    """How long after the change it took until all shares were right, and stayed so; None: they never were.

    Right is within `tolerance` of what was asked for, over the window that begins then.
    """
    settled_ns = None
    for window in windows([s for s in samples if s.elapsed_ns >= change_ns], SHORT_WINDOW_S):
        is_right = all(
            abs(share - want) <= tolerance * want
            for share, want in zip(shares(*window), asked, strict=True)
            if want is not None
        )
        if not is_right:
            settled_ns = None
        elif settled_ns is None:
            settled_ns = window[0].elapsed_ns
    return None if settled_ns is None else (settled_ns - change_ns) / 1e6


def longest_wait_ms(samples: Sequence[Sample]) -> list[float]:
    """For each tenant, the longest time in which it got nothing; as coarse as the samples."""
    longest = []
    for tenant in range(len(samples[0].gpu_ns)):
        since, most = samples[0], 0
        for sample in samples:
            if sample.gpu_ns[tenant] != since.gpu_ns[tenant]:
                since = sample
            most = max(most, sample.elapsed_ns - since.elapsed_ns)
        longest.append(most / 1e6)
    return longest
