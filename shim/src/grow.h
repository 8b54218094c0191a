/* grow.h -- arrays that grow, in memory of their own: the program's malloc may itself be waiting for us. */
#ifndef GS_GROW_H
#define GS_GROW_H

#include <string.h>
#include <sys/mman.h>

#include "abi.h"

/* Room for twice as many items (all zero) as `*room`.  False: no memory.  At any moment the array is one or the
 * other: a child forked just then can read it. */
static inline int gs_grow(void **array, uint32_t *room, size_t item_bytes)
{
    uint32_t wanted = *room ? 2 * *room : (uint32_t)(GS_PAGE / item_bytes);
    void *old = *array;
    void *grown = mmap(NULL, wanted * item_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (grown == MAP_FAILED)
        return 0;
    if (old)
        memcpy(grown, old, *room * item_bytes);
    __atomic_store_n(array, grown, __ATOMIC_RELEASE);
    if (old)
        munmap(old, *room * item_bytes);
    *room = wanted;
    return 1;
}

#endif
