/* sched.c -- the engines of each device: a compute engine that contexts share by time slices, two copy engines.
 *
 * The compute engine goes round robin over the contexts that want it.  A slice ends when its context has nothing
 * left (hand-over at once) or after slice_ns while another context wants the engine; kernels are pre-empted where
 * they are.  Going from one context that ran to another that waited costs switch_ns; a context that finds the
 * engine idle, or goes on, pays nothing.  Contexts of one group (a context and its green ones; under MPS all of a
 * device) are on the engine together: kernels.c divides the SMs among them.
 *
 * Every nanosecond of the engine is idle, switching, or some context's: sim_account() adds it when the phase ends. */
#include "model.h"

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static void enter_phase(struct sim_machine *m, struct sim_device *d, enum sim_phase phase, uint64_t end_ns)
{
    sim_account(m, d);
    SIM_PUT(m, d->phase, (uint32_t)phase);
    SIM_PUT(m, d->phase_end_ns, end_ns);
}

static bool group_wants(const struct sim_machine *m, uint32_t context)
{
    for (uint32_t c = context; c; c = sim_mate_after(m, context, c))
        if (m->context[c].wants)
            return true;
    return false;
}

/* The next context after the current one that wants the engine and is not on it together with that one, which comes
 * last; 0: none. */
static uint32_t next_wanting(const struct sim_machine *m, const struct sim_device *d)
{
    uint32_t first = d->current ? m->context[d->current].next : d->first_context;
    uint64_t group = d->current ? m->context[d->current].group : 0;
    for (uint32_t c = first; c; c = m->context[c].next)
        if (m->context[c].wants && m->context[c].group != group)
            return c;
    for (uint32_t c = d->first_context; c && c != first; c = m->context[c].next)
        if (m->context[c].wants && m->context[c].group != group)
            return c;
    return d->current && group_wants(m, d->current) ? d->current : 0;
}

/* -------- between contexts -------- */

static void begin_slice(struct sim_machine *m, struct sim_device *d, uint32_t context)
{
    enter_phase(m, d, SIM_PHASE_RUN, UINT64_MAX);
    SIM_PUT(m, d->current, context);
    SIM_PUT(m, d->slice_start_ns, m->now_ns);
    sim_kernels_resume(m, d);
}

static void begin_switch(struct sim_machine *m, struct sim_device *d, uint32_t context)
{
    enter_phase(m, d, SIM_PHASE_SWITCH, m->now_ns + m->switch_ns);
    SIM_PUT(m, d->next_current, context);
    SIM_PUT(m, d->switches, d->switches + 1);
    SIM_PUT(m, m->context[context].switches, m->context[context].switches + 1);
}

/* Slices run on from the moment the context got the engine; who comes in between waits for the end of the one. */
static uint64_t slice_end(const struct sim_machine *m, const struct sim_device *d)
{
    return d->slice_start_ns + ((m->now_ns - d->slice_start_ns) / m->slice_ns + 1) * m->slice_ns;
}

/* True while the phase has changed and another look is due. */
static bool turn(struct sim_machine *m, struct sim_device *d)
{
    uint32_t next;
    switch (d->phase) {
    case SIM_PHASE_IDLE:
        next = next_wanting(m, d);
        if (next)
            begin_slice(m, d, next);
        return next != 0;
    case SIM_PHASE_SWITCH:
        if (m->now_ns < d->phase_end_ns)
            return false;
        next = d->next_current && group_wants(m, d->next_current) ? d->next_current : next_wanting(m, d);
        if (next)
            begin_slice(m, d, next);
        else
            enter_phase(m, d, SIM_PHASE_IDLE, UINT64_MAX);
        return next != 0;
    default:
        break;
    }
    sim_kernels_end(m, d);
    sim_queue_unblock(m);
    if (group_wants(m, d->current))
        sim_kernels_start(m, d);
    next = next_wanting(m, d);
    if (!group_wants(m, d->current)) {
        if (next)
            begin_switch(m, d, next);
        else
            enter_phase(m, d, SIM_PHASE_IDLE, UINT64_MAX);
        return next != 0;
    }
    if (!next || next == d->current) {
        SIM_PUT(m, d->phase_end_ns, UINT64_MAX);
        return false;
    }
    if (d->phase_end_ns == UINT64_MAX)
        SIM_PUT(m, d->phase_end_ns, slice_end(m, d));
    if (m->now_ns < d->phase_end_ns)
        return false;
    sim_kernels_preempt(m, d);
    begin_switch(m, d, next);
    return true;
}

