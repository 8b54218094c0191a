/* queue.c -- the queues of streams: what waits for what.
 *
 * A queue is in exactly one state; sim_queue_place() keeps the counts that follow from it (how many streams of a
 * context want the compute engine, who waits for a copy engine, the list of blocked queues). */
#include "model.h"
#include "recognise.h"

#define LOW48 ((1ull << 48) - 1)

void sim_queue_place(struct sim_machine *m, uint32_t queue, enum sim_stream_state state,
                     enum sim_engine engine)
{
    struct sim_queue *q = &m->queue[queue];
    struct sim_shared_context *ctx = &m->context[q->context];
    struct sim_device *device = &m->device[ctx->device];
    if (q->state == SIM_STREAM_READY && state == SIM_STREAM_RUNNING && engine == SIM_ENGINE_COMPUTE) {
        SIM_PUT(m, q->state, (uint32_t)state); /* it wanted that engine before */
        return;
    }
    if (q->state == SIM_STREAM_BLOCKED && state != SIM_STREAM_BLOCKED) {
        uint32_t *link = &m->first_blocked;
        while (*link != queue)
            link = &m->queue[*link].next_blocked;
        SIM_PUT(m, *link, q->next_blocked);
    } else if (q->state == SIM_STREAM_READY || q->state == SIM_STREAM_RUNNING) {
        if (q->engine == SIM_ENGINE_COMPUTE)
            SIM_PUT(m, ctx->wants, ctx->wants - 1);
        else if (q->state == SIM_STREAM_READY)
            SIM_PUT(m, device->copies_ready[q->engine - 1], device->copies_ready[q->engine - 1] - 1);
    }
    if (state == SIM_STREAM_BLOCKED && q->state != SIM_STREAM_BLOCKED) {
        SIM_PUT(m, q->next_blocked, m->first_blocked);
        SIM_PUT(m, m->first_blocked, queue);
    } else if (state == SIM_STREAM_READY || state == SIM_STREAM_RUNNING) {
        if (engine == SIM_ENGINE_COMPUTE)
            SIM_PUT(m, ctx->wants, ctx->wants + 1);
        else if (state == SIM_STREAM_READY)
            SIM_PUT(m, device->copies_ready[engine - 1], device->copies_ready[engine - 1] + 1);
        if (state == SIM_STREAM_READY) {
            SIM_PUT(m, q->queued_ns, m->now_ns);
            sim_device_touch(m, ctx->device);
        }
    }
    SIM_PUT(m, q->state, (uint32_t)state);
    SIM_PUT(m, q->engine, (uint32_t)engine);
}

void sim_queue_stamp(struct sim_machine *m, const struct sim_command *c)
{
    struct sim_event_slot *slot = &m->event[c->event];
    uint64_t stamped = atomic_load_explicit(&slot->stamped, memory_order_relaxed);
    if (stamped >= c->event_sequence) /* overtaken by a later record in a faster stream */
        return;
    sim_journal(m, &slot->stamp_ns, atomic_load_explicit(&slot->stamp_ns, memory_order_relaxed), 0);
    atomic_store_explicit(&slot->stamp_ns, m->now_ns, memory_order_relaxed);
    sim_journal(m, &slot->stamped, stamped, 0);
    atomic_store_explicit(&slot->stamped, c->event_sequence, memory_order_release);
}

void sim_queue_complete(struct sim_machine *m, uint32_t queue)
{
    struct sim_queue *q = &m->queue[queue];
    struct sim_command *c = sim_queue_head(m, queue);
    struct sim_shared_context *ctx = &m->context[q->context];
    struct sim_process_device *usage = &m->process[ctx->process].device[ctx->device];
    c->end_ns = m->now_ns;
    c->dropped = atomic_load_explicit(&ctx->fault, memory_order_relaxed) != 0;
    if (!c->dropped && (c->flags & SIM_CMD_KERNEL)) {
        SIM_PUT(m, ctx->kernels, ctx->kernels + 1);
        SIM_PUT(m, usage->kernels, usage->kernels + 1);
    }
    if (!c->dropped && c->bytes) {
        SIM_PUT(m, ctx->copies, ctx->copies + 1);
        SIM_PUT(m, ctx->copy_bytes, ctx->copy_bytes + c->bytes);
        SIM_PUT(m, usage->copies, usage->copies + 1);
        SIM_PUT(m, usage->copy_bytes, usage->copy_bytes + c->bytes);
    }
    if (c->event && (c->kind == SIM_CMD_STAMP || c->kind == SIM_CMD_WORK))
        sim_queue_stamp(m, c);
    SIM_PUT(m, q->head, q->head + 1);
    if (c->fault)
        sim_context_fail(m, q->context, c->fault);
}

