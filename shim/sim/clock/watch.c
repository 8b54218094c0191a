/* watch.c -- one thread of each process that takes no turns: it sees to it that the turn is never lost.
 *
 * When the holder's process is dead it buries it and passes the turn on; when the turn was given to a thread of
 * ours by somebody who died before waking it, it does so; and when ours waits in the kernel while everybody
 * waits for it, it says for what, and ends the process. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "raw.h"
#include "turns.h"

#define LOOK_NS      50000000ull
#define FAST_LOOK_NS 50000ull
#define FAST_LOOKS   40000 /* two seconds */
#define STUCK_LOOKS  10

static pthread_t watcher;
static _Atomic bool stopping;

/* The lock on its byte is dropped after the last of its threads is gone, with all that they held. */
bool sim_seat_alive(uint32_t number)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = number, .l_len = 1};
    if (number == sim_seat_number)
        return true;
    return sim_raw(SYS_fcntl, sim_clock_file, F_GETLK, (long)&lock, 0, 0, 0) != 0 || lock.l_type != F_UNLCK;
}

static void take_over(uint32_t dead)
{
    if (sim_real()->pthread_mutex_lock(&sim_clock->succession) == EOWNERDEAD)
        pthread_mutex_consistent(&sim_clock->succession);
    if (sim_clock->holder / SIM_CLOCK_THREADS == dead)
        sim_turn_succeed(dead);
    sim_real()->pthread_mutex_unlock(&sim_clock->succession);
}

static void see_it_die(uint32_t number)
{
    for (int i = 0; i < FAST_LOOKS && sim_clock->seat[number].state == SIM_SEAT_TAKEN && !stopping; i++) {
        if (!sim_seat_alive(number)) {
            if (sim_clock->holder / SIM_CLOCK_THREADS == number)
                take_over(number);
            return;
        }
        sim_raw_sleep(FAST_LOOK_NS);
    }
}

/* Those that die while others run are buried by the holder; one watcher is enough to see them. */
static void see_the_dead(uint32_t holder)
{
    for (uint32_t s = 0; s < sim_seat_number; s++)
        if (sim_clock->seat[s].state == SIM_SEAT_TAKEN && sim_seat_alive(s))
            return;
    for (uint32_t s = 0; s < sim_clock->seats; s++) {
        struct sim_seat *seat = &sim_clock->seat[s];
        if (s == holder || seat->state != SIM_SEAT_TAKEN || seat->dead || sim_seat_alive(s))
            continue;
        seat->dead = 1;
        sim_clock->corpses = 1;
    }
}

struct foreign_wait {
    long number;
    const char *name;
};

/* Of these only pipes, sockets and terminals let one wait for ever; a file on disk does not. */
static const struct foreign_wait on_files[] = {
    {SYS_read, "read"},       {SYS_readv, "readv"},       {SYS_write, "write"},     {SYS_writev, "writev"},
    {SYS_sendto, "sendto"},   {SYS_recvfrom, "recvfrom"}, {SYS_sendmsg, "sendmsg"}, {SYS_accept, "accept"},
    {SYS_recvmsg, "recvmsg"}, {SYS_accept4, "accept"},    {SYS_connect, "connect"},
};

/* Not waiting for a child: it is on the kernel's time, and ends by itself. */
static const struct foreign_wait waits[] = {
    {SYS_futex, "a futex"},
    {SYS_ppoll, "ppoll"},
    {SYS_pselect6, "pselect"},
    {SYS_epoll_pwait, "epoll_wait"},
    {SYS_flock, "flock"},
    {SYS_fcntl, "fcntl"},
    {SYS_rt_sigsuspend, "sigsuspend"},
    {SYS_rt_sigtimedwait, "sigwait"},
    {SYS_msgrcv, "msgrcv"},
    {SYS_semop, "semop"},
    {SYS_semtimedop, "semtimedop"},
    {SYS_mq_timedreceive, "mq_receive"},
    {SYS_nanosleep, "nanosleep"},
    {SYS_clock_nanosleep, "clock_nanosleep"},
#ifdef SYS_poll
    {SYS_poll, "poll"},
    {SYS_select, "select"},
    {SYS_epoll_wait, "epoll_wait"},
    {SYS_pause, "pause"},
#endif
};

static bool is_on_disk(int fd)
{
    struct stat st;
    return fstat(fd, &st) == 0 && (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode) || S_ISBLK(st.st_mode));
}