/* -------- copy engines -------- */

static bool goes_before(struct sim_machine *m, uint32_t a, uint32_t b)
{
    const struct sim_queue *x = &m->queue[a], *y = &m->queue[b];
    if (x->priority != y->priority)
        return x->priority < y->priority;
    if (x->queued_ns != y->queued_ns)
        return x->queued_ns < y->queued_ns;
    return sim_queue_head(m, a)->ticket < sim_queue_head(m, b)->ticket;
}

static uint32_t next_copy(struct sim_machine *m, const struct sim_device *d, uint32_t engine)
{
    uint32_t best = 0;
    for (uint32_t c = d->first_context; c; c = m->context[c].next)
        for (uint32_t q = m->context[c].first; q; q = m->queue[q].next)
            if (m->queue[q].state == SIM_STREAM_READY && m->queue[q].engine == engine &&
                (!best || goes_before(m, q, best)))
                best = q;
    return best;
}

static void copy_engine(struct sim_machine *m, struct sim_device *d, uint32_t engine)
{
    uint32_t *holder = &d->copy_queue[engine - 1];
    if (*holder && m->queue[*holder].end_ns <= m->now_ns) {
        uint32_t queue = *holder;
        uint64_t *busy_ns = &d->copy_busy_ns[engine - 1];
        SIM_PUT(m, *busy_ns, *busy_ns + sim_queue_head(m, queue)->work_ns);
        SIM_PUT(m, *holder, 0);
        sim_queue_complete(m, queue);
        sim_queue_settle(m, queue, engine);
        sim_queue_unblock(m);
    }
    if (*holder || d->copies_ready[engine - 1] == 0)
        return;
    uint32_t queue = next_copy(m, d, engine);
    sim_queue_place(m, queue, SIM_STREAM_RUNNING, engine);
    SIM_PUT(m, m->queue[queue].end_ns, m->now_ns + sim_queue_head(m, queue)->work_ns);
    SIM_PUT(m, *holder, queue);
}

/* -------- time -------- */

static uint64_t next_event(struct sim_machine *m, const struct sim_device *d)
{
    uint64_t next = d->phase == SIM_PHASE_IDLE ? UINT64_MAX : d->phase_end_ns;
    if (d->phase == SIM_PHASE_RUN)
        next = least(next, sim_kernels_next(m, d));
    for (int e = 0; e < 2; e++)
        if (d->copy_queue[e])
            next = least(next, m->queue[d->copy_queue[e]].end_ns);
    return next;
}

static void step(struct sim_machine *m, struct sim_device *d)
{
    if (d->failing)
        sim_device_empty_failed(m, d);
    sim_queue_unblock(m);
    for (uint32_t e = 0; e < 2; e++)
        if (d->copy_queue[e] || d->copies_ready[e])
            copy_engine(m, d, e + 1);
    while (turn(m, d) && !sim_journal_tight(m))
        ;
    bool again = sim_journal_tight(m) || d->failing;
    for (int e = 0; e < 2; e++)
        again |= d->copies_ready[e] && !d->copy_queue[e]; /* made ready by the compute engine */
    SIM_PUT(m, d->next_ns, again ? m->now_ns : next_event(m, d));
}

void sim_advance(struct sim_machine *m)
{
    uint64_t until = m->now_ns;
    for (;;) {
        struct sim_device *first = &m->device[0];
        for (uint32_t i = 1; i < m->device_count; i++)
            if (m->device[i].next_ns < first->next_ns)
                first = &m->device[i];
        SIM_PUT(m, m->next_ns, first->next_ns);
        sim_commit(m);
        if (first->next_ns > until)
            break;
        m->now_ns = first->next_ns;
        step(m, first);
    }
    m->now_ns = until;
}
