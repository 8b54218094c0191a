/* slices.h -- how long a time slice is, found from when markers were stamped: pure functions.
 *
 * A session begins with a slice of ours, and the GPU stamps our markers only while we run.  While n contexts always have
 * work, a round is n slices and n switches, of which ours is the first: no marker is stamped in the rest of it, however
 * long kernels are.  Any other length than the true one is contradicted soon. */
#ifndef GS_SLICES_H
#define GS_SLICES_H

#include <stdbool.h>
#include <stdint.h>

#define GS_SLICE_NS       1024000u /* what the driver sets by default */
#define GS_SLICE_LEAST_NS 200000u
#define GS_SLICE_MOST_NS  4000000u
#define GS_SWITCH_NS      50000u
#define GS_STAMPS         128 /* a power of two: the newest are kept */
#define GS_STAMP_ROUNDS   24  /* beyond these a small error of a length has become a large one */

/* When a marker was stamped, since a slice of ours began.  One that floats says less, and of two contexts nothing. */
struct gs_stamp {
    uint64_t since_ns;
    uint32_t contexts;
    uint32_t doubt_ns; /* about when that was */
    bool floats;       /* since another marker, which was anywhere in a slice */
};

struct gs_slices {
    uint64_t slice_ns;
    uint64_t found_ns; /* by ourselves; 0: not yet */
    bool known;        /* by ourselves, or by somebody else on the device */
    uint32_t count, due;
    struct gs_stamp stamp[GS_STAMPS];
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

/* What those on a device have found: the mean of all but those far above others, for which kernels of one length that
 * come one at a time can be blamed.  A neighbour may say anything. */
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

/* -------- which length fits -------- */

#define GS_AGAINST   4 /* a stamp against a length counts as much as so many for it */
#define GS_ALIKE     3 /* so many stamps at about the same time count */
#define GS_ALIKE_NS  32768
#define GS_FITS      16
#define GS_FITS_WELL 32 /* what it takes to change it much */
#define GS_NO_FIT    (-24)
#define GS_FIRST_FIT 32 /* stamps */
#define GS_NEXT_FIT  16
#define GS_CHECK_FIT 512 /* once one was found, or after so many in vain */

/* Whether a stamp lies in a slice of ours, if slices are that long. */
static inline bool gs_stamp_is_ours(const struct gs_stamp *stamp, uint64_t ends_ns, uint64_t round_ns)
{
    uint64_t at_ns = stamp->since_ns % round_ns, before_ns = stamp->floats ? ends_ns : stamp->doubt_ns;

    return at_ns <= ends_ns || at_ns + before_ns > round_ns;
}

/* A stamp in our slice speaks for a length, one elsewhere against it, and one before a first slice of that length would
 * have ended says nothing.  Kernels of one length that come one at a time say the same again and again, which by
 * chance fits some length. */
static inline int32_t gs_slices_fit(const struct gs_slices *slices, uint64_t slice_ns)
{
    uint32_t oldest = slices->count > GS_STAMPS ? slices->count - GS_STAMPS : 0;
    uint8_t alike[256] = {0};
    int32_t fit = 0;

    for (uint32_t i = slices->count; i-- > oldest && fit > GS_NO_FIT;) {
        const struct gs_stamp *stamp = &slices->stamp[i % GS_STAMPS];
        uint64_t round = stamp->contexts * (slice_ns + GS_SWITCH_NS);

        uint64_t ends_ns = slice_ns + GS_SWITCH_NS / 2 + stamp->doubt_ns;
        if (stamp->since_ns <= ends_ns || stamp->since_ns > GS_STAMP_ROUNDS * round ||
            stamp->doubt_ns > slice_ns / 4)
            continue;
        if (alike[stamp->since_ns / GS_ALIKE_NS % sizeof alike]++ < GS_ALIKE)
            fit += gs_stamp_is_ours(stamp, ends_ns, round) ? 1 : -GS_AGAINST;
    }
    return fit;
}

/* The length that fits best; 0: none does, or others do nearly as well that are not close to it. */
static inline uint64_t gs_slices_find(const struct gs_slices *slices, int32_t *best)
{
    uint64_t from_ns = 0, to_ns = 0, near_from_ns = 0, near_to_ns = 0;

    *best = GS_FITS - 1;
    for (uint64_t ns = GS_SLICE_LEAST_NS; ns <= GS_SLICE_MOST_NS; ns += ns / 96) {
        int32_t fit = gs_slices_fit(slices, ns);
        if (fit > *best) {
            if (fit / 4 * 3 > *best)
                near_from_ns = ns;
            *best = fit;
            from_ns = ns;
        }
        if (fit == *best && from_ns != 0)
            to_ns = ns;
        if (fit >= *best / 4 * 3) {
            near_from_ns = near_from_ns == 0 ? ns : near_from_ns;
            near_to_ns = ns;
        }
    }
    return near_to_ns - near_from_ns <= near_from_ns / 8 ? (from_ns + to_ns) / 2 : 0;
}

/* A marker of ours.  Now and then, what they all say is looked at. */
static inline void gs_slices_stamp(struct gs_slices *slices, const struct gs_stamp *stamp)
{
    int32_t fit;

    slices->stamp[slices->count++ % GS_STAMPS] = *stamp;
    if (slices->count < GS_FIRST_FIT || slices->count < slices->due)
        return;
    uint64_t slice_ns = gs_slices_find(slices, &fit);
    slices->due =
        slices->count + (slices->found_ns != 0 || slices->count > GS_CHECK_FIT ? GS_CHECK_FIT : GS_NEXT_FIT);
    bool near = slice_ns > slices->slice_ns / 4 * 3 && slice_ns < slices->slice_ns / 4 * 5;
    if (slice_ns == 0 ||
        (slices->known && !near && (fit < GS_FITS_WELL || gs_slices_fit(slices, slices->slice_ns) > 0)))
        return;
    slices->found_ns = near && slices->found_ns != 0 ? slices->found_ns / 4 * 3 + slice_ns / 4 : slice_ns;
    gs_slices_adopt(slices, slices->found_ns);
}

/* How much work goes between two markers while others are there. */
static inline uint64_t gs_slices_window_ns(const struct gs_slices *slices)
{
    uint64_t part = slices->slice_ns / 5 * 2;

    return !slices->known ? 100000 : part < 60000 ? 60000 : part > 400000 ? 400000 : part;
}

#endif
