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
    if (copy->count > GS_MAX_TENANTS || copy->period_ns == 0)
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

/* How long a place of the table is. */
static inline uint64_t gs_turn_length(const struct gs_turns *turns, uint32_t place)
{
    uint64_t until_ns = place + 1 < turns->count ? turns->turn[place + 1].from_ns : turns->period_ns;

    return until_ns - turns->turn[place].from_ns;
}

/* Who runs: of those who want to, who is owed most; the place itself, or the first after it, where nobody is owed more. */
static inline uint32_t gs_turn_holder(const struct gs_turns *turns, uint32_t place, const bool *wants,
                                      const int64_t *owed_ns)
{
    uint32_t holder = GS_NO_PLACE;

    for (uint32_t i = 0; i < turns->count; i++) {
        uint32_t at = place + i < turns->count ? place + i : place + i - turns->count;

        if (wants[at] && (holder == GS_NO_PLACE || owed_ns[at] > owed_ns[holder]))
            holder = at;
    }
    return holder;
}

/* -------- what a tenant is owed --------
 *
 * A kernel that has begun is not stopped at the end of a turn: some turns are longer than the table says, and somebody
 * else's are shorter.  So each tenant keeps account of what all had since it looked last, of which its part is due to
 * it, and of what it had itself; and its turn goes on for as long as it is owed, or ends so much sooner. */

/* Beyond a launch: the rest others had left, and longer debts are the bucket's. */
#define GS_MOST_OWED 20000000ll

struct gs_owed {
    uint64_t own_ns, all_ns; /* GPU time measured by the last look, of the tenant and of all in the table */
    int64_t owed_ns;         /* nothing at the end of a turn, if all goes by the table */
    int64_t due_ns;          /* what it was at the last look, by the table */
    int64_t forgiven_ns;     /* of debts, for time that nobody seems to have used */
    uint64_t waited_ns;      /* with nothing in flight, by the last look */
    bool known;              /* there was a look, and the tenant has wanted to run since */
};

/* A tenant's part of the time: its place among those of all who want to run. */
struct gs_turn_part {
    uint64_t length_ns, wanted_ns;
};

/* What a tenant is owed by the table, until whose next end of a turn `left_ns` remain. */
static inline int64_t gs_owed_due(const struct gs_turns *turns, uint32_t own, uint64_t left_ns)
{
    uint64_t length_ns = gs_turn_length(turns, own);

    return (int64_t)(left_ns < length_ns ? left_ns : length_ns) -
           (int64_t)((unsigned __int128)left_ns * length_ns / turns->period_ns);
}

#define GS_KEPT_PPM                                                                                          \
    10000u /* so much above a rate is kept to it: places are of whole microseconds, and not too short */

/* Whether that part of the time, which others want, too, is no more than a rate gives.  Where guarantees leave a part of the
 * device to nobody, the places fill it all the same, and only the bucket keeps a tenant to its rate. */
static inline bool gs_turn_keeps(const struct gs_turn_part *part, uint32_t rate_ppm)
{
    return part->length_ns < part->wanted_ns &&
           part->length_ns * GS_FULL_PPM <= part->wanted_ns * (rate_ppm + (uint64_t)GS_KEPT_PPM);
}

/* Others say of their time what they like: sums of it may be anything. */
static inline __int128 gs_turn_part_of(uint64_t ns, const struct gs_turn_part *part)
{
    return (__int128)(int64_t)ns * (int64_t)part->length_ns / (int64_t)part->wanted_ns;
}

static inline int64_t gs_owed_within(__int128 ns, int64_t least_ns, int64_t most_ns)
{
    return (int64_t)(ns > most_ns ? most_ns : ns < least_ns ? least_ns : ns);
}

/* Debts are worked off, and launches longer than a turn saved for, while others run.  Who has its turns and does nothing
 * with them may not keep a tenant waiting for ever: of the time that it waits, three quarters are as if others had run,
 * until they say that they have. */
static inline int64_t gs_owed_forgive(const struct gs_owed *owed, uint64_t waited_ns,
                                      const struct gs_turn_part *part, int64_t most_ns)
{
    uint64_t more_ns = waited_ns < owed->waited_ns ? waited_ns : waited_ns - owed->waited_ns;

    return gs_owed_within(gs_turn_part_of(more_ns / 4 * 3, part), 0, most_ns);
}