/* Legacy-stream order: its commands and those of the blocking streams of its context run in order of submission. */
static bool barred(struct sim_machine *m, uint32_t queue)
{
    const struct sim_queue *q = &m->queue[queue];
    const struct sim_shared_context *ctx = &m->context[q->context];
    uint64_t ticket = sim_queue_head(m, queue)->ticket;
    if (q->role == SIM_ROLE_NON_BLOCKING)
        return false;
    if (q->role == SIM_ROLE_BLOCKING) {
        const struct sim_queue *legacy = &m->queue[ctx->legacy];
        return ctx->legacy && legacy->head != legacy->tail && sim_queue_head(m, ctx->legacy)->ticket < ticket;
    }
    for (uint32_t other = ctx->first; other; other = m->queue[other].next) {
        const struct sim_queue *o = &m->queue[other];
        if (o->role == SIM_ROLE_BLOCKING && o->head != o->tail && sim_queue_head(m, other)->ticket < ticket)
            return true;
    }
    return false;
}

/* What is queued in it goes at once, without effect (fault.c). */
static bool has_failed(const struct sim_machine *m, uint32_t context)
{
    return atomic_load_explicit(&m->context[context].fault, memory_order_relaxed) != 0;
}

/* The head waits for an event or for another queue. */
static bool waits(const struct sim_machine *m, const struct sim_command *c)
{
    if (c->kind == SIM_CMD_WAIT_EVENT)
        return atomic_load_explicit(&m->event[c->event].stamped, memory_order_relaxed) < c->event_sequence;
    return c->kind == SIM_CMD_WAIT_QUEUE && m->queue[c->event].head < c->event_sequence;
}

void sim_queue_settle(struct sim_machine *m, uint32_t queue, enum sim_engine after)
{
    struct sim_queue *q = &m->queue[queue];
    while (q->head != q->tail) {
        const struct sim_command *c = sim_queue_head(m, queue);
        if (sim_journal_tight(m)) {
            sim_queue_place(m, queue, SIM_STREAM_BLOCKED, SIM_ENGINE_NONE);
            return sim_device_touch(m, m->context[q->context].device);
        }
        if (has_failed(m, q->context)) {
            sim_queue_complete(m, queue);
            continue;
        }
        if (barred(m, queue))
            return sim_queue_place(m, queue, SIM_STREAM_BLOCKED, SIM_ENGINE_NONE);
        switch (c->kind) {
        case SIM_CMD_WORK:
            if (c->engine != SIM_ENGINE_NONE)
                return sim_queue_place(m, queue, SIM_STREAM_READY, c->engine);
            break;
        case SIM_CMD_STAMP: /* a copy engine stamps what follows its copy; anything else waits for its context */
            if (!m->eager_stamps && after != SIM_ENGINE_H2D && after != SIM_ENGINE_D2H)
                return sim_queue_place(m, queue, SIM_STREAM_READY, SIM_ENGINE_COMPUTE);
            break;
        case SIM_CMD_WAIT_EVENT:
        case SIM_CMD_WAIT_QUEUE:
            if (waits(m, c))
                return sim_queue_place(m, queue, SIM_STREAM_BLOCKED, SIM_ENGINE_NONE);
            break;
        default:
            return sim_queue_place(m, queue, SIM_STREAM_HOST, SIM_ENGINE_NONE);
        }
        sim_queue_complete(m, queue);
    }
    sim_queue_place(m, queue, SIM_STREAM_EMPTY, SIM_ENGINE_NONE);
}

void sim_queue_unblock_some(struct sim_machine *m)
{
    uint32_t queue = m->first_blocked;
    while (queue && !sim_journal_tight(m)) {
        struct sim_command *c = sim_queue_head(m, queue);
        if (!has_failed(m, m->queue[queue].context) && (barred(m, queue) || waits(m, c))) {
            queue = m->queue[queue].next_blocked;
            continue;
        }
        struct sim_process *sleeper = &m->process[m->context[m->queue[queue].context].process];
        bool wake = c->flags & SIM_CMD_FOREIGN;
        sim_queue_settle(m, queue, SIM_ENGINE_NONE);
        if (wake)
            sim_wake(&sleeper->wake);
        queue = m->first_blocked; /* its completions may have freed one that was passed over */
    }
}

