"""A controller that is killed at any moment takes nothing with it but what it lent: on the virtual clock.

Killed means here that nobody lends or writes any more, from one moment to the next; tests/cli/test_shares.py
kills a real one.
"""

from __future__ import annotations

import mmap
import struct
import sys

import pytest

from gshare.controller.adopt import adopt
from gshare.controller.balance import LEASE_NS
from gshare.controller.protocol import Limits
from gshare.shim import abi

from .virtual import SETTLE_S, SOON_S, Tenants, near

LINE_SEQ_AT = 192 + 16 + 24 + 4
TURNS_SEQ_AT = abi.LIMITS_BYTES - 16 * 2080
"""Of the first device's, in the limits file."""
IDLE = (sys.executable, "-c", "import time; print('ready', flush=True); time.sleep(600)")
RANGE = Limits(compute_ppm=300_000, ceiling_ppm=600_000)


def die(virtual: Tenants) -> None:
    """No word is written from now on."""
    virtual.house.registry.tenants.apportioner.lender.replace(())


def come_back(virtual: Tenants) -> None:
    virtual.house.restart()
    adopt(virtual.house.registry.tenants)


def interrupt_writing(virtual: Tenants, number: int, at: int) -> None:
    """As one that is killed between the two halves of a write leaves it."""
    with open(f"{virtual.files(number).limits.path}", "r+b") as file, mmap.mmap(file.fileno(), 0) as words:
        (sequence,) = struct.unpack_from("<I", words, at)
        struct.pack_into("<I", words, at, sequence + 1)


def test_what_is_lent_ends_with_its_lease_and_is_lent_again(virtual: Tenants) -> None:
    borrower = virtual.add(RANGE)
    virtual.add(Limits(compute_ppm=700_000), *IDLE)
    virtual.wait(SETTLE_S)
    assert near(virtual.shares([borrower]), [60], 1)
    die(virtual)
    virtual.wait(LEASE_NS / 1e9 + SOON_S)
    assert near(virtual.shares([borrower], 5), [30], 1)
    come_back(virtual)
    virtual.wait(SOON_S)
    assert near(virtual.shares([borrower]), [60], 3)


@pytest.mark.parametrize("mode", ["concurrent", "turns"])
def test_caps_hold_turns_go_on_and_nobody_stalls(virtual: Tenants, mode: str) -> None:
    some = [
        virtual.add(Limits(compute_ppm=100_000, mode=mode)),
        virtual.add(Limits(compute_ppm=300_000)),
        virtual.add(Limits(weight=1)),
        virtual.add(Limits(weight=1)),
    ]
    virtual.wait(SETTLE_S)
    die(virtual)
    virtual.wait(LEASE_NS / 1e9 + SOON_S)
    for _ in range(3):
        assert near(virtual.shares(some), [10, 30, 30, 30], 1.5)
    come_back(virtual)
    assert near(virtual.shares(some), [10, 30, 30, 30], 1.5)


@pytest.mark.parametrize("mode", ["concurrent", "turns"])
def test_one_that_is_killed_while_it_writes(virtual: Tenants, mode: str) -> None:
    """What was good last holds, until the next one has written all of it."""
    some = [
        virtual.add(Limits(compute_ppm=300_000, mode=mode)),
        virtual.add(Limits(compute_ppm=700_000)),
    ]
    virtual.wait(SETTLE_S)
    for number in 0, 1:
        interrupt_writing(virtual, number, TURNS_SEQ_AT if mode == "turns" else LINE_SEQ_AT)
    die(virtual)
    assert near(virtual.shares(some, 3), [30, 70], 1.5)
    come_back(virtual)
    assert near(virtual.shares(some), [30, 70], 1.5)
    virtual.change(0, compute_ppm=100_000)
    virtual.change(1, compute_ppm=900_000)
    virtual.wait(SOON_S)
    assert near(virtual.shares(some), [10, 90], 3)  # 20 ms of a second may have been saved
