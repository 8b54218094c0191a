/* shared_context.c -- contexts in the shared machine: their place on the device, their group, their share of SMs.
 *
 * Contexts that may be on the compute engine together form a ring, linked by `mate`: a context and its green contexts,
 * or under MPS all of a device. */
#include "model.h"

static uint32_t take_slot(struct sim_machine *m)
{
    uint32_t context = m->free_context;
    if (context)
        SIM_PUT(m, m->free_context, m->context[context].next);
    else if (m->contexts_made < SIM_MAX_CONTEXTS) {
        context = m->contexts_made + 1;
        SIM_PUT(m, m->contexts_made, context);
    }
    return context;
}

static struct sim_sms first_sms(uint32_t count)
{
    struct sim_sms all = {{0}};
    for (uint32_t i = 0; i < count; i++)
        all.word[i / 64] |= 1ull << i % 64;
    return all;
}

/* In the ring after `mate`, or in one of its own. */
static uint32_t open_in(struct sim_machine *m, uint32_t process, uint32_t device, uint32_t mate,
                        const struct sim_sms *allowed, uint32_t limit)
{
    uint32_t context = take_slot(m);
    if (!context)
        return 0;
    struct sim_shared_context *ctx = &m->context[context];
    /* Until the commit its `next` links it to the free ones. */
    *ctx = (struct sim_shared_context){
        .device = device, .next = ctx->next, .mate = context, .allowed = *allowed, .sms_limit = limit};
    if (mate) {
        ctx->group = m->context[mate].group;
        ctx->mate = m->context[mate].mate;
        SIM_PUT(m, m->context[mate].mate, context);
    } else {
        SIM_PUT(m, m->groups, m->groups + 1);
        ctx->group = m->groups;
    }
    struct sim_process_device *usage = &m->process[process].device[device];
    SIM_PUT(m, ctx->next, m->device[device].first_context);
    SIM_PUT(m, ctx->process, process);
    SIM_PUT(m, m->device[device].first_context, context);
    SIM_PUT(m, usage->contexts, usage->contexts + 1);
    sim_commit(m);
    return context;
}

uint32_t sim_shared_context_open(struct sim_machine *m, uint32_t process, uint32_t device)
{
    struct sim_sms all = first_sms(m->device[device].profile.sm_count);
    uint32_t mate = m->mps ? m->device[device].first_context : 0;
    return open_in(m, process, device, mate, &all, m->device[device].profile.sm_count);
}

uint32_t sim_shared_context_join(struct sim_machine *m, uint32_t leader, const struct sim_sms *allowed)
{
    const struct sim_shared_context *ctx = &m->context[leader];
    uint32_t sms = 0;
    for (int i = 0; i < SIM_MAX_SMS / 64; i++)
        sms += (uint32_t)__builtin_popcountll(allowed->word[i]);
    return open_in(m, ctx->process, ctx->device, leader, allowed,
                   sms < ctx->sms_limit ? sms : ctx->sms_limit);
}

void sim_shared_context_limit(struct sim_machine *m, uint32_t context, uint32_t sms, uint32_t level)
{
    SIM_PUT(m, m->context[context].sms_limit, sms);
    SIM_PUT(m, m->context[context].level, level);
    sim_commit(m);
}

static void leave_ring(struct sim_machine *m, uint32_t context)
{
    uint32_t before = context;
    while (m->context[before].mate != context)
        before = m->context[before].mate;
    if (before != context)
        SIM_PUT(m, m->context[before].mate, m->context[context].mate);
}

void sim_shared_context_close(struct sim_machine *m, uint32_t context)
{
    struct sim_shared_context *ctx = &m->context[context];
    struct sim_device *device = &m->device[ctx->device];
    struct sim_process_device *usage = &m->process[ctx->process].device[ctx->device];
    while (ctx->first)
        sim_queue_close(m, ctx->first);
    sim_advance(m); /* off the engine unless its mates are on it, its time accounted */
    sim_account(m, device);
    uint32_t mate = ctx->mate == context ? 0 : ctx->mate; /* keeps the ring's place */
    uint32_t *link = &device->first_context;
    while (*link != context)
        link = &m->context[*link].next;
    SIM_PUT(m, *link, ctx->next);
    if (device->current == context)
        SIM_PUT(m, device->current, mate);
    if (device->next_current == context)
        SIM_PUT(m, device->next_current, mate);
    leave_ring(m, context);
    SIM_PUT(m, usage->contexts, usage->contexts - 1);
    SIM_PUT(m, ctx->process, 0);
    SIM_PUT(m, ctx->next, m->free_context);
    SIM_PUT(m, m->free_context, context);
    sim_commit(m);
}

/* Onto another device of the same kind, idle. */
static void move(struct sim_machine *m, uint32_t context, uint32_t to)
{
    struct sim_shared_context *ctx = &m->context[context];
    struct sim_device *from = &m->device[ctx->device];
    struct sim_process_device *usage = m->process[ctx->process].device;
    sim_account(m, from);
    uint32_t mate = ctx->mate == context ? 0 : ctx->mate;
    uint32_t *link = &from->first_context;
    while (*link != context)
        link = &m->context[*link].next;
    SIM_PUT(m, *link, ctx->next);
    if (from->current == context)
        SIM_PUT(m, from->current, m->mps ? mate : 0);
    if (from->next_current == context)
        SIM_PUT(m, from->next_current, m->mps ? mate : 0);
    if (m->mps) { /* from ring to ring; without MPS a ring is one process's, and moves as a whole */
        uint32_t other = m->device[to].first_context;
        leave_ring(m, context);
        SIM_PUT(m, ctx->mate, other ? m->context[other].mate : context);
        if (other) {
            SIM_PUT(m, ctx->group, m->context[other].group);
            SIM_PUT(m, m->context[other].mate, context);
        }
    }
    SIM_PUT(m, usage[ctx->device].contexts, usage[ctx->device].contexts - 1);
    SIM_PUT(m, usage[to].contexts, usage[to].contexts + 1);
    SIM_PUT(m, ctx->device, to);
    SIM_PUT(m, ctx->next, m->device[to].first_context);
    SIM_PUT(m, m->device[to].first_context, context);
    sim_device_touch(m, to);
    sim_commit(m);
}

void sim_contexts_move(struct sim_machine *m, uint32_t process, const uint32_t new_device[SIM_MAX_DEVICES])
{
    for (uint32_t c = 1; c <= m->contexts_made; c++)
        if (m->context[c].process == process && new_device[m->context[c].device] != SIM_MAX_DEVICES)
            move(m, c, new_device[m->context[c].device]);
}

void sim_fault_clients(struct sim_machine *m, uint32_t context, uint32_t error)
{
    for (uint32_t c = context; c; c = sim_mate_after(m, context, c)) {
        atomic_store(&m->context[c].fault, error);
        sim_wake(&m->process[m->context[c].process].wake);
    }
}
