/* locks.c -- mutexes, read-write locks, spin locks and barriers: tried for real, waited for in turns. */
#define _GNU_SOURCE
#include "raw.h"
#include "turns.h"

#define KIND_MASK    3
#define SHARED_MUTEX 128 /* in a mutex's kind: PTHREAD_MUTEX_PSHARED_BIT */

static uint64_t mutex_key(const pthread_mutex_t *mutex)
{
    if (mutex->__data.__kind & SHARED_MUTEX)
        return sim_key_shared(mutex) | SIM_KEY_LOCK;
    return sim_key_private(mutex);
}

/* Somebody who takes no turns may hold one that processes share: a reader of the truth. */
static bool holder_takes_turns(const pthread_mutex_t *mutex)
{
    uint32_t holder = (uint32_t)mutex->__data.__owner;
    for (uint32_t s = 0; s < sim_clock->seats; s++)
        for (uint32_t t = 0; t < sim_clock->seat[s].threads; t++)
            if (sim_clock->seat[s].thread[t].taken && sim_clock->seat[s].thread[t].tid == holder)
                return true;
    return false;
}

static int lock_until(pthread_mutex_t *mutex, uint64_t until_ns)
{
    int result;
    while ((result = sim_real()->pthread_mutex_trylock(mutex)) == EBUSY) {
        bool own = (uint32_t)mutex->__data.__owner == sim_self->tid;
        if (own && (mutex->__data.__kind & KIND_MASK) == PTHREAD_MUTEX_ERRORCHECK)
            return EDEADLK;
        if ((mutex->__data.__kind & SHARED_MUTEX) && !holder_takes_turns(mutex))
            return sim_real()->pthread_mutex_lock(mutex);
        if (!sim_turn_wait(mutex_key(mutex), until_ns) && sim_clock->now_ns >= until_ns)
            return ETIMEDOUT;
    }
    return result;
}

SIM_EXPORT int pthread_mutex_lock(pthread_mutex_t *mutex)
{
    if (!sim_takes_turns("pthread_mutex_lock"))
        return sim_real()->pthread_mutex_lock(mutex);
    return lock_until(mutex, SIM_FOREVER);
}

SIM_EXPORT int pthread_mutex_trylock(pthread_mutex_t *mutex)
{
    int result = sim_real()->pthread_mutex_trylock(mutex);
    if (result == EBUSY && sim_takes_turns("pthread_mutex_trylock"))
        sim_turn_spend(SIM_PRICE_TRY);
    return result;
}

SIM_EXPORT int pthread_mutex_clocklock(pthread_mutex_t *mutex, clockid_t id, const struct timespec *at)
{
    if (!sim_takes_turns("pthread_mutex_clocklock"))
        return sim_real()->pthread_mutex_clocklock(mutex, id, at);
    return lock_until(mutex, sim_deadline_ns(id, at));
}

SIM_EXPORT int pthread_mutex_timedlock(pthread_mutex_t *restrict mutex, const struct timespec *restrict at)
{
    if (!sim_takes_turns("pthread_mutex_timedlock"))
        return sim_real()->pthread_mutex_timedlock(mutex, at);
    return lock_until(mutex, sim_deadline_ns(CLOCK_REALTIME, at));
}

SIM_EXPORT int pthread_mutex_unlock(pthread_mutex_t *mutex)
{
    if (!sim_takes_turns("pthread_mutex_unlock"))
        return sim_real()->pthread_mutex_unlock(mutex);
    uint64_t key =
        mutex_key(mutex); /* once unlocked, it may be freed by whoever runs next; nobody does yet */
    int result = sim_real()->pthread_mutex_unlock(mutex);
    if (result == 0)
        sim_turn_wake(key, 1);
    return result;
}

/* -------- read-write locks -------- */

static uint64_t rwlock_key(const pthread_rwlock_t *lock)
{
    return lock->__data.__shared ? sim_key_shared(lock) : sim_key_private(lock);
}

