/* predict.c -- how long to sleep: the earliest moment at which queued work can be done.
 *
 * A lower bound, late by less than a slice only where another context is destroyed or dies: it assumes that nobody else
 * asks for the device from now on.  The waiter looks again
 * then; under contention that is about once a slice. */
#include "model.h"

#define DEPTH   4                /* event waits followed from stream to stream */
#define FOREIGN (UINT64_MAX - 1) /* another process decides, which may die */
#define FAR     32               /* commands looked at to see how long another context stays on the engine */

/* How long the context that is on the compute engine has work for it without a gap, at least, as far as `enough_ns`
 * matters.  Only where it uses one stream: another may hold this one up. */
static uint64_t has_work_ns(const struct sim_machine *m, uint32_t context, uint64_t enough_ns)
{
    uint32_t busy = 0, queue = m->context[context].first;
    for (; queue; queue = m->queue[queue].next)
        if (m->queue[queue].state != SIM_STREAM_EMPTY) {
            if (busy)
                return 0;
            busy = queue;
        }
    if (!busy || !sim_is_running(&m->queue[busy]))
        return 0;
    const struct sim_queue *q = &m->queue[busy];
    const struct sim_command *c = &m->command[busy][q->head & (SIM_QUEUE_DEPTH - 1)];
    uint64_t work_ns = (sim_kernel_left_sm_ns(m, busy) + c->sms - 1) / c->sms;
    for (uint64_t i = q->head + 1; i < q->tail && i < q->head + FAR && work_ns < enough_ns; i++) {
        c = &m->command[busy][i & (SIM_QUEUE_DEPTH - 1)];
        if (c->kind != SIM_CMD_WORK || c->engine != SIM_ENGINE_COMPUTE)
            break;
        work_ns += c->work_ns;
    }
    return work_ns;
}

/* Until the context can be on the compute engine. */
static uint64_t until_turn(const struct sim_machine *m, uint32_t context)
{
    const struct sim_device *d = &m->device[m->context[context].device];
    uint64_t left_ns = d->phase_end_ns - m->now_ns;
    if (d->phase == SIM_PHASE_SWITCH)
        return left_ns;
    if (d->phase == SIM_PHASE_IDLE || d->phase_end_ns == UINT64_MAX || sim_on_engine(m, context))
        return 0;
    uint64_t work_ns = has_work_ns(m, d->current, left_ns);
    return (work_ns < left_ns ? work_ns : left_ns) + m->switch_ns;
}

static uint64_t ahead(const struct sim_machine *m, uint32_t queue, uint64_t command, int depth);

static const struct sim_command *head_of(const struct sim_machine *m, uint32_t queue)
{
    return &m->command[queue][m->queue[queue].head & (SIM_QUEUE_DEPTH - 1)];
}

/* Does a stream of the context wait for another process?  Then so may one that waits for its turn after it. */
static bool waits_abroad(const struct sim_machine *m, uint32_t context)
{
    for (uint32_t queue = m->context[context].first; queue; queue = m->queue[queue].next)
        if (m->queue[queue].state == SIM_STREAM_BLOCKED && head_of(m, queue)->flags & SIM_CMD_FOREIGN)
            return true;
    return false;
}

/* What the head still needs, at least; UINT64_MAX when the host decides. */
static uint64_t head_left(const struct sim_machine *m, uint32_t queue, int depth)
{
    const struct sim_queue *q = &m->queue[queue];
    const struct sim_command *c = head_of(m, queue);
    uint64_t left;
    switch (q->state) {
    case SIM_STREAM_RUNNING:
        if (q->engine != SIM_ENGINE_COMPUTE)
            return q->end_ns - m->now_ns;
        left = (sim_kernel_left_sm_ns(m, queue) + c->sms - 1) / c->sms; /* should it get all its SMs now */
        return left + until_turn(m, q->context);
    case SIM_STREAM_READY:
        return c->work_ns + (q->engine == SIM_ENGINE_COMPUTE ? until_turn(m, q->context) : 0);
    case SIM_STREAM_HOST:
        return UINT64_MAX;
    case SIM_STREAM_BLOCKED:
        if (waits_abroad(m, q->context))
            return FOREIGN;
        if (c->kind == SIM_CMD_WAIT_EVENT && depth > 0) {
            uint64_t last =
                atomic_load_explicit(&m->event[c->event].stream_and_command, memory_order_relaxed);
            uint32_t other = (uint32_t)(last >> 48);
            if (other && m->queue[other].context)
                return ahead(m, other, last & ((1ull << 48) - 1), depth - 1);
        }
        if (c->kind == SIM_CMD_WAIT_QUEUE && depth > 0 && m->queue[c->event].context)
            return ahead(m, c->event, c->event_sequence, depth - 1);
        return c->work_ns;
    default:
        return 0;
    }
}

static uint64_t ahead(const struct sim_machine *m, uint32_t queue, uint64_t command, int depth)
{
    const struct sim_queue *q = &m->queue[queue];
    if (q->head >= command || command > q->tail)
        return 0;
    uint64_t left = head_left(m, queue, depth);
    if (left >= FOREIGN)
        return left;
    const struct sim_command *first = &m->command[queue][q->head & (SIM_QUEUE_DEPTH - 1)];
    const struct sim_command *last = &m->command[queue][(command - 1) & (SIM_QUEUE_DEPTH - 1)];
    return left + last->total_ns - first->total_ns;
}

uint64_t sim_queue_predict(const struct sim_machine *m, uint32_t queue, uint64_t command)
{
    const struct sim_queue *q = &m->queue[queue];
    if (q->head >= command)
        return m->now_ns;
    uint64_t left = ahead(m, queue, command, DEPTH);
    if (left == UINT64_MAX)
        return left;
    if (left == FOREIGN)
        return m->now_ns + SIM_FOREIGN_LOOK_NS;
    uint64_t at = m->now_ns + left;
    return at > m->next_ns ? at : m->next_ns; /* nothing changes before the machine's next event */
}
