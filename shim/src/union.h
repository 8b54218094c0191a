/* union.h -- several streams of a context: no time is charged twice, and none is lost that one of them left to others. */
#ifndef GS_UNION_H
#define GS_UNION_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define GS_MAX_SPANS 16
#define GS_MOST_ROOM 20000000u

/* Times of a context's GPU clock already charged: disjoint, in order; the oldest are forgotten.  Where a stream had gaps,
 * less was charged than might have been: there is room for other streams. */
struct gs_union {
    uint32_t count;
    struct {
        int64_t from_ns, to_ns;
        uint64_t room_ns;
    } span[GS_MAX_SPANS];
};

/* Whether any of them overlaps or adjoins [from, to). */
static inline bool gs_union_touches(const struct gs_union *all, int64_t from_ns, int64_t to_ns)
{
    uint32_t i = all->count;

    while (i > 0 && all->span[i - 1].from_ns > to_ns)
        i--;
    return i > 0 && all->span[i - 1].to_ns >= from_ns;
}

/* Adds [from, to) and returns how much of it was new. */
static inline uint64_t gs_union_add(struct gs_union *all, int64_t from_ns, int64_t to_ns)
{
    uint64_t covered = 0;
    uint32_t first = 0, last;
    int64_t from = from_ns, to = to_ns;
    uint64_t room_ns = 0;

    if (to_ns <= from_ns)
        return 0;
    while (first < all->count && all->span[first].to_ns < from_ns)
        first++;
    for (last = first; last < all->count && all->span[last].from_ns <= to_ns; last++) {
        int64_t low = all->span[last].from_ns, high = all->span[last].to_ns;
        covered += (uint64_t)((high < to_ns ? high : to_ns) - (low > from_ns ? low : from_ns));
        from = low < from ? low : from;
        to = high > to ? high : to;
        room_ns += all->span[last].room_ns;
    }
    if (last == first && all->count == GS_MAX_SPANS) {
        if (first == 0) /* older than all we remember: count it whole, and do not remember it */
            return (uint64_t)(to_ns - from_ns);
        memmove(&all->span[0], &all->span[1], (first - 1) * sizeof(all->span[0]));
        first--;
        last = first + 1;
    } else {
        memmove(&all->span[first + 1], &all->span[last], (all->count - last) * sizeof(all->span[0]));
        all->count = all->count - (last - first) + 1;
    }
    all->span[first].from_ns = from;
    all->span[first].to_ns = to;
    all->span[first].room_ns = room_ns;
    return (uint64_t)(to_ns - from_ns) - covered;
}

/* What to charge of `own_ns` for [from, to), which has just been added and of which `fresh_ns` were new, and all but
 * `could_ns` some other context's. */
static inline uint64_t gs_union_charge(struct gs_union *all, int64_t from_ns, int64_t to_ns,
                                       uint64_t fresh_ns, uint64_t could_ns, uint64_t own_ns)
{
    uint64_t whole_ns = (uint64_t)(to_ns - from_ns), covered_ns = whole_ns - fresh_ns, none = 0;
    uint64_t *room_ns = &none;

    if (to_ns <= from_ns)
        return own_ns;
    uint32_t i = all->count; /* the newest one, mostly */
    while (i > 0 && all->span[i - 1].from_ns > from_ns)
        i--;
    if (i > 0 && to_ns <= all->span[i - 1].to_ns)
        room_ns = &all->span[i - 1].room_ns;
    uint64_t new_ns =
        covered_ns == 0 ? could_ns : (uint64_t)((unsigned __int128)could_ns * fresh_ns / whole_ns);
    uint64_t most_ns = new_ns + (*room_ns < covered_ns ? *room_ns : covered_ns);
    uint64_t charge_ns = own_ns < most_ns ? own_ns : most_ns, left_ns = *room_ns + new_ns - charge_ns;
    *room_ns = left_ns < GS_MOST_ROOM ? left_ns : GS_MOST_ROOM;
    return charge_ns;
}

#endif
