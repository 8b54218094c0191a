/* model.h -- between queue.c, which knows what the head of a stream waits for, and sched.c, which runs the engines. */
#ifndef SIM_MODEL_H
#define SIM_MODEL_H

#include "machine.h"

static inline struct sim_command *sim_command_at(struct sim_machine *m, uint32_t queue, uint64_t number)
{
    return &m->command[queue][number & (SIM_QUEUE_DEPTH - 1)];
}

static inline struct sim_command *sim_queue_head(struct sim_machine *m, uint32_t queue)
{
    return sim_command_at(m, queue, m->queue[queue].head);
}

/* A step changes a bounded number of words between two commits: when this is true, leave the rest to the next. */
static inline bool sim_journal_tight(const struct sim_machine *m)
{
    return m->journal_count > SIM_JOURNAL / 2;
}

/* The next of the contexts that are on the engine together; 0 after the last. */
static inline uint32_t sim_mate_after(const struct sim_machine *m, uint32_t first, uint32_t context)
{
    uint32_t next = m->context[context].mate;
    return next == first ? 0 : next;
}

static inline bool sim_is_running(const struct sim_queue *q)
{
    return q->state == SIM_STREAM_RUNNING && q->engine == SIM_ENGINE_COMPUTE;
}

/* The device has something to do at once. */
static inline void sim_device_touch(struct sim_machine *m, uint32_t device)
{
    SIM_PUT(m, m->device[device].next_ns, m->now_ns);
    SIM_PUT(m, m->next_ns, m->now_ns);
}

/* Move a queue between states, keeping its context's and device's counts. */
void sim_queue_place(struct sim_machine *, uint32_t queue, enum sim_stream_state, enum sim_engine);
/* The event that the head names has happened. */
void sim_queue_stamp(struct sim_machine *, const struct sim_command *);
/* The head is done at machine->now_ns. */
void sim_queue_complete(struct sim_machine *, uint32_t queue);
/* Bring the queue to the state that its head asks for; `after` is the engine that completed the one before. */
void sim_queue_settle(struct sim_machine *, uint32_t queue, enum sim_engine after);
/* Settle whatever no longer waits for an event or a barrier. */
void sim_queue_unblock_some(struct sim_machine *);
static inline void sim_queue_unblock(struct sim_machine *m)
{
    if (m->first_blocked)
        sim_queue_unblock_some(m);
}

/* fault.c: go on with dropping what is queued in failed contexts; d->failing until all of it is gone. */
void sim_device_empty_failed(struct sim_machine *, struct sim_device *);

/* sample.c: take all samples that have ended by `now`. */
void sim_sample_until(struct sim_machine *, uint64_t now);

/* -------- kernels.c: what the contexts on the compute engine do with its SMs -------- */

/* Complete what has ended; start what can, and give freed SMs to what has too few. */
void sim_kernels_end(struct sim_machine *, struct sim_device *);
void sim_kernels_start(struct sim_machine *, struct sim_device *);
/* Off the engine and on it again. */
void sim_kernels_preempt(struct sim_machine *, struct sim_device *);
void sim_kernels_resume(struct sim_machine *, struct sim_device *);
/* When the next one ends or gives way. */
uint64_t sim_kernels_next(struct sim_machine *, const struct sim_device *);
/* The head goes, finished or not: what it took is accounted, its SMs are free. */
void sim_kernel_leave(struct sim_machine *, uint32_t queue);
/* SM time that the head has had. */
uint64_t sim_kernel_done_sm_ns(const struct sim_machine *, uint32_t queue);
/* SM time that it still needs. */
uint64_t sim_kernel_left_sm_ns(const struct sim_machine *, uint32_t queue);
bool sim_on_engine(const struct sim_machine *, uint32_t context);

/* check.c: what must hold does, or the process aborts with a line that says what does not. */
#ifdef SIM_CHECK
void sim_check(const struct sim_machine *);
#else
static inline void sim_check(const struct sim_machine *m)
{
}
#endif

/* account.c: the time since the phase or the division of the SMs last changed goes to whom it belongs. */
void sim_account(struct sim_machine *, struct sim_device *);

#endif
