"""Who tampers and who has more than a share, as pure functions of what is seen."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

import pytest

from gshare.controller.config import Audit
from gshare.controller.sanctions import NOTHING, PAUSE, STOP, WARN, step
from gshare.controller.suspicion import (
    BOOKS_DISAGREE,
    BOOKS_TOO_LOW,
    GROWTH_BYTES,
    OVER_QUOTA,
    OVER_SHARE,
    TAMPERING,
    UNMANAGED,
    WITHOUT_GSHARE,
    Books,
    Suspect,
    tampers,
    total_is_too_low,
)
from gshare.controller.uses import NOT_HELD_BACK, UNCHARGED, Uses

MIB = 1 << 20
GIB = 1 << 30
SECOND = 1_000_000_000


@pytest.mark.parametrize(
    ("present", "books", "how"),
    [
        (GIB, Books(GIB, GIB), ""),
        (0, Books(GIB, GIB), ""),
        (None, Books(GIB, GIB), ""),
        (GIB + GROWTH_BYTES, Books(GIB, GIB), ""),
        (GIB + GROWTH_BYTES + 1, Books(GIB, GIB), BOOKS_TOO_LOW),
        (GIB, Books(0, GIB), BOOKS_DISAGREE),
        (GIB, None, WITHOUT_GSHARE),
        (None, None, WITHOUT_GSHARE),
    ],
)
def test_a_process_is_held_against_its_own_books(present: int | None, books: Books | None, how: str) -> None:
    assert tampers(present, books) == how


def test_a_tenants_total_is_at_least_what_its_processes_have() -> None:
    assert not total_is_too_low(4 * GIB, 4 * GIB)
    assert not total_is_too_low(9 * GIB, 4 * GIB), "a dead process's is counted until somebody has cleared it"
    assert total_is_too_low(4 * GIB - 3 * MIB, 4 * GIB)


class Use(NamedTuple):
    """A tenant's use by `at_ns`; all of it only grows."""

    at_ns: int
    used_ns: int
    charged_ns: int
    spent_ns: int
    allowed_ns: int
    launches: int


def over_share(found: Sequence[Use]) -> tuple[str, int]:
    """Of somebody who was seen so."""
    uses = Uses()
    for before, now in pairwise([*found[:1], *found]):
        used, charged = now.used_ns - before.used_ns, now.charged_ns - before.charged_ns
        uses.add(now.at_ns, used, charged, now.spent_ns, now.allowed_ns, now.launches)
    return uses.over_share()


def uses(
    seconds: int, used: float, charged: float, allowed: float = 0.3, launches: Callable[[int], int] = int
) -> list[Use]:
    """One a second, of a tenant with these shares of the time."""
    return [
        Use(
            at * SECOND,
            int(used * at * SECOND),
            int(charged * at * SECOND),
            int(charged * at * SECOND) + SECOND,
            int(allowed * at * SECOND),
            launches(at),
        )
        for at in range(seconds + 1)
    ]


def test_who_keeps_to_the_share_is_not_found() -> None:
    assert over_share([]) == ("", 0)
    for share in (0.0, 0.3, 0.45, 0.499):
        assert over_share(uses(60, share, share)) == ("", 0)
        assert over_share(uses(60, share, 0.0)) == ("", 0), "not 20 points above, whatever it says"
    assert over_share(uses(60, 1.0, 1.0, allowed=1.0)) == ("", 0), "it may"
    assert over_share(uses(60, 1.0, 0.0, allowed=0.9)) == ("", 0)


@pytest.mark.parametrize(("share", "above_ppm"), [(0.51, 210_000), (1.0, 700_000)])
def test_more_than_20_points_above_is_found_within_ten_seconds(share: float, above_ppm: int) -> None:
    first = next(s for s in range(60) if over_share(uses(s, share, 0.0))[0])
    assert first == 5
    assert over_share(uses(first, share, 0.0)) == (UNCHARGED, above_ppm)
    first = next(s for s in range(60) if over_share(uses(s, share, share))[0])
    assert first == 7
    assert over_share(uses(first, share, share)) == (NOT_HELD_BACK, above_ppm)


def test_one_long_kernel_is_a_debt_and_no_offence() -> None:
    assert over_share(uses(20, 1.0, 1.0, launches=lambda at: 1)) == ("", 0)


def test_who_says_to_be_charged_and_lowers_the_bucket_is_not_charged() -> None:
    lowered = [use._replace(spent_ns=0) for use in uses(10, 1.0, 1.0)]
    assert over_share(lowered)[0] == UNCHARGED


def test_a_tenant_may_say_anything_of_itself() -> None:
    uses = Uses()
    for second in range(100):
        huge = (1 << 64) - 1
        uses.add(second * SECOND, SECOND, huge, (-1) ** second * (1 << 63) // 2, -(1 << 63), huge)
        uses.over_share()


def test_what_was_long_ago_does_not_count() -> None:
    before = uses(10, 1.0, 0.0)
    last = before[-1]
    quiet = [
        last._replace(at_ns=last.at_ns + s * SECOND, allowed_ns=last.allowed_ns + s * SECOND // 3)
        for s in range(1, 9)
    ]
    assert over_share(before)[0]
    assert not over_share(before + quiet)[0]


def test_sanctions_come_one_after_the_other_and_only_as_far_as_is_configured() -> None:
    """None before its time, and nobody's process is never paused."""
    kinds = (OVER_QUOTA, TAMPERING, OVER_SHARE)
    for what in kinds:
        suspect = Suspect(what, "a", "GPU-0", 7)
        for word, steps in {
            "ignore": [NOTHING] * 5,
            "warn": [WARN] * 5,
            "pause": [WARN, WARN, PAUSE, PAUSE, PAUSE],
            "stop": [WARN, WARN, PAUSE, PAUSE, STOP],
        }.items():
            rules = Audit(**{what.replace("-", "_"): word}, pause_after=10, stop_after=20)
            at = (0, 9.9, 10, 29.9, 30)
            assert [step(suspect, rules, SECOND, SECOND + int(s * SECOND)) for s in at] == steps
            others = Audit(**{kind.replace("-", "_"): "ignore" for kind in kinds if kind != what})
            assert step(suspect, others, 0, 0) == WARN
    nobody = Suspect(UNMANAGED, "", "GPU-0", 7)
    rules = Audit(unmanaged="stop", pause_after=10, stop_after=20)
    assert [step(nobody, rules, 0, int(s * SECOND)) for s in (0, 19.9, 20)] == [WARN, WARN, STOP]
    assert step(nobody, Audit(unmanaged="ignore"), 0, 99 * SECOND) == NOTHING
