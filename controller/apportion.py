"""Carries out on the tenants' files what shares.py decides about each device, and says who lends to whom."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from gshare.controller import shares
from gshare.controller.balance import Device
from gshare.controller.lending import Lender
from gshare.controller.protocol import Limits
from gshare.controller.region import TenantFiles
from gshare.controller.shares import Asker, Mode, Seen, Share
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


class Apportioner:
    """Writes shares, priorities and turns whenever tenants come, go or change; chooses modes."""

    def __init__(self) -> None:
        self.lender = Lender()
        self._modes: dict[str, Mode] = {}

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
        with self.lender.paused:
            lent = [self._apply_on(uuid, on, activity) for uuid, on in devices.items()]
            for party in parties:
                index = party.files.index
                party.files.change_order(
                    above[index], below=any(index in others for others in above.values())
                )
            self.lender.replace([device for device in lent if device])

    def reconsider(self, parties: Sequence[Party], seen: Mapping[str, Sequence[Seen]], now_ns: int) -> bool:
        """Whether a device had better change its mode, by what was seen on it since the last time."""
        askers: dict[str, list[Asker]] = {}
        for party in parties:
            asker = party.asker
            for uuid in party.rows:
                askers.setdefault(uuid, []).append(asker)
        changed = False
        for uuid, on in askers.items():
            mode = self._modes.get(uuid, Mode())
            better = shares.may_choose(on) and shares.prefers_turns(seen.get(uuid, ()), mode.turning)
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
