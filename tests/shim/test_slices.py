"""How long a time slice is, found by the shipped code (slices.h) from when markers were stamped."""

import ctypes
import random
from collections.abc import Iterator
from itertools import pairwise

import pytest
from share_core import MS, US, Said, Slices, Stamp, core

SWITCH_NS = 50 * US
SESSION_NS = 5 * MS
"""GPU time that a gate lets through at once."""


def new_slices() -> Slices:
    slices = Slices()
    core().core_slices_init(slices)
    return slices


def session(
    generator: random.Random,
    slice_ns: int,
    contexts: int,
    mean_ns: int,
    sigma: float = 0.25,
    short: float = 0,
    length_ns: int = SESSION_NS,
) -> Iterator[int]:
    """When the markers of a session are stamped, one behind each kernel.

    `short`: of so many of its rounds the others
    give some back.
    """
    own_ns = foreign_ns = rounds = 0
    while own_ns < length_ns:
        own_ns += round(mean_ns * generator.lognormvariate(-sigma * sigma / 2, sigma))
        for _ in range((own_ns - 1) // slice_ns - rounds):
            cut = generator.random() if generator.random() < short else 0
            foreign_ns += round((contexts - 1) * slice_ns * (1 - cut)) + contexts * SWITCH_NS
            rounds += 1
        yield own_ns + foreign_ns


def see(slices: Slices, sessions: int, slice_ns: int, contexts: int, mean_ns: int, **options: float) -> None:
    generator = random.Random(1)
    for _ in range(sessions):
        for since_ns in session(generator, slice_ns, contexts, mean_ns, **options):
            core().core_slices_stamp(slices, Stamp(since_ns, contexts, 0))


@pytest.mark.parametrize("contexts", [2, 3, 4])
@pytest.mark.parametrize("mean_ns", [100 * US, MS, 5 * MS])
@pytest.mark.parametrize("slice_ns", [300 * US, MS, 2 * MS])
def test_slices_are_found_however_long_kernels_are(slice_ns: int, mean_ns: int, contexts: int) -> None:
    slices = new_slices()
    see(slices, 200, slice_ns, contexts, mean_ns)
    assert slices.known
    assert slices.slice_ns == pytest.approx(slice_ns, rel=0.03)


@pytest.mark.parametrize("contexts", [3, 4])
@pytest.mark.parametrize("slice_ns", [300 * US, MS, 2 * MS])
def test_slices_are_found_from_one_marker_to_the_next(slice_ns: int, contexts: int) -> None:
    """Long kernels, where it is not known when the session began."""
    slices = new_slices()
    markers = session(random.Random(1), slice_ns, contexts, 5 * MS, length_ns=320 * MS)
    for before_ns, marker_ns in pairwise(markers):
        core().core_slices_stamp(slices, Stamp(marker_ns - before_ns, contexts, 0, True))
    assert slices.known
    assert slices.slice_ns == pytest.approx(slice_ns, rel=0.03)


@pytest.mark.parametrize("slice_ns", [300 * US, MS, 2 * MS])
def test_neighbours_who_give_back_some_slices_early_do_not_mislead(slice_ns: int) -> None:
    slices = new_slices()
    see(slices, 400, slice_ns, 2, MS, short=0.05)
    assert slices.known
    assert slices.slice_ns == pytest.approx(slice_ns, rel=0.05)


@pytest.mark.parametrize("seed", range(20))
def test_where_there_are_no_slices_none_are_found(seed: int) -> None:
    """Markers stamped at any time."""
    generator, slices = random.Random(seed), new_slices()
    for _ in range(2000):
        core().core_slices_stamp(slices, Stamp(generator.randrange(20 * MS), 2, 0))
    assert not slices.known


def test_what_is_known_is_changed_only_where_stamps_contradict_it() -> None:
    """Kernels of one length that come alone fit a slice twice as long nearly as well."""
    slices = new_slices()
    core().core_slices_adopt(slices, MS)
    see(slices, 400, MS, 2, 5 * MS, sigma=0)
    assert slices.slice_ns == pytest.approx(MS, rel=0.05)
    see(slices, 2000, 2 * MS, 2, MS)
    assert slices.slice_ns == pytest.approx(2 * MS, rel=0.05)


@pytest.mark.parametrize("lie", [1, US, 5 * MS, 2**63, 2**64 - 1, 2**64 - SWITCH_NS])
def test_what_cannot_be_a_slice_is_not_heard(lie: int) -> None:
    """Else a neighbour would have us divide by nothing."""
    said = Said()
    for slice_ns in (lie, MS, lie):
        core().core_slices_hear(ctypes.byref(said), slice_ns)
    assert (said.sum_ns, said.count) == (MS, 1)


def test_of_what_others_say_the_longest_are_left_out() -> None:
    for order in ([MS, 980 * US, 4 * MS], [4 * MS, MS, 980 * US], [980 * US, 4 * MS, MS, 0]):
        said = Said()
        for slice_ns in order:
            core().core_slices_hear(ctypes.byref(said), slice_ns)
        assert said.sum_ns / said.count == 990 * US


SEEN_US = """
28*100 16*200 15*9200 16*9300 3*9400 1*9500 5*18400 3*20600 2*20700 1*7377 1*7841 1*8008 1*8108
1*8697 1*8797 1*8807 1*17041 1*17201 1*17470 1*17688 1*18677 1*18777 1*19172 1*19241 1*19358 1*19401
1*19458 1*19501 1*19758 1*19777 1*19858 1*19888 1*20409 1*27256 1*27421 1*28701 1*28770 1*28828
1*29015 1*29088 1*29609 1*29709 1*36456 1*37970 1*38721 1*38821 1*39109 1*40170"""
"""By a tenant with kernels of 0.1 or 5 ms beside one who gave back some of its slices of 2 ms."""


def test_stamps_that_say_the_same_again_and_again_do_not_mislead() -> None:
    """A third of them is at 15 rounds of 256 us, by chance."""
    slices = new_slices()
    core().core_slices_adopt(slices, 2 * MS)
    for word in 2 * SEEN_US.split():
        times, since_us = map(int, word.split("*"))
        for _ in range(times):
            core().core_slices_stamp(slices, Stamp(since_us * US, 2, 0))
    assert slices.slice_ns == pytest.approx(2 * MS, rel=0.05)
