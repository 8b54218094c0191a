/* helper.c -- the process's one helper thread: it sleeps until its next host-visible effect and carries it out, or
 * until another process asks something of it (checkpoint.c).
 *
 * It also is the process's sign of life: it holds a robust lock in the shared file, which the kernel marks when the
 * thread dies, by kill -9, exit or exec alike. */
#define _GNU_SOURCE
#include "faults.h"
#include "process.h"

#include <semaphore.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

static pthread_mutex_t start_lock = PTHREAD_MUTEX_INITIALIZER;
static bool started;
static pthread_t thread;
static sem_t alive;
static _Atomic bool stopping;
static _Atomic uint64_t wakes_at_ns;

static struct sim_process *self(void)
{
    return &sim_driver.machine->process[sim_driver.process];
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static void *help(void *unused)
{
    sim_caller_new()->helps = 1; /* host functions run here, also while the process is being locked */
    pthread_mutex_lock(&self()->life);
    self()->helper_tid = (uint32_t)gettid();
    self()->has_life = 1;
    sem_post(&alive);
    while (!atomic_load(&stopping)) {
        uint32_t seen = atomic_load(&self()->kick);
        atomic_store(&wakes_at_ns, 0); /* about to look: nobody needs to wake us, but `kick` must change */
        uint64_t at = sim_failure_due();
        at = earlier(at, sim_effects_host());
        at = earlier(at, sim_checkpoint_serve());
        atomic_store(&wakes_at_ns, at);
        sim_sleep_until(&self()->kick, seen, at);
    }
    return NULL;
}

void sim_helper_expect(uint64_t at_ns)
{
    uint64_t wakes_at = atomic_load(&wakes_at_ns);
    if (wakes_at == 0) {
        atomic_fetch_add(&self()->kick, 1);
        wakes_at = atomic_load(&wakes_at_ns); /* it may have gone to sleep before it could see that */
    }
    if (at_ns < wakes_at)
        sim_wake(&self()->kick);
}

CUresult sim_helper_start(void)
{
    pthread_mutex_lock(&start_lock);
    int error = 0;
    if (!started) {
        sigset_t all, before;
        pthread_attr_t attributes;
        sem_init(&alive, 0, 0);
        pthread_attr_init(&attributes);
        pthread_attr_setstacksize(&attributes, 1 << 20); /* host functions of the program run on it */
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before); /* the thread inherits it: signals are the program's */
        error = pthread_create(&thread, &attributes, help, NULL);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        pthread_attr_destroy(&attributes);
        if (!error) {
            pthread_detach(thread);
            while (sem_wait(&alive))
                ; /* a signal */
            started = true;
        }
    }
    pthread_mutex_unlock(&start_lock);
    return error ? CUDA_ERROR_OPERATING_SYSTEM : CUDA_SUCCESS;
}

/* The process is leaving: what is still queued has no more effects. */
void sim_helper_stop(void)
{
    atomic_store(&stopping, true);
    sim_wake(&self()->kick);
}
