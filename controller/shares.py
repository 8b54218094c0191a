"""How the tenants of one device share its time: pure functions, time is an argument.

A tenant that asked for a share has its guarantee.  Those without one have, by weight, what guarantees leave;
who asked for nothing counts among them with weight 1 as soon as somebody beside it asked for something.
What nobody uses is lent every few milliseconds: see balance.pyx.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from gshare.controller.fill import parts
from gshare.controller.protocol import Limits
from gshare.controller.units import FULL_PPM
from gshare.shim import abi

BURST_NS = 20_000_000
"""GPU time that an idle tenant saves at most."""

RESUME_NS = 3_000_000
"""A closed gate opens again once this much GPU time is available; in turns, at once."""

IN_FLIGHT_NS = 2_000_000
"""Work that a tenant may have queued and unfinished while others are busy."""

LOW_IN_FLIGHT_NS = 500_000
"""The same for low priority, which must give way soon."""

QUANTUM_NS = 10_000_000
"""How long a turn lasts on average, or up to twice that where somebody's would be too short else."""

LEAST_TURN_NS = 2_000_000
SECOND_NS = 1_000_000_000

FLOOR_PPM = 10_000
"""What those without a guarantee have together at least: nobody is to depend on a controller that lends."""

UNBOUNDED_PPM = 10 * FULL_PPM
"""A rate that no device can follow: measured only."""

RANKS = {"high": 2, "normal": 1, "low": 0}

HUNGRY = 0.8
"""Who uses more than this of its share could use all of it."""

STARVED_PPM = 50_000
"""Waiting for longer than this part of the time is being throttled."""

DOUBT_NS = 900_000_000
"""A mode is changed when the other one was better for this long: about two looks, once a second."""


class Asker(NamedTuple):
    """A tenant, as far as sharing a device is concerned; `tenant` is its record in the activity file."""

    tenant: int
    limits: Limits
    paused: bool = False


class Share(NamedTuple):
    """What a tenant's limits say of its time on one device, and what it may borrow."""

    cap_ppm: int
    guarantee_ppm: int = UNBOUNDED_PPM
    ceiling_ppm: int = 0
    weight: int = 0
    """0: it borrows nothing."""
    in_flight_ns: int = IN_FLIGHT_NS
    resume_ns: int = RESUME_NS


def rank(limits: Limits) -> int:
    """Higher goes first."""
    return RANKS[limits.priority or "normal"]


def takes_turns(askers: Sequence[Asker], chosen: bool) -> bool:
    """Whether the device is one tenant's at a time; `chosen`: that is what --mode auto would have."""
    modes = {asker.limits.mode for asker in askers}
    if len(askers) < 2 or "concurrent" in modes:
        return False
    return "turns" in modes or (chosen and may_choose(askers))


def may_choose(askers: Sequence[Asker]) -> bool:
    """Whether --mode auto has a choice: only shares can be taken in turns, and priority is for at once."""
    return _is_shared(askers) and len({rank(asker.limits) for asker in askers}) == 1


def shares(askers: Sequence[Asker], turning: bool) -> list[Share]:
    """Each tenant's share of a device, in their order."""
    shared = turning or _is_shared(askers)
    without = [asker for asker in askers if asker.limits.compute_ppm is None]
    promised = sum(asker.limits.compute_ppm or 0 for asker in askers)
    part = _parts(max(FULL_PPM - promised, FLOOR_PPM), without)
    ranked = len({rank(asker.limits) for asker in askers}) > 1
    found = []
    for asker in askers:
        share = _asked(asker)
        if share is None and shared:
            share = Share(abi.METERED_PPM, part[asker.tenant], FULL_PPM, _weight(asker))
        elif share is None:
            share = Share(abi.METERED_PPM if ranked or _is_measured(asker) else abi.NO_CAP_PPM)
        found.append(
            share._replace(
                in_flight_ns=LOW_IN_FLIGHT_NS if asker.limits.priority == "low" else IN_FLIGHT_NS,
                resume_ns=0 if turning else RESUME_NS,
            )
        )
    return found


def above(ranks: Mapping[int, int], devices: Iterable[Iterable[int]]) -> dict[int, set[int]]:
    """Of each tenant, those of higher rank that share a device with it.

    `ranks` are by the tenants' indices, `devices` the indices of the tenants on each.
    """
    found: dict[int, set[int]] = {index: set() for index in ranks}
    if len(set(ranks.values())) <= 1:
        return found
    for device in devices:
        present = list(device)
        for index in present:
            found[index].update(other for other in present if ranks[other] > ranks[index])
    return found


