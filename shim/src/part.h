/* part.h -- parts of what keeps memory: boxes, in whatever it is measured. */
#ifndef GS_PART_H
#define GS_PART_H

#include <stdint.h>

struct gs_part {
    uint64_t where; /* parts of different places do not touch */
    uint64_t from[3], to[3];
};

static inline int gs_parts_touch(const struct gs_part *a, const struct gs_part *b)
{
    int common = a->where == b->where;

    for (int i = 0; i < 3; i++)
        common &= a->from[i] < b->to[i] && b->from[i] < a->to[i];
    return common;
}

#define GS_MOST_RESTS 6

/* What of `whole` lies outside `hole`, which touches it: cut off side by side. */
static inline int gs_part_rests(struct gs_part whole, const struct gs_part *hole,
                                struct gs_part rest[GS_MOST_RESTS])
{
    int count = 0;

    for (int i = 0; i < 3; i++) {
        if (whole.from[i] < hole->from[i]) {
            rest[count] = whole;
            rest[count++].to[i] = hole->from[i];
            whole.from[i] = hole->from[i];
        }
        if (hole->to[i] < whole.to[i]) {
            rest[count] = whole;
            rest[count++].from[i] = hole->to[i];
            whole.to[i] = hole->to[i];
        }
    }
    return count;
}

#endif
