/* conduct.c -- the process that makes a virtual clock, starts programs on it and lets time pass: a test.
 *
 * It is process 0 and holds the turn whenever it is not in sim_conductor_wait, so whatever it does takes no time:
 * reading the truth, setting limits, starting and killing programs.  It does not preload the library but loads it, so
 * its own clock is the kernel's. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/futex.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "raw.h"
#include "turns.h"
#include "virtual.h"

/* 0, or an errno; EBUSY: this process conducts a clock already. */
SIM_EXPORT int sim_conductor_begin(const char *path)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 1};
    pthread_mutexattr_t attributes;
    if (sim_clock)
        return EBUSY;
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return errno;
    struct sim_clock *clock = MAP_FAILED;
    if (ftruncate(fd, sizeof(*clock)) == 0 && fcntl(fd, F_SETLK, &lock) == 0)
        clock = mmap(NULL, sizeof(*clock), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (clock == MAP_FAILED) {
        int error = errno;
        close(fd);
        return error;
    }
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    pthread_mutex_init(&clock->succession, &attributes);
    pthread_mutexattr_destroy(&attributes);
    clock->size_bytes = sizeof(*clock);
    clock->now_ns = SIM_VIRTUAL_START_NS;
    clock->other_ns = SIM_FOREVER;
    clock->seats = 1;
    clock->magic = SIM_CLOCK_MAGIC;
    sim_clock_file = fd;
    sim_clock = clock;
    sim_seat_number = 0;
    sim_seat = &clock->seat[0];
    sim_seat->pid = (uint32_t)getpid();
    sim_seat->state = SIM_SEAT_TAKEN;
    struct sim_thread *self = sim_thread_take(sim_seat);
    self->runs = 1;
    return sim_watch_start() ? 0 : EAGAIN;
}

SIM_EXPORT void sim_conductor_end(void)
{
    sim_watch_stop();
    munmap(sim_clock, sizeof(*sim_clock));
    close(sim_clock_file);
    sim_clock = NULL;
    sim_seat = NULL;
    sim_clock_file = -1;
}

/* A seat for the next process; 0: there are no more. */
SIM_EXPORT uint32_t sim_conductor_expect(void)
{
    uint32_t number = sim_clock->seats;
    if (number == SIM_CLOCK_PROCESSES)
        return 0;
    sim_clock->seats = number + 1;
    sim_clock->seat[number].state = SIM_SEAT_EXPECTED;
    return number;
}

/* Has it taken its seat, or waited that long of the kernel's time? */
SIM_EXPORT int sim_conductor_joined(uint32_t number, uint64_t timeout_ns)
{
    struct sim_seat *seat = &sim_clock->seat[number];
    uint32_t seen = sim_clock->joined;
    if (seat->state == SIM_SEAT_EXPECTED || !seat->thread[0].taken)
        sim_raw_futex(&sim_clock->joined, FUTEX_WAIT, seen, timeout_ns);
    return seat->state == SIM_SEAT_TAKEN && seat->thread[0].taken;
}

/* A program that did not come. */
SIM_EXPORT void sim_conductor_give_up(uint32_t number)
{
    sim_clock->seat[number].state = SIM_SEAT_ENDED;
}

SIM_EXPORT uint64_t sim_conductor_now_ns(void)
{
    return sim_clock->now_ns;
}

SIM_EXPORT uint64_t sim_conductor_turns(void)
{
    return sim_clock->turns;
}

SIM_EXPORT int sim_conductor_ended(uint32_t number)
{
    return sim_clock->seat[number].state == SIM_SEAT_ENDED;
}

/* Let time pass until then, or, where `process` is one's number, until that has ended if it does so earlier.
 * Afterwards sim_conductor_wait until it returns true. */
SIM_EXPORT void sim_conductor_pass(uint64_t until_ns, uint32_t process)
{
    struct sim_thread *self = &sim_seat->thread[0];
    sim_self = self;
    self->since = ++sim_clock->arrivals;
    self->woken = 0;
    self->wake_ns = until_ns > sim_clock->now_ns ? until_ns : sim_clock->now_ns;
    if (process)
        self->key = SIM_KEY_PROCESS | process;
    sim_turn_give();
}

/* In bits of the kernel's time, so that Python may see to its signals in between. */
SIM_EXPORT int sim_conductor_wait(uint64_t timeout_ns)
{
    sim_self = &sim_seat->thread[0];
    if (!sim_turn_taken(timeout_ns))
        return 0;
    sim_self->key = 0;
    return 1;
}

/* That process was killed: what it leaves behind is there for the others at this very moment. */
SIM_EXPORT int sim_conductor_bury(uint32_t number)
{
    if (sim_clock->seat[number].state != SIM_SEAT_TAKEN)
        return 1;
    if (sim_seat_alive(number))
        return 0;
    sim_turn_bury(number);
    return 1;
}
