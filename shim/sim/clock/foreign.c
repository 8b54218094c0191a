/* foreign.c -- waits for what is not on the clock: allowed where there is nothing to wait for, else an error. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "raw.h"
#include "turns.h"

static bool is_ready(int fd, short events)
{
    struct pollfd poll = {.fd = fd, .events = events};
    struct timespec none = {0, 0};
    long count = sim_raw(SYS_ppoll, (long)&poll, 1, (long)&none, 0, 0, 0);
    return count != 0; /* an error is the call's own to report */
}

static void must_not_wait(int fd, short events, bool non_blocking, const char *call)
{
    if (!sim_takes_turns(call) || non_blocking || is_ready(fd, events))
        return;
    long flags = sim_raw(SYS_fcntl, fd, F_GETFL, 0, 0, 0, 0);
    if (flags >= 0 && (flags & O_NONBLOCK) == 0)
        sim_clock_fail("%s(%d) would wait, which nothing on the virtual clock can end", call, fd);
}

/* What asks with no time to wait pays for it, since it asks again. */
static void pay(const char *call)
{
    if (sim_takes_turns(call))
        sim_turn_yield();
}

SIM_EXPORT ssize_t read(int fd, void *bytes, size_t count)
{
    must_not_wait(fd, POLLIN, count == 0, "read");
    return sim_errno(sim_raw(SYS_read, fd, (long)bytes, (long)count, 0, 0, 0));
}

SIM_EXPORT ssize_t readv(int fd, const struct iovec *parts, int count)
{
    must_not_wait(fd, POLLIN, false, "readv");
    return sim_errno(sim_raw(SYS_readv, fd, (long)parts, count, 0, 0, 0));
}

SIM_EXPORT ssize_t recvfrom(int fd, void *restrict bytes, size_t count, int flags,
                            struct sockaddr *restrict address, socklen_t *restrict length)
{
    must_not_wait(fd, POLLIN, flags & MSG_DONTWAIT, "recvfrom");
    return sim_errno(sim_raw(SYS_recvfrom, fd, (long)bytes, (long)count, flags, (long)address, (long)length));
}

SIM_EXPORT ssize_t recv(int fd, void *bytes, size_t count, int flags)
{
    must_not_wait(fd, POLLIN, flags & MSG_DONTWAIT, "recv");
    return sim_errno(sim_raw(SYS_recvfrom, fd, (long)bytes, (long)count, flags, 0, 0));
}

SIM_EXPORT ssize_t recvmsg(int fd, struct msghdr *message, int flags)
{
    must_not_wait(fd, POLLIN, flags & MSG_DONTWAIT, "recvmsg");
    return sim_errno(sim_raw(SYS_recvmsg, fd, (long)message, flags, 0, 0, 0));
}

SIM_EXPORT int accept4(int fd, struct sockaddr *restrict address, socklen_t *restrict length, int flags)
{
    must_not_wait(fd, POLLIN, false, "accept");
    return (int)sim_errno(sim_raw(SYS_accept4, fd, (long)address, (long)length, flags, 0, 0));
}

SIM_EXPORT int accept(int fd, struct sockaddr *restrict address, socklen_t *restrict length)
{
    return accept4(fd, address, length, 0);
}

/* -------- waiting for several -------- */

/* What to do when nothing is ready now: `fds` says whether the program waits for anything but the clock. */
static void nothing_ready(bool fds, uint64_t wait_ns, const char *call)
{
    if (wait_ns == 0)
        pay(call);
    else if (fds)
        sim_clock_fail("%s would wait, which nothing on the virtual clock can end", call);
    else if (wait_ns == SIM_FOREVER)
        sim_clock_fail("%s would wait for a signal, which nothing on the virtual clock can send", call);
    else
        sim_turn_wait(0, sim_clock->now_ns + wait_ns);
}

static uint64_t span_ns(const struct timespec *t)
{
    return t ? sim_deadline_ns(CLOCK_MONOTONIC, t) : SIM_FOREVER;
}

SIM_EXPORT int ppoll(struct pollfd *fds, nfds_t count, const struct timespec *timeout, const sigset_t *mask)
{
    bool turns = sim_takes_turns("ppoll");
    struct timespec none = {0, 0}, copy = timeout ? *timeout : none;
    const struct timespec *until = turns ? &none : timeout ? &copy : NULL;
    int ready =
        (int)sim_errno(sim_raw(SYS_ppoll, (long)fds, (long)count, (long)until, (long)mask, _NSIG / 8, 0));
    if (turns && ready == 0)
        nothing_ready(count != 0, span_ns(timeout), "poll");
    return ready;
}

SIM_EXPORT int poll(struct pollfd *fds, nfds_t count, int timeout_ms)
{
    struct timespec t = {timeout_ms / 1000, (long)(timeout_ms % 1000) * 1000000};
    return ppoll(fds, count, timeout_ms < 0 ? NULL : &t, NULL);
}

SIM_EXPORT int pselect(int count, fd_set *restrict in, fd_set *restrict out, fd_set *restrict other,
                       const struct timespec *restrict timeout, const sigset_t *restrict mask)
{
    bool turns = sim_takes_turns("select");
    struct timespec none = {0, 0}, copy = timeout ? *timeout : none;
    struct {
        const sigset_t *mask;
        size_t size;
    } masked = {mask, _NSIG / 8};
    const struct timespec *until = turns ? &none : timeout ? &copy : NULL;
    int ready = (int)sim_errno(
        sim_raw(SYS_pselect6, count, (long)in, (long)out, (long)other, (long)until, (long)&masked));
    if (turns && ready == 0)
        nothing_ready(in || out || other, span_ns(timeout), "select");
    return ready;
}

