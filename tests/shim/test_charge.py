"""What a window costs, as shipped (charge.h): step by step, and in a model of a shared GPU."""

import ctypes
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from share_core import MS, US, History, Seen, Slices, Union, core
from share_model import SLICE_NS, SWITCH_NS, Tenant, lognormal, shares

# -------- foreign slices --------


def own(
    elapsed_ns: int, *, learnt_ns: int = 0, longest_ns: int = 0, others_ns: int = 0, busy_milli: int = 1000
) -> int:
    slices = Slices()
    core().core_slices_init(slices)
    seen = Seen(elapsed_ns, learnt_ns, longest_ns, others_ns, busy_milli)
    return int(core().core_own_ns(slices, seen))


@given(st.integers(0, 10**10), st.integers(0, 10**10))
def test_alone_everything_is_our_own(elapsed_ns: int, learnt_ns: int) -> None:
    assert own(elapsed_ns, learnt_ns=learnt_ns) == elapsed_ns


@given(st.integers(2, 8), st.integers(0, 20), st.floats(-0.95, 0.95))
def test_rounds_are_read_off_the_elapsed_time(contexts: int, rounds: int, part: float) -> None:
    """A window with m interruptions holds between m - 1 and m + 1 slices of its own."""
    kernel_ns = max(1, int((rounds + part) * SLICE_NS)) if rounds else max(1, int(abs(part) * SLICE_NS))
    foreign_ns = rounds * ((contexts - 1) * SLICE_NS + contexts * SWITCH_NS)
    assert own(kernel_ns + foreign_ns, busy_milli=contexts * 1000) == kernel_ns


@given(
    st.integers(0, 10**10),
    st.integers(0, 10**9),
    st.integers(0, 10**9),
    st.integers(0, 10**9),
    st.integers(0, 20_000),
)
def test_nobody_is_charged_for_more_than_the_elapsed_time(
    elapsed_ns: int, learnt_ns: int, longest_ns: int, others_ns: int, busy_milli: int
) -> None:
    seen = {
        "learnt_ns": learnt_ns,
        "longest_ns": longest_ns,
        "others_ns": others_ns,
        "busy_milli": busy_milli,
    }
    assert 0 <= own(elapsed_ns, **seen) <= elapsed_ns


def test_short_windows_measure_the_length_of_a_round() -> None:
    slices, true_round = Slices(), 2_300 * US  # a driver with slices of 2 ms, of which nobody told us
    core().core_slices_init(slices)
    for _ in range(200):
        core().core_own_ns(slices, Seen(100 * US + true_round, 100 * US, 110 * US, 0, 2000))
    assert slices.round_ns[2] == pytest.approx(true_round, rel=0.01)


# -------- gaps, streams, neighbours --------


@given(st.integers(0, 10**9), st.integers(0, 10**9), st.integers(0, 10**9))
def test_gaps_are_no_longer_than_it_took_to_submit(own_ns: int, submit_ns: int, learnt_ns: int) -> None:
    charged = core().core_without_gaps(own_ns, submit_ns, learnt_ns)
    assert max(0, own_ns - submit_ns) <= charged <= own_ns
    if max(0, own_ns - submit_ns) <= learnt_ns <= own_ns:
        assert charged == learnt_ns


@given(st.lists(st.tuples(st.integers(0, 200), st.integers(0, 40)), max_size=14))
def test_time_of_several_streams_is_charged_once(spans: list[tuple[int, int]]) -> None:
    charged, covered, total = Union(), set[int](), 0
    for start, length in spans:
        total += core().core_union_add(charged, start, start + length)
        covered |= set(range(start, start + length))
        assert total == len(covered)


def test_the_oldest_spans_are_forgotten_and_the_newest_kept() -> None:
    charged = Union()
    for i in range(100):
        assert core().core_union_add(charged, 10 * i, 10 * i + 5) == 5
    assert core().core_union_add(charged, 10 * 99, 10 * 99 + 5) == 0
    assert charged.count == 16


def test_busy_contexts_are_averaged_over_time() -> None:
    history, others = History(), ctypes.c_uint64()
    for at, busy, published in ((100, 1, 0), (200, 3, 50), (300, 1, 90)):
        core().core_history_add(history, at, busy, published)
    assert core().core_history_busy(history, 200, 300, others) == 3000
    assert core().core_history_busy(history, 150, 250, others) == 2000
    assert others.value == 50
    assert core().core_history_busy(history, 400, 500, others) == 1000
    assert core().core_history_busy(history, 0, 100, others) == 1000  # before the first look: as the first


@given(st.integers(1, 200), st.integers(0, 20_000), st.integers(1, 500))
def test_a_mean_lies_within_what_was_seen(count: int, start: int, length: int) -> None:
    history, others, generator = History(), ctypes.c_uint64(), random.Random(count)
    for at in range(count):
        core().core_history_add(history, at * 100, generator.randint(1, 5), at)
    assert 1000 <= core().core_history_busy(history, start, start + length, others) <= 5000


# -------- the whole on a model --------


def mixed(generator: random.Random) -> int:
    return generator.choice([100 * US, 5 * MS])


MIXES = {
    "alone": ([Tenant(300_000, lognormal(200 * US))], [30.0]),
    "30/70": ([Tenant(300_000, lognormal(200 * US)), Tenant(700_000, lognormal(200 * US))], [30.0, 66.9]),
    "long": ([Tenant(300_000, lognormal(5 * MS)), Tenant(700_000, lognormal(5 * MS))], [29.5, 66.9]),
    "20/30/50": (
        [
            Tenant(200_000, lognormal(200 * US)),
            Tenant(300_000, lognormal(MS)),
            Tenant(500_000, lognormal(200 * US)),
        ],
        [20.0, 30.0, 45.2],
    ),
    "short beside long": (
        [Tenant(300_000, lognormal(50 * US)), Tenant(1_000_000, lognormal(4 * MS))],
        [30.0, 67.0],
    ),
    "long beside short": (
        [Tenant(300_000, lognormal(4 * MS)), Tenant(1_000_000, lognormal(50 * US))],
        [30.0, 67.0],
    ),
    "bursts": (
        [
            Tenant(100_000, lognormal(100 * US), batch=4, gap_ns=300 * US),
            Tenant(1_000_000, lognormal(200 * US)),
        ],
        [10.0, 87.2],
    ),
    "100 us or 5 ms": ([Tenant(300_000, mixed), Tenant(1_000_000, lognormal(500 * US))], [30.0, 66.9]),
}


@pytest.mark.parametrize("name", MIXES)
def test_shares_hold_in_the_model(name: str) -> None:
    """Within two points of what perfect accounting gives in the same model."""
    tenants, expected = MIXES[name]
    true, charged, _ = shares(tenants, seconds=2)
    assert [round(100 * share, 1) for share in true] == pytest.approx(expected, abs=2.0)
    for tenant, is_charged in zip(tenants, charged, strict=True):
        if tenant.rate_ppm < 1_000_000:
            assert is_charged <= tenant.rate_ppm / 1e6 + 0.012  # a burst in two seconds
