"""Rates as people write them: each direction of the bus has one."""

import pytest

from gshare.controller import units
from gshare.controller.errors import UsageError

GIB = 1 << 30


@pytest.mark.parametrize(
    ("text", "rates", "printed"),
    [
        ("4G/s", {"h2d": 4 * GIB, "d2h": 4 * GIB}, "4G/s"),
        ("512M/s", {"h2d": GIB // 2, "d2h": GIB // 2}, "512M/s"),
        ("h2d=4G/s,d2h=2G/s", {"h2d": 4 * GIB, "d2h": 2 * GIB}, "h2d=4G/s,d2h=2G/s"),
        ("d2h=1.5GiB/s", {"d2h": 3 * GIB // 2}, "d2h=1.5G/s"),
        (" h2d = 1000/s ".replace(" ", ""), {"h2d": 1000}, "h2d=1000/s"),
    ],
)
def test_a_rate_is_read_and_printed(text: str, rates: dict[str, int], printed: str) -> None:
    assert units.parse_rates(text) == rates
    assert units.format_rates(rates) == printed


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not a rate (a size a second, as 4G/s or h2d=4G/s,d2h=2G/s)"),
        ("4G", "not a rate"),
        ("/s", "not a rate"),
        ("4G/s/s", "not a size"),
        ("4G/sec", "not a rate"),
        ("4GB/s", "write 4G"),
        ("0/s", "a size must be above zero"),
        ("999/s", "nothing could be copied at that rate (1K/s at least)"),
        ("30%/s", "not a size"),
        ("in=4G/s", "'in' is no direction (h2d or d2h, as h2d=4G/s)"),
        ("h2d=4G/s,h2d=2G/s", "two rates for h2d"),
        ("4G/s,d2h=2G/s", "two rates for d2h"),
        ("h2d=", "not a rate"),
        ("none", "not a rate"),
        ("h2d=none", "not a rate"),
    ],
)
def test_what_is_no_rate_is_refused_in_one_line(text: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        units.parse_rates(text)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_limit_is_lifted_where_limits_can_be_changed() -> None:
    assert units.parse_rates("none", lift=True) == {"h2d": None, "d2h": None}
    assert units.parse_rates("h2d=none,d2h=1G/s", lift=True) == {"h2d": None, "d2h": GIB}
    assert units.format_rates({"h2d": None}) == units.format_rates({}) == ""
