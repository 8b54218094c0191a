/* hold.h -- what may keep a launch waiting beside its tenant's own bucket. */
#ifndef GS_HOLD_H
#define GS_HOLD_H

#include "meter.h"

/* A launch that wants to pass. */
struct gs_wish {
    uint64_t now_ns;
    uint64_t since_ns; /* its own bucket has been open, and it has waited */
    int64_t need_ns;
    int64_t window_ns; /* set when it may pass: so much work may be in flight */
    const uint32_t
        *through;  /* set when it may not: a futex that wakes us when somebody else's work is through, */
    uint32_t seen; /* and what it was; NULL: none does */
};

/* 0: nothing does.  Else how long to wait before asking again. */
uint64_t gs_hold(struct gs_meter_device *device, struct gs_wish *wish);

/* The same where tenants take turns (turns.c). */
uint64_t gs_turns_hold(const struct gs_meter_device *device, struct gs_wish *wish);

/* Whether the table alone keeps us to our rate, where tenants take turns and others want to run: then the bucket may be in
 * debt for what ended late and will be made up for. */
bool gs_turns_keep(const struct gs_meter_device *device, uint32_t rate_ppm, uint64_t now_ns);

/* The bucket keeps us waiting: meanwhile we want nothing. */
void gs_turns_leave(const struct gs_meter_device *device);

/* Whether tenants take turns on the device. */
static inline bool gs_hold_turns(const struct gs_meter_device *device)
{
    return __atomic_load_n(&device->region->limits->turns[device->index].period_ns, __ATOMIC_RELAXED) != 0;
}

/* Whether there is somebody of higher priority. */
static inline bool gs_hold_below(const struct gs_meter_device *device)
{
    uint64_t any = 0;

    for (uint32_t word = 0; word < GS_MAX_TENANTS / 64; word++)
        any |= __atomic_load_n(&device->region->limits->above[word], __ATOMIC_RELAXED);
    return any != 0;
}

/* Whether somebody of lower priority waits for us to be through. */
static inline bool gs_hold_above(const struct gs_meter_device *device)
{
    return __atomic_load_n(&device->region->limits->below, __ATOMIC_RELAXED) != 0;
}

void gs_hold_forget(void); /* in a fork's child */

#endif
