/* signals.c -- condition variables, semaphores and futexes. */
#define _GNU_SOURCE
#include <linux/futex.h>
#include <semaphore.h>
#include <stdarg.h>
#include <sched.h>
#include <sys/time.h>
#include <unistd.h>

#include "raw.h"
#include "turns.h"

/* -------- condition variables: nothing is ever kept in them -------- */

#define SHARED_CONDITION    1u /* in __wrefs */
#define MONOTONIC_CONDITION 2u

static uint64_t condition_key(const pthread_cond_t *condition)
{
    return condition->__data.__wrefs & SHARED_CONDITION ? sim_key_shared(condition)
                                                        : sim_key_private(condition);
}

static int condition_wait(pthread_cond_t *condition, pthread_mutex_t *mutex, uint64_t until_ns)
{
    int result = pthread_mutex_unlock(mutex);
    if (result != 0)
        return result;
    bool woken = sim_turn_wait(condition_key(condition), until_ns);
    result = pthread_mutex_lock(mutex);
    return result != 0 ? result : woken ? 0 : ETIMEDOUT;
}

SIM_EXPORT int pthread_cond_wait(pthread_cond_t *restrict condition, pthread_mutex_t *restrict mutex)
{
    if (!sim_takes_turns("pthread_cond_wait"))
        return sim_real()->pthread_cond_wait(condition, mutex);
    return condition_wait(condition, mutex, SIM_FOREVER);
}

SIM_EXPORT int pthread_cond_timedwait(pthread_cond_t *restrict condition, pthread_mutex_t *restrict mutex,
                                      const struct timespec *restrict at)
{
    if (!sim_takes_turns("pthread_cond_timedwait"))
        return sim_real()->pthread_cond_timedwait(condition, mutex, at);
    clockid_t id = condition->__data.__wrefs & MONOTONIC_CONDITION ? CLOCK_MONOTONIC : CLOCK_REALTIME;
    return condition_wait(condition, mutex, sim_deadline_ns(id, at));
}

SIM_EXPORT int pthread_cond_clockwait(pthread_cond_t *restrict condition, pthread_mutex_t *restrict mutex,
                                      clockid_t id, const struct timespec *restrict at)
{
    if (!sim_takes_turns("pthread_cond_clockwait"))
        return sim_real()->pthread_cond_clockwait(condition, mutex, id, at);
    return condition_wait(condition, mutex, sim_deadline_ns(id, at));
}

SIM_EXPORT int pthread_cond_signal(pthread_cond_t *condition)
{
    if (!sim_takes_turns("pthread_cond_signal"))
        return sim_real()->pthread_cond_signal(condition);
    sim_turn_wake(condition_key(condition), 1);
    return 0;
}

SIM_EXPORT int pthread_cond_broadcast(pthread_cond_t *condition)
{
    if (!sim_takes_turns("pthread_cond_broadcast"))
        return sim_real()->pthread_cond_broadcast(condition);
    sim_turn_wake(condition_key(condition), UINT32_MAX);
    return 0;
}

/* -------- semaphores -------- */

/* As the C library lays it out: the value, then whether processes share it. */
static uint64_t semaphore_key(const sem_t *semaphore)
{
    return ((const int *)semaphore)[2] ? sim_key_shared(semaphore) : sim_key_private(semaphore);
}

static int semaphore_until(sem_t *semaphore, uint64_t until_ns)
{
    while (sim_real()->sem_trywait(semaphore) != 0) {
        if (errno != EAGAIN)
            return -1;
        if (!sim_turn_wait(semaphore_key(semaphore), until_ns) && sim_clock->now_ns >= until_ns) {
            errno = ETIMEDOUT;
            return -1;
        }
    }
    return 0;
}

SIM_EXPORT int sem_wait(sem_t *semaphore)
{
    if (!sim_takes_turns("sem_wait"))
        return sim_real()->sem_wait(semaphore);
    return semaphore_until(semaphore, SIM_FOREVER);
}

