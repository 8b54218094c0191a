"""What is asked of the controller; replies.py has what it answers, and wire.py makes bytes of both.

Requests are told by their tags.  Memory is bytes, times are CLOCK_MONOTONIC nanoseconds, shares are ppm of a
device.
"""

from typing import Annotated

import msgspec
from msgspec import Meta

from gshare.controller.units import Memory

VERSION = 5

MOST_OF_COMMAND = 1000
"""Characters of a command line that are told."""

Word = Annotated[str, Meta(max_length=256)]
"""A name, a GPU, a choice: what is longer is none."""

Words = Annotated[list[Word], Meta(max_length=1000)]
Amounts = Annotated[dict[Word, Memory | None], Meta(max_length=256)]


class Limits(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a person asks for, on each device granted; None: nothing was said about it.

    `memory_on` has the devices for which other amounts hold, by index or UUID; None there is no limit.
    Without `memory`, only these are granted.  `host_memory_bytes` is for pinned memory of the host.
    `compute_ppm` is a guarantee, and without `ceiling_ppm` all that there is; `weight` divides what is lent.
    `copy_bytes_per_s` is for copies over the bus, by direction (units.DIRECTIONS).
    """

    memory: Memory | None = None
    compute_ppm: int | None = None
    memory_on: Amounts = {}
    host_memory_bytes: int | None = None
    ceiling_ppm: int | None = None
    weight: int | None = None
    priority: Word | None = None
    mode: Word | None = None
    copy_bytes_per_s: dict[Word, int] = {}


class Change(msgspec.Struct, frozen=True, omit_defaults=True):
    """What `set` changes; `lift_*` takes a limit away."""

    memory: Memory | None = None
    compute_ppm: int | None = None
    lift_memory: bool = False
    lift_compute: bool = False
    memory_on: Amounts = {}
    """Other amounts for some devices, by index or UUID; None takes the limit away there."""
    host_memory_bytes: int | None = None
    lift_host_memory: bool = False
    ceiling_ppm: int | None = None
    """Goes with `compute_ppm`; that alone takes the ceiling away."""
    weight: int | None = None
    lift_weight: bool = False
    priority: Word | None = None
    mode: Word | None = None
    copy_bytes_per_s: dict[Word, int | None] = {}
    """By direction; None takes the limit away there."""


class Simulated(msgspec.Struct, frozen=True, omit_defaults=True):
    """The simulated machine a program is to run on; made with `profile` where there is none."""

    machine: Annotated[str, Meta(max_length=4096)]
    profile: Word = ""


class Admit(msgspec.Struct, frozen=True, tag="admit", omit_defaults=True):
    """Make, or join, the tenant that process `pid` is about to become."""

    pid: int
    start_ticks: int
    command: Annotated[str, Meta(max_length=MOST_OF_COMMAND)]
    limits: Limits = Limits()
    gpus: Words = []
    tenant: Word = ""
    simulated: Simulated | None = None
    dry_run: bool = False
    placement: Word = ""
    """One of units.PLACEMENTS; nothing: as configured."""
    wait_ms: int | None = None
    """Where there is no room: be queued, have an answer by then at the latest, and ask again."""
    since_ns: int = 0
    """When it began to wait, for a controller that has not seen it yet."""


class GetStatus(msgspec.Struct, frozen=True, tag="status"):
    """Who is the controller and what does it look after."""


class GetProcesses(msgspec.Struct, frozen=True, tag="ps"):
    """Which processes run, and what they have and use."""


class GetMemory(msgspec.Struct, frozen=True, tag="memory"):
    """What each process is charged for."""


class GetShares(msgspec.Struct, frozen=True, tag="shares"):
    """What each tenant has asked for and gets of each device, over the last seconds."""


class GetTop(msgspec.Struct, frozen=True, tag="top"):
    """All that `top`, the web page and the metrics show."""


class OpenWeb(msgspec.Struct, frozen=True, tag="web", omit_defaults=True):
    """Serve the web page, if that is not done yet; without `port` on the usual one, or any that is free."""

    port: int | None = None


class GetEvents(msgspec.Struct, frozen=True, tag="events", omit_defaults=True):
    """The latest events, of one tenant or all, with numbers above `after`."""

    most: int
    tenant: Word = ""
    after: int = 0


class GetDevices(msgspec.Struct, frozen=True, tag="devices", omit_defaults=True):
    """Which devices there are; with `machine`, those of that simulated machine as well."""

    machine: Annotated[str, Meta(max_length=4096)] = ""


class SetLimits(msgspec.Struct, frozen=True, tag="set"):
    """Change a running tenant's limits; `target` is its name, or the pid of one of its processes."""

    target: Word
    change: Change


class Pause(msgspec.Struct, frozen=True, tag="pause"):
    """Let a tenant launch nothing more on any GPU, or let it go on; `target` as in SetLimits."""

    target: Word
    paused: bool


class SetQuota(msgspec.Struct, frozen=True, tag="quota-set", omit_defaults=True):
    """Write down a permanent quota, and give it to the tenant if it runs; None: as it was."""

    tenant: Word
    change: Change
    owner_uid: int | None = None
    members: Words | None = None
    reserved: bool | None = None


class GetQuotas(msgspec.Struct, frozen=True, tag="quota-show", omit_defaults=True):
    """The permanent quotas, or one."""

    tenant: Word = ""


class RemoveQuota(msgspec.Struct, frozen=True, tag="quota-rm"):
    """Forget a permanent quota; what runs keeps its limits until it ends."""

    tenant: Word


class GetQueue(msgspec.Struct, frozen=True, tag="queue"):
    """Who waits to be let in, in the order in which they will be tried."""


class Reload(msgspec.Struct, frozen=True, tag="reload"):
    """Read the configuration again."""


class Stop(msgspec.Struct, frozen=True, tag="stop"):
    """End the controller; tenants keep their limits."""


Request = (
    Admit
    | GetStatus
    | GetProcesses
    | GetMemory
    | GetShares
    | GetTop
    | OpenWeb
    | GetEvents
    | GetDevices
    | SetLimits
    | Pause
    | SetQuota
    | GetQuotas
    | RemoveQuota
    | GetQueue
    | Reload
    | Stop
)