def places(guarantees_ppm: Mapping[int, int]) -> tuple[int, list[tuple[int, int]]]:
    """The period of turns, and from when in it on it is which tenant's: by what each is guaranteed.

    The places fill the period, whatever the guarantees add up to, and none is too short for anything.
    A second is a whole number of periods, so that any second has the same of each.
    """
    count, smallest = len(guarantees_ppm), max(min(guarantees_ppm.values()), 1)
    fair_ns = LEAST_TURN_NS * sum(guarantees_ppm.values()) // smallest
    wanted_ns = min(max(fair_ns, QUANTUM_NS * count), 2 * QUANTUM_NS * count)
    period_ns = SECOND_NS // -(-SECOND_NS // wanted_ns)
    least_ns = min(LEAST_TURN_NS, period_ns // (2 * count))
    lengths: dict[int, int] = {}
    open_ = dict(guarantees_ppm)
    while open_:
        left = period_ns - sum(lengths.values())
        total = sum(open_.values())
        share = {index: left * ppm // total if total else left // len(open_) for index, ppm in open_.items()}
        short = [index for index, length in share.items() if length < least_ns]
        lengths.update({index: least_ns for index in short} if short else share)
        open_ = {index: ppm for index, ppm in open_.items() if index not in lengths}
    begin, table = 0, []
    for index in guarantees_ppm:
        table.append((begin, index))
        begin += lengths[index]
    return period_ns, table


class Seen(NamedTuple):
    """A tenant on a device over about a second, in ppm of that time."""

    used_ppm: int
    share_ppm: int
    throttled_ppm: int


def prefers_turns(seen: Iterable[Seen], turning: bool) -> bool:
    """Whether at least two tenants could use all that they have: then overlapping only costs.

    Where turns are taken, all wait, so that waiting tells nothing.
    """
    hungry = [
        tenant.used_ppm >= HUNGRY * tenant.share_ppm or (not turning and tenant.throttled_ppm >= STARVED_PPM)
        for tenant in seen
    ]
    return sum(hungry) >= 2


class Mode(NamedTuple):
    """What --mode auto has chosen for a device, and since when it has looked wrong."""

    turning: bool = False
    doubted_ns: int | None = None


def reconsider(mode: Mode, better: bool, now_ns: int) -> Mode:
    """The mode after another look; one look alone changes nothing."""
    if better == mode.turning:
        return Mode(mode.turning)
    if mode.doubted_ns is None:
        return Mode(mode.turning, now_ns)
    return Mode(better) if now_ns - mode.doubted_ns >= DOUBT_NS else mode


def _is_shared(askers: Sequence[Asker]) -> bool:
    """Whether there is somebody to share with, and somebody who asked how."""
    return len(askers) > 1 and any(
        asker.limits.compute_ppm is not None or asker.limits.weight is not None for asker in askers
    )


def _is_measured(asker: Asker) -> bool:
    """Whether a tenant without a share is measured even where it is alone.

    What one that is not has queued when somebody arrives, or when it is paused, keeps the device for a while;
    and who is not measured does not see a limit on copies.
    """
    limits = asker.limits
    return (
        asker.paused or limits.weight is not None or limits.priority == "low" or bool(limits.copy_bytes_per_s)
    )


def _parts(free_ppm: int, askers: Sequence[Asker]) -> dict[int, int]:
    """What those without a guarantee have of what is left, by weight; of lower priority, next to nothing:
    who is above them would have no more than its own part while they use theirs.
    """
    first = max((rank(asker.limits) for asker in askers), default=0)
    behind = [asker for asker in askers if rank(asker.limits) < first]
    found: dict[int, int] = {}
    for group, ppm in (
        ([asker for asker in askers if asker not in behind], free_ppm - (FLOOR_PPM // 2 if behind else 0)),
        (behind, FLOOR_PPM // 2),
    ):
        found.update(zip((a.tenant for a in group), parts(ppm, [_weight(a) for a in group]), strict=True))
    return found


def _weight(asker: Asker) -> int:
    return asker.limits.weight or 1


def _asked(asker: Asker) -> Share | None:
    """What a guarantee comes to, with or without a ceiling above it."""
    guarantee, ceiling = asker.limits.compute_ppm, asker.limits.ceiling_ppm
    if guarantee is None:
        return None
    if ceiling is None:
        return Share(guarantee, guarantee, guarantee)
    return Share(ceiling, guarantee, ceiling, _weight(asker))
