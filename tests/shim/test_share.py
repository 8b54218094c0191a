"""Compute shares in true GPU time, on the simulated device: on a virtual clock, some on the real one, too."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable

import pytest
from share_core import MS, US
from sharing import FULL, POINTS, SETTLE_S, Device, hold, near

Make = Callable[..., Device]
SECONDS = 10


def settled(device: Device, *programs: tuple[object, ...]) -> list[subprocess.Popen[str]]:
    """Start programs, each (tenant, kind, ...), and let them settle."""
    started = [device.start(*arguments) for arguments in programs]  # type: ignore[arg-type]
    device.wait(SETTLE_S)
    return started


def test_without_gshare_a_program_gets_the_whole_device(make_virtual_device: Make) -> None:
    """The control: what the tests below measure is the limit, not the program."""
    device = make_virtual_device(30)
    programs = settled(device, (None, "kernel", 200 * US))
    assert near(device.shares(programs, SECONDS), [100])


@pytest.mark.parametrize(("cap", "kernel_ns"), [(10, 5 * MS), (30, 200 * US), (75, 50 * US), (75, 5 * MS)])
def test_one_tenant_alone(make_virtual_device: Make, cap: int, kernel_ns: int) -> None:
    device = make_virtual_device(cap)
    programs = settled(device, (0, "kernel", kernel_ns))
    assert near(device.shares(programs, SECONDS), [cap])


@pytest.mark.alone
def test_on_the_real_clock(make_device: Make) -> None:
    device = make_device(30, 70)
    programs = settled(device, (0, "kernel", 200 * US), (1, "kernel", 200 * US))
    hold("30/70", lambda: device.shares(programs, 3), [30, 70])


def test_the_same_programs_are_charged_the_same(make_virtual_device: Make) -> None:
    def once() -> list[object]:
        device = make_virtual_device(30, 70)
        settled(device, (0, "kernel", 200 * US), (1, "kernel", 300 * US, 20, 100))
        device.wait(SECONDS)
        assert device.clock is not None
        usage = [device.usage[tenant].device(0).spent_ns for tenant in range(2)]
        charged = [device.charged_ns(tenant) for tenant in range(2)]
        device_truth = device.clock.truth()
        device.clock.close()
        return [usage, charged, device_truth]

    assert once() == once()


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
    "uploads between kernels": ("upload", 200 * US, 50),
    "calls of the host between kernels": ("host", 200 * US, 20),
}
# Moves inside the device, of so many bytes.  Their data is moved here, too: sizes and times are short.
MOVES = {
    "memsets": ("memset", 4 << 10),
    "memsets in the per-thread stream": ("memset_ptsz", 4 << 10),
    "copies": ("inside", 64 << 10),
    "copies in the per-thread stream": ("inside_ptsz", 4 << 10),
    "copies between addresses of any kind": ("unified", 4 << 10),
    "rectangles": ("box", 4 << 10),
}


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_launch_counts(make_virtual_device: Make, name: str) -> None:
    device = make_virtual_device(30)
    programs = settled(device, (0, *KINDS[name]))
    assert near(device.shares(programs, SECONDS), [30])


def test_streams_that_are_waited_for_in_turn_all_count(make_virtual_device: Make) -> None:
    """Their markers span each other's work: what one had is not to be taken for the other's."""
    device = make_virtual_device(40)
    program = device.python(
        0,
        """
start()
streams = [new("cuStreamCreate", 1)[1] for _ in range(2)]
event = new("cuEventCreate", 2)[1]
while True:
    for stream in streams:
        assert spin(125_000, stream) == 0
        must("cuEventRecord", event, stream)
        while cuda.cuEventQuery(u64(event)) != 0:
            time.sleep(0.0001)
