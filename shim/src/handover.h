/* handover.h -- the tenant's memory from the machine's keeper, where it has no names: one connection, 100 ms at most. */
#ifndef GS_HANDOVER_H
#define GS_HANDOVER_H

#include "abi.h"

/* Descriptors, each -1 where there is none (any more). */
struct gs_taken {
    int limits;
    int usage;
    int own_segment; /* for writing */
    int segment[GS_SEGMENTS];
    uint32_t own_segment_index;
};

/* Whether the tenant's memory is to be had at a socket in this directory. */
int gs_handover_offered(const char *directory);

/* Fills `taken`, all or nothing: NULL, or why not. */
const char *gs_handover_take(const char *directory, struct gs_taken *taken);

/* Closes what is left of it. */
void gs_handover_close(struct gs_taken *taken);

/* All segments one behind the other, the own one writable: the activity file.  NULL, or why not. */
const char *gs_handover_map_activity(const struct gs_taken *taken, void **activity);

#endif
