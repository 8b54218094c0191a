/* turn.h -- whose turn it is on a device: pure functions of the controller's table, the clock and who wants to run.
 *
 * Nobody grants a turn: all tenants compute the same from the same words.  A place whose tenant wants nothing falls to
 * the next in the table that does, until its own tenant wants again; so one that died or stopped is passed over as
 * soon as the lease on its word ends, with or without a controller. */
#ifndef GS_TURN_H
#define GS_TURN_H

#include <stdbool.h>

#include "abi.h"

#define GS_NO_PLACE UINT32_MAX

/* False while the controller is writing; the caller keeps what it had.  A table that cannot be is none at all. */
static inline bool gs_turns_read(const struct gs_turns *shared, struct gs_turns *copy)
{
    uint32_t seq = __atomic_load_n(&shared->seq, __ATOMIC_ACQUIRE);

    copy->seq = seq;
    copy->count = __atomic_load_n(&shared->count, __ATOMIC_RELAXED);
    copy->period_ns = __atomic_load_n(&shared->period_ns, __ATOMIC_RELAXED);
    if (copy->count > GS_MAX_TURNS || copy->period_ns == 0)
        copy->count = 0;
    for (uint32_t i = 0; i < copy->count; i++) {
        copy->turn[i].from_ns = __atomic_load_n(&shared->turn[i].from_ns, __ATOMIC_RELAXED);
        copy->turn[i].tenant_index = __atomic_load_n(&shared->turn[i].tenant_index, __ATOMIC_RELAXED);
    }
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    return (seq & 1) == 0 && __atomic_load_n(&shared->seq, __ATOMIC_RELAXED) == seq;
}

/* The place in the table of the present time, since when, and until when.  The first place of a period begins at 0. */
static inline uint32_t gs_turn_place(const struct gs_turns *turns, uint64_t now_ns, uint64_t *begin_ns,
                                     uint64_t *until_ns)
{
    uint64_t period_ns = now_ns - now_ns % turns->period_ns;
    uint32_t place = 0;

    while (place + 1 < turns->count && period_ns + turns->turn[place + 1].from_ns <= now_ns)
        place++;
    *begin_ns = period_ns + turns->turn[place].from_ns;
    *until_ns = period_ns + (place + 1 < turns->count ? turns->turn[place + 1].from_ns : turns->period_ns);
    return place;
}

/* Who runs: the place itself, or the first after it that wants to.  Bit i of `wants` is place i's. */
static inline uint32_t gs_turn_holder(const struct gs_turns *turns, uint32_t place, uint64_t wants)
{
    wants &= ((uint64_t)1 << turns->count) - 1;
    if (wants == 0)
        return GS_NO_PLACE;
    uint64_t from_here = wants >> place << place;
    return (uint32_t)__builtin_ctzll(from_here != 0 ? from_here : wants);
}

#endif