""",
    )
    device.wait(1)
    assert near(device.shares([program], 2), [40], 2)


@pytest.mark.parametrize("name", MOVES)
def test_moves_inside_the_device_count(make_virtual_device: Make, name: str) -> None:
    device = make_virtual_device(30)
    device.start(0, *MOVES[name], seconds=1)
    assert device.clock is not None
    device.clock.wait()
    truth = device.truth()
    assert near([100 * sum(p["gpu_ns"] for p in truth["processes"]) / 1e9], [30])


@pytest.mark.parametrize(("cap", "kind"), [(15, "upload"), (10, "copy")])
def test_copies_over_the_bus_are_not_charged_beside_a_neighbour(
    make_virtual_device: Make, cap: int, kind: str
) -> None:
    """What follows such a copy waits for its turn, which is not its tenant's time either."""
    device = make_virtual_device(cap, 100)
    programs = settled(device, (0, kind, 200 * US, 10, 50), (1, "kernel", 200 * US))
    before, used = device.charged_ns(0), device.truth()["processes"][0]["gpu_ns"]
    assert near(device.shares(programs, 5)[:1], [cap], 3)
    used = device.truth()["processes"][0]["gpu_ns"] - used
    assert device.charged_ns(0) - before == pytest.approx(used, rel=0.1)


@pytest.mark.parametrize(("first_ns", "second_ns"), [(200 * US, 200 * US), (50 * US, MS), (4 * MS, 50 * US)])
def test_two_tenants_contend(make_virtual_device: Make, first_ns: int, second_ns: int) -> None:
    """Caps of 30 and 70 %, of the time that switches leave."""
    device = make_virtual_device(30, 70)
    programs = settled(device, (0, "kernel", first_ns), (1, "kernel", second_ns))
    assert near(device.shares(programs, SECONDS), [30, 70], 1.5)


def charged_to_used(device: Device, seconds: float) -> list[float]:
    """Of each tenant, in that time."""

    def both() -> tuple[list[int], list[int]]:
        processes = device.truth()["processes"]
        return [device.charged_ns(i) for i in range(len(processes))], [p["gpu_ns"] for p in processes]

    charged, used = both()
    device.wait(seconds)
    charged_then, used_then = both()
    return [(c - a) / (d - b) for a, b, c, d in zip(charged, used, charged_then, used_then, strict=True)]


@pytest.mark.parametrize("slice_ns", [300 * US, 2 * MS])
def test_slices_of_any_length_are_learnt(
    monkeypatch: pytest.MonkeyPatch, make_virtual_device: Make, slice_ns: int
) -> None:
    """Of which nobody told us, with three tenants: charged right, and with the shares they were promised."""
    monkeypatch.setenv("SIMGPU_SLICE_NS", str(slice_ns))
    device = make_virtual_device(20, 30, 50)
    programs = settled(device, *((i, "kernel", 200 * US) for i in range(3)))
    assert near(charged_to_used(device, 5), [1, 1, 1], 0.05)
    assert near(device.shares(programs, SECONDS), [20, 30, 50], 1.5)


def test_slices_are_learnt_from_kernels_that_always_take_the_same(
    monkeypatch: pytest.MonkeyPatch, make_virtual_device: Make
) -> None:
    """Their ends are at the same few places of a slice: both tenants would have half of the device."""
    monkeypatch.setenv("SIMGPU_SLICE_NS", str(2 * MS))
    device = make_virtual_device(30, 70)
    programs = settled(device, *((i, "kernel", 1200 * US) for i in range(2)))
    assert near(device.shares(programs, SECONDS), [30, 70], 2)


def test_many_equal_tenants_are_charged_right(make_virtual_device: Make) -> None:
    device = make_virtual_device(*[6] * 16)
    programs = settled(device, *((i, "kernel", 200 * US) for i in range(16)))
    assert near(charged_to_used(device, 3), [1] * 16, 0.05)
    assert near(device.shares(programs, 3), [100 / 16] * 16, 0.5)


def test_a_tenant_with_four_streams_is_none_that_comes_and_goes(make_virtual_device: Make) -> None:
    """Each of them runs dry now and then, but not all."""
    device = make_virtual_device(30, 70)
    programs = [device.start(0, "kernel", 100 * US, 0, 0, 4), device.start(1, "kernel", 200 * US)]
    device.wait(SETTLE_S)
    before = [device.charged_ns(tenant) for tenant in range(2)]
    assert near(device.shares(programs, 2), [30, 70], 3)
    charged = [device.charged_ns(tenant) - ns for tenant, ns in enumerate(before)]
    assert near([ns / 20 / MS for ns in charged], [30, 70], 3)


