"""Borrowed time on the virtual clock: the library under the controller's own lending, in true GPU time."""

from __future__ import annotations

from collections.abc import Callable

from share_core import MS, US
from sharing import Device, near

from gshare.controller import balance
from gshare.shim import abi

Make = Callable[..., Device]
SETTLE_S = 1.0


class Lending:
    """A virtual device of tenants, whose time is lent every PERIOD_NS as the controller does it."""

    def __init__(self, device: Device, wants: list[tuple[int, int, int]]) -> None:
        self.device = device
        for limits, (guarantee, ceiling, weight) in zip(device.limits, wants, strict=True):
            cap_ppm = ceiling if weight == 0 or guarantee else abi.METERED_PPM
            limits.set_cap(0, cap_ppm, device.now_ns(), spent_ns=0, rate_ppm=guarantee)
        self.lender = balance.Device(
            [
                (limits.memory(), usage.memory(), device.activity.memory(), index, 0, *want, False)
                for index, (limits, usage, want) in enumerate(
                    zip(device.limits, device.usage, wants, strict=True)
                )
            ]
        )

    def run(self, seconds: float) -> None:
        """Let time pass."""
        for _ in range(round(seconds * 1e9 / balance.PERIOD_NS)):
            self.device.wait(balance.PERIOD_NS / 1e9)
            self.lender.tick(self.device.now_ns())

    def shares(self, pids: list[int], seconds: float) -> list[float]:
        """What each process got, in percent of the time that switches left."""
        before = self.device.truth()
        self.run(seconds)
        after = self.device.truth()
        elapsed = after["elapsed_ns"] - before["elapsed_ns"] - (after["switch_ns"] - before["switch_ns"])

        def used(truth: dict[str, list[dict[str, int]]], pid: int) -> int:
            return sum(process["gpu_ns"] for process in truth["processes"] if process["pid"] == pid)

        return [100 * (used(after, pid) - used(before, pid)) / elapsed for pid in pids]


def test_what_one_does_not_use_is_lent_and_given_back(make_virtual_device: Make) -> None:
    device = make_virtual_device(30, 70)
    lending = Lending(device, [(300_000, 600_000, 1), (700_000, 700_000, 0)])
    first = device.start(0, "kernel", 200 * US)
    lending.run(SETTLE_S)
    assert near(lending.shares([first.pid], 2), [60], 1.5)
    second = device.start(1, "kernel", 200 * US, seconds=2.5)
    lending.run(2 * balance.PERIOD_NS / 1e9)
    assert device.limits[0].line(0).rate_ppm == 300_000  # withdrawn within 20 ms
    lending.run(0.3)
    assert near(lending.shares([first.pid, second.pid], 2), [31, 69], 3)
    lending.run(0.5)  # the second one has ended
    assert near(lending.shares([first.pid], 1), [60], 1.5)


def test_weights_divide_a_device(make_virtual_device: Make) -> None:
    device = make_virtual_device(25, 75)
    lending = Lending(device, [(250_000, 1_000_000, 1), (750_000, 1_000_000, 3)])
    programs = [device.start(0, "kernel", 200 * US), device.start(1, "kernel", MS)]
    lending.run(SETTLE_S)
    assert near(lending.shares([program.pid for program in programs], 2), [25, 75], 3)


def test_a_light_tenant_keeps_its_rate_beside_one_that_borrows_all_it_leaves(
    make_virtual_device: Make,
) -> None:
    """Without the loan the heavy one would have half of the device."""
    device = make_virtual_device(50, 50)
    lending = Lending(device, [(500_000, 500_000, 0), (500_000, 1_000_000, 1)])
    light = device.start(0, "kernel", 100 * US, 2, 1800)
    lending.run(SETTLE_S)
    (alone,) = lending.shares([light.pid], 1)
    heavy = device.start(1, "kernel", 200 * US)
    lending.run(SETTLE_S)
    kept, borrowed = lending.shares([light.pid, heavy.pid], 2)
    print(f"light: {alone:.1f} % alone, {kept:.1f} % beside one that has {borrowed:.1f} %")
    assert kept > 0.8 * alone
    assert borrowed > 75
