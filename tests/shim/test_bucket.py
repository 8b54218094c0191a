"""The token bucket, as shipped (bucket.h), on virtual time."""

import ctypes

from hypothesis import given, settings
from hypothesis import strategies as st
from share_core import MS, Line, core

from gshare.shim import abi

RATES = st.integers(min_value=10_000, max_value=1_000_000)
SECOND = 1_000 * MS


def line(
    rate_ppm: int, *, t0_ns: int = 0, allowance_ns: int = 0, burst_ns: int = 20 * MS, resume_ns: int = 5 * MS
) -> Line:
    return Line(t0_ns, allowance_ns, burst_ns, resume_ns, 2 * MS, 0, rate_ppm, rate_ppm, 0)


@given(RATES, st.integers(0, 10**18), st.integers(0, 10**15))
def test_the_allowance_is_the_line(rate_ppm: int, now_ns: int, t0_ns: int) -> None:
    expected = max(0, now_ns - t0_ns) * rate_ppm // 1_000_000
    assert abs(core().core_line_at(line(rate_ppm, t0_ns=t0_ns), now_ns) - expected) <= 1


@given(RATES, RATES, st.integers(0, 10**12), st.integers(1, 10**12), st.integers(0, 10**12))
def test_after_its_lease_a_rate_is_the_guarantee(
    rate_ppm: int, guarantee_ppm: int, t0_ns: int, lease_until_ns: int, now_ns: int
) -> None:
    leased = line(rate_ppm, t0_ns=t0_ns)
    leased.guarantee_ppm, leased.lease_until_ns = guarantee_ppm, lease_until_ns
    until = max(min(now_ns, lease_until_ns), t0_ns)
    expected = ((until - t0_ns) * rate_ppm + max(now_ns - until, 0) * guarantee_ppm) // 1_000_000
    assert abs(core().core_line_at(leased, now_ns) - expected) <= 2
    seen_by_the_controller = abi.Line(t0_ns, 0, rate_ppm, guarantee_ppm, lease_until_ns)
    assert abs(seen_by_the_controller.at(now_ns) - expected) <= 1


@given(RATES, st.integers(-(10**12), 10**12), st.integers(0, 10**12))
def test_an_idle_tenant_saves_no_more_than_the_burst(rate_ppm: int, spent_ns: int, now_ns: int) -> None:
    spent = ctypes.c_int64(spent_ns)
    available = core().core_look(spent, line(rate_ppm), now_ns)
    assert available == core().core_line_at(line(rate_ppm), now_ns) - spent.value
    assert available <= 20 * MS
    if spent.value != spent_ns:
        assert available == 20 * MS  # clamped: only ever upwards, and only to the burst
        assert spent.value > spent_ns


@given(RATES, st.integers(-(10**10), 0))
def test_a_closed_gate_opens_when_it_was_said_to(rate_ppm: int, available_ns: int) -> None:
    bucket = line(rate_ppm)
    wait_ns = core().core_wait_ns(bucket, available_ns)
    assert not core().core_open(bucket, available_ns, 0, True)
    later = available_ns + wait_ns * rate_ppm // 1_000_000
    assert core().core_open(bucket, later, 0, True)
    earlier = available_ns + max(0, wait_ns - 1_000_000_000 // rate_ppm - 1) * rate_ppm // 1_000_000
    assert not core().core_open(bucket, earlier, 0, True)


def test_an_open_gate_stays_open_to_the_last_nanosecond_and_a_closed_one_waits_for_more() -> None:
    bucket = line(300_000)
    assert core().core_open(bucket, 1, 0, False)
    assert not core().core_open(bucket, 0, 0, False)
    assert not core().core_open(bucket, 5 * MS - 1, 0, True)
    assert core().core_open(bucket, 5 * MS, 0, True)


def test_a_run_ends_before_work_that_would_leave_more_debt_than_there_was_too_little_of() -> None:
    bucket = line(300_000)
    assert not core().core_open(bucket, 1 * MS, 3 * MS, False)
    assert core().core_open(bucket, 2 * MS, 3 * MS, False)
    assert core().core_open(bucket, 5 * MS, 100 * MS, False), "a closed gate would wait for no more"


def test_a_tenant_without_a_rate_waits_for_ever() -> None:
    assert core().core_wait_ns(line(0), -1) == 2**64 - 1


@given(RATES, RATES, st.integers(1, 10 * SECOND), st.integers(0, 10 * SECOND))
def test_a_new_rate_keeps_the_debt(before_ppm: int, after_ppm: int, now_ns: int, debt_ns: int) -> None:
    old = line(before_ppm)
    spent = ctypes.c_int64(core().core_line_at(old, now_ns) + debt_ns)
    new = line(after_ppm, t0_ns=now_ns, allowance_ns=core().core_line_at(old, now_ns))
    assert core().core_look(spent, new, now_ns) == -debt_ns


LAUNCHES = st.lists(st.tuples(st.integers(0, 50 * MS), st.integers(1, 30 * MS)), min_size=1, max_size=200)


@settings(max_examples=200)
@given(RATES, LAUNCHES)
def test_what_is_charged_in_any_window_is_bounded(rate_ppm: int, launches: list[tuple[int, int]]) -> None:
    """Charges in a window are at most cap times window, plus the burst, plus the longest kernel."""
    bucket, spent, now, closed = line(rate_ppm), ctypes.c_int64(0), 0, False
    charges: list[tuple[int, int]] = []
    for pause_ns, cost_ns in launches:
        now += pause_ns
        while True:
            available = core().core_look(spent, bucket, now)
            closed = not core().core_open(bucket, available, cost_ns, closed)
            if not closed:
                break
            now += core().core_wait_ns(bucket, available)
        assert cost_ns - available <= max(cost_ns / 2, cost_ns - 5 * MS) + 1, "debt"
        spent.value += cost_ns
        charges.append((now, cost_ns))
    longest = max(cost for _, cost in charges)
    for first, (start, _) in enumerate(charges):
        total = 0
        for at, cost in charges[first:]:
            total += cost
            assert total <= (at - start) * rate_ppm // 1_000_000 + 20 * MS + longest + 1


def test_a_line_that_is_being_written_is_not_taken() -> None:
    """The seqlock: odd means that the controller is in the middle."""
    limits = (ctypes.c_uint8 * 128)()
    words = ctypes.cast(limits, ctypes.POINTER(ctypes.c_uint32))
    line_seq = 44 // 4  # offsetof(struct gs_device_limits, line_seq)
    copy = Line(seq=99)
    words[line_seq] = 3
    assert not core().core_line_read(limits, ctypes.byref(copy))
    assert copy.seq == 99
    words[line_seq] = 4
    assert core().core_line_read(limits, ctypes.byref(copy))
    assert copy.seq == 4
