"""Kernels that run for seconds are charged while they run: on a virtual clock, in true GPU time."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from share_core import MS, US
from sharing import Device, near

Make = Callable[..., Device]


def used_ns(device: Device) -> int:
    return sum(process["gpu_ns"] for process in device.truth()["processes"])


def test_a_long_kernel_is_charged_while_it_runs(make_virtual_device: Make) -> None:
    device = make_virtual_device(10)
    device.start(0, "kernel", 3000 * MS, 1)
    for _ in range(5):
        device.wait(0.5)
        print(f"used {used_ns(device) / MS:.0f} ms, charged {device.charged_ns(0) / MS:.0f} ms")
        assert device.charged_ns(0) == pytest.approx(used_ns(device), abs=20 * MS)
    device.wait(1)
    assert device.charged_ns(0) == pytest.approx(3000 * MS, abs=MS), "the end marker puts it right"


def test_alone_what_runs_is_charged_to_the_moment(make_virtual_device: Make) -> None:
    """A tenth of the time is five such kernels in a second: one charged late would be a fifth of it."""
    device = make_virtual_device(10)
    device.start(0, "kernel", 20 * MS)
    device.wait(1)
    off = []
    for _ in range(100):
        device.wait(0.017)
        off.append(abs(device.charged_ns(0) - used_ns(device)))
    assert max(off) < MS


def test_behind_something_short_only_few_begin_before_they_are_known(make_virtual_device: Make) -> None:
    """Of what had taken a microsecond until then, hundreds might be in flight."""
    device = make_virtual_device(20)
    program = device.python(
        0,
        """
start()
memory = new("cuMemAlloc_v2", 1 << 20)[1]
while True:
    must("cuMemsetD8Async", u64(memory), 1, 1 << 20, None)
    assert spin(20 * MS) == 0
""",
    )
    device.wait(1)
    assert near(device.shares([program], 2), [20], 2)


def test_the_tenants_second_process_pays_for_it(make_virtual_device: Make) -> None:
    """The control: without the first one, it would have had a tenth of the three seconds."""
    device = make_virtual_device(10)
    device.start(0, "kernel", 3000 * MS, 1)
    device.wait(0.3)
    second = device.start(0, "kernel", 200 * US)
    device.wait(0.3)  # unknown work: a kernel may be in flight before anything is known
    assert near(device.shares([second], 2), [0], 0.2)


def test_two_seconds_at_a_tenth_make_it_wait_for_twenty(make_virtual_device: Make) -> None:
    device = make_virtual_device(10)
    program = device.start(0, "kernel", 2000 * MS, 1, seconds=200)
    device.wait(40)  # two at a time, then one for each twenty seconds
    assert near(device.shares([program], 100), [10], 2)


def test_beside_a_neighbour_only_its_own_slices_are_charged(make_virtual_device: Make) -> None:
    device = make_virtual_device(100, 100)
    device.start(0, "kernel", 3000 * MS, 1)
    device.start(1, "kernel", 200 * US)
    device.wait(1)
    before, used = device.charged_ns(0), device.truth()["processes"][0]["gpu_ns"]
    device.wait(2)
    used = device.truth()["processes"][0]["gpu_ns"] - used
    charged = device.charged_ns(0) - before
    print(f"used {used / MS:.0f} ms, charged {charged / MS:.0f} ms")
    assert 700 * MS < used < 1200 * MS
    assert charged == pytest.approx(used, rel=0.1)


def test_a_killed_process_leaves_what_its_kernel_has_used(make_virtual_device: Make) -> None:
    device = make_virtual_device(10)
    program = device.start(0, "kernel", 10_000 * MS, 1)
    device.wait(1)
    assert device.clock is not None
    device.clock.kill(program)
    assert device.usage[0].device(0).spent_ns == pytest.approx(1000 * MS, abs=60 * MS)
