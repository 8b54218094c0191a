from os import PathLike
from typing import Final, NamedTuple

VERSION: Final[int]
MAX_DEVICES: Final[int]
MAX_SLOTS: Final[int]
MAX_TENANTS: Final[int]
MAX_LANES: Final[int]
MAX_REFUSALS: Final[int]
HOST_ROW: Final[int]
ROWS: Final[int]
NO_LIMIT_BYTES: Final[int]
NO_CAP_PPM: Final[int]
METERED_PPM: Final[int]
FULL_PPM: Final[int]
LIMITS_BYTES: Final[int]
USAGE_BYTES: Final[int]
ACTIVITY_RECORD_BYTES: Final[int]
SLOT_LOCK_BASE: Final[int]
CHARGES: Final[dict[int, str]]

class AbiError(Exception): ...

class DeviceLimits(NamedTuple):
    uuid: bytes
    device_memory_bytes: int
    memory_limit_bytes: int = ...
    context_bytes: int = ...
    cap_ppm: int = ...
    burst_ns: int = ...
    resume_ns: int = ...
    in_flight_ns: int = ...
    memory_quota_bytes: int | None = ...

class Line(NamedTuple):
    t0_ns: int
    allowance_ns: int
    rate_ppm: int
    guarantee_ppm: int = ...
    lease_until_ns: int = ...

    def at(self, now_ns: int) -> int: ...

class DeviceUsage(NamedTuple):
    used_bytes: int
    peak_bytes: int
    spent_ns: int
    change: int = ...

class SlotDevice(NamedTuple):
    held_bytes: int
    gpu_ns: int
    launches: int
    throttled_ns: int
    denied: int
    charged_bytes: dict[str, int]

class Refusal(NamedTuple):
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
    slot: int
    pid: int
    start_ticks: int
    devices: tuple[SlotDevice, ...]

class DeviceActivity(NamedTuple):
    busy_until_ns: int
    gpu_ns: int
    throttled_ns: int

def create_limits(
    path: str | PathLike[str],
    tenant: str,
    tenant_index: int,
    devices: list[DeviceLimits] | tuple[DeviceLimits, ...],
    *,
    now_ns: int,
    tenants_bound: int = ...,
    host_limit_bytes: int = ...,
) -> None: ...
def create_usage(path: str | PathLike[str]) -> None: ...
def create_activity(path: str | PathLike[str]) -> None: ...

class _File:
    @property
    def path(self) -> str: ...
    def close(self) -> None: ...
    def __exit__(self, *exception: object) -> None: ...

class Limits(_File):
    def __init__(self, path: str | PathLike[str], *, writable: bool = ...) -> None: ...
    def __enter__(self) -> Limits: ...
    @property
    def tenant(self) -> str: ...
    @property
    def tenant_index(self) -> int: ...
    @property
    def tenants_bound(self) -> int: ...
    @tenants_bound.setter
    def tenants_bound(self, value: int) -> None: ...
    @property
    def devices(self) -> tuple[DeviceLimits, ...]: ...
    def device(self, index: int) -> DeviceLimits: ...
    def line(self, index: int) -> Line: ...
    def set_memory_limit(
        self, index: int, memory_limit_bytes: int, memory_quota_bytes: int | None = ...
    ) -> None: ...
    def set_context_bytes(self, index: int, context_bytes: int) -> None: ...
    def set_cap(
        self,
        index: int,
        cap_ppm: int,
        now_ns: int,
        *,
        spent_ns: int | None = ...,
        rate_ppm: int | None = ...,
        guarantee_ppm: int | None = ...,
        lease_until_ns: int = ...,
        burst_ns: int | None = ...,
        resume_ns: int | None = ...,
        in_flight_ns: int | None = ...,
    ) -> None: ...

class Usage(_File):
    def __init__(self, path: str | PathLike[str]) -> None: ...
    def __enter__(self) -> Usage: ...
    def device(self, index: int) -> DeviceUsage: ...
    def is_live(self, slot: int) -> bool: ...
    def slots(self, device_count: int = ...) -> tuple[SlotUsage, ...]: ...
    @property
    def refusals(self) -> int: ...
    def refusals_since(self, number: int) -> tuple[Refusal, ...]: ...

class Activity(_File):
    def __init__(self, path: str | PathLike[str], *, writable: bool = ...) -> None: ...
    def __enter__(self) -> Activity: ...
    def device(self, tenant_index: int, index: int) -> DeviceActivity: ...
    def clear(self, tenant_index: int) -> None: ...
