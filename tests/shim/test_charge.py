"""What a window costs, as shipped (charge.h): step by step, and in a model of a shared GPU."""

import ctypes
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from share_core import MS, US, Busy, History, Loss, Own, Phase, Seen, Slices, Union, core, new_session
from share_model import SLICE_NS, SWITCH_NS, Tenant, lognormal, shares

# -------- foreign slices --------


def measure(seen: Seen, slices: Slices, phase: Phase) -> Own:
    found = Own()
    core().core_own(ctypes.byref(slices), ctypes.byref(seen), ctypes.byref(phase), ctypes.byref(found))
    return found


def new_slices() -> Slices:
    slices = Slices()
    core().core_slices_init(slices)
    return slices


def own(elapsed_ns: int, *, learnt_ns: int = 0, busy_milli: int = 1000) -> int:
    return int(measure(Seen(elapsed_ns, learnt_ns, busy_milli), new_slices(), Phase()).ns)


@given(st.integers(0, 10**10), st.integers(0, 10**10))
def test_alone_everything_is_our_own(elapsed_ns: int, learnt_ns: int) -> None:
    assert own(elapsed_ns, learnt_ns=learnt_ns) == elapsed_ns


@given(st.integers(2, 8), st.integers(0, 20), st.floats(-0.95, 0.95))
def test_rounds_are_read_off_the_elapsed_time(contexts: int, rounds: int, part: float) -> None:
    """A window with m interruptions holds between m - 1 and m + 1 slices of its own."""
    kernel_ns = max(1, int((rounds + part) * SLICE_NS)) if rounds else max(1, int(abs(part) * SLICE_NS))
    foreign_ns = rounds * ((contexts - 1) * SLICE_NS + contexts * SWITCH_NS)
    assert own(kernel_ns + foreign_ns, busy_milli=contexts * 1000) == kernel_ns


TIMES = st.integers(0, 10**10)


@given(
    st.lists(st.tuples(TIMES, st.integers(0, 20_000), TIMES, TIMES), max_size=20),
    st.integers(0, 10**9),
    st.integers(1, 4 * 10**6),
)
def test_nobody_is_charged_for_more_than_the_elapsed_time(
    windows: list[tuple[int, int, int, int]], learnt_ns: int, slice_ns: int
) -> None:
    """Whatever the windows before were, and looks at neighbours, which are of other times than markers."""
    slices, phase = new_slices(), Phase()
    core().core_slices_adopt(slices, slice_ns)
    for elapsed_ns, busy_milli, alone_ns, part_ns in windows:
        seen = Seen(elapsed_ns, learnt_ns, busy_milli, alone_ns, part_ns, learnt_ns)
        found = measure(seen, slices, phase)
        assert 0 <= found.ns <= elapsed_ns
        assert found.rounds == 0 or elapsed_ns > found.ns


class Saturating:
    """A tenant that always has work beside others that do: its windows, one after the other."""

    def __init__(self, slice_ns: int, contexts: int, seed: int = 1) -> None:
        self.slice_ns, self.contexts = slice_ns, contexts
        self.gap_ns = (contexts - 1) * slice_ns + contexts * SWITCH_NS
        self.random = random.Random(seed)
        self.left_ns = slice_ns

    def window(self, mean_ns: int, sigma: float = 0.25) -> tuple[int, int]:
        """What a window has of its own, and how long it takes."""
        own_ns = max(1, lognormal(mean_ns, sigma)(self.random))
        interruptions = 0 if own_ns <= self.left_ns else 1 + (own_ns - self.left_ns - 1) // self.slice_ns
        self.left_ns += interruptions * self.slice_ns - own_ns
        return own_ns, own_ns + interruptions * self.gap_ns


@pytest.mark.parametrize("contexts", [2, 3, 4, 16, 64])
@pytest.mark.parametrize("slice_ns", [300 * US, MS, 2 * MS])
@pytest.mark.parametrize("sigma", [0, 0.25])
@pytest.mark.parametrize("part", [0.1, 0.35, 0.6, 0.7, 1, 2])
def test_kernels_of_any_part_of_a_slice_are_charged_right(
    slice_ns: int, contexts: int, sigma: float, part: float
) -> None:
    """Those that always take the same, too, whose windows end at the same few places of a slice."""
    tenant, slices, phase = Saturating(slice_ns, contexts), new_slices(), new_session()
    core().core_slices_adopt(slices, slice_ns)
    true_ns = charged_ns = 0
    for _ in range(2000):
        own_ns, elapsed_ns = tenant.window(round(part * slice_ns), sigma)
        true_ns += own_ns
        charged_ns += measure(Seen(elapsed_ns, round(part * slice_ns), contexts * 1000), slices, phase).ns
    assert charged_ns == pytest.approx(true_ns, rel=0.03)