SIM_EXPORT int sem_trywait(sem_t *semaphore)
{
    int result = sim_real()->sem_trywait(semaphore);
    if (result != 0 && sim_takes_turns("sem_trywait"))
        sim_turn_spend(SIM_PRICE_TRY);
    return result;
}

SIM_EXPORT int sem_timedwait(sem_t *restrict semaphore, const struct timespec *restrict at)
{
    if (!sim_takes_turns("sem_timedwait"))
        return sim_real()->sem_timedwait(semaphore, at);
    return semaphore_until(semaphore, sim_deadline_ns(CLOCK_REALTIME, at));
}

SIM_EXPORT int sem_clockwait(sem_t *restrict semaphore, clockid_t id, const struct timespec *restrict at)
{
    if (!sim_takes_turns("sem_clockwait"))
        return sim_real()->sem_clockwait(semaphore, id, at);
    return semaphore_until(semaphore, sim_deadline_ns(id, at));
}

SIM_EXPORT int sem_post(sem_t *semaphore)
{
    uint64_t key = semaphore_key(semaphore);
    int result = sim_real()->sem_post(semaphore);
    if (result == 0 && sim_takes_turns("sem_post"))
        sim_turn_wake(key, 1);
    return result;
}

/* -------- futexes, and other calls by number -------- */

/* Returns -errno.  Bit sets are not told apart: who is woken for nothing looks again. */
static long futex(_Atomic uint32_t *word, int operation, uint32_t value, const struct timespec *t)
{
    uint64_t key = operation & FUTEX_PRIVATE_FLAG ? sim_key_private(word) : sim_key_shared(word);
    clockid_t id = operation & FUTEX_CLOCK_REALTIME ? CLOCK_REALTIME : CLOCK_MONOTONIC;
    uint64_t until_ns;
    switch (operation & FUTEX_CMD_MASK) {
    case FUTEX_WAIT:
    case FUTEX_WAIT_BITSET:
        if (*word != value)
            return -EAGAIN;
        until_ns = sim_deadline_ns(id, t);
        if (t && (operation & FUTEX_CMD_MASK) == FUTEX_WAIT)
            until_ns = sim_clock->now_ns + sim_deadline_ns(CLOCK_MONOTONIC, t);
        return sim_turn_wait(key, until_ns) ? 0 : -ETIMEDOUT;
    case FUTEX_WAKE:
    case FUTEX_WAKE_BITSET:
        return sim_turn_wake(key, value);
    default:
        sim_clock_fail("futex operation %d, which the virtual clock does not know",
                       operation & FUTEX_CMD_MASK);
    }
}

/* Takes six arguments, as the C library's own does, of whoever gives fewer, too. */
__attribute__((no_sanitize("address"))) SIM_EXPORT long syscall(long number, ...)
{
    long a[6];
    va_list more;
    va_start(more, number);
    for (int i = 0; i < 6; i++)
        a[i] = va_arg(more, long);
    va_end(more);
    if (number == SYS_futex && sim_takes_turns("futex"))
        return sim_errno(
            futex((_Atomic uint32_t *)a[0], (int)a[1], (uint32_t)a[2], (const struct timespec *)a[3]));
    if (sim_clock && sim_self)
        switch (number) {
        case SYS_clock_gettime:
            return clock_gettime((clockid_t)a[0], (struct timespec *)a[1]);
        case SYS_gettimeofday:
            return gettimeofday((struct timeval *)a[0], (void *)a[1]);
        case SYS_nanosleep:
            return nanosleep((const struct timespec *)a[0], (struct timespec *)a[1]);
        case SYS_clock_nanosleep:
            return sim_errno(-clock_nanosleep((clockid_t)a[0], (int)a[1], (const struct timespec *)a[2],
                                              (struct timespec *)a[3]));
        case SYS_sched_yield:
            return sched_yield();
        default:
            break;
        }
    return sim_errno(sim_raw(number, a[0], a[1], a[2], a[3], a[4], a[5]));
}
