"""Why a tenant waits, in words and numbers: a pure function of what the controller tells."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from gshare.controller.replies import Shares, Top, Waiting
from gshare.controller.share_replies import ShareWindow, TenantShare
from gshare.controller.units import FULL_PPM, format_compute, format_percent, format_rates, format_size

LATELY_NS = 60_000_000_000
"""Refused allocations are told for this long."""

NOTABLE_PPM = 10_000
"""Waiting for less of the time than this is not worth a word."""

NEARLY = 0.85
"""Who has used more than this of what it may have has used it up."""


class Reason(msgspec.Struct, frozen=True):
    """One thing that holds a tenant back; `kind` is for programs."""

    kind: str
    what: str
    help: str = ""


class Finding(msgspec.Struct, frozen=True):
    """A tenant on one device: how it fares, what limits it, and its numbers."""

    index: int | None
    state: str
    reasons: list[Reason]
    numbers: list[str]
    gpu_ns: int = 0
    """Since the tenant began: GPU time, and how long it waited, all its threads together."""
    throttled_ns: int = 0
    copy_waited_ns: int = 0


def findings(shares: Shares | Top, tenant: str, events: Sequence[dict[str, Any]]) -> list[Finding]:
    """What holds a tenant back on each of its devices; `events` are its latest."""
    own = [share for share in shares.tenants if share.tenant == tenant]
    return [
        Finding(
            share.index,
            share.state,
            [
                *_compute_reasons(share, shares),
                *_copy_reasons(share),
                *_memory_reasons(share, events, shares.now_ns, alone=len(own) == 1),
            ],
            list(_numbers(share)),
            share.totals.gpu_ns,
            share.totals.throttled_ns,
            share.totals.copy_waited_ns,
        )
        for share in own
    ]


def queued(waiting: Sequence[Waiting], now_ns: int) -> list[str]:
    """Runs that wait to be let in, for a person."""
    return [
        f"{entry.tenant}: pid {entry.pid} has waited for {_s(now_ns - entry.since_ns)} to be let in, "
        f"place {entry.place}\n  {entry.why or 'it is not its turn yet'}"
        for entry in waiting
    ]


def refusals_of(top: Top, tenant: str) -> dict[str, int]:
    """How many calls of the tenant were refused since it began, by cause."""
    counts = Counter[str]()
    for row in top.refusals:
        if row.tenant == tenant:
            counts[row.cause] += row.count
    return dict(counts)


def lines(tenant: str, found: Sequence[Finding], refused: Mapping[str, int]) -> list[str]:
    """The findings for a person."""
    told = []
    for finding in found:
        where = "a device that is gone" if finding.index is None else f"GPU {finding.index}"
        told.append(f"{tenant} on {where}: {finding.state}")
        told += [
            f"  {reason.what}" + (f"\n    {reason.help}" if reason.help else "")
            for reason in finding.reasons or [Reason("nothing", "nothing holds it back")]
        ]
        told += [f"  {line}" for line in finding.numbers]
    if refused:
        told.append(f"refused since it began: {told_counts(refused)}")
    return told


def told_counts(refused: Mapping[str, int]) -> str:
    """Numbers by cause, as `3 memory, 1 host-memory`."""
    return ", ".join(f"{count} {cause}" for cause, count in sorted(refused.items()))


def _compute_reasons(share: TenantShare, shares: Shares | Top) -> Iterator[Reason]:
    name, last = share.tenant, _last(share)
    if share.state == "paused":
        yield Reason("paused", "it is paused: nothing is launched", f"gshare resume {name}")
        return
    if not share.metered:
        yield Reason(
            "unmetered", "nobody there has asked for a share: it is neither measured nor made to wait"
        )
        return
    if last is None or last.throttled_ppm <= NOTABLE_PPM:
        return
    waited = f"launches waited {_percent(last.throttled_ppm)} of the last second"
    if share.busy_above:
        *most, last_one = share.busy_above
        others = f"{', '.join(most)} and {last_one} are busy" if most else f"{last_one} is busy"
        yield Reason(
            "priority",
            f"{waited}: {share.priority} priority launches nothing while {others}",
            f"gshare set {name} --priority high, or a guarantee for it in the place of a priority",
        )
    if share.granted_ppm is not None and last.share_ppm >= NEARLY * share.granted_ppm:
        yield _used_up(share, shares, waited)
    elif share.mode == "turns" and share.period_ns:
        turn = f"{_ms(share.turn_ns or 0)} in every {_ms(share.period_ns)}"
        yield Reason(
            "turn",
            f"{waited}: not its turn, of which it has {turn}",
            f"gshare set {name} --mode concurrent, if its latency matters more than its share",
        )
    elif not share.busy_above:
        yield Reason(
            "burst",
            f"{waited}, though it has time left: its work comes in bursts, or others' kernels are in its way",
            "shorter kernels wait less; so does who has turns (--mode turns)",
        )


def _used_up(share: TenantShare, shares: Shares | Top, waited: str) -> Reason:
    """It has had all that it may have now."""
    name, granted = share.tenant, share.granted_ppm or 0
    asked = format_compute(share.guarantee_ppm or 0, share.ceiling_ppm)
    others = [other for other in shares.tenants if other.uuid == share.uuid and other.tenant != name]
    last_ppm = share.windows[0].share_ppm
    used = sum(other.windows[0].share_ppm for other in others if other.windows)
    taken = f"{_count(len(others), 'other tenant')} there had {_percent(used)}"
    if share.guarantee_ppm is not None and share.ceiling_ppm == share.guarantee_ppm:
        free = _percent(max(FULL_PPM - used - last_ppm, 0))
        return Reason(
            "cap",
            f"{waited}: its cap is {asked}",
            f"gshare set {name} --compute {asked}..100% lets it borrow what others leave, {free} now",
        )
    if share.ceiling_ppm is not None and granted >= NEARLY * share.ceiling_ppm:
        ceiling = format_percent(share.ceiling_ppm)
        return Reason(
            "ceiling",
            f"{waited}: it has borrowed up to its ceiling of {ceiling}",
            f"gshare set {name} --compute …",
        )
    promised = format_percent(share.promised_ppm or 0)
    what = (
        f"guaranteed {asked}"
        if share.guarantee_ppm is not None
        else f"a weight of {share.weight or 1}, {promised}"
    )
    return Reason(
        "share",
        f"{waited}: it has {what}, and {_percent(granted)} now; {taken}",
        f"gshare set {name} --weight {2 * (share.weight or 1)}, or a guarantee with --compute",
    )


def _copy_reasons(share: TenantShare) -> Iterator[Reason]:
    last = _last(share)
    if last is None or last.copy_waited_ppm <= NOTABLE_PPM or not share.copy_bytes_per_s:
        return
    rates = {"h2d": last.h2d_bytes_per_s, "d2h": last.d2h_bytes_per_s}
    copied = ", ".join(f"{way} {format_size(rates[way])}/s" for way in share.copy_bytes_per_s)
    limit = format_rates(share.copy_bytes_per_s)
    yield Reason(
        "pcie",
        f"copies waited {_percent(last.copy_waited_ppm)} of the last second for --pcie {limit}: {copied}",
        f"gshare set {share.tenant} --pcie …; none takes the limit away",
    )


def _memory_reasons(
    share: TenantShare, events: Sequence[dict[str, Any]], now_ns: int, *, alone: bool
) -> Iterator[Reason]:
    refused = [
        event
        for event in events
        if event.get("what") == "refused"
        and event.get("tenant") == share.tenant
        and now_ns - event.get("at_ns", 0) <= LATELY_NS
        and (event.get("uuid") == share.uuid or (alone and event.get("host")))
    ]
    if share.uncharged_bytes:
        yield Reason(
            "uncharged",
            f"{format_size(share.uncharged_bytes)} of its quota is taken by memory that no process of it was "
            "charged for",
            "gshare ps --memory says whose it may be",
        )
    if not refused:
        return
    last, count = refused[-1], sum(event.get("count", 1) for event in refused)
    where = "of the host's pinned memory " if last.get("host") else ""
    limit = last.get("limit_bytes")
    yield Reason(
        "memory",
        f"{_count(count, 'allocation')} refused in the last minute: {last.get('api')} asked for "
        f"{format_size(last.get('bytes', 0))} where {format_size(last.get('used_bytes', 0))} {where}"
        f"of {format_size(limit or 0)} were in use",
        f"gshare set {share.tenant} {'--host-mem' if last.get('host') else '--mem'} …; "
        "gshare ps --memory says what holds it",
    )


def _numbers(share: TenantShare) -> Iterator[str]:
    """What it asked for, may have and got."""
    if share.windows:
        over = ", ".join(str(window.seconds) for window in share.windows)
        got = " / ".join(_percent(window.share_ppm) for window in share.windows)
        yield f"got {got} of the GPU's time over {over} s"
        last = share.windows[0]
        if last.queue_wait_ns:
            yield f"a launch waited {_ms(last.queue_wait_ns)} on average"
        if last.borrowed_ppm or last.lent_ppm:
            yield f"borrowed {_percent(last.borrowed_ppm)}, lent {_percent(last.lent_ppm)} in the last second"
    if share.granted_ppm is not None and share.promised_ppm is not None:
        yield f"may have {_percent(share.granted_ppm)} now; guaranteed {_percent(share.promised_ppm)}"
    total = share.totals
    if total.gpu_ns or total.throttled_ns:
        waits = f"waited {_s(total.throttled_ns)} before launches"
        copies = f", {_s(total.copy_waited_ns)} before copies" if total.copy_waited_ns else ""
        yield f"since it began: {_s(total.gpu_ns)} of GPU time, {waits}{copies}"
    if share.memory_limit_bytes is not None:
        yield f"memory {format_size(share.used_bytes)} of {format_size(share.memory_limit_bytes)}"


def _last(share: TenantShare) -> ShareWindow | None:
    return share.windows[0] if share.windows else None


def _percent(ppm: int) -> str:
    return f"{ppm / 10_000:.1f} %"


def _s(ns: int) -> str:
    return f"{ns / 1e9:.1f} s"


def _ms(ns: int) -> str:
    return f"{ns / 1e6:.3g} ms"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
