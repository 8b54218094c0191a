"""Quantities: what is read, what is refused with which way out, and that printing can be read again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gshare.controller import units
from gshare.controller.errors import UsageError
from gshare.controller.units import FULL_PPM, MAX_BYTES, Memory

GIB = 1 << 30


@pytest.mark.parametrize(
    ("text", "memory"),
    [
        ("1", Memory(1, None)),
        ("1073741824", Memory(GIB, None)),
        ("512K", Memory(512 << 10, None)),
        ("8g", Memory(8 * GIB, None)),
        ("8GiB", Memory(8 * GIB, None)),
        ("8gib", Memory(8 * GIB, None)),
        ("1.5G", Memory(3 * GIB // 2, None)),
        ("0.25T", Memory(256 * GIB, None)),
        ("2048MiB", Memory(2 * GIB, None)),
        ("30%", Memory(None, 300_000)),
        ("100%", Memory(None, FULL_PPM)),
        ("0.5%", Memory(None, 5_000)),
    ],
)
def test_memory_is_read(text: str, memory: Memory) -> None:
    assert units.parse_memory(text) == memory


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("8GB", "write 8G"),
        ("1.5tb", "write 1.5T"),
        ("0", "above zero"),
        ("0G", "above zero"),
        ("0.0G", "above zero"),
        ("-1G", "above zero"),
        ("-5%", "above zero"),
        ("0%", "above zero"),
        ("101%", "more than there is"),
        ("30.5.1%", "not a percentage"),
        ("", "not a size"),
        ("G", "not a size"),
        ("1.5", "not a size"),
        ("1e9", "not a size"),
        ("8 G", "not a size"),
        ("8Gi", "not a size"),
        ("inf", "not a size"),
        ("٣G", "not a size"),
        ("9" * 30, "nothing is that large"),
        ("9" * 300, "nothing is that large"),
        ("30%..60%", "not a size"),
    ],
)
def test_memory_is_refused_with_its_value_and_a_way_out(text: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        units.parse_memory(text)
    line = str(caught.value)
    if text != "30%..60%":
        assert words in line
    assert line.startswith(f"--mem {text}".strip())
    assert "(" in line
    assert "\n" not in line


@pytest.mark.parametrize(
    ("text", "ppm"),
    [("30%", 300_000), ("30", 300_000), ("12.5%", 125_000), ("1", 10_000), ("100", FULL_PPM), ("0.0001%", 1)],
)
def test_a_percentage_is_read(text: str, ppm: int) -> None:
    assert units.parse_percent(text, "--compute") == ppm


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0.3", "did you mean 30% or --share 0.3"),
        ("0.305", "did you mean 30.5% or --share 0.305"),
        ("30.5.1%", "not a percentage"),
        ("30%..60%", "not a percentage"),
        ("0", "above zero"),
        ("0%", "above zero"),
        ("-3%", "above zero"),
        ("100.1%", "more than there is"),
        ("8G", "not a percentage"),
        ("", "not a percentage"),
        ("nan", "not a percentage"),
        ("9" * 400, "not a percentage"),
    ],
)
def test_a_percentage_is_refused(text: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        units.parse_percent(text, "--compute")
    assert words in str(caught.value)
    assert str(caught.value).startswith(f"--compute {text}".strip())


@pytest.mark.parametrize(
    ("text", "ppm"), [("0.3", 300_000), (".5", 500_000), ("1", FULL_PPM), ("1.0", FULL_PPM)]
)
def test_a_fraction_is_read(text: str, ppm: int) -> None:
    assert units.parse_fraction(text) == ppm


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("30%", "did you mean --share 0.3"),
        ("30", "at most 1"),
        ("0", "above 0"),
        ("-0.3", "not a fraction"),
        ("1.01", "at most 1"),
        (".", "not a fraction"),
        ("", "not a fraction"),
        ("0.3.1", "not a fraction"),
    ],
)
def test_a_fraction_is_refused(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        units.parse_fraction(text)


def test_gpu_lists_are_read() -> None:
    uuid = "GPU-12345678-aaaa-bbbb-cccc-1234567890ab"
    assert units.parse_gpus(f"0, 03,{uuid}") == ["0", "3", uuid]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "neither"),
        ("0,", "neither"),
        ("-1", "neither"),
        ("gpu0", "neither"),
        ("1,01", "twice"),
        ("1;2", "neither"),
    ],
)
def test_gpu_lists_are_refused(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        units.parse_gpus(text)


@pytest.mark.parametrize("name", ["a", "team-a", "A.b_c-9", "x" * 63])
def test_tenant_names_are_read(name: str) -> None:
    assert units.parse_tenant(name) == name


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("30%", (300_000, None)),
        ("30%..60%", (300_000, 600_000)),
        ("12.5..100", (125_000, 1_000_000)),
        ("30%..30%", (300_000, None)),
    ],
)
def test_a_share_may_have_a_ceiling(text: str, asked: tuple[int, int | None]) -> None:
    assert units.parse_compute(text) == asked


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("60%..30%", "the guarantee is above the ceiling"),
        ("0%..60%", "a share must be above zero"),
        ("30%..101%", "more than there is"),
        ("30%..", "not a percentage"),
        ("..60%", "not a percentage"),
        ("30%...60%", "not a percentage"),
        ("10%..20%..30%", "not a percentage"),
    ],
)
def test_a_range_is_refused(text: str, why: str) -> None:
    with pytest.raises(UsageError) as caught:
        units.parse_compute(text)
    assert str(caught.value) == f"--compute {text}: {why} (as 30%..60%)"


@given(st.integers(1, FULL_PPM), st.integers(1, FULL_PPM))
def test_a_range_is_printed_as_it_is_read(one: int, other: int) -> None:
    low, high = sorted((one, other))
    asked = units.parse_compute(units.format_compute(low, high))
    assert asked == (low, None if low == high else high)


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "1001", "9" * 400, "", "x", "3%"])
def test_a_weight_is_refused(text: str) -> None:
    assert units.parse_weight("1000") == 1000
    with pytest.raises(UsageError, match="not a weight"):
        units.parse_weight(text)


@pytest.mark.parametrize("name", ["", ".", "..", ".new", "-a", "a/b", "a b", "ü", "x" * 64, "a\n"])
def test_tenant_names_are_refused(name: str) -> None:
    with pytest.raises(UsageError):
        units.parse_tenant(name)


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0"),
        (1023, "1023"),
        (1024, "1K"),
        (8 * GIB, "8G"),
        (3 * GIB // 2, "1.5G"),
        (150754820096, "140.4G"),
    ],
)
def test_sizes_are_printed(size_bytes: int, text: str) -> None:
    assert units.format_size(size_bytes) == text


@given(st.integers(1, MAX_BYTES))
def test_any_size_in_bytes_is_read_exactly(size_bytes: int) -> None:
    assert units.parse_memory(str(size_bytes)) == Memory(size_bytes, None)


@given(st.integers(1, MAX_BYTES))
def test_a_printed_size_reads_as_no_more_and_hardly_less(size_bytes: int) -> None:
    read = units.parse_size(units.format_size(size_bytes), "--mem")
    assert size_bytes * 10 // 11 <= read <= size_bytes


@given(st.integers(1, FULL_PPM))
def test_a_printed_share_reads_as_itself(ppm: int) -> None:
    assert units.parse_percent(units.format_percent(ppm), "--compute") == ppm


@given(st.text(max_size=12))
def test_nothing_but_a_quantity_or_a_refusal(text: str) -> None:
    for parse in (units.parse_memory, units.parse_fraction, units.parse_gpus, units.parse_tenant):
        try:
            parse(text)  # type: ignore[operator]
        except UsageError as error:
            line = str(error)
            if "\n" in line:
                pytest.fail(line)


@given(st.integers(1, FULL_PPM), st.integers(0, MAX_BYTES))
def test_a_part_of_a_device_is_within_it(ppm: int, device_bytes: int) -> None:
    assert 0 <= Memory(None, ppm).on(device_bytes) <= device_bytes


EIGHT, FOUR = Memory(8 * GIB, None), Memory(4 * GIB, None)


@pytest.mark.parametrize(
    ("text", "each", "on"),
    [
        ("8G", EIGHT, {}),
        ("0=8G,1=4G", None, {"0": EIGHT, "1": FOUR}),
        ("8G,1=4G", EIGHT, {"1": FOUR}),
        ("1=4G,8G", EIGHT, {"1": FOUR}),
        (" 0 = 8G , 01=50% ", None, {"0": EIGHT, "1": Memory(None, 500_000)}),
        ("GPU-1b2c3d4e=8G", None, {"GPU-1b2c3d4e": EIGHT}),
    ],
)
def test_memory_is_read_for_each_gpu(text: str, each: Memory | None, on: dict[str, Memory]) -> None:
    asked = units.parse_memory_each(text)
    assert asked == (each, on)
    assert units.parse_memory_each(units.format_memory_each(*asked)) == asked


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not a size"),
        ("8G,", "two amounts for every GPU"),
        ("8G,4G", "two amounts for every GPU"),
        ("0=8G,0=4G", "GPU 0 is named twice"),
        ("0=8G,00=4G", "GPU 0 is named twice"),
        ("0=", "an amount and its GPU belong together"),
        ("=8G", "an amount and its GPU belong together"),
        (" = ", "an amount and its GPU belong together"),
        ("0=8G,1=", "an amount and its GPU belong together"),
        ("first=8G", "neither an index nor a UUID"),
        ("0=8GB", "write 8G"),
        ("0=none", "not a size"),
        ("0=1=8G", "neither an index nor a UUID"),
    ],
)
def test_what_is_no_memory_for_each_gpu(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        units.parse_memory_each(text)


def test_a_limit_is_lifted_on_one_gpu_where_limits_can_be_changed() -> None:
    asked = units.parse_memory_each("0=none,1=4G", lift=True)
    assert asked == (None, {"0": None, "1": FOUR})
    assert units.format_memory_each(*asked) == "0=none,1=4G"