@pytest.mark.parametrize("slice_ns", [300_000, 1_000_000, 2_000_000])
def test_where_neighbours_come_and_go_long_kernels_are_charged_right(slice_ns: int) -> None:
    """A session begins with a whole slice of ours and ends within one, after rounds of any length."""
    generator, slices = random.Random(1), new_slices()
    core().core_slices_adopt(slices, slice_ns)
    charged = true = 0
    for _ in range(200):
        phase, left_ns, contexts = new_session(), slice_ns, 2
        for _ in range(4):
            own_ns = rest_ns = lognormal(5 * MS, 0.25)(generator)
            elapsed_ns, sum_ns, part_ns = 0, 0, 0.0
            while rest_ns > 0:
                ran_ns = min(rest_ns, left_ns)
                rest_ns, left_ns = rest_ns - ran_ns, left_ns - ran_ns
                if left_ns == 0 and rest_ns > 0:
                    ran_ns += (contexts - 1) * slice_ns + contexts * SWITCH_NS
                    left_ns = slice_ns
                elapsed_ns += ran_ns
                sum_ns += ran_ns * contexts
                part_ns += ran_ns / contexts
                contexts = generator.choice((2, 3, 4)) if left_ns == slice_ns else contexts
            seen = Seen(elapsed_ns, 5 * MS, sum_ns * 1000 // elapsed_ns, 0, round(part_ns), 5 * MS)
            true += own_ns
            charged += measure(seen, slices, phase).ns
    assert charged == pytest.approx(true, rel=0.03)


def test_many_neighbours_do_not_make_an_error_larger() -> None:
    """Two of 64 are not there, of which the busy words say nothing."""
    tenant, slices, phase = Saturating(MS, 62), new_slices(), new_session()
    core().core_slices_adopt(slices, MS)
    true_ns = charged_ns = 0
    for _ in range(20_000):
        own_ns, elapsed_ns = tenant.window(400 * US)
        true_ns += own_ns
        charged_ns += measure(Seen(elapsed_ns, 400 * US, 64_000), slices, phase).ns
    assert charged_ns == pytest.approx(true_ns, rel=0.04)


def test_windows_of_a_kernel_that_has_become_slower_are_no_interruptions_for_ever() -> None:
    """They are said to be guesses, so that whoever gets many of them learns anew."""
    slices, phase = new_slices(), Phase()
    core().core_slices_adopt(slices, MS)
    assert measure(Seen(900 * US, 100 * US, 2000), slices, phase).guessed
    assert not measure(Seen(500 * US, 100 * US, 2000), slices, phase).guessed


@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 10**6)), max_size=30))
def test_light_neighbours_take_no_more_than_they_said(windows: list[tuple[int, int]]) -> None:
    left, said, taken = ctypes.c_uint64(), 0, 0
    for says_ns, elapsed_ns in windows:
        left.value += says_ns
        said += says_ns
        rest_ns = core().core_take_lights(left, elapsed_ns)
        assert elapsed_ns // 4 <= rest_ns <= elapsed_ns
        taken += elapsed_ns - rest_ns
        assert taken + left.value == said


def test_switches_are_charged_by_the_part_of_the_time_they_take() -> None:
    loss = Loss()
    for at in range(1, 100):
        core().core_loss_look(loss, at * 50 * MS, at * 5 * MS, MS)  # a tenth of the time
    assert loss.ppm == pytest.approx(100_000, rel=0.01)
    assert core().core_loss_on_top(loss, 90 * MS) == pytest.approx(10 * MS, rel=0.01)
    for at in range(100, 200):
        core().core_loss_look(loss, at * 50 * MS, 99 * 5 * MS, MS)
    assert core().core_loss_on_top(loss, 90 * MS) == 0
    core().core_loss_look(loss, 200 * 50 * MS, 10**12, MS)  # somebody says more than there is
    assert core().core_loss_on_top(loss, 70 * MS) <= 30 * MS


def test_when_slices_are_found_what_switches_cost_is_reckoned_anew() -> None:
    """It was counted from slices of another length."""
    loss = Loss()
    for at in range(1, 40):
        core().core_loss_look(loss, at * 100 * MS, at * 2 * MS, MS)
    assert loss.ppm == pytest.approx(20_000, rel=0.01)
    core().core_loss_look(loss, 40 * 100 * MS, 39 * 2 * MS + 10 * MS, 0)  # short kernels: little by little
    assert loss.ppm == pytest.approx(40_000, rel=0.01)
    for at in range(41, 43):
        core().core_loss_look(loss, at * 100 * MS, 39 * 2 * MS + (at - 39) * 10 * MS, 300 * US)
    assert loss.ppm == pytest.approx(100_000, rel=0.01)


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


@given(
    st.lists(
        st.tuples(st.integers(0, 200), st.integers(1, 40), st.floats(0, 1), st.floats(0, 1)), max_size=14
    )
)
def test_streams_are_charged_what_they_had_and_together_no_more_than_could_be_theirs(
    windows: list[tuple[int, int, float, float]],
) -> None:
    charged, covered, total, own_ns = Union(), set[int](), 0, 0
    for start, length, could, own in windows:
        could_ns = int(could * length)
        own_ns += int(own * could_ns)
        total += core().core_union_charge(charged, start, start + length, could_ns, int(own * could_ns))
        covered |= set(range(start, start + length))
        assert total <= min(own_ns, len(covered))


