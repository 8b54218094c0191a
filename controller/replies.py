"""What the controller answers, and, byte for byte, what `--json` prints.

A reply's tag is its schema id, so that what is on the wire and what is printed cannot differ.
"""

from typing import Any

import msgspec

from gshare.controller.share_replies import TenantShare

DRY_RUN = "gshare/dry-run/v1"
"""Schema of an admission that was only asked about, printed with the environment."""


class Fault(msgspec.Struct, frozen=True, tag="gshare/fault/v1", tag_field="schema"):
    """The request was refused; becomes an exception in the client."""

    code: str
    what: str
    why: str
    hint: str


class Granted(msgspec.Struct, frozen=True):
    """What a tenant may have on one device; None is no limit, memory 0 is no access."""

    index: int
    uuid: str
    memory_bytes: int | None
    compute_ppm: int | None
    context_bytes: int
    ceiling_ppm: int | None = None


class Admitted(msgspec.Struct, frozen=True, tag="gshare/admission/v1", tag_field="schema"):
    """The decision about a run; without devices there is nothing to manage and `directory` is empty."""

    tenant: str
    directory: str
    joined: bool
    devices: list[Granted]
    restricted: bool = False
    """The machine has devices that are not granted."""
    host_memory_bytes: int | None = None
    """Pinned memory of the host; None is no limit."""
    weight: int | None = None
    priority: str | None = None
    mode: str | None = None
    copy_bytes_per_s: dict[str, int] = {}
    """Between host and device, by direction; one that is not there has no limit."""


class ControllerInfo(msgspec.Struct, frozen=True):
    """The process that looks after the limits."""

    pid: int
    version: str
    protocol: int
    abi: int
    started_ns: int
    socket: str
    log: str
    web: str = ""
    """The address of the web page, where there is one."""


class Device(msgspec.Struct, frozen=True):
    """One device with what is promised of it."""

    index: int
    uuid: str
    name: str
    driver: str
    simulated: bool
    machine: str
    memory_bytes: int
    promised_memory_bytes: int
    promised_compute_ppm: int
    used_bytes: int
    tenants: list[str]
    mode: str = "concurrent"
    """Or `turns`: one tenant runs at a time."""


class Devices(msgspec.Struct, frozen=True, tag="gshare/devices/v1", tag_field="schema"):
    """All devices known to the controller."""

    devices: list[Device]


class Status(msgspec.Struct, frozen=True, tag="gshare/status/v1", tag_field="schema"):
    """Controller, devices, and how many run."""

    controller: ControllerInfo
    devices: list[Device]
    tenants: int
    processes: int


class Process(msgspec.Struct, frozen=True):
    """One process on one device; `index` is None until it has touched CUDA.

    Its limits are then those of every device, and None where the devices have different ones.
    """

    tenant: str
    pid: int
    user: str
    index: int | None
    uuid: str
    simulated: bool
    used_bytes: int
    tenant_used_bytes: int
    tenant_residue_bytes: int
    """What of that no process was charged for."""
    memory_limit_bytes: int | None
    compute_limit_ppm: int | None
    """Its ceiling."""
    compute_ppm: int | None
    """Share got over the last sample, about a second; None before there is one."""
    gpu_ns: int
    launches: int
    throttled_ns: int
    denied: int
    state: str
    command: str
    host_used_bytes: int = 0
    """Pinned memory of the host, which is no device's: the same in each of the process's rows."""
    host_memory_limit_bytes: int | None = None
    guarantee_ppm: int | None = None
    ceiling_ppm: int | None = None
    weight: int | None = None
    priority: str = "normal"
    copy_bytes_per_s: dict[str, int] = {}
    """Between host and device, by direction; one that is not there has no limit."""


class Processes(msgspec.Struct, frozen=True, tag="gshare/ps/v1", tag_field="schema"):
    """Every process of every tenant."""

    now_ns: int
    processes: list[Process]


class Shares(msgspec.Struct, frozen=True, tag="gshare/shares/v1", tag_field="schema"):
    """What every tenant has asked for, may have and gets of each device."""

    now_ns: int
    devices: list[Device]
    tenants: list[TenantShare]


class RefusalCount(msgspec.Struct, frozen=True):
    """How often calls of a tenant were refused for one cause, since it began."""

    tenant: str
    index: int | None
    uuid: str
    """Of the device; "" where it is none's."""
    cause: str
    """One of refusals.CAUSES."""
    count: int


class Unmanaged(msgspec.Struct, frozen=True):
    """A process that uses a device without gshare."""

    pid: int
    user: str
    index: int | None
    uuid: str
    simulated: bool
    used_bytes: int | None
    """None: the driver does not say."""
    command: str


class DeviceUse(Device, frozen=True, kw_only=True):
    """One device, and how busy its tenants keep it."""

    got_ppm: int | None
    """What all tenants that are measured had of the last second together; None: nobody is."""
    seconds_ppm: list[int]
    """In each second of the last minute, oldest first."""
    waiting: int
    """Tenants that wait there, or are paused."""


class WebAddress(msgspec.Struct, frozen=True, tag="gshare/web/v1", tag_field="schema"):
    """Where the web page is."""

    address: str


class Charged(msgspec.Struct, frozen=True):
    """What one process holds of one device, or of the host's pinned memory; its parts add up to that."""

    tenant: str
    pid: int
    """0 for what the tenant's processes have together that none of them was charged for."""
    index: int | None
    """None for the host, and for a device that is not there any more."""
    uuid: str
    host: bool
    simulated: bool
    used_bytes: int
    tenant_used_bytes: int
    memory_limit_bytes: int | None
    charged_bytes: dict[str, int]


