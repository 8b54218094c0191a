from typing import Final

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
SEGMENTS: Final[int]
SEGMENT_TENANTS: Final[int]
HANDOVER_SOCKET: Final[str]

def places(row: int) -> tuple[tuple[int, int, int, int], tuple[int, int, int]]: ...
def handed_over(own_segment: int) -> bytes: ...
def not_yours() -> bytes: ...

CHARGES: Final[dict[int, str]]