def test_gaps_that_one_stream_has_are_room_for_others() -> None:
    charged = Union()
    assert core().core_union_charge(charged, 0, 100, 100, 30) == 30
    assert core().core_union_charge(charged, 10, 90, 80, 50) == 50
    assert core().core_union_charge(charged, 10, 90, 80, 50) == 20


def test_the_oldest_spans_are_forgotten_and_the_newest_kept() -> None:
    charged = Union()
    for i in range(100):
        assert core().core_union_add(charged, 10 * i, 10 * i + 5) == 5
    assert core().core_union_add(charged, 10 * 99, 10 * 99 + 5) == 0
    assert charged.count == 16


def history_of(*looks: tuple[int, int, int], light: int = 0) -> History:
    """Of a time, how many were busy then, and what others had published, in microseconds."""
    history = History()
    for at, busy, published in looks:
        core().core_history_add(history, at * US, busy, light, published * US)
    return history


def seen_busy(history: History, from_us: int, to_us: int) -> Busy:
    busy = Busy()
    core().core_history_busy(history, from_us * US, to_us * US, busy)
    return busy


def test_busy_contexts_are_averaged_over_time() -> None:
    history = history_of((1000, 1, 0), (2000, 3, 50), (3000, 1, 90))
    assert seen_busy(history, 2000, 3000).milli == 3000
    assert seen_busy(history, 1500, 2500).milli == 2000
    assert seen_busy(history, 1500, 2500).others_ns == 50 * US
    assert seen_busy(history, 1500, 2500).alone_ns == 500 * US
    assert seen_busy(history, 1400, 2600).part_ns == 200 * US
    assert seen_busy(history, 4000, 5000).milli == 1000
    assert seen_busy(history, 0, 1000).milli == 1000  # before the first look: as the first


def test_light_neighbours_are_counted_apart() -> None:
    history = history_of((1000, 2, 0), (2000, 2, 10))
    core().core_history_add(history, 2500 * US, 2, 1, 20 * US)
    core().core_history_add(history, 2700 * US, 2, 0, 30 * US)
    assert seen_busy(history, 1500, 3000).light_ns == 200 * US
    assert seen_busy(history, 2600, 2700).light_ns == 100 * US
    assert seen_busy(history, 1500, 3000).milli == 2000


def test_many_looks_that_say_the_same_do_not_push_out_the_others() -> None:
    history = history_of(*((at, 1 + (at >= 5000), at) for at in range(0, 10_000, 20)))
    assert history.count < 64
    busy = seen_busy(history, 0, 10_000)
    assert (busy.alone_ns, busy.part_ns) == (5 * MS, 2500 * US)
    assert busy.others_ns == 9980 * US


@given(st.integers(1, 200), st.integers(0, 20_000), st.integers(1, 500))
def test_a_mean_lies_within_what_was_seen(count: int, start: int, length: int) -> None:
    generator = random.Random(count)
    history = history_of(*((at * 100, generator.randint(1, 5), at) for at in range(count)))
    busy = seen_busy(history, start, start + length)
    assert 1000 <= busy.milli <= 5000
    assert busy.alone_ns + 2 * busy.part_ns <= length * US


@pytest.mark.parametrize("slice_ns", [300 * US, MS, 2 * MS])
def test_neighbours_that_come_and_go_between_markers_are_reckoned_with(slice_ns: int) -> None:
    """Of windows of several rounds, each of which has one or two others, from slice to slice."""
    generator, slices = random.Random(1), new_slices()
    core().core_slices_adopt(slices, slice_ns)
    true_ns = charged_ns = 0
    for _ in range(2000):
        rounds = generator.randint(2, 6)
        others = [generator.randint(1, 2) for _ in range(rounds)]
        first_ns, last_ns = generator.randrange(slice_ns), generator.randrange(slice_ns)
        owns_ns = [first_ns, *[slice_ns] * (rounds - 1)]
        lengths_ns = [
            own_ns + n * slice_ns + (n + 1) * SWITCH_NS for own_ns, n in zip(owns_ns, others, strict=True)
        ]
        elapsed_ns = sum(lengths_ns) + last_ns
        part_ns = sum(length // (n + 1) for length, n in zip(lengths_ns, others, strict=True))
        milli = 1000 + sum(others) * 1000 // rounds
        seen = Seen(elapsed_ns, 5 * MS, milli, 0, part_ns + last_ns // (others[-1] + 1), 5 * MS)
        true_ns += sum(owns_ns) + last_ns
        charged_ns += measure(seen, slices, Phase()).ns
    assert charged_ns == pytest.approx(true_ns, rel=0.05)


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
