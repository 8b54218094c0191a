/* lock.h -- a lock of one word: two instructions where nobody waits, a futex where somebody does. */
#ifndef GS_LOCK_H
#define GS_LOCK_H

#include <stdint.h>

enum { GS_LOCK_FREE = 0, GS_LOCK_HELD = 1, GS_LOCK_WAITED_FOR = 2 };

/* All zeroes: free.  A fork's child makes it that again. */
struct gs_lock {
    uint32_t word;
};

void gs_lock_wait(struct gs_lock *lock);
void gs_lock_wake(struct gs_lock *lock);

static inline int gs_lock_try(struct gs_lock *lock)
{
    uint32_t seen = GS_LOCK_FREE;

    return __atomic_compare_exchange_n(&lock->word, &seen, GS_LOCK_HELD, 0, __ATOMIC_ACQUIRE,
                                       __ATOMIC_RELAXED);
}

/* Frees it.  False: somebody waits, and gs_lock_wake() must be called. */
static inline int gs_unlock_try(struct gs_lock *lock)
{
    return __atomic_exchange_n(&lock->word, GS_LOCK_FREE, __ATOMIC_RELEASE) != GS_LOCK_WAITED_FOR;
}

static inline void gs_lock(struct gs_lock *lock)
{
    if (__builtin_expect(!gs_lock_try(lock), 0))
        gs_lock_wait(lock);
}

static inline void gs_unlock(struct gs_lock *lock)
{
    if (__builtin_expect(!gs_unlock_try(lock), 0))
        gs_lock_wake(lock);
}

#endif
