/* slices.h -- how long a time slice is, found from how long rounds are: pure functions.
 *
 * While n contexts always have work, a round is n slices and n switches.  Where one of them runs dry it is shorter, and
 * that can be as often, and always by the same, so that of the lengths that rounds say again and again the longest is
 * the true one. */
#ifndef GS_SLICES_H
#define GS_SLICES_H

#include <stdbool.h>
#include <stdint.h>

#define GS_SLICE_NS       1024000u /* what the driver sets by default */
#define GS_SLICE_LEAST_NS 100000u
#define GS_SLICE_MOST_NS  4000000u
#define GS_SWITCH_NS      50000u
#define GS_ROUNDS         32 /* a power of two: the newest are kept */
#define GS_AGREE          6  /* so many must say about the same */
#define GS_ABOUT          64 /* a part of it */

struct gs_slices {
    uint64_t slice_ns;
    uint64_t found_ns; /* by ourselves; 0: not yet */
    bool known;        /* by ourselves, or by somebody else on the device */
    uint32_t count;
    uint64_t said_ns[GS_ROUNDS];
};

static inline void gs_slices_init(struct gs_slices *slices)
{
    *slices = (struct gs_slices){.slice_ns = GS_SLICE_NS};
}

static inline void gs_slices_adopt(struct gs_slices *slices, uint64_t slice_ns)
{
    slices->slice_ns = slice_ns;
    slices->known = true;
}

/* What those on a device have found: the mean of all but those far above others.  A neighbour may say anything. */
struct gs_slices_said {
    uint64_t sum_ns, count;
};

static inline void gs_slices_hear(struct gs_slices_said *said, uint64_t slice_ns)
{
    if (slice_ns < GS_SLICE_LEAST_NS || slice_ns > GS_SLICE_MOST_NS ||
        (said->count != 0 && slice_ns * said->count > said->sum_ns / 4 * 5))
        return;
    if (slice_ns * said->count < said->sum_ns / 4 * 3)
        *said = (struct gs_slices_said){0};
    said->sum_ns += slice_ns;
    said->count++;
}

/* -------- which length it is -------- */

/* How many rounds say about that length, and what they say in the mean. */
static inline uint32_t gs_slices_agree(const struct gs_slices *slices, uint64_t slice_ns, uint64_t *mean_ns)
{
    uint32_t kept = slices->count < GS_ROUNDS ? slices->count : GS_ROUNDS, agree = 0;
    uint64_t sum_ns = 0;

    for (uint32_t i = 0; i < kept; i++) {
        uint64_t ns = slices->said_ns[i], apart = ns > slice_ns ? ns - slice_ns : slice_ns - ns;
        if (apart > slice_ns / GS_ABOUT)
            continue;
        sum_ns += ns;
        agree++;
    }
    *mean_ns = agree != 0 ? sum_ns / agree : 0;
    return agree;
}

/* The longest that is said often enough, and half as often as any other at least; 0: none is. */
static inline uint64_t gs_slices_find(const struct gs_slices *slices)
{
    uint32_t kept = slices->count < GS_ROUNDS ? slices->count : GS_ROUNDS, most = 0;
    uint64_t found_ns = 0, mean_ns;

    for (uint32_t i = 0; i < kept; i++) {
        uint32_t agree = gs_slices_agree(slices, slices->said_ns[i], &mean_ns);
        most = agree > most ? agree : most;
    }
    for (uint32_t i = 0; i < kept; i++)
        if (2 * gs_slices_agree(slices, slices->said_ns[i], &mean_ns) >=
                (most > 2 * GS_AGREE ? most : 2 * GS_AGREE) &&
            mean_ns > found_ns)
            found_ns = mean_ns;
    return found_ns;
}

/* A round of so many contexts, of which the first slice, ours, was `ours_ns` long at least. */
static inline void gs_slices_round(struct gs_slices *slices, uint64_t round_ns, uint32_t contexts,
                                   uint64_t ours_ns)
{
    uint64_t each_ns = round_ns / contexts;

    if (each_ns < GS_SWITCH_NS + GS_SLICE_LEAST_NS || each_ns > GS_SWITCH_NS + GS_SLICE_MOST_NS ||
        each_ns + each_ns / GS_ABOUT < ours_ns)
        return;
    slices->said_ns[slices->count++ % GS_ROUNDS] = each_ns - GS_SWITCH_NS;
    uint64_t found_ns = gs_slices_find(slices);
    if (found_ns == 0)
        return;
    slices->found_ns = found_ns;
    gs_slices_adopt(slices, found_ns);
}

/* How much work goes between two markers while others are there. */
static inline uint64_t gs_slices_window_ns(const struct gs_slices *slices)
{
    uint64_t part = slices->slice_ns / 5 * 2;

    return !slices->known ? 100000 : part < 60000 ? 60000 : part > 400000 ? 400000 : part;
}

#endif
