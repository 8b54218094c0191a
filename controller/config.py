"""What an administrator configures: the types of it.  config_file.py reads them from a file."""

from typing import Annotated

import msgspec
from msgspec import Meta

from gshare.controller.permanent import Permanent
from gshare.controller.protocol import Limits
from gshare.controller.units import Memory

EVERYBODY = "*"
"""In the place of a user's name: whoever has no table of their own."""

IDLE_EXIT_S = 60.0

WHAT_TO_DO = ("ignore", "warn", "pause", "stop")
"""What an audit may come to, from nothing to the end of a process."""

Positive = Annotated[float, Meta(gt=0, le=100)]
Port = Annotated[int, Meta(ge=0, le=65535)]
Seconds = Annotated[float, Meta(ge=0, le=10_000_000)]


class Admission(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="kebab"):
    """`[admission]`: what may be promised, and how those who wait are let in."""

    memory_overcommit: Positive = 1.0
    """So many times each GPU's memory may be promised."""
    compute_overcommit: Positive = 1.0
    placement: str = "all"
    """For a run that names no GPU."""
    patience: Seconds = 60.0
    """Who has waited for so many seconds is passed by nobody of the same or a lower priority."""


class Audit(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="kebab"):
    """`[audit]`: what is done about whom, each one of WHAT_TO_DO; it begins with a warning in any case."""

    unmanaged: str = "warn"
    """Processes on a GPU that nobody manages."""
    over_quota: str = "warn"
    """Tenants that have more memory than their quota by what they were never charged for."""
    tampering: str = "warn"
    """Processes that change their own books, or let go of the library."""
    over_share: str = "warn"
    """Tenants that use far more of a GPU's time than they may."""
    pause_after: Seconds = 30.0
    """Seconds from the warning to the pause."""
    stop_after: Seconds = 60.0
    """Seconds from the pause, or the warning where nothing is paused, to the end."""


class Controller(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="kebab"):
    """`[controller]`: the process itself."""

    idle_exit: Seconds | None = None
    """Leaves after so many seconds with nobody to look after; 0: never."""
    web: Port | None = None
    """The port of loopback that the web page and the metrics are on from the start."""
    group: str = ""
    """Only its members, and administrators, may use a controller for all users; empty: everybody may."""


class Administrators(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[administrators]`: who sees and changes everything, beside root and who runs the controller."""

    users: list[str] = []
    groups: list[str] = []


class Ceiling(msgspec.Struct, frozen=True):
    """`[users.NAME]` and `[groups.NAME]`: what all tenants of somebody may be promised together on each GPU.

    None is no ceiling.  Who has one must say what they want, since no limit would be above any ceiling.
    """

    memory: Memory | None = None
    compute_ppm: int | None = None
    tenants: int | None = None
    """How many may run at a time, on all GPUs."""
    priority: str | None = None
    """The highest that they may ask for."""


class Config(msgspec.Struct, frozen=True):
    """All of a configuration; of nothing, where there is no file."""

    admission: Admission = Admission()
    audit: Audit = Audit()
    controller: Controller = Controller()
    administrators: Administrators = Administrators()
    defaults: Limits = Limits()
    """`[defaults]`: for a run that does not say otherwise."""
    users: dict[str, Ceiling] = {}
    groups: dict[str, Ceiling] = {}
    tenants: dict[str, Permanent] = {}
    """`[tenants.NAME]`: permanent ones that are written by hand."""
    text: str = ""
    """What it was read from."""
