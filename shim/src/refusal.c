/* refusal.c -- notes of refused allocations, in a ring that the controller reads: the latest ones stay.
 *
 * Writers only add to a number and fill the place that it names.  Should GS_MAX_REFUSALS of them be at it at once, two
 * may fill the same place; the reader takes a note only if its stamp is right before and after. */
#include <stdio.h>
#include <time.h>

#include "quota.h"
#include "refusal.h"
#include "region.h"
#include "trace.h"

static void tell(const struct gs_refusal *note, const struct gs_slot *own)
{
    struct gs_trace_row row = {
        .row = note->row, .used_bytes = note->used_bytes, .limit_bytes = note->limit_bytes};
    const struct gs_slot_device *held = note->row < 0 ? NULL : &own->device[note->row];

    if (held)
        row.process_bytes = __atomic_load_n(
            &held->held_bytes[__atomic_load_n(&held->sequence, __ATOMIC_RELAXED) & 1], __ATOMIC_RELAXED);
    gs_trace_refusal(&row, note->api, note->bytes);
}

void gs_refusal_note(const char *api, int device, uint64_t bytes)
{
    const struct gs_region *region = gs_region();
    struct gs_refusal *note;
    struct timespec now;
    uint64_t number;

    if (!region)
        return;
    if (device >= 0)
        __atomic_fetch_add(&region->own->device[device].denied, 1, __ATOMIC_RELAXED);
    number = __atomic_add_fetch(&region->usage->refusals, 1, __ATOMIC_RELAXED);
    note = &region->usage->refusal[(number - 1) % GS_MAX_REFUSALS];
    clock_gettime(CLOCK_MONOTONIC, &now);
    __atomic_store_n(&note->stamp, 2 * number - 1, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_RELEASE);
    note->time_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
    note->bytes = bytes;
    note->used_bytes = gs_quota_used(device);
    note->limit_bytes =
        device < 0 ? 0
                   : __atomic_load_n(&region->limits->device[device].memory_limit_bytes, __ATOMIC_RELAXED);
    note->pid = region->own->pid;
    note->slot = region->slot;
    note->row = device < 0 ? -1 : device;
    snprintf(note->api, sizeof note->api, "%s", api);
    __atomic_store_n(&note->stamp, 2 * number, __ATOMIC_RELEASE);
    tell(note, region->own);
}