static int rwlock_until(pthread_rwlock_t *lock, bool write, uint64_t until_ns)
{
    const struct sim_real *real = sim_real();
    int result;
    while ((result = write ? real->pthread_rwlock_trywrlock(lock) : real->pthread_rwlock_tryrdlock(lock)) ==
           EBUSY) {
        if (write && (uint32_t)lock->__data.__cur_writer == sim_self->tid)
            return EDEADLK;
        if (!sim_turn_wait(rwlock_key(lock), until_ns) && sim_clock->now_ns >= until_ns)
            return ETIMEDOUT;
    }
    return result;
}

SIM_EXPORT int pthread_rwlock_rdlock(pthread_rwlock_t *lock)
{
    if (!sim_takes_turns("pthread_rwlock_rdlock"))
        return sim_real()->pthread_rwlock_rdlock(lock);
    return rwlock_until(lock, false, SIM_FOREVER);
}

SIM_EXPORT int pthread_rwlock_wrlock(pthread_rwlock_t *lock)
{
    if (!sim_takes_turns("pthread_rwlock_wrlock"))
        return sim_real()->pthread_rwlock_wrlock(lock);
    return rwlock_until(lock, true, SIM_FOREVER);
}

SIM_EXPORT int pthread_rwlock_timedrdlock(pthread_rwlock_t *restrict lock, const struct timespec *restrict at)
{
    if (!sim_takes_turns("pthread_rwlock_timedrdlock"))
        return sim_real()->pthread_rwlock_timedrdlock(lock, at);
    return rwlock_until(lock, false, sim_deadline_ns(CLOCK_REALTIME, at));
}

SIM_EXPORT int pthread_rwlock_timedwrlock(pthread_rwlock_t *restrict lock, const struct timespec *restrict at)
{
    if (!sim_takes_turns("pthread_rwlock_timedwrlock"))
        return sim_real()->pthread_rwlock_timedwrlock(lock, at);
    return rwlock_until(lock, true, sim_deadline_ns(CLOCK_REALTIME, at));
}

SIM_EXPORT int pthread_rwlock_unlock(pthread_rwlock_t *lock)
{
    if (!sim_takes_turns("pthread_rwlock_unlock"))
        return sim_real()->pthread_rwlock_unlock(lock);
    uint64_t key = rwlock_key(lock);
    int result = sim_real()->pthread_rwlock_unlock(lock);
    sim_turn_wake(key, UINT32_MAX);
    return result;
}

/* -------- spin locks and barriers -------- */

SIM_EXPORT int pthread_spin_lock(pthread_spinlock_t *lock)
{
    if (!sim_takes_turns("pthread_spin_lock"))
        return sim_real()->pthread_spin_lock(lock);
    while (sim_real()->pthread_spin_trylock(lock) != 0)
        sim_turn_yield();
    return 0;
}

SIM_EXPORT int pthread_spin_trylock(pthread_spinlock_t *lock)
{
    int result = sim_real()->pthread_spin_trylock(lock);
    if (result == EBUSY && sim_takes_turns("pthread_spin_trylock"))
        sim_turn_spend(SIM_PRICE_TRY);
    return result;
}

/* As the C library lays it out; nobody else looks into it, and between rounds it is as after its init. */
struct barrier {
    unsigned in, round, count;
    int shared;
};

SIM_EXPORT int pthread_barrier_wait(pthread_barrier_t *given)
{
    struct barrier *barrier = (struct barrier *)given;
    if (!sim_takes_turns("pthread_barrier_wait"))
        return sim_real()->pthread_barrier_wait(given);
    uint64_t key = barrier->shared ? sim_key_shared(barrier) : sim_key_private(barrier);
    unsigned round = barrier->round;
    if (++barrier->in == barrier->count) {
        barrier->in = 0;
        barrier->round++;
        sim_turn_wake(key, UINT32_MAX);
        return PTHREAD_BARRIER_SERIAL_THREAD;
    }
    while (barrier->round == round)
        sim_turn_wait(key, SIM_FOREVER);
    return 0;
}
