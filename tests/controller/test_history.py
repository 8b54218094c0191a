"""What tenants got over the last seconds, told from counters; on a clock of the test's own."""

from hypothesis import given
from hypothesis import strategies as st

from gshare.controller.history import PERIOD_NS, WINDOWS_NS, Loan, Reading, loans
from gshare.controller.minute import MOST, Minute, difference

S = 1_000_000_000
MS = 1_000_000


def steady(seconds: int, share: float, start_s: int = 0) -> Reading:
    """A tenant that has had that part of every second, in launches of 1 ms that wait for 2 ms each."""
    gpu_ns = int(seconds * S * share)
    return Reading((start_s + seconds) * S, gpu_ns, 2 * gpu_ns, gpu_ns // MS, seconds * S // 2)


def kept(*readings: Reading) -> Minute:
    history = Minute()
    for reading in readings:
        history.keep(reading)
    return history


def test_without_readings_nothing_is_told() -> None:
    assert kept().window(steady(5, 0.3), S) is None
    assert kept(steady(5, 0.3)).window(steady(5, 0.3), S) is None
    assert kept().shares_ppm() == []


def test_a_steady_tenant_has_the_same_share_over_all_windows() -> None:
    history = kept(*(steady(second, 0.3) for second in range(100)))
    for length_ns in WINDOWS_NS:
        window = history.window(steady(100, 0.3), length_ns)
        assert window is not None
        assert window.elapsed_ns == length_ns
        assert (window.share_ppm, window.allowed_ppm, window.throttled_ppm) == (300_000, 500_000, 600_000)
        assert window.queue_wait_ns == 2 * MS
    assert history.shares_ppm() == [300_000] * (MOST - 1)


def test_windows_differ_where_the_share_has_changed() -> None:
    """30 % until five seconds ago, everything since."""
    before = [steady(second, 0.3) for second in range(95)]
    after = [Reading((94 + s) * S, before[-1].gpu_ns + s * S) for s in range(1, 6)]
    history = kept(*before, *after[:-1])
    shares = [history.window(after[-1], length_ns) for length_ns in WINDOWS_NS]
    assert [window and window.share_ppm for window in shares] == [1_000_000, 650_000, 358_333]


def test_a_young_tenant_has_shorter_windows() -> None:
    window = kept(steady(1, 0.5), steady(2, 0.5)).window(steady(3, 0.5), 60 * S)
    assert window is not None
    assert (window.elapsed_ns, window.share_ppm) == (2 * S, 500_000)


def test_readings_that_come_a_little_late_do_not_double_the_window() -> None:
    history = kept(*(Reading(int(1.02 * second * S)) for second in range(10)))
    window = history.window(Reading(int(9 * 1.02 * S) + S - 40 * MS), S)
    assert window is not None
    assert window.elapsed_ns == S - 40 * MS


def test_copies_are_told_by_direction() -> None:
    window = difference(
        Reading(0, copied_bytes=(100, 5)), Reading(2 * S, copied_bytes=(300, 5), copy_waited_ns=S)
    )
    assert window.copied_bytes_per_s == (100, 0)
    assert window.copy_waited_ppm == 500_000


def test_another_tenant_of_the_same_name_starts_afresh() -> None:
    history = kept(*(steady(second, 0.9) for second in range(10)), Reading(10 * S), Reading(11 * S, S // 2))
    window = history.window(Reading(12 * S, S), 60 * S)
    assert window is not None
    assert (window.elapsed_ns, window.share_ppm) == (2 * S, 500_000)
    assert kept(steady(5, 0.9)).window(Reading(7 * S, 0), S) is None


def test_a_minute_is_all_that_is_kept() -> None:
    history = kept(*(steady(second, 0.3) for second in range(1000)))
    assert len(history.shares_ppm()) * PERIOD_NS <= WINDOWS_NS[-1] + PERIOD_NS


def test_what_one_leaves_another_borrows() -> None:
    assert loans([(600_000, 300_000), (100_000, 700_000)]) == [Loan(300_000, 0), Loan(0, 300_000)]
    assert loans([(300_000, 300_000), (100_000, 700_000)]) == [Loan(0, 0), Loan(0, 0)]
    assert loans([(900_000, 0), (50_000, 100_000)]) == [Loan(900_000, 0), Loan(0, 50_000)]
    assert loans([]) == []


@given(st.lists(st.tuples(st.integers(0, 1_000_000), st.integers(0, 1_000_000)), max_size=20))
def test_nobody_lends_what_it_used_or_more_than_was_borrowed(used: list[tuple[int, int]]) -> None:
    told = loans(used)
    assert sum(loan.lent_ppm for loan in told) <= sum(loan.borrowed_ppm for loan in told)
    for (share, guarantee), loan in zip(used, told, strict=True):
        assert loan.borrowed_ppm == 0 or loan.lent_ppm == 0
        assert loan.lent_ppm <= max(guarantee - share, 0)


def test_a_launch_waits_for_its_share_and_for_what_is_in_flight() -> None:
    history = kept(Reading(0), Reading(2 * S, throttled_ns=S, room_waited_ns=S, launches=1000))
    window = history.window(Reading(2 * S, throttled_ns=S, room_waited_ns=S, launches=1000), S)
    assert window is not None
    assert (window.throttled_ppm, window.queue_wait_ns) == (500_000, 2 * MS)
