/* raw.c -- the kernel's futexes and sleeps, and finding the functions that we stand in front of. */
#define _GNU_SOURCE
#include "raw.h"

#include <dlfcn.h>
#include <linux/futex.h>
#include <stdbool.h>

#define NS_PER_S 1000000000ull

/* Relative timeout; UINT64_MAX: none. */
long sim_raw_futex(const void *word, int operation, uint32_t value, uint64_t timeout_ns)
{
    struct timespec t = {(time_t)(timeout_ns / NS_PER_S), (long)(timeout_ns % NS_PER_S)};
    return sim_raw(SYS_futex, (long)word, operation, value, timeout_ns == UINT64_MAX ? 0 : (long)&t, 0, 0);
}

void sim_raw_sleep(uint64_t ns)
{
    struct timespec t = {(time_t)(ns / NS_PER_S), (long)(ns % NS_PER_S)};
    sim_raw(SYS_nanosleep, (long)&t, 0, 0, 0, 0, 0);
}

/* The condition variables of today's C library: an unversioned look-up may find those of 2003. */
#if defined(__x86_64__)
#define CONDITIONS_SINCE "GLIBC_2.3.2"
#define DLSYM_SINCE      "GLIBC_2.2.5"
#else
#define CONDITIONS_SINCE "GLIBC_2.17"
#define DLSYM_SINCE      "GLIBC_2.17"
#endif

static struct sim_real real;
static _Atomic bool found;

/* The C library's own: another preloaded library's might lock, with the locks that are looked for here. */
static void *look_up(const char *name)
{
    void *(*lookup)(void *, const char *);
    *(void **)&lookup = dlvsym(RTLD_NEXT, "dlsym", "GLIBC_2.34");
    if (!lookup)
        *(void **)&lookup = dlvsym(RTLD_NEXT, "dlsym", DLSYM_SINCE);
    return (lookup ? lookup : dlsym)(RTLD_NEXT, name);
}

static void *next(const char *name)
{
    void *function = NULL;
    if (__builtin_strncmp(name, "pthread_cond_", 13) == 0)
        function = dlvsym(RTLD_NEXT, name, CONDITIONS_SINCE);
    return function ? function : look_up(name);
}

static void find(void)
{
#define X(name) real.name = (__typeof__(real.name))next(#name);
    SIM_REAL_FUNCTIONS(X)
#undef X
    found = true;
}

const struct sim_real *sim_real(void)
{
    if (__builtin_expect(!found, 0))
        find();
    return &real;
}
