"""What `gshare top` shows and what its keys do: no terminal, socket or clock here."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from gshare.controller.protocol import Change, Pause, Request, SetLimits
from gshare.controller.replies import Device, Shares, TenantShare
from gshare.controller.units import FULL_PPM, MAX_WEIGHT, format_compute

STEP_PPM = 50_000
"""What + and - change a share by."""

SORTS = ("compute", "memory", "waiting", "name")
MINUTE = 60
WAITS = ("throttled", "yielding", "paused")

UP, DOWN, ESCAPE, ENTER, BACKSPACE = "up", "down", "escape", "enter", "backspace"
"""Keys that are no characters."""


class DeviceRow(NamedTuple):
    """One device."""

    device: Device
    got_ppm: int
    metered: bool
    """False: nobody there is measured, and what is used is not known."""
    seconds_ppm: list[int]
    tenants: int
    waiting: int


class TenantRow(NamedTuple):
    """One tenant on one device."""

    share: TenantShare
    selected: bool


@dataclass
class Model:
    """The last answer of the controller, and what the person has chosen to see of it."""

    shares: Shares | None = None
    sort: str = SORTS[0]
    filter: str = ""
    typing: bool = False
    """The filter is being typed."""
    message: str = ""
    done: bool = False
    _selected: tuple[str, str] | None = None
    _order: list[tuple[str, str]] = field(default_factory=list)

    def devices(self) -> list[DeviceRow]:
        """Devices, in the order of the controller."""
        if self.shares is None:
            return []
        return [_device(device, self.shares.tenants) for device in self.shares.devices]

    def tenants(self) -> list[TenantRow]:
        """Tenants that pass the filter, in order; one of them is selected where there is any."""
        found = [share for share in self._all() if self.filter.lower() in share.tenant.lower()]
        found.sort(key=lambda share: (_rank(share, self.sort), share.tenant, share.index or 0))
        self._order = [_key(share) for share in found]
        if self._order and self._selected not in self._order:
            self._selected = self._order[0]
        return [TenantRow(share, _key(share) == self._selected) for share in found]

    def press(self, key: str) -> Request | None:
        """What a key does: to what is shown, or what is to be asked of the controller."""
        if self.typing:
            self._type(key)
            return None
        self.message = ""
        if key == "q":
            self.done = True
        elif key == "s":
            self.sort = SORTS[(SORTS.index(self.sort) + 1) % len(SORTS)]
        elif key == "/":
            self.typing, self.filter = True, ""
        elif key == ESCAPE:
            self.filter = ""
        elif key in (UP, DOWN, "k", "j"):
            self._move(-1 if key in (UP, "k") else 1)
        else:
            return self._act(key)
        return None

    def _act(self, key: str) -> Request | None:
        share = next((row.share for row in self.tenants() if row.selected), None)
        if share is None or key not in ("p", "+", "=", "-"):
            return None
        if key == "p":
            return Pause(share.tenant, share.state != "paused")
        change = changed(share, 1 if key in ("+", "=") else -1)
        if change is None:
            self.message = (
                f"{share.tenant} has neither a share nor a weight to change: gshare set {share.tenant}"
            )
            return None
        return SetLimits(share.tenant, change)

    def _type(self, key: str) -> None:
        if key == ENTER:
            self.typing = False
        elif key == ESCAPE:
            self.typing, self.filter = False, ""
        elif key == BACKSPACE:
            self.filter = self.filter[:-1]
        elif len(key) == 1 and key.isprintable():
            self.filter += key

    def _move(self, by: int) -> None:
        self.tenants()
        if self._order and self._selected is not None:
            at = self._order.index(self._selected) + by
            self._selected = self._order[max(0, min(at, len(self._order) - 1))]

    def _all(self) -> list[TenantShare]:
        return [] if self.shares is None else self.shares.tenants


def changed(share: TenantShare, direction: int) -> Change | None:
    """One step up or down of what a tenant has asked for; None: there is nothing to step."""
    if share.guarantee_ppm is not None:
        guarantee = max(STEP_PPM, min(share.guarantee_ppm + direction * STEP_PPM, FULL_PPM))
        ceiling = share.ceiling_ppm
        is_range = ceiling is not None and ceiling > max(share.guarantee_ppm, guarantee)
        return Change(compute_ppm=guarantee, ceiling_ppm=ceiling if is_range else None)
    if share.weight is not None:
        return Change(weight=max(1, min(share.weight + direction, MAX_WEIGHT)))
    return None


def told(change: Change) -> str:
    """A change for the message line."""
    if change.compute_ppm is not None:
        return f"compute {format_compute(change.compute_ppm, change.ceiling_ppm)}"
    return f"weight {change.weight}"


def _device(device: Device, tenants: list[TenantShare]) -> DeviceRow:
    on = [share for share in tenants if share.uuid == device.uuid]
    measured = [share for share in on if share.metered]
    history = [([0] * MINUTE + share.seconds_ppm)[-MINUTE:] for share in measured]
    return DeviceRow(
        device=device,
        got_ppm=sum(share.windows[0].share_ppm for share in measured if share.windows),
        metered=bool(measured),
        seconds_ppm=[sum(second) for second in zip(*history, strict=True)],
        tenants=len(on),
        waiting=sum(share.state in WAITS for share in on),
    )


def _key(share: TenantShare) -> tuple[str, str]:
    return share.tenant, share.uuid


def _rank(share: TenantShare, sort: str) -> float:
    """Lowest first."""
    last = share.windows[0] if share.windows else None
    if sort == "memory":
        return -share.used_bytes
    if sort == "compute":
        return -last.share_ppm if last else 0
    if sort == "waiting":
        return -max(last.throttled_ppm, last.copy_waited_ppm) if last else 0
    return 0
