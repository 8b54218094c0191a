"""What is lent: nobody loses its guarantee, nothing that is wanted is left over, weights divide the rest."""

from hypothesis import given
from hypothesis import strategies as st

from gshare.controller.fill import fill, parts

FULL = 1_000_000
PPM = st.integers(0, FULL)


@st.composite
def tenants(draw: st.DrawFn) -> list[tuple[int, int, int, int]]:
    """Tenants whose guarantees together fit on the device."""
    count = draw(st.integers(1, 20))
    shares = draw(st.lists(st.integers(0, 100), min_size=count, max_size=count))
    total = max(sum(shares), 100)
    made = []
    for share in shares:
        guarantee = share * FULL // total
        ceiling = draw(st.integers(guarantee, FULL))
        made.append((guarantee, ceiling, draw(PPM), draw(st.integers(1, 1000))))
    return made


def borrowed(wants: list[tuple[int, int, int, int]], rates: list[int]) -> list[int]:
    return [rate - want[0] for want, rate in zip(wants, rates, strict=True)]


@given(tenants())
def test_a_rate_is_the_guarantee_and_at_most_what_is_wanted_and_allowed(
    wants: list[tuple[int, int, int, int]],
) -> None:
    for (guarantee, ceiling, demand, _), rate in zip(wants, fill(wants, FULL), strict=True):
        assert guarantee <= rate <= max(guarantee, min(ceiling, demand))


@given(tenants())
def test_no_more_is_lent_than_is_left(wants: list[tuple[int, int, int, int]]) -> None:
    left = FULL - sum(min(guarantee, demand) for guarantee, _, demand, _ in wants)
    assert sum(borrowed(wants, fill(wants, FULL))) <= left


@given(tenants())
def test_nothing_is_left_over_that_somebody_wants(wants: list[tuple[int, int, int, int]]) -> None:
    rates = fill(wants, FULL)
    left = FULL - sum(min(guarantee, demand) for guarantee, _, demand, _ in wants)
    if any(rate < min(ceiling, demand) for (_, ceiling, demand, _), rate in zip(wants, rates, strict=True)):
        assert sum(borrowed(wants, rates)) > left - len(wants)  # but for what rounding keeps


@given(tenants())
def test_who_is_not_satisfied_has_as_much_by_weight_as_anybody(
    wants: list[tuple[int, int, int, int]],
) -> None:
    """Max-min: nobody's part could grow but at the cost of somebody who has less, by weight."""
    rates = fill(wants, FULL)
    loans = borrowed(wants, rates)
    for (_, ceiling, demand, weight), rate, loan in zip(wants, rates, loans, strict=True):
        if rate < min(ceiling, demand):
            for (_, _, _, other_weight), other_loan in zip(wants, loans, strict=True):
                assert (loan + 1) * other_weight >= (other_loan - len(wants)) * weight


def test_examples() -> None:
    idle, busy = 0, FULL
    assert fill([(300_000, 600_000, busy, 1), (700_000, 700_000, idle, 1)], FULL) == [600_000, 700_000]
    assert fill([(300_000, 600_000, busy, 1), (700_000, 700_000, busy, 1)], FULL) == [300_000, 700_000]
    assert fill([(0, FULL, busy, 3), (0, FULL, busy, 1)], FULL) == [750_000, 250_000]
    assert fill([(0, FULL, 100_000, 3), (0, FULL, busy, 1)], FULL) == [100_000, 900_000]
    assert fill([(200_000, FULL, busy, 1)], 970_000) == [970_000]
    assert fill([], FULL) == []


@given(st.integers(0, FULL), st.lists(st.integers(1, 1000), min_size=1, max_size=64))
def test_parts_add_up(free_ppm: int, weights: list[int]) -> None:
    assert free_ppm - len(weights) < sum(parts(free_ppm, weights)) <= free_ppm
