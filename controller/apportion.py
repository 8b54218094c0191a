"""Carries out on the tenants' files what shares.py decides about each device, and says who lends to whom."""

from collections.abc import Sequence
from typing import NamedTuple

from gshare.controller import shares
from gshare.controller.balance import Device
from gshare.controller.lending import Lender
from gshare.controller.protocol import Limits
from gshare.controller.region import TenantFiles
from gshare.controller.shares import Asker, Mode, Seen, Share
from gshare.controller.units import FULL_PPM
from gshare.shim import abi


class Party(NamedTuple):
    """A tenant that runs: its files, what it asked for, and the rows of the devices that it may use."""

    files: TenantFiles
    limits: Limits
    rows: dict[str, int]

    @property
    def asker(self) -> Asker:
        """The tenant as policy sees it."""
        return Asker(self.files.index, self.limits, self.files.limits.paused)


class Sample(NamedTuple):
    """What a tenant had used, and waited, by some time."""

    at_ns: int
    gpu_ns: int
    throttled_ns: int


class Apportioner:
    """Writes shares, priorities and turns whenever tenants come, go or change; chooses modes."""

    def __init__(self) -> None:
        self.lender = Lender()
        self._modes: dict[str, Mode] = {}
        self._samples: dict[tuple[int, str], Sample] = {}

    def apply(self, parties: Sequence[Party], activity: abi.Activity | None) -> None:
        """Write every tenant's share of each device, its place among them, and lend from then on."""
        devices: dict[str, list[Party]] = {}
        for party in parties:
            for uuid in party.rows:
                devices.setdefault(uuid, []).append(party)
        for uuid in set(self._modes) - set(devices):
            del self._modes[uuid]
        ranks = {party.files.index: shares.rank(party.limits) for party in parties}
        above = shares.above(ranks, [[party.files.index for party in on] for on in devices.values()])
        with self.lender.lock:
            lent = [self._apply_on(uuid, on, activity) for uuid, on in devices.items()]
            for party in parties:
                index = party.files.index
                party.files.change_order(
                    above[index], below=any(index in others for others in above.values())
                )
            self.lender.replace([device for device in lent if device])

    def reconsider(self, parties: Sequence[Party], activity: abi.Activity, now_ns: int) -> bool:
        """Look at what all used since the last time; whether a device had better change its mode."""
        seen: dict[str, list[Seen]] = {}
        samples: dict[tuple[int, str], Sample] = {}
        askers: dict[str, list[Asker]] = {}
        for party in parties:
            index, asker = party.files.index, party.asker
            for uuid, row in party.rows.items():
                askers.setdefault(uuid, []).append(asker)
                words = activity.device(index, row)
                now = samples[index, uuid] = Sample(now_ns, words.gpu_ns, words.throttled_ns)
                before = self._samples.get((index, uuid), now)
                share_ppm = party.files.limits.device(row).guarantee_ppm or 0
                seen.setdefault(uuid, []).append(_seen(before, now, share_ppm))
        self._samples = samples
        changed = False
        for uuid, on in askers.items():
            mode = self._modes.get(uuid, Mode())
            better = shares.may_choose(on) and shares.prefers_turns(seen[uuid], mode.turning)
            self._modes[uuid] = shares.reconsider(mode, better, now_ns)
            changed |= self._modes[uuid].turning != mode.turning
        return changed

    def _apply_on(self, uuid: str, parties: list[Party], activity: abi.Activity | None) -> Device | None:
        """Write what concerns one device; returns it where somebody may borrow."""
        askers = [party.asker for party in parties]
        if uuid not in self._modes:  # what an earlier controller had chosen goes on
            self._modes[uuid] = Mode(any(party.files.takes_turns(party.rows[uuid]) for party in parties))
        turning = shares.takes_turns(askers, self._modes[uuid].turning)
        found = shares.shares(askers, turning)
        guarantees = {asker.tenant: share.guarantee_ppm for asker, share in zip(askers, found, strict=True)}
        period_ns, table = shares.places(guarantees) if turning else (0, [])
        for party, share in zip(parties, found, strict=True):
            party.files.change_share(party.rows[uuid], share)
            party.files.change_turns(party.rows[uuid], period_ns, table)
        if activity is None or not any(share.weight for share in found):
            return None
        return Device([_sharer(p, s, activity, uuid) for p, s in zip(parties, found, strict=True)])


def _sharer(
    party: Party, share: Share, activity: abi.Activity, uuid: str
) -> tuple[memoryview, memoryview, memoryview, int, int, int, int, int, bool]:
    files = party.files
    maps = files.limits.memory(), files.usage.memory(), activity.memory()
    ppm = share.guarantee_ppm, share.ceiling_ppm
    return (*maps, files.index, party.rows[uuid], *ppm, share.weight, files.limits.paused)


def _seen(before: Sample, now: Sample, share_ppm: int) -> Seen:
    elapsed_ns = now.at_ns - before.at_ns
    if elapsed_ns <= 0:
        return Seen(0, share_ppm, 0)
    used_ns, throttled_ns = now.gpu_ns - before.gpu_ns, now.throttled_ns - before.throttled_ns
    return Seen(
        max(used_ns, 0) * FULL_PPM // elapsed_ns,
        share_ppm,
        max(throttled_ns, 0) * FULL_PPM // elapsed_ns,
    )
