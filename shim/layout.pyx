# cython: language_level=3
"""The numbers of src/abi.h, for Python; nobody else states them."""

from libc.string cimport memset

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
SEGMENTS = GS_SEGMENTS
SEGMENT_TENANTS = GS_SEGMENT_TENANTS
HANDOVER_SOCKET = GS_HANDOVER_SOCKET.decode()


def places(row):
    """Where a tenant's files count a device's time, in 64-bit words, for who stands in for programs that use it.

    Of the usage file: what the tenant spent, and of its first process the GPU time, launches and time throttled; of its
    record in the activity file: until when it is busy, GPU time, and time throttled.
    """
    cdef gs_usage *usage = NULL
    cdef gs_activity *activity = NULL
    cdef int at = row
    if not 0 <= row < GS_MAX_DEVICES:
        raise IndexError(f"device {row} of {GS_MAX_DEVICES}")
    cdef gs_slot_device *slot = &usage.slot[0].device[at]
    cdef gs_device_activity *device = &activity.device[at]
    return (
        tuple([at_ // 8 for at_ in (
            <size_t> &usage.device[at].spent_ns, <size_t> &slot.gpu_ns, <size_t> &slot.launches,
            <size_t> &slot.throttled_ns,
        )]),
        tuple([at_ // 8 for at_ in (
            <size_t> &device.busy_until_ns, <size_t> &device.gpu_ns, <size_t> &device.throttled_ns,
        )]),
    )


def handed_over(own_segment):
    """What goes with the descriptors of a tenant's memory."""
    return _handed(GS_HANDED, own_segment)


def not_yours():
    """What is told to who may not run in the tenant."""
    return _handed(GS_NOT_YOURS, 0)


cdef bytes _handed(uint32_t status, uint32_t own_segment):
    cdef gs_handed handed
    memset(&handed, 0, sizeof(handed))
    handed.magic = GS_ABI_MAGIC
    handed.version, handed.status = GS_ABI_VERSION, status
    handed.own_segment, handed.segments = own_segment, GS_SEGMENTS
    return (<const char *> &handed)[:sizeof(handed)]


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
