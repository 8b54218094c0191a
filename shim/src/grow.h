/* grow.h -- arrays that grow, in memory of their own: the program's malloc may itself be waiting for us. */
#ifndef GS_GROW_H
#define GS_GROW_H

#include <string.h>
#include <sys/mman.h>

#include "abi.h"

/* Makes room for twice as many items, the new ones all zero; `array` points to the pointer to the first.  False: no
 * memory.  At any moment that pointer is good: a child forked just then reads through it. */
static inline int gs_grow(void *array, uint32_t *room, size_t item_bytes)
{
    uint32_t wanted = *room ? 2 * *room : (uint32_t)(GS_PAGE / item_bytes);
    void *old;
    void *grown = mmap(NULL, wanted * item_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (grown == MAP_FAILED)
        return 0;
    memcpy(&old, array, sizeof old); /* whatever type it points to */
    if (old)
        memcpy(grown, old, *room * item_bytes);
    memcpy(array, &grown, sizeof grown);
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    if (old)
        munmap(old, *room * item_bytes);
    *room = wanted;
    return 1;
}

#endif
