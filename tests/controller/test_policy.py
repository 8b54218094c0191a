"""Admission: guarantees never sum to more than the device, and a refusal says why in words and numbers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gshare.controller import policy
from gshare.controller.budget import Budget
from gshare.controller.errors import NoSuchThing, OverCapacity, UsageError
from gshare.controller.policy import Capacity, Grant
from gshare.controller.protocol import Change, Limits
from gshare.controller.units import FULL_PPM, Memory

GIB = 1 << 30
DEVICE = Capacity(0, "GPU-aa00", 80 * GIB, GIB // 2)
OTHER = Capacity(1, "GPU-aa11", 40 * GIB, GIB // 2)


def test_without_names_every_device_is_meant() -> None:
    assert policy.select([DEVICE, OTHER], []) == [DEVICE, OTHER]


@pytest.mark.parametrize("name", ["1", "GPU-aa11", "gpu-AA1"])
def test_a_device_has_an_index_and_a_uuid(name: str) -> None:
    assert policy.select([DEVICE, OTHER], [name]) == [OTHER]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("2", "there is 0, 1"),
        ("GPU-bb", "no such"),
        ("GPU-aa", "several"),
        ("\u00b2", "no such"),
        ("9" * 5000, "no such"),
    ],
    ids=["index", "uuid", "beginning", "superscript", "endless"],
)
def test_an_unknown_device_is_refused(name: str, words: str) -> None:
    with pytest.raises(NoSuchThing, match=words):
        policy.select([DEVICE, OTHER], [name])


def test_limits_are_resolved_on_each_device() -> None:
    limits = Limits(Memory(None, 250_000), 300_000)
    assert policy.granted(limits, DEVICE) == Grant(20 * GIB, 300_000)
    assert policy.granted(limits, OTHER) == Grant(10 * GIB, 300_000)


def test_what_is_not_asked_for_is_not_limited() -> None:
    assert policy.granted(Limits(), DEVICE) == Grant(None, None)
    assert policy.granted(Limits(None, 10_000), DEVICE) == Grant(None, 10_000)


def test_more_than_the_device_has() -> None:
    with pytest.raises(OverCapacity, match=r"--mem 81G: is more than GPU 0 has \(80G\) \(try --mem 100%\)"):
        policy.granted(Limits(Memory(81 * GIB, None)), DEVICE)


def test_less_than_a_context_takes() -> None:
    with pytest.raises(UsageError, match=r"--mem 100M: is less than one context takes on GPU 0 \(512M\)"):
        policy.granted(Limits(Memory(100 << 20, None)), DEVICE)


def test_the_refusal_names_who_holds_the_rest() -> None:
    others = {"a": Grant(60 * GIB, None), "b": Grant(10 * GIB, 900_000), "free": Grant(None, None)}
    with pytest.raises(OverCapacity) as caught:
        budget(others).check(Grant(20 * GIB, None))
    assert str(caught.value) == (
        "--mem 20G: GPU 0 has 10G left to promise of 80G; a 60G, b 10G hold the rest"
        " (ask for less, or wait until one ends)"
    )
    with pytest.raises(OverCapacity, match="has 10% left to promise of 100%; b 90% holds the rest"):
        budget(others).check(Grant(None, 200_000))


def budget(held: dict[str, Grant], overcommit: float = 1.0) -> Budget:
    made = Budget("GPU 0", int(DEVICE.memory_bytes * overcommit), int(FULL_PPM * overcommit))
    for name, grant in held.items():
        made.add(name, grant)
    return made


def test_overcommit_widens_the_device() -> None:
    others = {"a": Grant(80 * GIB, FULL_PPM)}
    budget(others, 1.5).check(Grant(40 * GIB, 500_000))
    with pytest.raises(OverCapacity):
        budget(others, 1.5).check(Grant(41 * GIB, None))


grants = st.builds(
    Grant,
    st.none() | st.integers(1, DEVICE.memory_bytes),
    st.none() | st.integers(1, FULL_PPM),
)


@given(st.lists(grants, max_size=12))
def test_whatever_is_admitted_fits(wanted: list[Grant]) -> None:
    held: dict[str, Grant] = {}
    refused = 0
    for number, grant in enumerate(wanted):
        try:
            budget(held).check(grant)
        except OverCapacity:
            refused += 1
            memory = sum(g.memory_bytes or 0 for g in held.values()) + (grant.memory_bytes or 0)
            compute = sum(g.compute_ppm or 0 for g in held.values()) + (grant.compute_ppm or 0)
            assert memory > DEVICE.memory_bytes or compute > FULL_PPM  # never refused without need
        else:
            held[str(number)] = grant
    assert sum(grant.memory_bytes or 0 for grant in held.values()) <= DEVICE.memory_bytes
    assert sum(grant.compute_ppm or 0 for grant in held.values()) <= FULL_PPM
    assert len(held) + refused == len(wanted)


def test_a_change_leaves_what_it_does_not_mention() -> None:
    before = Limits(Memory(GIB, None), 300_000)
    assert policy.changed(before, Change(compute_ppm=1)) == Limits(Memory(GIB, None), 1)
    assert policy.changed(before, Change(memory=Memory(None, 5))) == Limits(Memory(None, 5), 300_000)
    assert policy.changed(before, Change(lift_memory=True)) == Limits(None, 300_000)
    assert policy.changed(before, Change(lift_compute=True)) == Limits(Memory(GIB, None), None)


def test_a_change_of_one_direction_leaves_the_other() -> None:
    before = Limits(copy_bytes_per_s={"h2d": GIB, "d2h": 2 * GIB})
    after = policy.changed(before, Change(copy_bytes_per_s={"h2d": None}))
    assert after.copy_bytes_per_s == {"d2h": 2 * GIB}
    assert policy.changed(after, Change(copy_bytes_per_s={"h2d": 5000})).copy_bytes_per_s == {
        "h2d": 5000,
        "d2h": 2 * GIB,
    }
    assert policy.changed(before, Change(compute_ppm=1)).copy_bytes_per_s == before.copy_bytes_per_s


@pytest.mark.parametrize("rates", [{"up": GIB}, {"h2d": 0}, {"h2d": -1}, {"d2h": 1 << 63}, {"": GIB}])
def test_a_rate_that_no_command_line_gives_is_refused(rates: dict[str, int]) -> None:
    policy.check_rates(Limits(copy_bytes_per_s={"h2d": GIB}))
    with pytest.raises(UsageError, match="not a rate"):
        policy.check_rates(Limits(copy_bytes_per_s=rates))


FOUR, EIGHT = Memory(4 * GIB, None), Memory(8 * GIB, None)


def test_a_device_may_have_an_amount_of_its_own() -> None:
    limits = policy.on_devices(Limits(EIGHT, 300_000, {"1": FOUR}), [DEVICE, OTHER])
    assert limits.memory_on == {OTHER.uuid: FOUR}
    assert policy.granted(limits, DEVICE) == Grant(8 * GIB, 300_000)
    assert policy.granted(limits, OTHER) == Grant(4 * GIB, 300_000)
    lifted = policy.on_devices(Limits(EIGHT, None, {"GPU-aa11": None}), [DEVICE, OTHER])
    assert policy.granted(lifted, OTHER) == Grant(None, None)


@pytest.mark.parametrize(
    ("amounts", "words"),
    [
        ({"2": FOUR}, "--mem 2: no such GPU; there is 0, 1"),
        ({"GPU-aa": FOUR}, "--mem GPU-aa: fits several GPUs"),
        ({"1": FOUR, "GPU-aa11": FOUR}, "--mem GPU-aa11: GPU 1 is named twice"),
    ],
)
def test_a_wrong_device_is_refused(amounts: policy.Amounts, words: str) -> None:
    with pytest.raises((NoSuchThing, UsageError), match=words):
        policy.by_uuid(amounts, [DEVICE, OTHER])


@pytest.mark.parametrize(
    ("memory", "on", "gpus", "expected"),
    [
        (None, {}, [], [DEVICE, OTHER]),
        (EIGHT, {}, [], [DEVICE, OTHER]),
        (None, {"1": FOUR}, [], [OTHER]),
        (EIGHT, {"1": FOUR}, [], [DEVICE, OTHER]),
        (EIGHT, {"1": FOUR}, ["1"], [OTHER]),
        (None, {"1": FOUR}, ["GPU-aa11"], [OTHER]),
        (None, {"1": FOUR}, ["0", "1"], "names GPU 0, for which --mem has no amount"),
        (None, {"1": FOUR}, ["0"], "leaves out GPU 1, for which --mem has an amount"),
        (EIGHT, {"1": FOUR}, ["0"], "leaves out GPU 1, for which --mem has an amount"),
    ],
)
def test_devices_named_with_an_amount_are_those_granted(
    memory: Memory | None, on: policy.Amounts, gpus: list[str], expected: list[Capacity] | str
) -> None:
    limits = policy.on_devices(Limits(memory, None, on), [DEVICE, OTHER])
    if isinstance(expected, str):
        with pytest.raises(UsageError, match=expected):
            policy.accessible(limits, gpus, [DEVICE, OTHER])
    else:
        assert policy.accessible(limits, gpus, [DEVICE, OTHER]) == expected


def test_a_change_for_one_device_leaves_the_others() -> None:
    before = Limits(None, 1, {"a": EIGHT, "b": FOUR})
    assert policy.changed(before, Change(memory_on={"b": EIGHT})) == Limits(None, 1, {"a": EIGHT, "b": EIGHT})
    assert policy.changed(before, Change(memory_on={"b": None})) == Limits(None, 1, {"a": EIGHT, "b": None})
    assert policy.changed(before, Change(memory=FOUR)) == Limits(FOUR, 1)
    assert policy.changed(before, Change(memory=FOUR, memory_on={"a": EIGHT})) == Limits(
        FOUR, 1, {"a": EIGHT}
    )
    assert policy.changed(before, Change(lift_memory=True)) == Limits(None, 1)
    assert policy.changed(before, Change(compute_ppm=2)) == Limits(None, 2, before.memory_on)
