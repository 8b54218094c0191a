"""What keeps launches waiting beside the bucket: pausing, priority, turns.  On the virtual clock."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from share_core import MS, US
from sharing import FULL, SETTLE_S, Device, near

Make = Callable[..., Device]
QUANTUM = 10 * MS
NEVER_WAITS = """
assert call("cuInit", 0) == 0
context = new("cuCtxCreate_v2", 0, 0)[1]
while True:
    for _ in range(10):
        spin(MS // 5)
    time.sleep(0.010)
"""


def take_turns(device: Device, shares_ppm: Sequence[int], period_ns: int) -> None:
    """Every tenant's table: a place each, as long as its share of the period."""
    begins = [sum(shares_ppm[:i]) * period_ns // FULL for i in range(len(shares_ppm))]
    for limits in device.limits:
        limits.set_turns(0, period_ns, list(zip(begins, range(len(begins)), strict=True)))


def start_all(device: Device, *kernels_ns: int) -> list[object]:
    programs = [device.start(tenant, "kernel", ns) for tenant, ns in enumerate(kernels_ns)]
    device.wait(SETTLE_S)
    return programs  # type: ignore[return-value]


def test_a_paused_tenant_stops_and_goes_on_where_it_was(make_virtual_device: Make) -> None:
    device = make_virtual_device(50)
    programs = start_all(device, 200 * US)
    device.limits[0].set_paused(True)
    device.wait(0.05)
    assert near(device.shares(programs, 2), [0], 0.01)  # type: ignore[arg-type]
    device.limits[0].set_paused(False)
    device.wait(0.05)
    assert near(device.shares(programs, 2), [50])  # type: ignore[arg-type]


def test_low_priority_has_what_high_leaves(make_virtual_device: Make) -> None:
    """The high one wants 10 ms in every 20, and gets nearly all of them; the low one most of the rest."""
    device = make_virtual_device(100, 100, in_flight_ns=500 * US)
    device.limits[1].set_above([0])
    alone = device.start(0, "kernel", 10 * MS, 1, 10_000)
    device.wait(SETTLE_S)
    natural = device.shares([alone], 2)[0]
    low = device.start(1, "kernel", 200 * US)
    device.wait(SETTLE_S)
    high_share, low_share = device.shares([alone, low], 5)
    print(f"high {natural:.1f} alone, {high_share:.1f} beside the low one, which has {low_share:.1f}")
    assert 20 < natural < 80
    assert high_share >= 0.95 * natural
    assert low_share >= 0.85 * (100 - high_share)


def test_low_priority_waits_while_high_saturates(make_virtual_device: Make) -> None:
    device = make_virtual_device(100, 100)
    device.limits[1].set_above([0])
    programs = start_all(device, 200 * US, 200 * US)
    high_share, low_share = device.shares(programs, 2)  # type: ignore[arg-type]
    print(f"high {high_share:.1f}, low {low_share:.1f}")
    assert high_share > 97
    device.limits[1].set_above([])
    device.wait(0.1)
    high_share, low_share = device.shares(programs, 2)  # type: ignore[arg-type]
    assert low_share > 40


def test_low_priority_has_what_is_left_of_one_that_never_waits(make_virtual_device: Make) -> None:
    """Only the clock tells when its 2 ms in every 10 are over: whoever is above says so exactly."""
    device = make_virtual_device(100, 100, in_flight_ns=500 * US)
    device.limits[1].set_above([0])
    high = device.python(0, NEVER_WAITS)
    low = device.start(1, "kernel", 200 * US)
    device.wait(SETTLE_S)
    high_share, vague = device.shares([high, low], 3)
    device.limits[0].set_below(True)
    device.wait(0.1)
    still, exact = device.shares([high, low], 3)
    print(f"high {high_share:.1f} and {still:.1f}, low {vague:.1f} and {exact:.1f}")
    assert still >= 0.98 * high_share
    assert exact >= 0.85 * (100 - still) > vague


def test_one_long_kernel_of_low_priority_at_a_time(make_virtual_device: Make) -> None:
    """A request of 10 ms waits for what is left of one kernel of 2 ms, and not of two."""
    device = make_virtual_device(100, 100, in_flight_ns=500 * US)
    device.limits[1].set_above([0])
    device.limits[0].set_below(True)
    low = device.start(1, "kernel", 2 * MS)
    device.wait(SETTLE_S)
    high = device.start(0, "kernel", 10 * MS, 1, 10_000)
    device.wait(SETTLE_S)
    high_share, low_share = device.shares([high, low], 5)
    print(f"high {high_share:.1f}, low {low_share:.1f}")
    assert 10 / (10 + 2.2 + 10.2) <= high_share / 100 <= 10 / (10 + 10)
    assert low_share >= 0.85 * (100 - high_share)


@pytest.mark.parametrize(
    ("shares", "kernels"),
    [
        ((30, 70), (200 * US, 200 * US)),
        ((20, 30, 50), (1 * MS, 1 * MS, 1 * MS)),
        ((10, 20, 30, 40), (50 * US, 200 * US, 1 * MS, 5 * MS)),
        ((30, 70), (50 * US, 4 * MS)),
        ((30, 70), (4 * MS, 50 * US)),
        ((20, 30, 50), (5 * MS, 5 * MS, 5 * MS)),
    ],
)
def test_in_turns_shares_are_true_to_a_point(
    make_virtual_device: Make, shares: tuple[int, ...], kernels: tuple[int, ...]
) -> None:
    device = make_virtual_device(*shares, resume_ns=0)
    take_turns(device, [share * 10_000 for share in shares], QUANTUM * len(shares))
    programs = start_all(device, *kernels)
    assert near(device.shares(programs, 5), shares)  # type: ignore[arg-type]


def test_in_turns_caps_that_leave_a_part_to_nobody_hold_in_every_second(make_virtual_device: Make) -> None:
    """The places fill the period all the same, so that it is the buckets that hold them."""
    caps = (13, 32)
    device = make_virtual_device(*caps, resume_ns=0)
    take_turns(device, [FULL * cap // sum(caps) for cap in caps], 2 * QUANTUM)
    programs = start_all(device, 50 * US, 300 * US)
    for _ in range(6):
        assert near(device.shares(programs, 1), caps)  # type: ignore[arg-type]


def test_in_turns_a_dead_tenant_is_passed_over(make_virtual_device: Make) -> None:
    device = make_virtual_device(100, 100, resume_ns=0)
    take_turns(device, [500_000, 500_000], 2 * QUANTUM)
    first, second = start_all(device, 200 * US, 200 * US)
    assert near(device.shares([first, second], 2), [50, 50])  # type: ignore[list-item]
    first.kill()  # type: ignore[attr-defined]
    device.wait(0.05)
    assert near(device.shares([second], 2), [100])  # type: ignore[list-item]


@pytest.mark.parametrize("kernel_ns", [200 * US, 5 * MS])
def test_in_turns_switching_costs_next_to_nothing(make_virtual_device: Make, kernel_ns: int) -> None:
    """Who waits for a kernel whose end cannot be foretold is woken by who finds it through."""
    device = make_virtual_device(30, 70, resume_ns=0)
    take_turns(device, [300_000, 700_000], 2 * QUANTUM)
    start_all(device, kernel_ns, kernel_ns)
    before = device.truth()
    device.wait(2)
    after = device.truth()
    lost = (after["switch_ns"] - before["switch_ns"]) / (after["elapsed_ns"] - before["elapsed_ns"])
    idle = (after["idle_ns"] - before["idle_ns"]) / (after["elapsed_ns"] - before["elapsed_ns"])
    print(f"switching {100 * lost:.2f} %, idle {100 * idle:.2f} %")
    assert lost + idle < 0.006


@pytest.mark.soak
def test_in_turns_a_hundred_are_equal_and_who_is_gone_is_passed_over(make_virtual_device: Make) -> None:
    """In any whole second; and half a second after every other one was killed, the rest have all of it."""
    count = 100
    device = make_virtual_device(*[100] * count, resume_ns=0)
    take_turns(device, [FULL // count] * count, 1000 * MS)
    programs = start_all(device, *[200 * US] * count)
    device.wait(2)
    assert near(device.shares(programs, 4), [100 / count] * count, 0.2)  # type: ignore[arg-type]
    assert device.clock is not None
    for gone in programs[::2]:
        device.clock.kill(gone)  # type: ignore[arg-type]
    device.wait(0.5)
    left = device.shares(programs[1::2], 4)  # type: ignore[arg-type]
    print(f"together {sum(left):.2f}, {min(left):.2f} to {max(left):.2f}")
    assert sum(left) > 99
    assert near(left, [200 / count] * (count // 2), 0.4)
