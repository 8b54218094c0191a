"""What `--json` prints beside the controller's answers: the shapes of objects, for `gshare schema`."""

from __future__ import annotations

from typing import Any

import msgspec

from gshare.controller.replies import DRY_RUN, Admitted, Status, Unmanaged, Waiting
from gshare.controller.why import Finding


class DryRun(Admitted, frozen=True, kw_only=True, tag=DRY_RUN, tag_field="schema"):
    """What `run` would have been granted, and the environment of the program."""

    environment: dict[str, str]


class Why(msgspec.Struct, frozen=True, tag="gshare/why/v1", tag_field="schema"):
    """What holds a tenant back on each of its devices."""

    tenant: str
    devices: list[Finding]
    refused: dict[str, int]
    """Calls since it began, by cause."""
    queue: list[Waiting]
    """Runs of it that wait to be let in."""


class Strangers(msgspec.Struct, frozen=True, tag="gshare/unmanaged/v1", tag_field="schema"):
    """The processes that use a device without gshare."""

    unmanaged: list[Unmanaged]


class WholeStatus(Status, frozen=True, kw_only=True, tag="gshare/status/v1", tag_field="schema"):
    """The controller, and how those fare whom it looks after and who asks may see.

    `controller status` leaves these out.
    """

    waiting: int = 0
    """Tenants that wait for a share, or yield to a priority."""
    paused: int = 0
    queued: int = 0
    """Runs that wait to be let in."""
    unmanaged: int = 0
    """Processes that use a device without gshare; only administrators are told."""
    throttled_ns: int = 0
    """How long the tenants that run have waited before launches, all threads together."""
    refused: dict[str, int] = msgspec.field(default_factory=dict)
    """Calls of the tenants that run, by cause."""


class Event(msgspec.Struct, frozen=True, tag="gshare/event/v1", tag_field="schema"):
    """One event; more fields depend on `what`."""

    number: int
    """Without gaps, so that a follower notices what it missed."""
    time_ns: int
    """Since 1970."""
    at_ns: int
    """On the clock of all limits."""
    what: str
    tenant: str


class DemoShare(msgspec.Struct, frozen=True):
    """A tenant of the demo with a share of GPU time."""

    tenant: str
    asked_ppm: int
    got_ppm: int
    held: bool


class DemoMemory(msgspec.Struct, frozen=True):
    """The tenant of the demo that tries to take more than its quota."""

    tenant: str
    quota_bytes: int
    asked_bytes: int
    got_bytes: int
    refused: str | None
    held: bool


class Demo(msgspec.Struct, frozen=True, tag="gshare/demo/v1", tag_field="schema"):
    """What the demo's tenants asked for and got."""

    simulated: bool
    device: str
    seconds: float
    compute: list[DemoShare]
    memory: DemoMemory


class BenchRow(msgspec.Struct, frozen=True):
    """One measured number, beside its budget where it has one."""

    name: str
    what: str
    value: float | None
    unit: str
    budget: float | None
    within: bool | None
    note: str
    details: dict[str, Any]


class Bench(msgspec.Struct, frozen=True, tag="gshare/bench/v1", tag_field="schema"):
    """The result of a benchmark."""

    bench: str
    simulated: bool
    device: str
    driver: str
    date: str
    gshare: str
    smoke: bool
    within_budget: bool
    rows: list[BenchRow]


class SimContext(msgspec.Struct, frozen=True):
    """A context on a simulated device."""

    pid: int
    id: int
    group: int
    gpu_ns: int
    sm_ns: int
    kernels: int
    copies: int
    copy_bytes: int
    queued: int
    switches: int
    sms_limit: int
    fault: int


class SimProcess(msgspec.Struct, frozen=True):
    """A process that has used a simulated device; it stays listed when it has ended."""

    pid: int
    ended: bool
    gpu_ns: int
    sm_ns: int
    unsure_ns: int
    kernels: int
    copies: int
    copy_bytes: int
    denied: int
    used_bytes: int
    peak_bytes: int
    queued: int
    contexts: int
    memory: dict[str, int]
    command: str


class SimDevice(msgspec.Struct, frozen=True):
    """A simulated device, and the truth about who had what of it."""

    index: int
    uuid: str
    name: str
    profile: str
    elapsed_ns: int
    idle_ns: int
    switch_ns: int
    switches: int
    busy_ns: int
    forgotten_gpu_ns: int
    forgotten_sm_ns: int
    copy_busy_ns: list[int]
    memory_bytes: int
    used_bytes: int
    contexts: list[SimContext]
    processes: list[SimProcess]


class SimPinned(msgspec.Struct, frozen=True):
    """A process that has had page-locked memory of the host."""

    pid: int
    ended: bool
    pinned_bytes: int
    peak_pinned_bytes: int


class Sim(msgspec.Struct, frozen=True, tag="gshare/sim/v1", tag_field="schema"):
    """The simulated machine's books."""

    driver: str
    now_ns: int
    slice_ns: int
    switch_ns: int
    mps: bool
    devices: list[SimDevice]
    pinned: list[SimPinned]
