/* region.h -- the tenant's shared memory as this process sees it: mapped at the first CUDA call, never at
 * load. */
#ifndef GS_REGION_H
#define GS_REGION_H

#include "abi.h"
#include "driver.h"

struct gs_region {
    const struct gs_limits *limits; /* the controller's words */
    struct gs_usage *usage;         /* the tenant's words */
    const struct gs_activity
        *activity; /* GS_MAX_TENANTS records; only those below limits->tenants_bound matter */
    struct gs_activity *own_activity; /* the one of them that is ours to write */
    struct gs_slot *own;              /* == &usage->slot[slot] */
    uint32_t slot;                    /* ours, as long as this process lives */
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

/* For readers that may never touch CUDA (NVML tools): limits and usage without claiming a slot; NULL as
 * above.  In what it returns, `own` and `own_activity` may be NULL. */
const struct gs_region *gs_region_view(void);

/* What cuInit answers: CUDA_SUCCESS, or CUDA_ERROR_NOT_PERMITTED with one line on stderr (once per process)
 * when limits were asked for and cannot be applied. */
CUresult gs_region_check(void);

/* Gives a dead process's slot back to the tenant: runs `clean(region, slot)` while holding the slot's lock,
 * which proves that nobody else owns it.  False when its owner is alive. */
int gs_region_with_dead_slot(const struct gs_region *region, uint32_t slot,
                             void (*clean)(const struct gs_region *region, uint32_t slot));

#endif