void sim_queue_append(struct sim_machine *m, uint32_t queue, struct sim_command c)
{
    struct sim_queue *q = &m->queue[queue];
    struct sim_shared_context *ctx = &m->context[q->context];
    c.ticket = ctx->ticket;
    c.total_ns = q->submitted_ns + c.work_ns;
    if (!(c.flags & SIM_CMD_OWN_PRIORITY))
        c.priority = (int8_t)q->priority;
    if (!(c.flags & SIM_CMD_KERNEL) && c.sms > ctx->sms_limit)
        c.sms = ctx->sms_limit;             /* copies and fills are as fast with few SMs */
    *sim_command_at(m, queue, q->tail) = c; /* nobody reads beyond the tail */
    SIM_PUT(m, ctx->ticket, ctx->ticket + 1);
    SIM_PUT(m, q->submitted_ns, c.total_ns);
    if (c.event && (c.kind == SIM_CMD_STAMP || c.kind == SIM_CMD_WORK)) {
        struct sim_event_slot *slot = &m->event[c.event];
        uint64_t done = q->tail + (c.kind == SIM_CMD_STAMP); /* that many commands, at least */
        SIM_PUT(m, slot->stream_and_command, (uint64_t)queue << 48 | (done & LOW48));
        sim_journal(m, &slot->submitted, atomic_load_explicit(&slot->submitted, memory_order_relaxed), 0);
        atomic_store_explicit(&slot->submitted, c.event_sequence, memory_order_relaxed);
    }
    SIM_PUT(m, q->tail, q->tail + 1);
    if (q->head + 1 == q->tail) {
        sim_queue_settle(m, queue, SIM_ENGINE_NONE);
        sim_advance(m);
    }
    sim_commit(m);
}

void sim_queue_host_done(struct sim_machine *m, uint32_t queue)
{
    sim_queue_complete(m, queue);
    sim_queue_settle(m, queue, SIM_ENGINE_NONE);
    sim_queue_unblock(m);
    sim_device_touch(m, m->context[m->queue[queue].context].device);
    sim_advance(m);
    sim_commit(m);
}

uint32_t sim_queue_open(struct sim_machine *m, uint32_t context, enum sim_stream_role role, int32_t priority)
{
    uint32_t queue = m->free_queue;
    if (queue)
        SIM_PUT(m, m->free_queue, m->queue[queue].next);
    else if (m->queues_made < SIM_MAX_STREAMS &&
             sim_have_room(m->command[m->queues_made + 1], sizeof(m->command[0]))) {
        queue = m->queues_made + 1;
        SIM_PUT(m, m->queues_made, queue);
    } else
        return 0;
    struct sim_shared_context *ctx = &m->context[context];
    struct sim_queue *q = &m->queue[queue];
    /* Its commands go on being numbered: who waits for one of before is not confused.  `next` still links it to the
     * free queues, should this not come to its end. */
    *q = (struct sim_queue){
        .next = q->next, .role = role, .priority = priority, .head = q->tail, .tail = q->tail};
    SIM_PUT(m, q->next, ctx->first);
    SIM_PUT(m, q->context, context);
    SIM_PUT(m, ctx->first, queue);
    if (role == SIM_ROLE_LEGACY)
        SIM_PUT(m, ctx->legacy, queue);
    sim_commit(m);
    return queue;
}

/* Events that will not be reached any more: another process may wait for one.  It needs no way back, being true. */
static void stamp_dropped(struct sim_machine *m, uint32_t queue)
{
    for (uint64_t at = m->queue[queue].head; at < m->queue[queue].tail; at++) {
        const struct sim_command *c = sim_command_at(m, queue, at);
        struct sim_event_slot *slot = &m->event[c->event];
        if (c->kind != SIM_CMD_STAMP || !c->event || atomic_load(&slot->stamped) >= c->event_sequence)
            continue;
        atomic_store(&slot->stamp_ns, m->now_ns);
        atomic_store(&slot->stamped, c->event_sequence);
    }
}

void sim_queue_set_priority(struct sim_machine *m, uint32_t queue, int32_t priority)
{
    SIM_PUT(m, m->queue[queue].priority, priority);
    sim_commit(m);
}

/* Whatever is still queued is dropped: the owner has waited for it, or is dead. */
void sim_queue_close(struct sim_machine *m, uint32_t queue)
{
    struct sim_queue *q = &m->queue[queue];
    struct sim_shared_context *ctx = &m->context[q->context];
    struct sim_device *device = &m->device[ctx->device];
    if (sim_is_running(q))
        sim_kernel_leave(m, queue);
    else if (q->state == SIM_STREAM_RUNNING)
        SIM_PUT(m, device->copy_queue[q->engine - 1], 0);
    stamp_dropped(m, queue);
    sim_queue_place(m, queue, SIM_STREAM_EMPTY, SIM_ENGINE_NONE);
    SIM_PUT(m, q->head, q->tail);
    uint32_t *link = &ctx->first;
    while (*link != queue)
        link = &m->queue[*link].next;
    SIM_PUT(m, *link, q->next);
    if (ctx->legacy == queue)
        SIM_PUT(m, ctx->legacy, 0);
    sim_device_touch(m, ctx->device);
    SIM_PUT(m, q->context, 0);
    SIM_PUT(m, q->next, m->free_queue);
    SIM_PUT(m, m->free_queue, queue);
    sim_commit(m);
}
