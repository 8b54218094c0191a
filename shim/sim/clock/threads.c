/* threads.c -- the life of threads, and what is done once. */
#define _GNU_SOURCE
#include <stdlib.h>

#include "raw.h"
#include "turns.h"

struct beginning {
    void *(*function)(void *);
    void *argument;
    struct sim_thread *thread;
};

static pthread_t handle[SIM_CLOCK_THREADS]; /* of the threads of this process, by number */

static void *begin(void *given)
{
    struct beginning beginning = *(struct beginning *)given;
    free(given);
    sim_thread_begin(beginning.thread);
    return beginning.function(beginning.argument);
}

SIM_EXPORT int pthread_create(pthread_t *restrict thread, const pthread_attr_t *restrict attributes,
                              void *(*function)(void *), void *restrict argument)
{
    if (!sim_takes_turns("pthread_create"))
        return sim_real()->pthread_create(thread, attributes, function, argument);
    struct sim_thread *new = sim_thread_take(sim_seat);
    struct beginning *beginning = malloc(sizeof(*beginning));
    if (!new)
        sim_clock_fail("more than %d threads", SIM_CLOCK_THREADS);
    if (!beginning)
        return EAGAIN;
    *beginning = (struct beginning){function, argument, new};
    int error = sim_real()->pthread_create(thread, attributes, begin, beginning);
    if (error) {
        sim_thread_leave(new);
        free(beginning);
    } else
        handle[new - sim_seat->thread] = *thread;
    return error;
}

static struct sim_thread *find(pthread_t thread)
{
    for (uint32_t t = 0; t < sim_seat->threads; t++)
        if (sim_seat->thread[t].taken && handle[t] == thread)
            return &sim_seat->thread[t];
    return NULL;
}

/* Returns false when it is `until_ns` before the thread has ended. */
static bool wait_for_end(pthread_t thread, uint64_t until_ns)
{
    struct sim_thread *other;
    while ((other = find(thread)))
        if (!sim_turn_wait(SIM_KEY_THREAD | sim_thread_number(other), until_ns))
            return find(thread) == NULL;
    return true;
}

SIM_EXPORT int pthread_join(pthread_t thread, void **result)
{
    if (sim_takes_turns("pthread_join")) {
        if (thread == pthread_self())
            return EDEADLK;
        wait_for_end(thread, SIM_FOREVER);
    }
    return sim_real()->pthread_join(thread, result);
}

SIM_EXPORT int pthread_tryjoin_np(pthread_t thread, void **result)
{
    if (sim_takes_turns("pthread_tryjoin_np")) {
        sim_turn_spend(SIM_PRICE_READ);
        if (find(thread))
            return EBUSY;
    }
    return sim_real()->pthread_join(thread, result); /* all but gone */
}

SIM_EXPORT int pthread_clockjoin_np(pthread_t thread, void **result, clockid_t id, const struct timespec *at)
{
    if (!sim_takes_turns("pthread_clockjoin_np"))
        return sim_real()->pthread_clockjoin_np(thread, result, id, at);
    return wait_for_end(thread, sim_deadline_ns(id, at)) ? sim_real()->pthread_join(thread, result)
                                                         : ETIMEDOUT;
}

SIM_EXPORT int pthread_timedjoin_np(pthread_t thread, void **result, const struct timespec *at)
{
    return pthread_clockjoin_np(thread, result, CLOCK_REALTIME, at);
}

/* The C library's own reads only "done", 2, in it. */
SIM_EXPORT int pthread_once(pthread_once_t *once, void (*function)(void))
{
    _Atomic int *state = (_Atomic int *)once;
    if (*state & 2)
        return 0;
    if (!sim_takes_turns("pthread_once"))
        return sim_real()->pthread_once(once, function);
    while (*state != 0)
        if (*state & 2)
            return 0;
        else
            sim_turn_wait(sim_key_private(once), SIM_FOREVER);
    *state = 1;
    function();
    *state = 2;
    sim_turn_wake(sim_key_private(once), UINT32_MAX);
    return 0;
}
