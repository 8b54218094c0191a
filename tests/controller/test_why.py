"""Why a tenant waits: a table of what the controller tells, and of what is said of it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from gshare.controller.replies import RefusalCount, Shares, Top, Waiting
from gshare.controller.share_replies import ShareWindow, TenantShare, Totals
from gshare.controller.why import findings, lines, queued, refusals_of

GIB = 1 << 30
S = 1_000_000_000
NOW = 1000 * S
WINDOW = ShareWindow(1, S, 0, None, 0, 0, 0, 0, 0, 0, 0)
SHARE = TenantShare(
    tenant="a", index=0, uuid="GPU-0", simulated=False, processes=1, state="busy", mode="concurrent",
    metered=True, guarantee_ppm=300_000, ceiling_ppm=300_000, weight=None, priority="normal",
    promised_ppm=300_000, granted_ppm=300_000, busy_above=[], turn_ns=None, period_ns=None,
    used_bytes=GIB, memory_limit_bytes=None, copy_bytes_per_s={}, windows=[WINDOW], seconds_ppm=[],
)  # fmt: skip
REFUSED = {
    "what": "refused", "tenant": "a", "uuid": "GPU-0", "host": False, "api": "cuMemAlloc_v2", "count": 3,
    "bytes": 2 * GIB, "used_bytes": 7 * GIB, "limit_bytes": 8 * GIB, "at_ns": NOW - 5 * S,
}  # fmt: skip


def share(window: dict[str, Any] | None = None, **more: Any) -> TenantShare:
    windows = [msgspec.structs.replace(WINDOW, **window)] if window is not None else SHARE.windows
    return msgspec.structs.replace(SHARE, windows=windows, **more)


def beside(name: str, share_ppm: int) -> TenantShare:
    return share({"share_ppm": share_ppm}, tenant=name)


CAPPED = {"share_ppm": 298_000, "throttled_ppm": 640_000, "queue_wait_ns": 1_250_000}
WAITED = "launches waited 64.0 % of the last second"
RANGE = {"guarantee_ppm": 300_000, "ceiling_ppm": 600_000}

TABLE: dict[str, tuple[TenantShare, list[TenantShare], list[dict[str, Any]], list[str], str]] = {
    "idle": (share(), [], [], [], ""),
    "busy and not held": (share({"share_ppm": 200_000, "throttled_ppm": 5_000}), [], [], [], ""),
    "young": (msgspec.structs.replace(SHARE, windows=[]), [], [], [], ""),
    "nobody asked for a share": (
        share(metered=False, promised_ppm=None, granted_ppm=None, guarantee_ppm=None, ceiling_ppm=None),
        [],
        [],
        ["unmetered"],
        "nobody there has asked for a share",
    ),
    "paused": (share(CAPPED, state="paused"), [], [], ["paused"], "gshare resume a"),
    "at its cap": (share(CAPPED), [beside("b", 500_000)], [], ["cap"], f"{WAITED}: its cap is 30%"),
    "at its cap, with room": (
        share(CAPPED),
        [beside("b", 500_000)],
        [],
        ["cap"],
        "gshare set a --compute 30%..100% lets it borrow what others leave, 20.2 % now",
    ),
    "at its ceiling": (
        share({**CAPPED, "share_ppm": 595_000}, granted_ppm=600_000, **RANGE),
        [],
        [],
        ["ceiling"],
        "it has borrowed up to its ceiling of 60%",
    ),
    "others use what it could borrow": (
        share({**CAPPED, "share_ppm": 395_000}, granted_ppm=400_000, **RANGE),
        [beside("b", 300_000), beside("c", 300_000)],
        [],
        ["share"],
        "it has guaranteed 30%..60%, and 40.0 % now; 2 other tenants there had 60.0 %",
    ),
    "a weight": (
        share(
            {**CAPPED, "share_ppm": 245_000},
            guarantee_ppm=None, ceiling_ppm=None, weight=2, promised_ppm=250_000, granted_ppm=250_000,
        ),
        [beside("b", 750_000)],
        [],
        ["share"],
        "it has a weight of 2, 25%, and 25.0 % now; 1 other tenant there had 75.0 %",
    ),
    "low beside high": (
        share({**CAPPED, "share_ppm": 0}, priority="low", busy_above=["prod"], state="yielding"),
        [],
        [],
        ["priority"],
        "low priority launches nothing while prod is busy",
    ),
    "low beside several": (
        share({**CAPPED, "share_ppm": 0}, priority="low", busy_above=["a1", "a2", "a3"], state="yielding"),
        [],
        [],
        ["priority"],
        "low priority launches nothing while a1, a2 and a3 are busy",
    ),
    "not its turn": (
        share({**CAPPED, "share_ppm": 100_000}, mode="turns", turn_ns=6_000_000, period_ns=20_000_000),
        [],
        [],
        ["turn"],
        "not its turn, of which it has 6 ms in every 20 ms",
    ),
    "in bursts": (share({**CAPPED, "share_ppm": 100_000}), [], [], ["burst"], "though it has time left"),
    "copies": (
        share(
            {"copy_waited_ppm": 400_000, "h2d_bytes_per_s": 4 * GIB},
            copy_bytes_per_s={"h2d": 4 * GIB},
            state="throttled",
        ),
        [],
        [],
        ["pcie"],
        "copies waited 40.0 % of the last second for --pcie h2d=4G/s: h2d 4G/s",
    ),
    "memory": (
        share(),
        [],
        [{**REFUSED, "count": 1}, REFUSED],
        ["memory"],
        "4 allocations refused in the last minute: cuMemAlloc_v2 asked for 2G where 7G of 8G were in use",
    ),
    "pinned memory": (
        share(), [], [{**REFUSED, "host": True, "uuid": ""}], ["memory"], "gshare set a --host-mem",
    ),
    "memory, long ago": (share(), [], [{**REFUSED, "at_ns": NOW - 61 * S}], [], ""),
    "memory of another GPU, and of another tenant": (
        share(), [], [{**REFUSED, "uuid": "GPU-1"}, {**REFUSED, "tenant": "b"}, {"what": "started"}], [], "",
    ),
    "memory that nobody was charged for": (
        share(uncharged_bytes=2 * GIB), [], [], ["uncharged"], "2G of its quota is taken by memory that no",
    ),
    "two at once": (
        share({**CAPPED, "copy_waited_ppm": 20_000}, copy_bytes_per_s={"d2h": GIB}),
        [],
        [REFUSED],
        ["cap", "pcie", "memory"],
        WAITED,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", TABLE)
def test_what_is_said(case: str) -> None:
    own, others, events, kinds, words = TABLE[case]
    (found,) = findings(Shares(NOW, [], [*others, own]), "a", events)
    text = "\n".join(lines("a", [found], {}))
    print(text)
    assert [reason.kind for reason in found.reasons] == kinds
    assert words in text
    assert ("nothing holds it back" in text) == (not kinds)
    assert text.startswith(f"a on GPU 0: {own.state}\n")


def test_its_numbers_are_told() -> None:
    windows = [
        msgspec.structs.replace(WINDOW, seconds=s, share_ppm=p, borrowed_ppm=50_000, queue_wait_ns=1_250_000)
        for s, p in ((1, 350_000), (10, 340_000), (60, 330_000))
    ]
    own = msgspec.structs.replace(
        SHARE, windows=windows, memory_limit_bytes=8 * GIB, granted_ppm=360_000, totals=Totals(90 * S, 7 * S)
    )
    (found,) = findings(Shares(NOW, [], [own]), "a", [])
    assert found.numbers == [
        "got 35.0 % / 34.0 % / 33.0 % of the GPU's time over 1, 10, 60 s",
        "a launch waited 1.25 ms on average",
        "borrowed 5.0 %, lent 0.0 % in the last second",
        "may have 36.0 % now; guaranteed 30.0 %",
        "since it began: 90.0 s of GPU time, waited 7.0 s before launches",
        "memory 1G of 8G",
    ]
    assert (found.gpu_ns, found.throttled_ns, found.copy_waited_ns) == (90 * S, 7 * S, 0)


def test_each_gpu_is_told_of() -> None:
    other = msgspec.structs.replace(share(CAPPED), index=1, uuid="GPU-1")
    found = findings(Shares(NOW, [], [SHARE, other]), "a", [])
    assert [(finding.index, len(finding.reasons)) for finding in found] == [(0, 0), (1, 1)]
    assert lines("a", found, {})[0] == "a on GPU 0: busy"


def test_who_is_not_let_in_is_told_why() -> None:
    waiting = Waiting(
        place=2, tenant="a", pid=7, user="eve", priority="normal", memory_bytes=GIB, memory_ppm=None,
        compute_ppm=None, gpus=[], placement="", since_ns=NOW - 3 * S, kept=[], why="no room", command="x",
    )  # fmt: skip
    assert queued([waiting], NOW) == ["a: pid 7 has waited for 3.0 s to be let in, place 2\n  no room"]


def test_refusals_are_told_by_cause_over_all_gpus() -> None:
    counts = [
        RefusalCount("a", 0, "GPU-0", "memory", 3),
        RefusalCount("a", 1, "GPU-1", "memory", 2),
        RefusalCount("b", 0, "GPU-0", "memory", 7),
        RefusalCount("a", None, "", "host-memory", 1),
    ]
    found = refusals_of(Top(NOW, [], [], [], counts), "a")
    assert found == {"memory": 5, "host-memory": 1}
    assert lines("a", [], found) == ["refused since it began: 1 host-memory, 5 memory"]
    assert lines("a", [], {}) == []