/* What the kernel has that thread wait in, or NULL. */
static const char *waits_in(uint32_t tid)
{
    char path[64], text[64];
    snprintf(path, sizeof(path), "/proc/self/task/%u/syscall", tid);
    long fd = sim_raw(SYS_openat, AT_FDCWD, (long)path, O_RDONLY | O_CLOEXEC, 0, 0, 0);
    long length = fd < 0 ? 0 : sim_raw(SYS_read, fd, (long)text, sizeof(text) - 1, 0, 0, 0);
    if (fd >= 0)
        sim_raw(SYS_close, fd, 0, 0, 0, 0, 0);
    if (length <= 0)
        return NULL;
    text[length] = '\0';
    if (text[0] < '0' || text[0] > '9')
        return NULL; /* "running", or -1: not in a call */
    char *rest;
    long number = strtol(text, &rest, 10);
    int on = (int)strtol(rest, NULL, 16);
    for (size_t i = 0; i < sizeof(on_files) / sizeof(on_files[0]); i++)
        if (on_files[i].number == number)
            return is_on_disk(on) ? NULL : on_files[i].name;
    for (size_t i = 0; i < sizeof(waits) / sizeof(waits[0]); i++)
        if (waits[i].number == number)
            return waits[i].name;
    return NULL;
}

static void look(void)
{
    static uint64_t turns;
    static int still;
    uint32_t holder = sim_clock->holder, seat = holder / SIM_CLOCK_THREADS;
    see_the_dead(seat);
    if (seat != sim_seat_number) {
        if (sim_clock->seat[seat].state == SIM_SEAT_TAKEN && !sim_seat_alive(seat))
            take_over(seat);
        return;
    }
    if (sim_seat->doomed)
        sim_clock_fail(
            "every thread on the virtual clock waits for ever, and this process is the first of them");
    if (sim_clock->turns != turns || sim_clock->holder != holder) {
        turns = sim_clock->turns;
        still = 0;
        return;
    }
    struct sim_thread *thread = &sim_seat->thread[holder % SIM_CLOCK_THREADS];
    /* Its giver may have died before it could wake it.  Only who sleeps is woken: one that has just chosen itself is
     * not running for a moment either, and would keep this for a turn that is not its own. */
    if (!thread->runs) {
        uint32_t seen = SIM_GO_ASLEEP;
        if (atomic_compare_exchange_strong(&thread->go, &seen, SIM_GO_YES) || seen == SIM_GO_YES)
            sim_raw_futex(&thread->go, FUTEX_WAKE, 1, UINT64_MAX);
        return;
    }
    const char *what = sim_seat_number == 0 ? NULL : waits_in(thread->tid);
    still = what ? still + 1 : 0;
    if (still >= STUCK_LOOKS)
        sim_clock_fail("thread %u waits in %s, which nothing on the virtual clock can end",
                       holder % SIM_CLOCK_THREADS, what);
}

static void *watch(void *unused)
{
    while (!stopping) {
        uint32_t seen = sim_seat->alarm;
        uint32_t asked = atomic_exchange(&sim_seat->watch, 0);
        if (asked)
            see_it_die(asked - 1);
        look();
        sim_raw_futex(&sim_seat->alarm, FUTEX_WAIT, seen, LOOK_NS);
    }
    return unused;
}

void sim_watch_ask(uint32_t number)
{
    for (uint32_t s = 0; s < sim_clock->seats; s++) {
        struct sim_seat *seat = &sim_clock->seat[s];
        if (s == number || seat->state != SIM_SEAT_TAKEN || seat->dead)
            continue;
        seat->watch = number + 1;
        seat->alarm++;
        sim_raw_futex(&seat->alarm, FUTEX_WAKE, INT32_MAX, UINT64_MAX);
        return;
    }
}

bool sim_watch_start(void)
{
    sigset_t all, before;
    pthread_attr_t attributes;
    stopping = false;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 256 << 10);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* the thread inherits it: signals are the program's */
    int error = sim_real()->pthread_create(&watcher, &attributes, watch, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    return error == 0;
}

void sim_watch_stop(void)
{
    stopping = true;
    sim_seat->alarm++;
    sim_raw_futex(&sim_seat->alarm, FUTEX_WAKE, INT32_MAX, UINT64_MAX);
    sim_real()->pthread_join(watcher, NULL);
}
