"""How a tenant's share of a device's time is told: part of several answers."""

import msgspec


class ShareWindow(msgspec.Struct, frozen=True):
    """What a tenant got of a device over the last 1, 10 or 60 seconds; ppm are of `elapsed_ns`."""

    seconds: int
    elapsed_ns: int
    """How long that was: less than `seconds` for a young tenant."""
    share_ppm: int
    granted_ppm: int | None
    """What it might have had, with what it was lent; None without a limit."""
    throttled_ppm: int
    """How long its threads waited before launches, together."""
    queue_wait_ns: int
    """How long a launch waited, on average."""
    borrowed_ppm: int
    """Of the share, what was above its guarantee."""
    lent_ppm: int
    """Of its guarantee, what others had."""
    h2d_bytes_per_s: int
    """Copied between host and device; counted only under a limit."""
    d2h_bytes_per_s: int
    copy_waited_ppm: int
    """How long copies waited for that limit, together."""


class Totals(msgspec.Struct, frozen=True):
    """What is counted of a tenant on a device since it began; it only grows."""

    gpu_ns: int = 0
    throttled_ns: int = 0
    """Its threads waited before launches, together."""
    h2d_bytes: int = 0
    d2h_bytes: int = 0
    copy_waited_ns: int = 0


class TenantShare(msgspec.Struct, frozen=True):
    """One tenant on one device that it may use."""

    tenant: str
    index: int | None
    uuid: str
    simulated: bool
    processes: int
    state: str
    """idle, busy, throttled, yielding (to a higher priority), or paused."""
    mode: str
    metered: bool
    """False: nothing is known of its GPU time, since nobody there has asked for a share."""
    guarantee_ppm: int | None
    ceiling_ppm: int | None
    weight: int | None
    priority: str
    promised_ppm: int | None
    """Its guarantee, or the part that its weight comes to; None without a limit."""
    granted_ppm: int | None
    """What it may have now, with what it is lent."""
    busy_above: list[str]
    """Tenants of higher priority that are busy."""
    turn_ns: int | None
    period_ns: int | None
    used_bytes: int
    memory_limit_bytes: int | None
    copy_bytes_per_s: dict[str, int]
    windows: list[ShareWindow]
    seconds_ppm: list[int]
    """What it got in each second of the last minute, oldest first."""
    totals: Totals = Totals()
    uncharged_bytes: int = 0
    """What of `used_bytes` no process was charged for."""
