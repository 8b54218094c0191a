"""How long a time slice is, found by the shipped code (slices.h) from how long rounds are."""

import ctypes
import random

import pytest
from share_core import MS, US, Said, Slices, core

SWITCH_NS = 50 * US
PARAMETERS = pytest.mark.parametrize("slice_ns", [200 * US, 300 * US, MS, 2 * MS, 3900 * US])


def new_slices() -> Slices:
    slices = Slices()
    core().core_slices_init(slices)
    return slices


def see(slices: Slices, *rounds_ns: int, contexts: int = 2, ours_ns: int = 0) -> None:
    for round_ns in rounds_ns:
        core().core_slices_round(slices, round_ns, contexts, ours_ns)


def whole_ns(slice_ns: int, contexts: int) -> int:
    return contexts * (slice_ns + SWITCH_NS)


@PARAMETERS
@pytest.mark.parametrize("contexts", [2, 3, 5, 64])
def test_rounds_that_some_neighbours_cut_short_at_any_time_do_not_mislead(
    slice_ns: int, contexts: int
) -> None:
    generator, slices = random.Random(1), new_slices()
    for _ in range(100):
        short_ns = round(slice_ns * generator.random()) if generator.random() < 0.6 else 0
        see(slices, whole_ns(slice_ns, contexts) - short_ns, contexts=contexts)
    assert slices.known
    assert slices.found_ns == pytest.approx(slice_ns, rel=0.02)


@PARAMETERS
def test_nor_do_those_that_are_cut_short_again_and_again_by_the_same(slice_ns: int) -> None:
    """Whose kernels always take the same has always the same left of its last slice."""
    slices = new_slices()
    whole = whole_ns(slice_ns, 2)
    see(slices, *[whole - slice_ns // 3, whole - slice_ns // 3, whole] * 20)
    assert slices.found_ns == pytest.approx(slice_ns, rel=0.01)


def test_a_slice_is_no_shorter_than_one_that_was_seen() -> None:
    slices = new_slices()
    see(slices, *[whole_ns(MS, 2)] * 50, ours_ns=1200 * US)
    assert not slices.known


@pytest.mark.parametrize("seed", range(20))
def test_where_there_are_no_slices_none_are_found(seed: int) -> None:
    """Rounds of any length."""
    generator, slices = random.Random(seed), new_slices()
    see(slices, *[generator.randrange(300 * US, 20 * MS) for _ in range(40)])
    assert not slices.known


def test_a_length_that_changes_is_found_anew() -> None:
    slices = new_slices()
    for slice_ns in (MS, 2 * MS, 300 * US):
        see(slices, *[whole_ns(slice_ns, 3)] * 40, contexts=3)
        assert slices.slice_ns == pytest.approx(slice_ns, rel=0.01)


@pytest.mark.parametrize("round_ns", [0, 1, 2**32, 2**63, 2**64 - 1])
def test_what_cannot_be_a_round_is_none(round_ns: int) -> None:
    slices = new_slices()
    see(slices, *[round_ns] * 50)
    assert not slices.known


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
