/* clock.c -- the one clock of the simulated machine, and the one way to wait for it. */
#include "machine.h"

#include <linux/futex.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_S 1000000000ull

/* What libsimclock.so exports, which only programs on a virtual clock have preloaded.  It serves the calls below, too;
 * but the present is asked for while the machine is locked, when nobody else should get a turn. */
__attribute__((weak, visibility("default"))) uint64_t sim_clock_now_ns(void);
__attribute__((weak, visibility("default"))) void sim_clock_spend(uint32_t ns);

bool sim_clock_beside(const char *path)
{
    char clock[4096];
    snprintf(clock, sizeof(clock), "%s.clock", path);
    return access(clock, F_OK) == 0;
}

bool sim_on_virtual_clock(void)
{
    return sim_clock_now_ns && sim_clock_now_ns() != 0;
}

void sim_spend_call(void)
{
    if (__builtin_expect(sim_clock_spend != NULL, 0))
        sim_clock_spend(SIM_CALL_NS);
}

uint64_t sim_now_ns(void)
{
    struct timespec t;
    if (__builtin_expect(sim_on_virtual_clock(), 0))
        return sim_clock_now_ns();
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

/* The kernel may round a sleep up by the thread's timer slack, 50 us by default: as long as many kernels.  It
 * is put back afterwards, since the thread is the program's. */
void sim_sleep_until(_Atomic uint32_t *word, uint32_t seen, uint64_t deadline_ns)
{
    struct timespec t = {(time_t)(deadline_ns / NS_PER_S), (long)(deadline_ns % NS_PER_S)};
    struct timespec *until = deadline_ns == UINT64_MAX ? NULL : &t;
    int slack = until && !sim_on_virtual_clock() ? prctl(PR_GET_TIMERSLACK) : 0;
    if (slack > 1)
        prctl(PR_SET_TIMERSLACK, 1ul);
    if (word)
        syscall(SYS_futex, word, FUTEX_WAIT_BITSET, seen, until, NULL, FUTEX_BITSET_MATCH_ANY);
    else
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
    if (slack > 1)
        prctl(PR_SET_TIMERSLACK, (unsigned long)slack);
}

void sim_wake(_Atomic uint32_t *word)
{
    atomic_fetch_add_explicit(word, 1, memory_order_release);
    syscall(SYS_futex, word, FUTEX_WAKE, INT32_MAX, NULL, NULL, 0);
}
