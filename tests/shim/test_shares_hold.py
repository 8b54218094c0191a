"""Whole programs of any kind under any caps: none has more than its cap in any window.  On the virtual clock.

test_gate_properties.py has the same of the pure functions alone.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from share_core import MS, US
from sharing import Device

Make = Callable[..., Device]
STEP_S = 0.01
BURST_NS = 20 * MS
METERING = 0.05
"""Charges of each are right to that part, with up to six tenants that overlap."""
KERNELS_NS = (20 * US, 50 * US, 200 * US, MS, 5 * MS, 20 * MS)
KINDS = ("kernel", "ptsz", "ex", "cooperative", "graph")


def most_above_ns(used_ns: list[int], rate: float, step_ns: float) -> float:
    """By how much it had more in any window than that rate gives in it."""
    above = [used - rate * step_ns * number for number, used in enumerate(used_ns)]
    least, most = above[0], 0.0
    for each in above:
        least = min(least, each)
        most = max(most, each - least)
    return most


def check(
    device: Device, choose: random.Random, caps: list[int], seconds: float, burst_ns: int = BURST_NS
) -> None:
    pids, kernels = [], []
    for tenant in range(len(caps)):
        kernel_ns = choose.choice(KERNELS_NS)
        batch = choose.choice((0, 0, 1, 5, 50))
        gap_us = choose.choice((0, 100, 2000, 50_000)) if batch else 0
        load = (choose.choice(KINDS), kernel_ns, batch, gap_us)
        print(f"tenant {tenant}: {caps[tenant]} %, {load}")
        pids.append(device.start(tenant, *load, seconds=10_000).pid)
        kernels.append(kernel_ns)
    used: list[list[int]] = [[] for _ in caps]
    for _ in range(round(seconds / STEP_S)):
        truth = {process["pid"]: process["gpu_ns"] for process in device.truth()["processes"]}
        for had, pid in zip(used, pids, strict=True):
            had.append(truth.get(pid, 0))
        device.wait(STEP_S)
    for tenant, cap in enumerate(caps):
        above = most_above_ns(used[tenant], cap / 100 * (1 + METERING), STEP_S * 1e9)
        allowed = burst_ns + STEP_S * 1e9 + 3 * kernels[tenant]  # two of them in flight, and one begun
        print(f"tenant {tenant}: {above / MS:.1f} ms above, of {allowed / MS:.1f}")
        assert above <= allowed


def caps_of(choose: random.Random) -> list[int]:
    count = choose.randint(1, 6)
    parts = [choose.randint(1, 100) for _ in range(count)]
    return [max(1, 100 * part // max(100, sum(parts))) for part in parts]


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize("mode", ["concurrent", "turns"])
@pytest.mark.parametrize("seed", range(25))
def test_in_any_window(make_virtual_device: Make, mode: str, seed: int) -> None:
    choose = random.Random(seed)
    caps = caps_of(choose)
    device = make_virtual_device(*caps, resume_ns=0 if mode == "turns" else 5 * MS)
    if mode == "turns" and len(caps) > 1:
        total = sum(caps)
        begins = [sum(caps[:i]) * 20 * MS // total for i in range(len(caps))]
        for limits in device.limits:
            limits.set_turns(0, 20 * MS, [(begin, i) for i, begin in enumerate(begins)])
    check(device, choose, caps, 10, 2 * BURST_NS if mode == "turns" else BURST_NS)  # in turns, one is owed


def test_in_any_window_of_two_seconds(make_virtual_device: Make) -> None:
    choose = random.Random(5)
    caps = [10, 20, 30]
    check(make_virtual_device(*caps), choose, caps, 2)
