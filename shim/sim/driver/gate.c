/* gate.c -- the gate before every call, and who is inside: closed to lock the process for a checkpoint. */
#define _GNU_SOURCE
#include "process.h"

#include <linux/membarrier.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

_Atomic uint32_t sim_gate;
__thread struct sim_caller *sim_caller;

static struct sim_caller spare = {.helps = 1}; /* of threads for which there is no memory: not waited for */
static struct sim_caller *_Atomic callers;
static _Atomic uint32_t opened; /* futex word: the process was unlocked */
static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t key;

static void thread_ends(void *caller)
{
    struct sim_caller *self = caller;
    sim_caller = NULL;
    atomic_store(&self->inside, 0);
    atomic_store(&self->used, 0);
}

static void make_key(void)
{
    pthread_key_create(&key, thread_ends);
}

static struct sim_caller *take_used(void)
{
    for (struct sim_caller *c = atomic_load(&callers); c; c = c->next) {
        uint32_t free = 0;
        if (atomic_compare_exchange_strong(&c->used, &free, 1))
            return c;
    }
    return NULL;
}

struct sim_caller *sim_caller_new(void)
{
    pthread_once(&once, make_key);
    struct sim_caller *self = take_used();
    if (!self && (self = calloc(1, sizeof(*self)))) {
        self->used = 1;
        self->next = atomic_load(&callers);
        while (!atomic_compare_exchange_weak(&callers, &self->next, self))
            ;
    }
    if (!self)
        return &spare;
    self->helps = 0;
    pthread_setspecific(key, self);
    return sim_caller = self;
}

/* Not inside while it waits; in that order, as sim_gate_close() looks in the other. */
static void wait_until_open(struct sim_caller *self)
{
    for (;;) {
        uint32_t seen = atomic_load(&opened);
        if (!(atomic_load(&sim_gate) & SIM_GATE_LOCKED))
            return;
        atomic_store(&self->inside, 0);
        sim_sleep_until(&opened, seen, UINT64_MAX);
        atomic_store(&self->inside, 1);
        atomic_thread_fence(memory_order_seq_cst);
    }
}

CUresult sim_gate_pass(struct sim_caller *self, const char *name)
{
    if (!(atomic_load(&sim_gate) & SIM_GATE_READY))
        return sim_not_ready();
    if (!self->helps && atomic_load(&self->inside) == 1) /* a call made by a call that is inside may go on */
        wait_until_open(self);
    if (!(atomic_load(&sim_gate) & SIM_GATE_READY))
        return sim_not_ready();
    if (atomic_load(&sim_gate) & SIM_GATE_COSTS && atomic_load(&self->inside) == 1)
        sim_cost_pay(name);
    return atomic_load(&sim_gate) & SIM_GATE_FAULTS ? sim_fault(name) : CUDA_SUCCESS;
}

void sim_gate_close(void)
{
    atomic_fetch_or(&sim_gate, SIM_GATE_LOCKED);
    if (syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) != 0) {
        syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0);
        syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0);
    }
}

void sim_gate_open(void)
{
    atomic_fetch_and(&sim_gate, ~(uint32_t)SIM_GATE_LOCKED);
    sim_wake(&opened);
}

bool sim_gate_quiet(void)
{
    for (const struct sim_caller *c = atomic_load(&callers); c; c = c->next)
        if (!c->helps && atomic_load_explicit(&c->inside, memory_order_acquire))
            return false;
    return true;
}
