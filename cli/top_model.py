"""What `gshare top` shows and what its keys do: no terminal, socket or clock here."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from typing import NamedTuple

from gshare.cli.options import LIMIT_NAMES, change
from gshare.controller.errors import GshareError
from gshare.controller.protocol import Change, Pause, Request, SetLimits
from gshare.controller.replies import DeviceUse, Top, Unmanaged, Waiting
from gshare.controller.share_replies import TenantShare
from gshare.controller.units import FULL_PPM, MAX_WEIGHT, format_compute

STEP_PPM = 50_000
"""What + and - change a share by."""

SORTS = ("compute", "memory", "waiting", "name")
UP, DOWN, ESCAPE, ENTER, BACKSPACE = "up", "down", "escape", "enter", "backspace"
"""Keys that are no characters."""


class TenantRow(NamedTuple):
    """One tenant on one device."""

    share: TenantShare
    selected: bool


@dataclass
class Model:
    """The last answer of the controller, and what the person has chosen to see of it."""

    top: Top | None = None
    sort: str = SORTS[0]
    filter: str = ""
    typing: bool = False
    """The filter is being typed."""
    edit: str | None = None
    """What is being typed of the selected tenant's new limits."""
    message: str = ""
    """What came of the last key."""
    trouble: str = ""
    """Why the last look failed."""
    done: bool = False
    _selected: tuple[str, str] | None = None
    _order: list[tuple[str, str]] = field(default_factory=list)

    def devices(self) -> list[DeviceUse]:
        """Devices, in the order of the controller."""
        return [] if self.top is None else self.top.devices

    def queue(self) -> list[Waiting]:
        """Who waits to be let in."""
        return [] if self.top is None else self.top.queue

    def unmanaged(self) -> list[Unmanaged]:
        """Processes that use a device without gshare."""
        return [] if self.top is None else self.top.unmanaged

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
        if self.edit is not None:
            return self._edit(key)
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

    def select(self, at: int) -> None:
        """The tenant at this place of the table, as it was last asked for."""
        if self._order:
            self._selected = self._order[max(0, min(at, len(self._order) - 1))]

    def selected(self) -> TenantShare | None:
        """The tenant that keys are for."""
        return next((row.share for row in self.tenants() if row.selected), None)

    def _act(self, key: str) -> Request | None:
        share = self.selected()
        if share is None or key not in ("p", "+", "=", "-", "e"):
            return None
        if key == "e":
            self.edit = ""
            return None
        if key == "p":
            return Pause(share.tenant, share.state != "paused")
        step = changed(share, 1 if key in ("+", "=") else -1)
        if step is None:
            self.message = (
                f"{share.tenant} has neither a share nor a weight to change: gshare set {share.tenant}"
            )
            return None
        return SetLimits(share.tenant, step)

    def _type(self, key: str) -> None:
        if key == ENTER:
            self.typing = False
        elif key == ESCAPE:
            self.typing, self.filter = False, ""
        else:
            self.filter = _typed(self.filter, key)

    def _edit(self, key: str) -> Request | None:
        """As `mem 8G compute 30%..60%`, which is asked for with the key that ends it."""
        text, share = self.edit or "", self.selected()
        if key not in (ENTER, ESCAPE):
            self.edit = _typed(text, key)
            return None
        self.edit = None
        if key == ESCAPE or share is None or not text.strip():
            return None
        try:
            return SetLimits(share.tenant, parse_limits(text))
        except GshareError as error:
            self.message = str(error)
            return None

    def _move(self, by: int) -> None:
        self.tenants()
        if self._order and self._selected is not None:
            self.select(self._order.index(self._selected) + by)

    def _all(self) -> list[TenantShare]:
        return [] if self.top is None else self.top.tenants


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


def parse_limits(text: str) -> Change:
    """Limits as they are typed: names and values in turn, with or without dashes."""
    try:
        words = shlex.split(text.replace("=", " ", 1) if text.count(" ") == 0 else text)
    except ValueError as error:
        raise GshareError(text, str(error).lower()) from None
    given = dict(zip([word.lstrip("-").replace("-", "_") for word in words[::2]], words[1::2], strict=False))
    if len(words) % 2 or not set(given) <= set(LIMIT_NAMES):
        raise GshareError(text, "not limits and values", "as mem 8G compute 30%..60%")
    return change(**given)


def told(wanted: Change) -> str:
    """A change for the message line; of one that was typed, that it was made."""
    if wanted == Change(weight=wanted.weight):
        return f"weight {wanted.weight}"
    if wanted == Change(compute_ppm=wanted.compute_ppm, ceiling_ppm=wanted.ceiling_ppm):
        return f"compute {format_compute(wanted.compute_ppm or 0, wanted.ceiling_ppm)}"
    return "changed"


def _typed(text: str, key: str) -> str:
    if key == BACKSPACE:
        return text[:-1]
    return text + key if len(key) == 1 and key.isprintable() else text


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
