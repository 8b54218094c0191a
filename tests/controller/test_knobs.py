"""Every limit that can be changed while programs run takes effect within 50 ms: on the virtual clock."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable

import pytest

from gshare.controller.protocol import Limits, Pause
from gshare.controller.units import Memory

from .conftest import CONTEXT_BYTES
from .virtual import SETTLE_S, SOON_S, Tenants, near

MIB = 1 << 20

# Launches nothing: tries each millisecond to have 64 MiB, and says when the answer became another one.
TRIES = """
from driver_calls import *
import ctypes, json, sys, time
take, give, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
start()
print("ready", flush=True)
found, until = [], time.monotonic() + seconds
while time.monotonic() < until:
    code, memory = new(take, 64 << 20, *([0] if "Host" in take else []))
    if code == 0:
        call(give, u64(memory))
    if not found or found[-1][1] != code:
        found.append([time.monotonic(), code])
    time.sleep(0.001)
out(found)
"""
# Copies from pinned memory as fast as it may.
COPIES = """
from driver_calls import *
start()
there, here = new("cuMemAlloc_v2", 1 << 20)[1], new("cuMemHostAlloc", 1 << 20, 0)[1]
print("ready", flush=True)
while True:
    call("cuMemcpyHtoD_v2", u64(there), ctypes.c_void_p(here), 1 << 20)
"""


def test_compute(virtual: Tenants) -> None:
    program = virtual.add(Limits(compute_ppm=200_000))
    virtual.wait(SETTLE_S)
    for percent in 60, 20:
        virtual.change(0, compute_ppm=percent * 10_000)
        virtual.wait(SOON_S)
        assert near(virtual.shares([program]), [percent])
    virtual.change(0, compute_ppm=200_000, ceiling_ppm=800_000)
    virtual.wait(SOON_S)
    assert near(virtual.shares([program]), [80])
    virtual.change(0, lift_compute=True)
    virtual.wait(SOON_S)
    assert near(virtual.shares([program]), [100])


def test_weight(virtual: Tenants) -> None:
    both = [virtual.add(Limits(weight=1)), virtual.add(Limits(weight=1))]
    virtual.wait(SETTLE_S)
    assert near(virtual.shares(both), [50, 50])
    virtual.change(0, weight=3)
    virtual.wait(SOON_S)
    assert near(virtual.shares(both), [75, 25])
    virtual.change(0, weight=1)
    virtual.wait(SOON_S)
    assert near(virtual.shares(both), [50, 50])


def test_priority(virtual: Tenants) -> None:
    both = [virtual.add(Limits(weight=1)), virtual.add(Limits(weight=1))]
    virtual.wait(SETTLE_S)
    virtual.change(0, priority="low")
    virtual.wait(SOON_S)
    assert near(virtual.shares(both), [0, 100], 2)
    virtual.change(0, priority="normal")
    virtual.wait(SOON_S)
    assert near(virtual.shares(both), [50, 50])
    virtual.change(0, priority="high")
    virtual.wait(SOON_S)
    assert near(virtual.shares(both), [100, 0], 2)


def test_mode(virtual: Tenants) -> None:
    """Told by what switches take."""
    both = [virtual.add(Limits(compute_ppm=500_000)), virtual.add(Limits(compute_ppm=500_000))]
    virtual.wait(SETTLE_S)
    assert virtual.shares(both)[-1] > 2
    virtual.change(0, mode="turns")
    virtual.wait(SOON_S)
    *got, switches = virtual.shares(both)
    assert near(got, [50, 50])
    assert switches < 1
    virtual.change(0, mode="concurrent")
    virtual.wait(SOON_S)
    *got, switches = virtual.shares(both)
    assert near(got, [50, 50])
    assert switches > 2


@pytest.mark.parametrize("mode", ["concurrent", "turns"])
def test_pause_and_resume(virtual: Tenants, mode: str) -> None:
    both = [virtual.add(Limits(compute_ppm=400_000, mode=mode)), virtual.add(Limits(compute_ppm=600_000))]
    virtual.wait(SETTLE_S)
    virtual.house.registry.pause(Pause(virtual.names[0], True))
    virtual.wait(SOON_S)
    assert virtual.shares(both)[0] == 0
    virtual.house.registry.pause(Pause(virtual.names[0], False))
    virtual.wait(SOON_S)
    assert near(virtual.shares(both), [40, 60])


@pytest.mark.parametrize(
    ("knob", "take", "give", "least"),
    [
        ("memory", "cuMemAlloc_v2", "cuMemFree_v2", CONTEXT_BYTES),
        ("host_memory_bytes", "cuMemHostAlloc", "cuMemFreeHost", 0),
    ],
)
def test_memory(virtual: Tenants, knob: str, take: str, give: str, least: int) -> None:
    def amount(bytes_: int) -> Memory | int:
        return least + bytes_ if "host" in knob else Memory(least + bytes_, None)

    limits = {knob: amount(256 * MIB)}
    program = virtual.add(Limits(**limits), sys.executable, "-c", TRIES, take, give, "1")  # type: ignore[arg-type]
    virtual.wait(0.3)
    times = []
    for bytes_ in 32 * MIB, 256 * MIB:
        times.append(virtual.clock.now_ns / 1e9)
        virtual.change(0, **{knob: amount(bytes_)})
        virtual.wait(0.3)
    virtual.clock.wait(program)
    output, errors = program.communicate()
    assert errors == ""
    (_, first), (refused_s, refused), (granted_s, granted) = json.loads(output)
    assert (first, refused, granted) == (0, 2, 0)
    assert 0 <= refused_s - times[0] < SOON_S
    assert 0 <= granted_s - times[1] < SOON_S


def test_pcie(virtual: Tenants) -> None:
    rates: Callable[[float], dict[str, int]] = lambda gib: {"h2d": round(gib * (1 << 30))}  # noqa: E731
    virtual.add(Limits(copy_bytes_per_s=rates(1)), sys.executable, "-c", COPIES)
    files = virtual.files(0)
    for gib in 1.0, 4.0, 0.5:
        virtual.change(0, copy_bytes_per_s=rates(gib))
        virtual.wait(SOON_S)
        before = files.usage.copied(0).bytes[0]
        virtual.wait(0.5)
        moved = (files.usage.copied(0).bytes[0] - before) / (1 << 30)
        print(f"{moved / 0.5:.2f} GiB/s of {gib}")
        assert moved / 0.5 == pytest.approx(gib, rel=0.05)


def test_what_is_not_changed_stays(virtual: Tenants) -> None:
    """The control: half a second of one is that of the next."""
    program = virtual.add(Limits(compute_ppm=200_000))
    virtual.wait(SETTLE_S)
    limits = virtual.files(0).limits
    before = limits.line(0)
    assert near(virtual.shares([program]), [20], 1)
    assert near(virtual.shares([program]), [20], 1)
    assert limits.line(0) == before
