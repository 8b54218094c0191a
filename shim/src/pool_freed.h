/* pool_freed.h -- memory that the program has freed and a pool still has: an allocation of that size in that stream gets it
 * again, and the pool does not grow.
 *
 * At the quota's edge a program lives by that, and the pool must not grow by a byte.  So whatever makes it doubtful makes
 * it forgotten; and what is freed while another thread allocates may be that one's by now, and is not noted at all. */
#ifndef GS_POOL_FREED_H
#define GS_POOL_FREED_H

#include <string.h>

#include "stream_id.h"

#define GS_FREED_KINDS 8

/* Memory for which no stream need be waited: all have come to the free. */
#define GS_NO_STREAM_ID 0

struct gs_freed {
    uint32_t next; /* to be forgotten */
    struct gs_freed_kind {
        uint64_t stream; /* its id, or GS_NO_STREAM_ID */
        uint64_t bytes;
        uint32_t times;
    } kind[GS_FREED_KINDS]; /* the latest ones */
};

static inline void gs_freed_forget(struct gs_freed *freed)
{
    memset(freed, 0, sizeof *freed);
}

static inline void gs_freed_note(struct gs_freed *freed, uint64_t stream, uint64_t bytes)
{
    for (int i = 0; i < GS_FREED_KINDS; i++) {
        struct gs_freed_kind *kind = &freed->kind[i];

        if (kind->times && kind->bytes == bytes && kind->stream == stream) {
            kind->times++;
            return;
        }
    }
    freed->kind[freed->next++ % GS_FREED_KINDS] = (struct gs_freed_kind){stream, bytes, 1};
}

/* Where another stream has freed the same size, it may be that one's memory which this stream gets, or the reverse. */
static inline struct gs_freed_kind *gs_freed_find(struct gs_freed *freed, uint64_t stream, uint64_t bytes)
{
    struct gs_freed_kind *found = NULL;

    for (int i = 0; i < GS_FREED_KINDS; i++) {
        struct gs_freed_kind *kind = &freed->kind[i];

        if (!kind->times || kind->bytes != bytes)
            continue;
        if (found || (kind->stream != stream && kind->stream != GS_NO_STREAM_ID))
            return NULL;
        found = kind;
    }
    return found;
}

/* Whatever else is allocated may be cut out of what has been freed. */
static inline void gs_freed_use(struct gs_freed *freed, uint64_t stream, uint64_t bytes)
{
    struct gs_freed_kind *kind = gs_freed_find(freed, stream, bytes);

    if (kind)
        kind->times--;
    else
        gs_freed_forget(freed);
}

#endif
