"""Compute shares in true GPU time, on the simulated device and the real clock."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from share_core import MS, US
from sharing import FULL, POINTS, SETTLE_S, Device, hold

Make = Callable[..., Device]
SECONDS = 3
SWITCHES = 3.0  # percent that two saturating tenants lose to switching, at slices of 1.024 ms


def test_without_gshare_a_program_gets_the_whole_device(make_device: Make) -> None:
    """The control: what the tests below measure is the limit, not the program."""
    device = make_device(30)
    program = device.start(None, "kernel", 200 * US)
    time.sleep(SETTLE_S)
    hold("no limit", lambda: device.shares([program], SECONDS), [100])


@pytest.mark.parametrize(("cap", "kernel_ns"), [(10, 5 * MS), (30, 200 * US), (75, 50 * US), (75, 5 * MS)])
def test_one_tenant_alone(make_device: Make, cap: int, kernel_ns: int) -> None:
    device = make_device(cap)
    program = device.start(0, "kernel", kernel_ns)
    time.sleep(SETTLE_S)
    hold(f"{cap} % of {kernel_ns} ns", lambda: device.shares([program]), [cap])


KINDS = {
    "per-thread stream": ("ptsz", 200 * US),
    "cuLaunchKernelEx": ("ex", 200 * US),
    "cooperative": ("cooperative", 200 * US),
    "graphs": ("graph", 800 * US),
    "four streams": ("kernel", 200 * US, 0, 0, 4),
    "batches with synchronises": ("kernel", 100 * US, 8, 100),
    "one at a time": ("kernel", MS, 1),
    "copies that wait": ("copy", 300 * US, 3, 50),
    "long kernels": ("kernel", 40 * MS),
}


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_launch_counts(make_device: Make, name: str) -> None:
    kind, kernel_ns, *more = KINDS[name]
    device = make_device(30)
    program = device.start(0, str(kind), int(kernel_ns), *map(int, more))
    time.sleep(SETTLE_S)
    hold(name, lambda: device.shares([program]), [30])


@pytest.mark.parametrize(("first_ns", "second_ns"), [(200 * US, 200 * US), (50 * US, MS), (4 * MS, 50 * US)])
def test_two_tenants_contend(make_device: Make, first_ns: int, second_ns: int) -> None:
    """Caps of 30 and 70 %: of all the time; the switches come out of the second one's."""
    device = make_device(30, 70)
    programs = [device.start(0, "kernel", first_ns), device.start(1, "kernel", second_ns)]
    time.sleep(SETTLE_S)
    left = 100 - SWITCHES
    expected = [100 * 30 / left, 100 - 100 * 30 / left]
    hold("30/70", lambda: device.shares(programs, SECONDS), expected)


def test_a_tenant_beside_one_that_may_use_everything(make_device: Make) -> None:
    device = make_device(30, 100)
    programs = [device.start(0, "kernel", 200 * US), device.start(1, "kernel", 200 * US)]
    time.sleep(SETTLE_S)
    hold("30 beside 100", lambda: device.shares(programs, SECONDS), [31, 69])


def test_a_light_tenant_keeps_its_rate_and_is_charged_for_its_own_work_only(make_device: Make) -> None:
    device = make_device(50, 100)
    programs = [device.start(0, "kernel", 100 * US, 4, 300), device.start(1, "kernel", 200 * US)]
    time.sleep(SETTLE_S)
    for attempt in range(3):
        before = device.charged_ns(0)
        (share, _) = device.shares(programs, SECONDS)
        charged = 100 * (device.charged_ns(0) - before) / (SECONDS * 1e9)
        print(f"light tenant, try {attempt + 1}: got {share:.1f} %, charged for {charged:.1f} %")
        if abs(charged - share) < 2 and share > 10:
            return
    raise AssertionError("a light tenant was charged for what it did not use, or slowed down")


def test_two_processes_of_a_tenant_share_its_share(make_device: Make) -> None:
    device = make_device(40)
    programs = [device.start(0, "kernel", 200 * US), device.start(0, "kernel", 300 * US)]
    time.sleep(SETTLE_S)
    hold("two of one tenant", lambda: [sum(device.shares(programs, SECONDS))], [40])


