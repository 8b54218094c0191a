"""How tenants share a device, decided by pure functions: guarantees hold, and all of it is shared out."""

from hypothesis import given
from hypothesis import strategies as st

from gshare.controller import shares
from gshare.controller.protocol import Limits
from gshare.controller.shares import Asker, Mode, Seen
from gshare.controller.units import FULL_PPM, PRIORITIES
from gshare.shim import abi

SECOND = 1_000_000_000


@st.composite
def askers(draw: st.DrawFn) -> list[Asker]:
    """Tenants whose guarantees together fit on the device."""
    left, made = FULL_PPM, []
    for number in range(draw(st.integers(1, 12))):
        guarantee = draw(st.none() | st.integers(1, left)) if left else None
        left -= guarantee or 0
        ceiling = draw(st.none() | st.integers(guarantee, FULL_PPM)) if guarantee else None
        weight = draw(st.none() | st.integers(1, 1000)) if guarantee is None or ceiling else None
        made.append(
            Asker(
                number,
                Limits(
                    compute_ppm=guarantee,
                    ceiling_ppm=ceiling,
                    weight=weight,
                    priority=draw(st.sampled_from((None, *PRIORITIES))),
                ),
                draw(st.booleans()),
            )
        )
    return made


def test_who_asks_for_nothing_pays_nothing() -> None:
    for count in (1, 2, 5):
        found = shares.shares([Asker(number, Limits()) for number in range(count)], False)
        assert {share.cap_ppm for share in found} == {abi.NO_CAP_PPM}
    (high,) = shares.shares([Asker(0, Limits(priority="high"))], False)
    assert high.cap_ppm == abi.NO_CAP_PPM


@given(askers(), st.booleans())
def test_guarantees_are_kept_and_fit(given_: list[Asker], turning: bool) -> None:
    found = shares.shares(given_, turning)
    for asker, share in zip(given_, found, strict=True):
        if asker.limits.compute_ppm is not None:
            assert share.guarantee_ppm == asker.limits.compute_ppm
            assert (
                share.ceiling_ppm == share.cap_ppm == (asker.limits.ceiling_ppm or asker.limits.compute_ppm)
            )
            assert bool(share.weight) == (asker.limits.ceiling_ppm is not None)
        if share.cap_ppm == abi.NO_CAP_PPM:
            assert not asker.paused  # a launch that is not metered does not look
    rates = [share.guarantee_ppm for share in found if share.ceiling_ppm]
    assert sum(rates) <= FULL_PPM + shares.FLOOR_PPM
    if len(given_) > 1 and any(a.limits.compute_ppm or a.limits.weight for a in given_):
        assert all(share.weight or share.ceiling_ppm == share.guarantee_ppm for share in found)
        without = sum(asker.limits.compute_ppm is None for asker in given_)
        if without:
            assert sum(rates) > FULL_PPM - without - 1  # nothing is left over but what rounding keeps


@given(st.lists(st.integers(1, 1000), min_size=2, max_size=60))
def test_weights_divide_by_weight(weights: list[int]) -> None:
    found = shares.shares([Asker(i, Limits(weight=weight)) for i, weight in enumerate(weights)], False)
    total = sum(weights)
    for weight, share in zip(weights, found, strict=True):
        assert abs(share.guarantee_ppm - FULL_PPM * weight / total) <= 1


def test_low_priority_has_little_in_flight_and_ranks_are_measured() -> None:
    high, low = Asker(0, Limits(priority="high")), Asker(1, Limits(priority="low"))
    found = shares.shares([high, low], False)
    assert [share.cap_ppm for share in found] == [abi.METERED_PPM] * 2
    assert [share.guarantee_ppm for share in found] == [shares.UNBOUNDED_PPM] * 2
    assert [share.in_flight_ns for share in found] == [2_000_000, 500_000]
    for waiting in (low, Asker(0, Limits(weight=5)), Asker(0, Limits(), paused=True)):
        (alone,) = shares.shares([waiting], False)  # not much may be queued when somebody arrives
        assert (alone.cap_ppm, alone.guarantee_ppm) == (abi.METERED_PPM, shares.UNBOUNDED_PPM)


@given(
    st.dictionaries(st.integers(0, 255), st.integers(0, 2), min_size=1, max_size=20),
    st.lists(st.lists(st.integers(0, 255), unique=True), max_size=4),
)
def test_above_are_those_of_higher_rank_beside_one(ranks: dict[int, int], devices: list[list[int]]) -> None:
    on = [[index for index in device if index in ranks] for device in devices]
    found = shares.above(ranks, on)
    assert set(found) == set(ranks)
    for index, others in found.items():
        for other, rank in ranks.items():
            together = any(index in device and other in device for device in on)
            assert (other in others) == (together and rank > ranks[index])


