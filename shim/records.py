"""What the shared files say, as abi.pyx hands it out."""

from typing import NamedTuple

from gshare.shim.layout import FULL_PPM, NO_CAP_PPM, NO_LIMIT_BYTES


class DeviceLimits(NamedTuple):
    """What a tenant may have of one device."""

    uuid: bytes
    device_memory_bytes: int
    memory_limit_bytes: int = NO_LIMIT_BYTES
    context_bytes: int = 0
    cap_ppm: int = NO_CAP_PPM
    burst_ns: int = 0
    resume_ns: int = 0
    in_flight_ns: int = 0
    memory_quota_bytes: int | None = None
    """What was granted; None where a limit is made: as much as the limit."""
    guarantee_ppm: int | None = None
    """The rate without what is lent; None where a limit is made: the cap."""
    copy_bytes_per_s: tuple[int, int] = (0, 0)
    """What may be copied to the device, and from it to the host; 0: as much as there is."""


class Line(NamedTuple):
    """The compute allowance: at `t` it is allowance_ns + (t - t0_ns) * rate_ppm / 1e6.

    From `lease_until_ns` on, where that is not 0, it goes on with `guarantee_ppm`.
    """

    t0_ns: int
    allowance_ns: int
    rate_ppm: int
    guarantee_ppm: int = 0
    lease_until_ns: int = 0

    def at(self, now_ns: int) -> int:
        end = min(now_ns, self.lease_until_ns) if self.lease_until_ns else now_ns
        leased = max(end - self.t0_ns, 0)
        since = max(now_ns - self.t0_ns, 0) - leased
        return self.allowance_ns + (leased * self.rate_ppm + since * self.guarantee_ppm) // FULL_PPM


class DeviceUsage(NamedTuple):
    """What a tenant takes of one device."""

    used_bytes: int
    peak_bytes: int
    spent_ns: int
    change: int = 0
    """Names the change that made `used_bytes`: the same one means that nothing was charged or given back."""


class Copied(NamedTuple):
    """What a tenant has copied to a device, and from it to the host, while there was a limit."""

    bytes: tuple[int, int]
    waited_ns: tuple[int, int]
    """By copies, for the limit."""


class SlotDevice(NamedTuple):
    """What one process takes of one device."""

    held_bytes: int
    gpu_ns: int
    launches: int
    throttled_ns: int
    denied: int
    charged_bytes: dict[str, int]
    """What of `held_bytes` is for what: one of CHARGES each."""


class Refusal(NamedTuple):
    """An allocation that would have passed the limit; the tenant's first has number 1.

    `pid` is the number that the process sees, `row` its device's row or HOST_ROW; None: one that is not
    granted.
    """

    number: int
    time_ns: int
    api: str
    row: int | None
    bytes: int
    used_bytes: int
    limit_bytes: int
    pid: int
    slot: int


class SlotUsage(NamedTuple):
    """One process of a tenant.

    `pid` is its number in its PID namespace, whose inode is `pid_space` (0: not known); `start_ticks` tells a
    reused one.
    """

    slot: int
    pid: int
    start_ticks: int
    pid_space: int
    devices: tuple[SlotDevice, ...]


class DeviceActivity(NamedTuple):
    """What a tenant tells its neighbours about one device."""

    busy_until_ns: int
    gpu_ns: int
    throttled_ns: int
