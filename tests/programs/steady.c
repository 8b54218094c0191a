/* steady.c -- takes and gives back memory until its input ends, then says how that went: rounds, failures, the longest
 * round in ns and how many took longer than 10 ms; and both again without the time in which it waited for a core. */
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

int cuInit(unsigned);
int cuDevicePrimaryCtxRetain(void **, int);
int cuCtxSetCurrent(void *);
int cuMemAlloc_v2(uint64_t *, size_t);
int cuMemFree_v2(uint64_t);
int cuMemGetInfo_v2(size_t *, size_t *);

#define ROUND_PAUSE_NS 200000
#define LONG_NS        10000000

static int64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000ll + now.tv_nsec;
}

/* What the kernel says that this thread waited for a core, in ns. */
static int64_t waited_ns(int schedstat)
{
    char text[100] = "", *second;

    if (pread(schedstat, text, sizeof text - 1, 0) < 0 || !(second = strchr(text, ' ')))
        return 0;
    return strtoll(second, NULL, 10);
}

static int round_fails(void)
{
    uint64_t pointer;
    size_t left, total;

    return cuMemAlloc_v2(&pointer, 64 << 20) || cuMemGetInfo_v2(&left, &total) || cuMemFree_v2(pointer);
}

int main(void)
{
    const struct timespec pause = {.tv_nsec = ROUND_PAUSE_NS};
    struct pollfd input = {.fd = 0, .events = POLLIN};
    const int schedstat = open("/proc/self/schedstat", O_RDONLY);
    long rounds = 0, failures = 0, slow = 0, blocked = 0;
    int64_t longest_ns = 0, longest_blocked_ns = 0;
    void *context;

    if (cuInit(0) || cuDevicePrimaryCtxRetain(&context, 0) || cuCtxSetCurrent(context))
        return 1;
    puts("ready");
    fflush(stdout);
    while (!poll(&input, 1, 0)) {
        int64_t waited_before_ns = waited_ns(schedstat), began_ns = now_ns(), took_ns, blocked_ns;

        failures += round_fails();
        took_ns = now_ns() - began_ns;
        blocked_ns = took_ns - (waited_ns(schedstat) - waited_before_ns);
        longest_ns = took_ns > longest_ns ? took_ns : longest_ns;
        longest_blocked_ns = blocked_ns > longest_blocked_ns ? blocked_ns : longest_blocked_ns;
        slow += took_ns > LONG_NS;
        blocked += blocked_ns > LONG_NS;
        rounds++;
        nanosleep(&pause, NULL);
    }
    printf("%ld %ld %lld %ld %lld %ld\n", rounds, failures, (long long)longest_ns, slow,
           (long long)longest_blocked_ns, blocked);
    return 0;
}
