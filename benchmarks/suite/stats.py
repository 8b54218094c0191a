"""Medians with bootstrap intervals, and arms held against each other block by block; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from gshare.benchmarks.suite.metrics import LOWER, RATIO, Metric

RESAMPLES = 4000
CONFIDENCE = 95.0
FEWEST_BLOCKS = 6
"""Of fewer, all lie on one side by chance in more than one case of twenty: they claim nothing."""

BETTER, WORSE, SAME, FEW = "better", "worse", "no difference shown", "too few blocks"


class Interval(NamedTuple):
    median: float
    low: float
    high: float


def interval(values: Sequence[float]) -> Interval:
    """The median, and where it may lie: resampled with a fixed seed, so that the same values say the same."""
    data = np.asarray(values, dtype=float)
    chosen = np.random.default_rng(0).integers(0, len(data), (RESAMPLES, len(data)))
    medians = np.median(data[chosen], axis=1)
    low, high = np.percentile(medians, [(100 - CONFIDENCE) / 2, (100 + CONFIDENCE) / 2])
    return Interval(float(np.median(data)), float(low), float(high))


def paired(ours: Mapping[int, float], theirs: Mapping[int, float], compared: str) -> list[float]:
    """Ours to theirs, or ours less theirs, in each block that has both."""
    both = [(ours[block], theirs[block]) for block in sorted(ours.keys() & theirs.keys())]
    if compared == RATIO:
        return [a / b for a, b in both if b > 0]
    return [a - b for a, b in both]


class Against(msgspec.Struct, frozen=True):
    """One arm against another in one metric, paired by block."""

    median: float
    low: float
    high: float
    blocks: int
    verdict: str


def compare(metric: Metric, ours: Mapping[int, float], theirs: Mapping[int, float]) -> Against | None:
    """None: they have no block in common.  Better only if the whole interval says so."""
    pairs = paired(ours, theirs, metric.compared)
    if not pairs:
        return None
    found = interval(pairs)
    even = 1.0 if metric.compared == RATIO else 0.0
    if len(pairs) < FEWEST_BLOCKS:
        verdict = FEW
    elif found.low <= even <= found.high:
        verdict = SAME
    else:
        verdict = BETTER if (found.high < even) == (metric.better == LOWER) else WORSE
    return Against(*found, len(pairs), verdict)
