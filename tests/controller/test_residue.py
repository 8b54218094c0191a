"""What nobody was charged for is taken off a quota once the latest samples agree on it, and not before."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from gshare.controller.residue import BUSY_SAMPLES, QUIET_SAMPLES, TOLERANCE_BYTES, Sample, residue_bytes

MIB = 1 << 20

sizes = st.integers(0, 1 << 40)
samples = st.lists(st.builds(Sample, sizes, sizes, st.booleans()), max_size=2 * BUSY_SAMPLES)


def quiet(*excess_mib: int) -> list[Sample]:
    """Samples of a tenant that is charged 1 GiB, and does nothing."""
    return [Sample(1024 * MIB + mib * MIB, 1024 * MIB, quiet=True) for mib in excess_mib]


def busy(*excess_mib: int) -> list[Sample]:
    """The same while memory comes and goes."""
    return [sample._replace(quiet=False) for sample in quiet(*excess_mib)]


def test_two_quiet_samples_are_enough() -> None:
    assert residue_bytes(quiet(100), 0) == 0
    assert residue_bytes(quiet(100, 100), 0) == 100 * MIB
    assert residue_bytes(quiet(0), 100 * MIB) == 100 * MIB
    assert residue_bytes(quiet(0, 0), 100 * MIB) == 0


def test_what_only_one_of_them_saw_passes() -> None:
    assert residue_bytes(quiet(0, 100), 0) == residue_bytes(quiet(100, 0), 0) == 0
    assert residue_bytes(quiet(100, 0), 100 * MIB) == 100 * MIB


def test_it_changes_no_further_than_they_agree() -> None:
    assert residue_bytes(quiet(100, 300), 0) == residue_bytes(quiet(300, 100), 0) == 100 * MIB
    assert residue_bytes(quiet(100, 300), 200 * MIB) == 200 * MIB
    assert residue_bytes(quiet(100, 300), 400 * MIB) == 300 * MIB


def test_while_memory_comes_and_goes_more_samples_are_needed() -> None:
    assert residue_bytes(busy(*[100] * (BUSY_SAMPLES - 1)), 0) == 0
    assert residue_bytes(busy(*[100] * BUSY_SAMPLES), 0) == 100 * MIB
    assert residue_bytes([*busy(100), *quiet(100)], 0) == 0
    assert residue_bytes([*busy(900), *quiet(100, 100)], 0) == 100 * MIB


def test_charges_that_are_upper_bounds_leave_nothing() -> None:
    assert residue_bytes(quiet(-500, -500), 0) == residue_bytes(quiet(-500, -500), 70 * MIB) == 0


def test_a_page_more_is_nothing() -> None:
    at = [Sample(TOLERANCE_BYTES, 0, quiet=True)] * 2
    above = [Sample(TOLERANCE_BYTES + 1, 0, quiet=True)] * 2
    assert (residue_bytes(at, 0), residue_bytes(above, 0)) == (0, TOLERANCE_BYTES + 1)


@given(samples, sizes)
def test_it_stays_between_what_was_and_what_is_seen(seen: list[Sample], before: int) -> None:
    after = residue_bytes(seen, before)
    bounds = [before, *(sample.excess_bytes for sample in seen)]
    assert min(bounds) <= after <= max(bounds)
    assert residue_bytes(seen, after) == after, "the same samples say no more the second time"


@given(sizes, st.lists(st.booleans(), min_size=BUSY_SAMPLES + QUIET_SAMPLES, max_size=20))
def test_what_is_there_for_good_is_found_and_does_not_flap(excess: int, quietness: list[bool]) -> None:
    history = [Sample(excess, 0, quiet) for quiet in quietness]
    states = [0]
    for end in range(1, len(history) + 1):
        states.append(residue_bytes(history[:end][-BUSY_SAMPLES:], states[-1]))
    assert states[-1] == history[0].excess_bytes
    assert sum(before != after for before, after in pairwise(states)) <= 1
