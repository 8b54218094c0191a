/* runner.c -- each group in a process of its own, with a time limit; a call that ends it is left out of a new try. */
#include "recorder.h"

#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static void in_group(const void *argument)
{
    const struct group *group = argument;
    if (!group->bare && begin_context() != 0)
        _exit(2);
    group->run();
}

/* Wait until the child ends; kills it and all that it started when the time is over.  False then. */
static bool wait_for(pid_t child, double limit_s, int *status)
{
    uint64_t deadline = now_ns() + (uint64_t)(limit_s * 1e9);
    while (waitpid(child, status, WNOHANG) == 0) {
        if (now_ns() > deadline) {
            kill(-child, SIGKILL);
            waitpid(child, status, 0);
            return false;
        }
        pause_ms(1);
    }
    kill(-child, SIGKILL); /* what it left behind */
    return true;
}

bool run_limited(void (*run)(const void *), const void *argument, double limit_s, int *status)
{
    fflush(NULL);
    pid_t child = fork();
    if (child < 0) {
        *status = 3 << 8;
        return true;
    }
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        setpgid(0, 0);
        run(argument);
        _exit(0);
    }
    setpgid(child, child);
    return wait_for(child, limit_s, status);
}

void run_group(const struct group *group, double limit_s, uint64_t until_ns, struct ending *ending)
{
    unsigned hangs = 0;
    book->first = book->deepest = book->count;
    ending->restarts = 0;
    for (;;) {
        int status = 0;
        book->count = book->first;
        bool in_time = run_limited(in_group, group, limit_s, &status);
        struct row *last = &book->row[book->count - 1];
        bool in_call = book->count > book->first && last->code == ROW_OPEN;
        if (!in_time)
            snprintf(ending->how, sizeof(ending->how), "time limit");
        else if (WIFSIGNALED(status))
            snprintf(ending->how, sizeof(ending->how), "signal %d", WTERMSIG(status));
        else if (WEXITSTATUS(status) != 0)
            snprintf(ending->how, sizeof(ending->how), "code %d", WEXITSTATUS(status));
        else
            snprintf(ending->how, sizeof(ending->how), "done");
        if (in_call)
            last->code = in_time && WIFSIGNALED(status) ? ROW_SIGNAL - WTERMSIG(status) : ROW_HANGS;
        hangs += !in_time;
        if (!in_call || hangs == 2 || ending->restarts == MAX_RESTARTS || now_ns() > until_ns)
            break;
        ending->restarts++;
    }
    book->count = book->deepest;
    ending->rows = book->deepest - book->first;
    for (uint32_t i = book->first; i < book->count; i++)
        book->row[i].group = group->name;
}