SIM_EXPORT int select(int count, fd_set *restrict in, fd_set *restrict out, fd_set *restrict other,
                      struct timeval *restrict timeout)
{
    struct timespec t = {0, 0};
    if (timeout)
        t = (struct timespec){timeout->tv_sec, timeout->tv_usec * 1000};
    return pselect(count, in, out, other, timeout ? &t : NULL, NULL);
}

SIM_EXPORT int epoll_pwait(int fd, struct epoll_event *events, int most, int timeout_ms, const sigset_t *mask)
{
    bool turns = sim_takes_turns("epoll_wait");
    int ready = (int)sim_errno(
        sim_raw(SYS_epoll_pwait, fd, (long)events, most, turns ? 0 : timeout_ms, (long)mask, _NSIG / 8));
    if (turns && ready == 0)
        nothing_ready(true, timeout_ms < 0 ? SIM_FOREVER : (uint64_t)timeout_ms * 1000000, "epoll_wait");
    return ready;
}

SIM_EXPORT int epoll_wait(int fd, struct epoll_event *events, int most, int timeout_ms)
{
    return epoll_pwait(fd, events, most, timeout_ms, NULL);
}

/* -------- other processes -------- */

/* The number, on our clock, of a child; 0: it is on the kernel's time, and so is waiting for it. */
static uint32_t seat_of(pid_t pid)
{
    for (uint32_t s = 1; s < sim_clock->seats && pid > 0; s++)
        if (sim_clock->seat[s].state == SIM_SEAT_TAKEN && sim_clock->seat[s].pid == (uint32_t)pid)
            return s;
    return 0;
}

SIM_EXPORT pid_t wait4(pid_t pid, int *status, int options, struct rusage *usage)
{
    uint32_t seat;
    if (sim_takes_turns("wait4")) {
        if (options & WNOHANG)
            sim_turn_yield();
        else if ((seat = seat_of(pid)))
            sim_turn_wait(SIM_KEY_PROCESS | seat, SIM_FOREVER);
    }
    return (pid_t)sim_errno(sim_raw(SYS_wait4, pid, (long)status, options, (long)usage, 0, 0));
}

SIM_EXPORT pid_t waitpid(pid_t pid, int *status, int options)
{
    return wait4(pid, status, options, NULL);
}

SIM_EXPORT pid_t wait(int *status)
{
    return wait4(-1, status, 0, NULL);
}

/* Who is killed by somebody on its clock is dead at that very moment. */
SIM_EXPORT int kill(pid_t pid, int signal)
{
    uint32_t seat = 0;
    if (signal == SIGKILL && sim_takes_turns("kill"))
        seat = seat_of(pid);
    int result = (int)sim_errno(sim_raw(SYS_kill, pid, signal, 0, 0, 0, 0));
    if (result == 0 && seat && seat != sim_seat_number) {
        while (sim_seat_alive(seat))
            sim_raw_sleep(50000);
        sim_turn_bury(seat);
    }
    return result;
}

/* -------- what nothing on the clock can end, or what brings the kernel's time in -------- */

static void refuse(const char *call)
{
    if (sim_takes_turns(call))
        sim_clock_fail("%s, which is not on the virtual clock", call);
}

/* Our waits are no points of cancellation. */
SIM_EXPORT int pthread_cancel(pthread_t thread)
{
    refuse("pthread_cancel");
    return sim_real()->pthread_cancel(thread);
}

SIM_EXPORT int pause(void)
{
    refuse("pause");
    return (int)sim_errno(sim_raw(SYS_ppoll, 0, 0, 0, 0, 0, 0));
}

SIM_EXPORT int sigsuspend(const sigset_t *mask)
{
    refuse("sigsuspend");
    return (int)sim_errno(sim_raw(SYS_rt_sigsuspend, (long)mask, _NSIG / 8, 0, 0, 0, 0));
}

SIM_EXPORT int sigtimedwait(const sigset_t *restrict set, siginfo_t *restrict info,
                            const struct timespec *restrict timeout)
{
    refuse("sigtimedwait");
    return (int)sim_errno(
        sim_raw(SYS_rt_sigtimedwait, (long)set, (long)info, (long)timeout, _NSIG / 8, 0, 0));
}

SIM_EXPORT int sigwaitinfo(const sigset_t *restrict set, siginfo_t *restrict info)
{
    return sigtimedwait(set, info, NULL);
}

SIM_EXPORT int sigwait(const sigset_t *restrict set, int *restrict signal)
{
    int found = sigtimedwait(set, NULL, NULL);
    if (found < 0)
        return errno;
    *signal = found;
    return 0;
}

SIM_EXPORT unsigned alarm(unsigned seconds)
{
    struct itimerval new = {.it_value = {.tv_sec = seconds}}, old = {0};
    if (seconds)
        refuse("alarm");
    sim_raw(SYS_setitimer, ITIMER_REAL, (long)&new, (long)&old, 0, 0, 0);
    return (unsigned)(old.it_value.tv_sec + (old.it_value.tv_usec != 0));
}

SIM_EXPORT int setitimer(__itimer_which_t which, const struct itimerval *restrict new,
                         struct itimerval *restrict old)
{
    if (new->it_value.tv_sec || new->it_value.tv_usec)
        refuse("setitimer");
    return (int)sim_errno(sim_raw(SYS_setitimer, (long)which, (long)new, (long)old, 0, 0, 0));
}

SIM_EXPORT int timerfd_create(int id, int flags)
{
    refuse("timerfd_create");
    return (int)sim_errno(sim_raw(SYS_timerfd_create, id, flags, 0, 0, 0, 0));
}
