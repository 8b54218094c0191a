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

/* The device has something to do at once. */
static inline void sim_device_touch(struct sim_machine *m, uint32_t device)
{
    SIM_PUT(m, m->device[device].next_ns, m->now_ns);
    SIM_PUT(m, m->next_ns, m->now_ns);
}

/* Move a queue between states, keeping its context's and device's counts. */
void sim_queue_place(struct sim_machine *, uint32_t queue, enum sim_stream_state, enum sim_engine);
/* The head is done at machine->now_ns. */
void sim_queue_complete(struct sim_machine *, uint32_t queue);
/* Bring the queue to the state that its head asks for; `after` is the engine that completed the one before. */
void sim_queue_settle(struct sim_machine *, uint32_t queue, enum sim_engine after);
/* Settle whatever no longer waits for an event or a barrier. */
void sim_queue_unblock(struct sim_machine *);

#endif
