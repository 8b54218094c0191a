# cython: language_level=3
"""The numbers of src/abi.h, for Python; nobody else states them."""

include "abi.pxi"

VERSION = GS_ABI_VERSION
MAX_DEVICES = GS_MAX_DEVICES
MAX_SLOTS = GS_MAX_SLOTS
MAX_TENANTS = GS_MAX_TENANTS
MAX_LANES = GS_MAX_LANES
MAX_REFUSALS = GS_MAX_REFUSALS
HOST_ROW = GS_HOST_ROW
ROWS = GS_ROWS
NO_LIMIT_BYTES = GS_NO_LIMIT_BYTES
NO_CAP_PPM = GS_NO_CAP_PPM
METERED_PPM = GS_METERED_PPM
FULL_PPM = GS_FULL_PPM
LIMITS_BYTES = sizeof(gs_limits)
USAGE_BYTES = sizeof(gs_usage)
ACTIVITY_RECORD_BYTES = sizeof(gs_activity)
SLOT_LOCK_BASE = GS_SLOT_LOCK_BASE


CHARGES = {
    GS_LINEAR: "linear",
    GS_MANAGED: "managed",
    GS_POOL: "pool",
    GS_PHYSICAL: "physical",
    GS_CONTEXT: "context",
    GS_ARRAY: "array",
    GS_GRAPH: "graph",
    GS_MODULE: "module",
}
"""What memory is charged for, by its place in `charged_bytes`."""