/* `waited_ns`: with nothing in flight, until now; 0 where debts are not forgiven. */
static inline void gs_owed_look(struct gs_owed *owed, uint64_t own_ns, uint64_t all_ns, int64_t due_ns,
                                const struct gs_turn_part *part, int64_t need_ns, uint64_t waited_ns)
{
    const uint64_t ran_ns = own_ns - owed->own_ns, all_ran_ns = all_ns - owed->all_ns;
    const int64_t most_ns = GS_MOST_OWED + need_ns, length_ns = (int64_t)part->length_ns;
    __int128 beyond_ns = owed->owed_ns - owed->due_ns;
    int64_t forgiven_ns = 0; /* less what is taken back */

    if (!owed->known) { /* who slept has saved nothing, and its debts stay */
        beyond_ns = beyond_ns < 0 ? beyond_ns : 0;
    } else {
        beyond_ns += owed->due_ns - due_ns - (int64_t)ran_ns + gs_turn_part_of(all_ran_ns, part);
        if (beyond_ns < (need_ns > length_ns ? need_ns - length_ns : 0))
            forgiven_ns = gs_owed_forgive(owed, waited_ns, part, most_ns);
        forgiven_ns -=
            gs_owed_within(gs_turn_part_of(all_ran_ns - ran_ns, part), 0, owed->forgiven_ns + forgiven_ns);
    }
    beyond_ns = gs_owed_within(beyond_ns + forgiven_ns, -most_ns, most_ns);
    forgiven_ns = gs_owed_within(owed->forgiven_ns + forgiven_ns, 0, most_ns);
    *owed = (struct gs_owed){
        own_ns, all_ns, due_ns + (int64_t)beyond_ns, due_ns, forgiven_ns, waited_ns, true,
    };
}

/* How much work may be in flight in a turn that has `left_ns` to go by the table, of which `remaining_ns` of what is in
 * flight now will take: so much that the turn ends when it is over, or later by as much as is then still owed.  A launch
 * is to begin when half of it fits, so that what ends late makes up for what is not begun. */
static inline int64_t gs_owed_window(const struct gs_owed *owed, const struct gs_turn_part *part,
                                     int64_t left_ns, int64_t in_flight_ns, int64_t remaining_ns)
{
    int64_t others_milli =
        (int64_t)((part->wanted_ns - part->length_ns) / 1000) * 1000 / (int64_t)(part->wanted_ns / 1000);
    int64_t spare_ns = left_ns - remaining_ns + owed->owed_ns - in_flight_ns / 1000 * others_milli;

    return in_flight_ns + spare_ns / (1000 + others_milli) * 1000;
}

/* -------- long kernels --------
 *
 * Where a place has room for a few kernels only, going by the table is too coarse for a point of a second: who had one too
 * many makes up for it a period later.  Where the kernels of all are so long, after each the one is next who is owed most,
 * whatever the table says.  All know that of all by what these say: what they had, and what they would be owed, had
 * nobody had anything. */

/* Who says more is not believed. */
#define GS_MOST_SAID 50000000ll

static inline bool gs_turn_is_long(const struct gs_turns *turns, int64_t kernel_ns)
{
    return turns->count != 0 && kernel_ns >= (int64_t)(turns->period_ns / turns->count / 4);
}

/* Whether one has waited longer than the table, or its part of the time, has it wait for such a kernel: who has a small
 * part is not owed most for a long time. */
static inline bool gs_turn_is_late(const struct gs_turns *turns, const struct gs_turn_part *part,
                                   int64_t kernel_ns, uint64_t waited_ns)
{
    uint64_t due_ns = (uint64_t)kernel_ns / (part->length_ns / 1000 + 1) * (part->wanted_ns / 1000);

    return waited_ns > turns->period_ns + turns->period_ns / 2 && waited_ns > due_ns + due_ns / 4;
}

/* What one says of itself: never 0, which says that its kernels are short. */
static inline int64_t gs_owed_say(const struct gs_owed *owed, const struct gs_turn_part *part, bool is_late)
{
    __int128 from_ns = (__int128)owed->owed_ns + (int64_t)owed->own_ns - gs_turn_part_of(owed->all_ns, part);

    return (int64_t)(from_ns + (is_late ? 2 * GS_MOST_SAID : 0)) | 1;
}

/* What it is owed, as far as it is believed. */
static inline int64_t gs_owed_hear(int64_t from_ns, uint64_t own_ns, uint64_t all_ns,
                                   const struct gs_turn_part *part)
{
    __int128 owed_ns = (__int128)from_ns + gs_turn_part_of(all_ns, part) - (int64_t)own_ns;

    return gs_owed_within(owed_ns, -GS_MOST_SAID, GS_MOST_SAID);
}

#endif
