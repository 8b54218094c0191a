/* member.c -- how a process comes onto the virtual clock and leaves it.
 *
 * SIMGPU_VIRTUAL_CLOCK names the clock's file and SIMGPU_VIRTUAL_PROCESS this process's number on it, for which the
 * conductor (conduct.c) has a seat ready.  Programs that it starts inherit the variables and find the seat taken:
 * they run on the kernel's time, and so does a forked child.  What it executes in its own place is another program,
 * too: the seat is free then, as at its end. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "raw.h"
#include "turns.h"

int __cxa_atexit(void (*function)(void *), void *argument, void *library);
int __register_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void), void *library);

static pthread_key_t ends; /* its destructor is the last that a thread runs */
static __thread bool has_ended;
static __thread int rounds;

void sim_clock_fail(const char *format, ...)
{
    char text[1024];
    int length = snprintf(text, sizeof(text), "simgpu: virtual clock: process %u (pid %u): ", sim_seat_number,
                          sim_seat ? sim_seat->pid : 0);
    va_list more;
    va_start(more, format);
    length += vsnprintf(text + length, sizeof(text) - (size_t)length - 1, format, more);
    va_end(more);
    if (length > (int)sizeof(text) - 2)
        length = (int)sizeof(text) - 2;
    text[length++] = '\n';
    sim_raw(SYS_write, 2, (long)text, length, 0, 0, 0);
    if (sim_clock)
        sim_watch_ask(sim_seat_number);
    for (;;)
        sim_raw(SYS_exit_group, SIM_FAIL_STATUS, 0, 0, 0, 0, 0);
}

bool sim_takes_turns(const char *call)
{
    if (!sim_clock || has_ended)
        return false;
    if (__builtin_expect(sim_self != NULL, 1))
        return atomic_load_explicit(&sim_self->runs, memory_order_relaxed); /* not so in a signal handler */
    if (sim_seat->pid == (uint32_t)sim_raw(SYS_gettid, 0, 0, 0, 0, 0, 0))
        return false; /* the first thread, which joins just now */
    sim_clock_fail("%s in a thread that pthread_create did not make", call);
}

/* A thread's end is part of its turn, and so are the destructors of the program's own thread-local values; these
 * run in rounds, and ours waits for the last. */
static void thread_ends(void *thread)
{
    if (++rounds < 4 /* PTHREAD_DESTRUCTOR_ITERATIONS */) {
        pthread_setspecific(ends, thread);
        return;
    }
    if (!sim_clock || !sim_self)
        return;
    has_ended = true;
    sim_turn_wake(SIM_KEY_THREAD | sim_thread_number(sim_self), UINT32_MAX);
    sim_turn_pass();
}

void sim_thread_begin(struct sim_thread *thread)
{
    sim_self = thread;
    thread->tid = (uint32_t)sim_raw(SYS_gettid, 0, 0, 0, 0, 0, 0);
    pthread_setspecific(ends, thread);
    sim_turn_park();
}

/* The turn is kept until the process is gone, so that what the others find then does not depend on how long the
 * kernel takes to bury it. */
static void process_ends(void *unused)
{
    if (sim_clock && sim_self && !has_ended)
        sim_watch_ask(sim_seat_number);
}

SIM_EXPORT void _exit(int status)
{
    process_ends(NULL);
    for (;;)
        sim_raw(SYS_exit_group, status, 0, 0, 0, 0, 0);
}

SIM_EXPORT void _Exit(int status)
{
    _exit(status);
}

static void in_forked_child(void)
{
    sim_clock = NULL;
    sim_seat = NULL;
    sim_self = NULL;
}

static bool take_seat(const char *path, uint32_t number)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = number, .l_len = 1};
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0) {
        fprintf(stderr, "simgpu: virtual clock: %s: %s\n", path, strerror(errno));
        sim_raw(SYS_exit_group, SIM_FAIL_STATUS, 0, 0, 0, 0, 0);
    }
    sim_clock_file =
        fcntl(fd, F_DUPFD_CLOEXEC, 900); /* out of the way of programs that count on low numbers */
    if (sim_clock_file < 0)
        sim_clock_file = fd;
    struct sim_clock *clock =
        mmap(NULL, sizeof(*clock), PROT_READ | PROT_WRITE, MAP_SHARED, sim_clock_file, 0);
    if (clock == MAP_FAILED || clock->magic != SIM_CLOCK_MAGIC || clock->size_bytes != sizeof(*clock)) {
        fprintf(stderr, "simgpu: virtual clock: %s: not a clock of this version\n", path);
        sim_raw(SYS_exit_group, SIM_FAIL_STATUS, 0, 0, 0, 0, 0);
    }
    if (fd != sim_clock_file)
        close(fd); /* before the lock: it would drop it */
    uint32_t expected = SIM_SEAT_EXPECTED;
    if (sim_raw(SYS_fcntl, sim_clock_file, F_SETLK, (long)&lock, 0, 0, 0) != 0 ||
        !atomic_compare_exchange_strong(&clock->seat[number].state, &expected, SIM_SEAT_TAKEN)) {
        munmap(clock, sizeof(*clock));
        close(sim_clock_file);
        return false;
    }
    sim_seat_number = number;
    sim_seat = &clock->seat[number];
    sim_seat->pid = (uint32_t)getpid();
    sim_clock = clock;
    return true;
}

__attribute__((constructor)) static void join(void)
{
    const char *path = getenv("SIMGPU_VIRTUAL_CLOCK"), *text = getenv("SIMGPU_VIRTUAL_PROCESS");
    if (!path || !text)
        return;
    unsigned long number = strtoul(text, NULL, 10);
    if (number < 1 || number >= SIM_CLOCK_PROCESSES) {
        fprintf(stderr, "simgpu: virtual clock: SIMGPU_VIRTUAL_PROCESS=%s: 1 to %d\n", text,
                SIM_CLOCK_PROCESSES - 1);
        sim_raw(SYS_exit_group, SIM_FAIL_STATUS, 0, 0, 0, 0, 0);
    }
    sim_real();
    if (!take_seat(path, (uint32_t)number))
        return;
    pthread_key_create(&ends, thread_ends);
    __register_atfork(NULL, NULL, in_forked_child, NULL);
    __cxa_atexit(process_ends, NULL, NULL); /* the first to be registered: called after all destructors */
    if (!sim_watch_start())
        sim_clock_fail("no thread to be had");
    struct sim_thread *self = sim_thread_take(sim_seat);
    atomic_fetch_add(&sim_clock->joined, 1);
    sim_raw_futex(&sim_clock->joined, FUTEX_WAKE, INT32_MAX, UINT64_MAX);
    sim_thread_begin(self);
}

/* -------- for the simulator itself -------- */

/* The present; 0 in a thread that takes no turns. */
SIM_EXPORT uint64_t sim_clock_now_ns(void)
{
    return sim_clock && sim_self ? sim_clock->now_ns : 0;
}

SIM_EXPORT void sim_clock_spend(uint32_t ns)
{
    if (sim_takes_turns("a call to the driver"))
        sim_turn_spend(ns);
}