class MemoryUse(msgspec.Struct, frozen=True, tag="gshare/memory/v1", tag_field="schema"):
    """Every process that holds memory, on each device where it does."""

    now_ns: int
    processes: list[Charged]


class Events(msgspec.Struct, frozen=True, tag="gshare/events/v1", tag_field="schema"):
    """What has happened, oldest first: objects of the schema gshare/event/v1."""

    events: list[dict[str, Any]]


class Changed(msgspec.Struct, frozen=True):
    """Limits of one device as read back before and after a change."""

    index: int
    uuid: str
    old_memory_bytes: int | None
    new_memory_bytes: int | None
    old_compute_ppm: int | None
    new_compute_ppm: int | None
    old_ceiling_ppm: int | None = None
    new_ceiling_ppm: int | None = None


class LimitsSet(msgspec.Struct, frozen=True, tag="gshare/set/v1", tag_field="schema"):
    """What a change did, on the devices that the tenant may use."""

    tenant: str
    processes: int
    devices: list[Changed]
    old_host_memory_bytes: int | None = None
    new_host_memory_bytes: int | None = None
    old_weight: int | None = None
    new_weight: int | None = None
    old_priority: str = "normal"
    new_priority: str = "normal"
    old_mode: str = "auto"
    new_mode: str = "auto"
    old_copy_bytes_per_s: dict[str, int] = {}
    new_copy_bytes_per_s: dict[str, int] = {}


class Paused(msgspec.Struct, frozen=True, tag="gshare/pause/v1", tag_field="schema"):
    """Whether a tenant is paused now."""

    tenant: str
    paused: bool
    processes: int


class QuotaOn(msgspec.Struct, frozen=True):
    """A permanent quota's memory on one device, named as it was typed; without both there is no limit."""

    gpu: str
    memory_bytes: int | None
    memory_ppm: int | None


class Quota(msgspec.Struct, frozen=True):
    """A permanent quota: memory in bytes or as a part of the device, and whether the tenant runs now."""

    tenant: str
    memory_bytes: int | None
    memory_ppm: int | None
    compute_ppm: int | None
    running: bool
    devices: list[QuotaOn] = []
    host_memory_bytes: int | None = None
    guarantee_ppm: int | None = None
    ceiling_ppm: int | None = None
    weight: int | None = None
    priority: str | None = None
    mode: str | None = None
    copy_bytes_per_s: dict[str, int] = {}
    owner_uid: int | None = None
    """Whose it is; None: the user's who runs the controller."""
    members: list[str] = []
    """Who else may run in it: users, and groups with an `@` before them."""
    reserved: bool = False
    """Its guarantees are kept free while it does not run."""
    by_hand: bool = False
    """It is written in the configuration."""


class Quotas(msgspec.Struct, frozen=True, tag="gshare/quota/v1", tag_field="schema"):
    """Permanent quotas."""

    quotas: list[Quota]


class Queued(msgspec.Struct, frozen=True, tag="gshare/queued/v1", tag_field="schema"):
    """There is no room yet: ask again, at once; `what` and `why` as in a Fault."""

    place: int
    waiting: int
    what: str
    why: str


class Waiting(msgspec.Struct, frozen=True):
    """Somebody who waits, as who asks may see it."""

    place: int
    tenant: str
    """Empty where the run will be a tenant of its own."""
    pid: int
    user: str
    priority: str
    memory_bytes: int | None
    memory_ppm: int | None
    compute_ppm: int | None
    gpus: list[str]
    placement: str
    since_ns: int
    kept: list[int]
    """The GPUs that are kept free for it."""
    why: str
    command: str


class Queue(msgspec.Struct, frozen=True, tag="gshare/queue/v1", tag_field="schema"):
    """Who waits, in the order in which they are tried."""

    now_ns: int
    waiting: list[Waiting]


class Wrong(msgspec.Struct, frozen=True, order=True):
    """Something wrong in a configuration; line 0 is the whole of it."""

    line: int
    key: str
    why: str
    fatal: bool = True
    """False: the file can be used, and means less than it seems to."""

    def __str__(self) -> str:
        where = f"line {self.line}" if self.line else ""
        return ": ".join(part for part in (where, self.key, self.why) if part)


class Configuration(msgspec.Struct, frozen=True, tag="gshare/config/v1", tag_field="schema"):
    """A file of configuration, and what is wrong with it; one that cannot be used has changed nothing."""

    file: str
    usable: bool
    wrong: list[Wrong]


class Top(msgspec.Struct, frozen=True, tag="gshare/top/v1", tag_field="schema"):
    """The machine in one picture: what `top`, the web page and the metrics show."""

    now_ns: int
    devices: list[DeviceUse]
    tenants: list[TenantShare]
    unmanaged: list[Unmanaged]
    refusals: list[RefusalCount]
    queue: list[Waiting] = []
    """Who waits to be let in, in the order in which they are tried."""


class Stopping(msgspec.Struct, frozen=True, tag="gshare/stop/v1", tag_field="schema"):
    """The controller is about to end."""

    pid: int


Reply = (
    Fault
    | Admitted
    | Devices
    | Status
    | Processes
    | MemoryUse
    | Shares
    | Top
    | WebAddress
    | Events
    | LimitsSet
    | Paused
    | Quotas
    | Queued
    | Queue
    | Configuration
    | Stopping
)
