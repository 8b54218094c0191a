"""On which GPU a run is that leaves it to gshare: pure.

`best-fit` takes the GPU with the least left to promise on which it fits, and keeps large rooms for large
requests; `spread` takes the one with the most, and keeps tenants out of each other's way.  What is left is
memory and GPU time together, each as a part of the whole; between equals the lower number is taken.
"""

from collections.abc import Mapping

from gshare.controller.budget import Budget
from gshare.controller.policy import Grant
from gshare.controller.units import FULL_PPM

BEST_FIT = "best-fit"


def choose(placement: str, wanted: Mapping[str, Grant], budgets: Mapping[str, list[Budget]]) -> str | None:
    """The one of the devices that the run is on, None where it fits on none.

    `wanted` is what it would have on each, in the order of their numbers; `budgets` are what there must be
    room in: first the device's own.
    """
    fitting = [
        uuid for uuid, grant in wanted.items() if not any(budget.missing(grant) for budget in budgets[uuid])
    ]
    sign = 1 if placement == BEST_FIT else -1
    return min(fitting, key=lambda uuid: sign * _left(budgets[uuid][0]), default=None)


def nearest(wanted: Mapping[str, Grant], budgets: Mapping[str, list[Budget]]) -> str | None:
    """The device on which the least is missing: what is kept free for who has waited long enough."""
    return min(wanted, key=lambda uuid: budgets[uuid][0].missing(wanted[uuid]), default=None)


def _left(budget: Budget) -> int:
    """What is left of a device to promise, of all its memory and all its time, in ppm of each."""
    left = budget.left()
    memory = (left.memory_bytes or 0) * FULL_PPM // (budget.memory_bytes or 1)
    return memory + (left.compute_ppm or 0) * FULL_PPM // (budget.compute_ppm or 1)
