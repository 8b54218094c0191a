/* region.h -- the tenant's shared memory as this process sees it: mapped at the first CUDA call, never at
 * load. */
#ifndef GS_REGION_H
#define GS_REGION_H

#include "abi.h"
#include "driver.h"

struct gs_region {
    const struct gs_limits *limits; /* the controller's words */
    struct gs_usage *usage;         /* the tenant's words */

    /* GS_MAX_TENANTS records, of which those below limits->tenants_bound matter; one of them is ours to
     * write. */
    const struct gs_activity *activity;
    struct gs_activity *own_activity;

    struct gs_slot *own; /* == &usage->slot[slot] */
    uint32_t slot;       /* ours for as long as this process lives */
};

/* Not looked yet.  A fork's child goes back to this, and so claims a slot of its own at its first CUDA call.
 */
extern const struct gs_region gs_region_unknown;
extern const struct gs_region *gs_region_mapped;

const struct gs_region *gs_region_open(void);

/* The region with a slot of our own, or NULL when no limit was asked for: then everything passes.  NULL also
 * when the limits cannot be applied, but such a process gets no further than cuInit (gs_region_check). */
static inline const struct gs_region *gs_region(void)
{
    const struct gs_region *region = __atomic_load_n(&gs_region_mapped, __ATOMIC_ACQUIRE);

    return __builtin_expect(region != &gs_region_unknown, 1) ? region : gs_region_open();
}

/* For readers that may never touch CUDA (NVML tools): limits and usage without a slot; NULL as above.
 * `own` of what it returns is NULL until somebody has claimed a slot. */
const struct gs_region *gs_region_view(void);

/* Whether limits are asked for, without mapping, claiming or keeping open anything. */
int gs_region_asked(void);

/* What cuInit answers: CUDA_SUCCESS, or CUDA_ERROR_NOT_PERMITTED with one line on stderr (once per process)
 * when limits were asked for and cannot be applied.  Asked again, it looks again. */
CUresult gs_region_check(void);

/* Runs `work(usage, slot)` for each of the slots (bit n: slot n) whose owner is dead, while nobody else can have it.
 * Who lives, or cannot be told, is left alone. */
void gs_region_with_dead_slots(const uint64_t slots[GS_MAX_SLOTS / 64],
                               void (*work)(struct gs_usage *usage, uint32_t slot));

/* Around fork(): no descriptor that holds a slot's lock may leak into the child, and the child has no slot.
 */
void gs_region_before_fork(void);
void gs_region_after_fork(int in_child);

#endif
