"""What is measured: a metric is a number of an arm, a trial the run in which numbers of one arm are taken."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from gshare.benchmarks.suite.arms import Arm
    from gshare.benchmarks.suite.ground import Ground

LOWER, HIGHER = "lower", "higher"
RATIO, DIFFERENCE = "ratio", "difference"


@dataclass(frozen=True)
class Metric:
    id: str
    what: str
    unit: str
    better: str = LOWER
    compared: str = RATIO
    """How one arm is held against another in the same block; a difference where values may be zero."""
    must: float | None = None
    """Of isolation: what a limit that holds reaches, and what runs without limits must miss."""
    gvb: str = ""
    """The id of the same metric in GPU-Virt-Bench."""

    @property
    def is_isolation(self) -> bool:
        return self.must is not None

    def holds(self, value: float) -> bool:
        assert self.must is not None
        return value <= self.must if self.better == LOWER else value >= self.must


class Probe(NamedTuple):
    """A load that a cap must be seen to hold, alone on the device, before a trial with it counts."""

    ns: int
    percent: float

    @property
    def what(self) -> str:
        return f"compute, kernels of {self.ns / 1e6:g} ms at {self.percent:g} %"


class Found(NamedTuple):
    """What one run of a trial found: a value for each metric, and what it was made of."""

    values: Mapping[str, float]
    details: Mapping[str, Any] = {}


@dataclass(frozen=True)
class Trial:
    name: str
    group: str
    metrics: tuple[Metric, ...]
    run: Callable[[Ground, Arm, int], Found]
    """Of the ground, the arm and the block's number, which seeds what is by chance."""
    needs: frozenset[str] = frozenset()
    """What an arm must offer and must have shown to act; one without limits is measured all the same."""
    several: bool = False
    """Several tenants at once: what runs there without limits is time-sliced."""
    once: bool = False
    """It comes out the same every time: in the first block only."""
    uses: frozenset[str] = frozenset()
    """What must have been seen to act of an arm that offers it, and may be lacking."""
    probe: Probe | None = None
    """Of its loads, the one with the lowest cap."""
    seconds: float = 1.0
    """About how long it takes, for the time that is left."""
    unfit: Callable[[Ground], str] = lambda ground: ""
    """Why it cannot be run here under any arm."""

    def skipped(self, arm: Arm) -> str:
        """Why the arm has no number here; empty: it is measured."""
        if arm.name == "native" and self.several:
            return "several programs without limits are time-sliced: see timeslice"
        if arm.name == "timeslice" and not self.several:
            return "one program alone: see native"
        if arm.is_control:
            return ""
        lacks = sorted(self.needs - arm.offers)
        if lacks:
            return "not offered: " + ", ".join(lacks)
        return arm.rival.one_tenant if arm.rival and self.several else ""

    def shown_by(self, arm: Arm) -> frozenset[str]:
        """The controls that the arm must have passed."""
        probes = {self.probe.what} if self.probe and "compute" in arm.offers else set()
        return self.needs | (self.uses | {"turns"}) & arm.offers | probes
