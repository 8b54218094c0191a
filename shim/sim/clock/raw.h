/* raw.h -- the kernel's own calls, and the C library's own functions behind those that this library replaces. */
#ifndef SIM_CLOCK_RAW_H
#define SIM_CLOCK_RAW_H

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>

/* Returns -errno, as the kernel does. */
static inline long sim_raw(long number, long a, long b, long c, long d, long e, long f)
{
#if defined(__x86_64__)
    register long r10 __asm__("r10") = d, r8 __asm__("r8") = e, r9 __asm__("r9") = f;
    long result;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
#elif defined(__aarch64__)
    register long x8 __asm__("x8") = number, x0 __asm__("x0") = a, x1 __asm__("x1") = b;
    register long x2 __asm__("x2") = c, x3 __asm__("x3") = d, x4 __asm__("x4") = e, x5 __asm__("x5") = f;
    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
    return x0;
#else
#error "how are system calls made here?"
#endif
}

/* The C library's way: -1 and errno. */
static inline long sim_errno(long result)
{
    if (result < 0 && result > -4096) {
        errno = (int)-result;
        return -1;
    }
    return result;
}

long sim_raw_futex(const void *word, int operation, uint32_t value, uint64_t timeout_ns);
void sim_raw_sleep(uint64_t ns);

#define SIM_REAL_FUNCTIONS(X)                                                                                \
    X(pthread_create)                                                                                        \
    X(pthread_join)                                                                                          \
    X(pthread_clockjoin_np)                                                                                  \
    X(pthread_cancel)                                                                                        \
    X(pthread_once)                                                                                          \
    X(pthread_mutex_lock)                                                                                    \
    X(pthread_mutex_trylock)                                                                                 \
    X(pthread_mutex_timedlock)                                                                               \
    X(pthread_mutex_clocklock)                                                                               \
    X(pthread_mutex_unlock)                                                                                  \
    X(pthread_cond_wait)                                                                                     \
    X(pthread_cond_timedwait)                                                                                \
    X(pthread_cond_clockwait)                                                                                \
    X(pthread_cond_signal)                                                                                   \
    X(pthread_cond_broadcast)                                                                                \
    X(pthread_rwlock_rdlock)                                                                                 \
    X(pthread_rwlock_wrlock)                                                                                 \
    X(pthread_rwlock_tryrdlock)                                                                              \
    X(pthread_rwlock_trywrlock)                                                                              \
    X(pthread_rwlock_timedrdlock)                                                                            \
    X(pthread_rwlock_timedwrlock)                                                                            \
    X(pthread_rwlock_unlock)                                                                                 \
    X(pthread_spin_lock)                                                                                     \
    X(pthread_spin_trylock)                                                                                  \
    X(pthread_barrier_wait)                                                                                  \
    X(sem_wait)                                                                                              \
    X(sem_trywait)                                                                                           \
    X(sem_timedwait)                                                                                         \
    X(sem_clockwait)                                                                                         \
    X(sem_post)

struct sim_real {
#define X(name) __typeof__(name) *name;
    SIM_REAL_FUNCTIONS(X)
#undef X
};

/* The functions that we stand in front of. */
const struct sim_real *sim_real(void);

#endif