@given(st.lists(st.integers(0, FULL_PPM), min_size=2, max_size=256))
def test_places_fill_the_period_and_none_is_too_short(guarantees: list[int]) -> None:
    period_ns, table = shares.places(dict(enumerate(guarantees)))
    assert period_ns <= 2 * 10_000_000 * len(guarantees)
    assert 10**9 % period_ns < 10**9 // period_ns  # whole periods in a second
    assert period_ns * 2 > min(10_000_000 * len(guarantees), 10**9)
    assert [index for _, index in table] == list(range(len(guarantees)))
    begins = [begin for begin, _ in table]
    lengths = [end - begin for begin, end in zip(begins, [*begins[1:], period_ns], strict=True)]
    assert begins[0] == 0
    least_ns = min(shares.LEAST_TURN_NS, period_ns // (2 * len(guarantees)))
    assert min(lengths) >= least_ns - 1
    long = [(length, ppm) for length, ppm in zip(lengths, guarantees, strict=True) if length > least_ns + 100]
    for length, ppm in long[:-1]:  # the last one has what rounding leaves, too
        other_length, other_ppm = long[0]
        assert abs(length * other_ppm - other_length * ppm) <= 256 * max(other_ppm, ppm, 1)


def test_examples_of_places() -> None:
    assert shares.places({0: 300_000, 3: 700_000}) == (20_000_000, [(0, 0), (6_000_000, 3)])
    assert shares.places({0: 10_000, 1: 990_000}) == (40_000_000, [(0, 0), (2_000_000, 1)])
    assert shares.places({0: 50_000, 1: 950_000}) == (40_000_000, [(0, 0), (2_000_000, 1)])
    assert shares.places({0: 80_000, 1: 920_000}) == (25_000_000, [(0, 0), (2_000_000, 1)])
    assert shares.places({0: 0, 1: 0, 2: 0})[0] == 10**9 // 34
    assert shares.places({0: 0, 1: 0}) == (20_000_000, [(0, 0), (10_000_000, 1)])


def test_turns_are_taken_when_asked_for_or_chosen() -> None:
    share, free = Limits(compute_ppm=300_000), Limits()
    two = [Asker(0, share), Asker(1, free)]
    assert not shares.takes_turns(two, False)
    assert shares.takes_turns(two, True)
    assert shares.takes_turns([Asker(0, Limits(mode="turns")), Asker(1, free)], False)
    assert not shares.takes_turns([Asker(0, Limits(mode="concurrent")), Asker(1, share)], True)
    assert not shares.takes_turns([Asker(0, Limits(mode="turns"))], True)  # alone
    assert not shares.takes_turns([Asker(0, free), Asker(1, free)], True)  # nobody cares
    assert not shares.takes_turns([Asker(0, share), Asker(1, Limits(priority="low"))], True)
    assert shares.takes_turns([Asker(number, Limits(mode="turns")) for number in range(256)], False)


def test_turns_are_for_two_that_could_use_all() -> None:
    capped, full = Seen(290_000, 300_000, 600_000), Seen(650_000, 700_000, 0)
    light, waiting = Seen(100_000, 700_000, 0), Seen(100_000, 700_000, 400_000)
    assert shares.prefers_turns([capped, full], False)
    assert not shares.prefers_turns([capped, light], False)
    assert not shares.prefers_turns([capped], False)
    assert shares.prefers_turns([capped, waiting], False)
    assert not shares.prefers_turns([capped, waiting], True)  # in turns, all wait
    assert shares.prefers_turns([capped, full], True)


@given(st.lists(st.booleans(), min_size=1, max_size=40), st.integers(SECOND, 2 * SECOND))
def test_a_mode_changes_only_when_two_looks_agree(looks: list[bool], apart_ns: int) -> None:
    mode, now_ns = Mode(), 0
    for number, better in enumerate(looks):
        before, mode = mode, shares.reconsider(mode, better, now_ns)
        if mode.turning != before.turning:
            assert looks[number - 1] == better == mode.turning
        elif number and looks[number - 1] == better:
            assert mode.turning == better
        now_ns += apart_ns


def test_looks_in_quick_succession_count_as_one() -> None:
    mode = Mode()
    for now_ns in range(0, SECOND // 2, SECOND // 100):
        mode = shares.reconsider(mode, True, now_ns)
    assert not mode.turning


def test_weights_of_lower_priority_are_for_what_is_left() -> None:
    """Else who is above them would wait for its own part while they use theirs."""
    normal, low, lower = (
        Asker(number, Limits(weight=weight, priority=priority))
        for number, (weight, priority) in enumerate(((1, None), (1, "low"), (3, "low")))
    )
    assert [s.guarantee_ppm for s in shares.shares([normal, low, lower], False)] == [995_000, 1_250, 3_750]
    assert [s.guarantee_ppm for s in shares.shares([low, lower], False)] == [250_000, 750_000]
    promised = Asker(3, Limits(compute_ppm=600_000))
    found = [share.guarantee_ppm for share in shares.shares([promised, normal, low], False)]
    assert found == [600_000, 395_000, 5_000]
