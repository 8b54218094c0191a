/* time.c -- clocks and sleeps. */
#define _GNU_SOURCE
#include <sched.h>
#include <sys/time.h>
#include <unistd.h>

#include "raw.h"
#include "turns.h"
#include "virtual.h"

#define NS_PER_S 1000000000ull

static uint64_t offset_ns(clockid_t id)
{
    return id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE || id == CLOCK_TAI
               ? SIM_VIRTUAL_EPOCH_S * NS_PER_S
               : 0;
}

/* CPU time stays the kernel's. */
static bool is_ours(clockid_t id)
{
    switch (id) {
    case CLOCK_REALTIME:
    case CLOCK_REALTIME_COARSE:
    case CLOCK_TAI:
    case CLOCK_MONOTONIC:
    case CLOCK_MONOTONIC_RAW:
    case CLOCK_MONOTONIC_COARSE:
    case CLOCK_BOOTTIME:
        return true;
    default:
        return false;
    }
}

static uint64_t length_ns(const struct timespec *t)
{
    if (t->tv_sec < 0)
        return 0;
    if ((uint64_t)t->tv_sec > UINT64_MAX / NS_PER_S / 2)
        return UINT64_MAX / 2;
    return (uint64_t)t->tv_sec * NS_PER_S + (uint64_t)t->tv_nsec;
}

uint64_t sim_deadline_ns(clockid_t id, const struct timespec *at)
{
    if (!at)
        return SIM_FOREVER;
    uint64_t ns = length_ns(at), offset = offset_ns(id);
    return ns > offset ? ns - offset : 0;
}

/* As long as that; a look at least, since who sleeps for no time does so in a loop. */
static void sleep_for(uint64_t ns)
{
    if (ns == 0)
        sim_turn_yield();
    else
        sim_turn_wait(0, sim_clock->now_ns + ns);
}

static long get(clockid_t id, struct timespec *t, const char *call)
{
    if (!is_ours(id) || !sim_takes_turns(call))
        return sim_raw(SYS_clock_gettime, id, (long)t, 0, 0, 0, 0);
    sim_turn_spend(SIM_PRICE_READ);
    uint64_t ns = sim_clock->now_ns + offset_ns(id);
    *t = (struct timespec){(time_t)(ns / NS_PER_S), (long)(ns % NS_PER_S)};
    return 0;
}

/* Returns -errno. */
static long sleep_on(clockid_t id, int flags, const struct timespec *t, struct timespec *rest,
                     const char *call)
{
    if (!is_ours(id) || !sim_takes_turns(call))
        return sim_raw(SYS_clock_nanosleep, id, flags, (long)t, (long)rest, 0, 0);
    if (t->tv_nsec < 0 || t->tv_nsec >= (long)NS_PER_S || t->tv_sec < 0)
        return -EINVAL;
    if ((flags & TIMER_ABSTIME) == 0)
        sleep_for(length_ns(t));
    else if (sim_deadline_ns(id, t) > sim_clock->now_ns)
        sim_turn_wait(0, sim_deadline_ns(id, t));
    else
        sleep_for(0);
    return 0;
}

SIM_EXPORT int clock_gettime(clockid_t id, struct timespec *t)
{
    return (int)sim_errno(get(id, t, "clock_gettime"));
}

SIM_EXPORT int gettimeofday(struct timeval *restrict t, void *restrict zone)
{
    struct timespec now;
    get(CLOCK_REALTIME, &now, "gettimeofday");
    *t = (struct timeval){now.tv_sec, now.tv_nsec / 1000};
    return 0;
}

SIM_EXPORT time_t time(time_t *t)
{
    struct timespec now;
    get(CLOCK_REALTIME, &now, "time");
    if (t)
        *t = now.tv_sec;
    return now.tv_sec;
}

SIM_EXPORT int timespec_get(struct timespec *t, int base)
{
    if (base != TIME_UTC)
        return 0;
    get(CLOCK_REALTIME, t, "timespec_get");
    return base;
}

SIM_EXPORT int clock_nanosleep(clockid_t id, int flags, const struct timespec *t, struct timespec *rest)
{
    return (int)-sleep_on(id, flags, t, rest, "clock_nanosleep");
}

SIM_EXPORT int nanosleep(const struct timespec *t, struct timespec *rest)
{
    return (int)sim_errno(sleep_on(CLOCK_MONOTONIC, 0, t, rest, "nanosleep"));
}

SIM_EXPORT int usleep(useconds_t us)
{
    struct timespec t = {(time_t)(us / 1000000), (long)(us % 1000000) * 1000};
    return (int)sim_errno(sleep_on(CLOCK_MONOTONIC, 0, &t, NULL, "usleep"));
}

SIM_EXPORT unsigned sleep(unsigned seconds)
{
    struct timespec t = {(time_t)seconds, 0}, rest = {0, 0};
    return sleep_on(CLOCK_MONOTONIC, 0, &t, &rest, "sleep") == 0 ? 0 : (unsigned)rest.tv_sec;
}

SIM_EXPORT int sched_yield(void)
{
    if (!sim_takes_turns("sched_yield"))
        return (int)sim_errno(sim_raw(SYS_sched_yield, 0, 0, 0, 0, 0, 0));
    sim_turn_yield();
    return 0;
}
