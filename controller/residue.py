"""What a tenant's processes have of a device and nobody was charged for: pure functions.

Charges are made before the driver is asked, and are upper bounds where its needs are not known; so what is
there beyond them was taken around the shim, or is the driver's own growth beyond the headroom.
"""

from collections.abc import Sequence
from typing import NamedTuple

TOLERANCE_BYTES = 2 << 20
"""Up to a page of the device more than was charged is nothing: NVML counts whole ones."""

QUIET_SAMPLES = 2
BUSY_SAMPLES = 5
"""So many samples in a row must agree, where charges changed while one was taken."""


class Sample(NamedTuple):
    """NVML's word and the tenant's books of one device, read one after the other."""

    present_bytes: int
    """What NVML says that the tenant's processes have."""
    charged_bytes: int
    """The most that they were charged, before NVML was asked or after."""
    quiet: bool
    """No charge changed meanwhile."""

    @property
    def excess_bytes(self) -> int:
        """How much more there was than was charged."""
        excess = self.present_bytes - self.charged_bytes
        return excess if excess > TOLERANCE_BYTES else 0


def residue_bytes(samples: Sequence[Sample], before_bytes: int) -> int:
    """What is to be taken off the quota, given the latest samples (oldest first) and what is taken off now.

    It changes no further than all samples agree: a difference that only one of them saw passes.
    """
    count = QUIET_SAMPLES if all(sample.quiet for sample in samples[-QUIET_SAMPLES:]) else BUSY_SAMPLES
    if len(samples) < count:
        return before_bytes
    seen = [sample.excess_bytes for sample in samples[-count:]]
    return max(min(before_bytes, max(seen)), min(seen))
