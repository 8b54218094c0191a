/* lock.c -- the slow half of a lock of one word: waiting, and waking who waits. */
#include <errno.h>
#include <linux/futex.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lock.h"

void gs_lock_wait(struct gs_lock *lock)
{
    int kept = errno;

    while (__atomic_exchange_n(&lock->word, GS_LOCK_WAITED_FOR, __ATOMIC_ACQUIRE) != GS_LOCK_FREE)
        syscall(SYS_futex, &lock->word, FUTEX_WAIT_PRIVATE, GS_LOCK_WAITED_FOR, NULL, NULL, 0);
    errno = kept;
}

void gs_lock_wake(struct gs_lock *lock)
{
    int kept = errno;

    syscall(SYS_futex, &lock->word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
    errno = kept;
}
