/* fault.c -- contexts that fail: everything queued in them is dropped, without effect, at that moment.
 *
 * Dropping is completing: events that others wait for are stamped.  Only a host function that runs stays until its
 * process is done with it. */
#include "model.h"

void sim_context_fail(struct sim_machine *m, uint32_t context, uint32_t error)
{
    struct sim_device *d = &m->device[m->context[context].device];
    if (m->context[context].fault)
        return;
    sim_fault_clients(m, context, error);
    for (uint32_t c = context; c; c = sim_mate_after(m, context, c))
        sim_wake(&m->process[m->context[c].process].kick);
    SIM_PUT(m, d->failing, 1);
    sim_device_touch(m, m->context[context].device);
}

void sim_context_fail_now(struct sim_machine *m, uint32_t context, uint32_t error)
{
    sim_context_fail(m, context, error);
    sim_commit(m);
    sim_advance(m);
    sim_commit(m);
}

void sim_device_fail(struct sim_machine *m, uint32_t device, uint32_t error, bool lost)
{
    if (lost)
        SIM_PUT(m, m->device[device].lost, 1);
    for (uint32_t c = m->device[device].first_context; c; c = m->context[c].next) {
        sim_context_fail(m, c, error);
        sim_commit(m);
    }
    sim_advance(m);
    sim_commit(m);
}

/* False where there is too much of it for one step. */
static bool empty_queue(struct sim_machine *m, struct sim_device *d, uint32_t queue)
{
    struct sim_queue *q = &m->queue[queue];
    if (sim_journal_tight(m))
        return false;
    if (q->state == SIM_STREAM_RUNNING) {
        if (q->engine == SIM_ENGINE_COMPUTE)
            sim_kernel_leave(m, queue);
        else
            SIM_PUT(m, d->copy_queue[q->engine - 1], 0);
        sim_queue_complete(m, queue);
    }
    if (q->state != SIM_STREAM_HOST)
        sim_queue_settle(m, queue, SIM_ENGINE_NONE);
    return q->head == q->tail || q->state == SIM_STREAM_HOST;
}

void sim_device_empty_failed(struct sim_machine *m, struct sim_device *d)
{
    for (uint32_t c = d->first_context; c; c = m->context[c].next)
        for (uint32_t q = m->context[c].fault ? m->context[c].first : 0; q; q = m->queue[q].next)
            if (!empty_queue(m, d, q))
                return;
    SIM_PUT(m, d->failing, 0);
}