def test_a_new_cap_is_obeyed_at_once(make_device: Make) -> None:
    device = make_device(20)
    program = device.start(0, "kernel", 200 * US)
    time.sleep(SETTLE_S)

    def change(cap: int) -> float:
        spent_ns = device.usage[0].device(0).spent_ns
        device.limits[0].set_cap(0, cap * 10_000, time.monotonic_ns(), spent_ns=spent_ns)
        time.sleep(0.05)
        return device.shares([program], 0.5)[0]

    hold("20, 60, 20 %", lambda: [change(60), change(20)], [60, 20])


def test_a_limit_comes_and_goes_while_a_program_runs(make_device: Make) -> None:
    """NO_CAP is the unlimited path, which reads one word: a cap takes effect there, too."""
    device = make_device(30)
    no_cap = (1 << 32) - 1
    device.limits[0].set_cap(0, no_cap, time.monotonic_ns())
    program = device.start(0, "kernel", 200 * US)
    time.sleep(SETTLE_S)

    def change(cap_ppm: int) -> float:
        device.limits[0].set_cap(0, cap_ppm, time.monotonic_ns(), spent_ns=device.usage[0].device(0).spent_ns)
        time.sleep(1)  # an unlimited program has a thousand launches queued: 200 ms
        return device.shares([program])[0]

    hold("30 %, none", lambda: [change(300_000), change(no_cap)], [30, 100])


def test_a_killed_neighbour_is_not_busy_for_ever(make_device: Make) -> None:
    """Its lease ends by the clock; were it to stay, the survivor would charge itself too little."""
    device = make_device(30, 100)
    programs = [device.start(0, "kernel", 200 * US), device.start(1, "kernel", 200 * US)]
    time.sleep(SETTLE_S)
    programs[1].kill()
    programs[1].wait()
    time.sleep(0.1)
    hold("after kill -9", lambda: device.shares(programs[:1]), [30])


def test_a_stopped_neighbour_is_not_busy_for_ever(make_device: Make) -> None:
    device = make_device(30, 100)
    programs = [device.start(0, "kernel", 200 * US), device.start(1, "kernel", 200 * US)]
    time.sleep(SETTLE_S)
    programs[1].send_signal(19)
    time.sleep(0.5)
    hold("after SIGSTOP", lambda: device.shares(programs[:1]), [30])
    programs[1].send_signal(18)


def test_what_is_charged_is_what_was_used(make_device: Make) -> None:
    device = make_device(50)
    program = device.start(0, "kernel", 100 * US, seconds=2)
    while program.poll() is None and device.truth()["processes"][0]["gpu_ns"] < 500 * MS:
        time.sleep(0.01)
    slot = device.usage[0].slots(1)[0].devices[0]
    output, _ = program.communicate(timeout=60)
    truth = device.truth()["processes"][0]
    assert device.charged_ns(0) == pytest.approx(truth["gpu_ns"], rel=0.03)
    assert int(output.split()[1]) == truth["kernels"]
    assert 0 < slot.launches <= truth["kernels"]
    assert slot.gpu_ns > 400 * MS
    assert slot.throttled_ns > 100 * MS  # at half speed, it has waited about as long as it has run


def test_waiting_costs_no_cpu(make_device: Make) -> None:
    """Under 1 % of a core is the aim, a tenth is the alarm; starting up takes some milliseconds, too."""
    device = make_device(10)
    program = device.start(0, "kernel", 100 * US, seconds=3)
    output, _ = program.communicate(timeout=60)
    cpu_ms = int(output.split()[3])
    print(f"{cpu_ms} ms of CPU in 3 s")
    assert cpu_ms < 300


def test_points_leave_room_for_no_limit() -> None:
    """A test that cannot fail is none: no expectation above is within its tolerance of an unlimited share."""
    assert all(abs(100 - cap) > POINTS for cap in (10, 20, 30, 31, 40, 60, 69, 75))
    assert FULL == 1_000_000
