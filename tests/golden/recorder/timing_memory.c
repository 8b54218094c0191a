/* timing_memory.c -- what a context takes, and how fast a process's memory leaves the GPU and comes back. */
#include "structures.h"
#include "timings.h"

#include <stdatomic.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static void step(void (*work)(void), uint32_t number)
{
    wait_stage(number);
    uint64_t begin = now_ns();
    work();
    facts->took_ns = (double)(now_ns() - begin);
    say_ready();
}

static void make_context(void)
{
    begin_context();
}

static void load_kernels(void)
{
    spin_function();
}

static void use_kernels(void)
{
    spin(1000, 0);
    DO(cuCtxSynchronize);
}

static void make_stream(void)
{
    spin(1000, new_stream(1));
    DO(cuCtxSynchronize);
}

static void steps(void)
{
    step(make_context, 1);
    step(load_kernels, 2);
    step(use_kernels, 3);
    step(make_stream, 4);
    wait_stage(5);
}

/* What another process's steps take from what is free, and how long they last. */
void time_context_memory(const void *others)
{
    static const char *const names[] = {"context", "module", "first launch", "stream"};
    beside(steps);
    if (begin_context() != 0)
        return;
    spin_function();
    for (uint32_t i = 0; i < 4; i++) {
        struct fact *bytes = new_fact(text_of("memory of a %s", names[i]), "B");
        struct fact *time = new_fact(text_of("time of a %s", names[i]), "ns");
        uint64_t before = free_bytes();
        set_stage(i + 1);
        wait_ready(i + 1);
        sample(time, facts->took_ns);
        sample(bytes, (double)before - (double)free_bytes());
    }
    set_stage(5);
}

enum { CHECKPOINT_BYTES = 256 * MIB };

static void hold(void)
{
    word memory = 0;
    if (begin_context() != 0)
        return;
    DO(cuMemAlloc_v2, A(memory), CHECKPOINT_BYTES);
    DO(cuMemsetD8_v2, memory, 7, CHECKPOINT_BYTES);
    DO(cuCtxSynchronize);
    atomic_store(&facts->pid, getpid());
    say_ready();
    wait_stage(2);
}

void time_checkpoint(const void *others)
{
    static const char *const names[] = {"cuCheckpointProcessLock", "cuCheckpointProcessCheckpoint",
                                        "cuCheckpointProcessRestore", "cuCheckpointProcessUnlock"};
    beside(hold);
    if (begin_context() != 0)
        return;
    wait_ready(1);
    pid_t pid = atomic_load(&facts->pid);
    for (unsigned i = 0; i < 4; i++) {
        word options[16] = {0};
        struct fact *fact = new_fact(text_of("%s with 256 MiB", names[i]), "ns");
        uint64_t begin = now_ns();
        fact->code = driver_call(names[i], 2, (const word[]){(word)pid, P(options)});
        if (fact->code == 0)
            sample(fact, (double)(now_ns() - begin));
    }
    set_stage(2);
}