def test_who_is_beside_a_light_tenant_is_charged_for_its_own_time(make_virtual_device: Make) -> None:
    device = make_virtual_device(20, 100)
    settled(device, (0, "kernel", 100 * US, 4, 300), (1, "kernel", 200 * US))
    assert near(charged_to_used(device, 5), [1, 1], 0.05)


def test_a_tenant_beside_one_that_may_use_everything(make_virtual_device: Make) -> None:
    device = make_virtual_device(30, 100)
    programs = settled(device, (0, "kernel", 200 * US), (1, "kernel", 200 * US))
    assert near(device.shares(programs, SECONDS), [30, 70])


def test_a_light_tenant_keeps_its_rate_and_pays_for_its_own_work_only(make_virtual_device: Make) -> None:
    device = make_virtual_device(50, 100)
    programs = settled(device, (0, "kernel", 100 * US, 4, 300), (1, "kernel", 200 * US))
    before = device.charged_ns(0)
    (share, _) = device.shares(programs, SECONDS)
    charged = 100 * (device.charged_ns(0) - before) / (SECONDS * 1e9)
    print(f"light tenant: got {share:.1f} %, charged for {charged:.1f} %")
    assert abs(charged - share) < 2
    assert share > 10


def test_two_processes_of_a_tenant_share_its_share(make_virtual_device: Make) -> None:
    device = make_virtual_device(40)
    programs = settled(device, (0, "kernel", 200 * US), (0, "kernel", 300 * US))
    assert near([sum(device.shares(programs, SECONDS))], [40])


def test_a_new_cap_is_obeyed_at_once(make_virtual_device: Make) -> None:
    device = make_virtual_device(20)
    programs = settled(device, (0, "kernel", 200 * US))

    def change(cap: int) -> float:
        spent_ns = device.usage[0].device(0).spent_ns
        device.limits[0].set_cap(0, cap * 10_000, device.now_ns(), spent_ns=spent_ns)
        device.wait(0.05)
        return device.shares(programs, 0.5)[0]

    assert near([change(60), change(20)], [60, 20])


def test_a_limit_comes_and_goes_while_a_program_runs(make_virtual_device: Make) -> None:
    """NO_CAP is the unlimited path, which reads one word: a cap takes effect there, too."""
    device = make_virtual_device(30)
    no_cap = (1 << 32) - 1
    device.limits[0].set_cap(0, no_cap, device.now_ns())
    programs = settled(device, (0, "kernel", 200 * US))

    def change(cap_ppm: int) -> float:
        spent_ns = device.usage[0].device(0).spent_ns
        device.limits[0].set_cap(0, cap_ppm, device.now_ns(), spent_ns=spent_ns)
        device.wait(1)  # an unlimited program has a thousand launches queued: 200 ms
        return device.shares(programs)[0]

    assert near([change(300_000), change(no_cap)], [30, 100])


def test_a_killed_neighbour_is_not_busy_for_ever(make_virtual_device: Make) -> None:
    """Its lease ends by the clock; were it to stay, the survivor would charge itself too little."""
    device = make_virtual_device(30, 100)
    programs = settled(device, (0, "kernel", 200 * US), (1, "kernel", 200 * US))
    assert device.clock is not None
    device.clock.kill(programs[1])
    device.wait(0.1)
    assert near(device.shares(programs[:1], SECONDS), [30])


def goes_on(device: Device) -> bool:
    before = sum(process["gpu_ns"] for process in device.truth()["processes"])
    device.wait(0.5)
    return sum(process["gpu_ns"] for process in device.truth()["processes"]) > before


@pytest.mark.alone
def test_a_stopped_neighbour_is_not_busy_for_ever(make_device: Make) -> None:
    """On the real clock: a program that is stopped stops a virtual one."""
    device = make_device(30, 100)
    programs = [device.start(0, "kernel", 200 * US), device.start(1, "kernel", 200 * US)]
    time.sleep(SETTLE_S)
    for _ in range(10):
        programs[1].send_signal(19)
        if goes_on(device):
            break
        programs[1].send_signal(18)  # it has the simulated machine's lock
    hold("after SIGSTOP", lambda: device.shares(programs[:1]), [30])
    programs[1].send_signal(18)


@pytest.mark.alone
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
