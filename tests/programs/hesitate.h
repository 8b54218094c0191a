/* hesitate.h -- included before all else, it has threads stop for a moment between one step and the next, as on a busy
 * machine: what is right only when nobody comes in between then goes wrong soon.  In front of what announces something
 * to other threads. */
#include <stdatomic.h>

extern int usleep(unsigned us);

static inline void hesitate(void)
{
    static __thread unsigned chance;
    chance = chance * 1664525 + 1013904223;
    if (chance >> 30 == 0)
        usleep(50);
}

#undef atomic_fetch_add
#define atomic_fetch_add(word, value)                                                                        \
    (hesitate(), atomic_fetch_add_explicit(word, value, memory_order_seq_cst))
