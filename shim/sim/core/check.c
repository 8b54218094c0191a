/* check.c -- with -DSIM_CHECK: what must hold whenever nobody has the lock, checked whenever it is given back. */
#include "model.h"

#ifdef SIM_CHECK

#include <stdio.h>
#include <stdlib.h>

#define HOLDS(condition, index)                                                                              \
    do {                                                                                                     \
        if (!(condition))                                                                                    \
            fail(#condition, index);                                                                         \
    } while (0)

static void fail(const char *condition, uint32_t index)
{
    fprintf(stderr, "simgpu: not so: %s (%u)\n", condition, index);
    abort();
}

static uint32_t count(const struct sim_sms *s)
{
    uint32_t n = 0;
    for (int i = 0; i < SIM_MAX_SMS / 64; i++)
        n += (uint32_t)__builtin_popcountll(s->word[i]);
    return n;
}

/* -------- queues -------- */

struct tally {
    uint32_t wants, running, sms, blocked, queues, contexts, copies_ready[2];
    struct sim_sms busy;
};

static void check_kernel(const struct sim_machine *m, uint32_t queue, struct tally *t)
{
    const struct sim_queue *q = &m->queue[queue];
    const struct sim_shared_context *ctx = &m->context[q->context];
    t->running++;
    t->sms += q->granted;
    HOLDS(count(&q->held) == q->granted, queue);
    HOLDS(q->granted <= m->command[queue][q->head & (SIM_QUEUE_DEPTH - 1)].sms, queue);
    HOLDS(q->since_ns <= m->now_ns, queue);
    for (int i = 0; i < SIM_MAX_SMS / 64; i++) {
        HOLDS(!(q->held.word[i] & ~ctx->allowed.word[i]), queue);
        if (sim_on_engine(m, q->context)) {
            HOLDS(!(q->held.word[i] & t->busy.word[i]), queue);
            t->busy.word[i] |= q->held.word[i];
        }
    }
}

static void check_queue(const struct sim_machine *m, uint32_t context, uint32_t queue, struct tally *t)
{
    const struct sim_queue *q = &m->queue[queue];
    HOLDS(q->context == context, queue);
    HOLDS(q->head <= q->tail && q->tail - q->head <= SIM_QUEUE_DEPTH, queue);
    HOLDS((q->state == SIM_STREAM_EMPTY) == (q->head == q->tail), queue);
    HOLDS(q->state <= SIM_STREAM_RUNNING && q->role <= SIM_ROLE_LEGACY, queue);
    t->queues++;
    t->blocked += q->state == SIM_STREAM_BLOCKED;
    if (q->state == SIM_STREAM_READY || q->state == SIM_STREAM_RUNNING) {
        HOLDS(q->engine < SIM_ENGINES, queue);
        t->wants += q->engine == SIM_ENGINE_COMPUTE;
        if (q->engine != SIM_ENGINE_COMPUTE && q->state == SIM_STREAM_READY)
            t->copies_ready[q->engine - 1]++;
        if (q->engine != SIM_ENGINE_COMPUTE && q->state == SIM_STREAM_RUNNING)
            HOLDS(m->device[m->context[context].device].copy_queue[q->engine - 1] == queue, queue);
    }
    if (sim_is_running(q))
        check_kernel(m, queue, t);
    else
        HOLDS(q->granted == 0 && count(&q->held) == 0, queue);
}

/* -------- contexts and devices -------- */

static void check_context(const struct sim_machine *m, uint32_t device, uint32_t context, struct tally *t)
{
    const struct sim_shared_context *ctx = &m->context[context];
    HOLDS(ctx->device == device, context);
    HOLDS(ctx->process && m->process[ctx->process].state == SIM_PROCESS_LIVE, context);
    HOLDS(m->context[ctx->mate].group == ctx->group && m->context[ctx->mate].device == device, context);
    HOLDS(ctx->sms_in_use <= ctx->sms_limit && ctx->sms_limit <= count(&ctx->allowed), context);
    t->contexts++;
    t->wants = t->running = t->sms = 0;
    for (uint32_t q = ctx->first; q; q = m->queue[q].next)
        check_queue(m, context, q, t);
    HOLDS(t->wants == ctx->wants, context);
    HOLDS(t->running == ctx->running, context);
    HOLDS(t->sms == ctx->sms_in_use, context);
}

static void check_device(const struct sim_machine *m, uint32_t device, struct tally *t)
{
    const struct sim_device *d = &m->device[device];
    uint32_t wants = 0;
    t->busy = (struct sim_sms){{0}};
    t->copies_ready[0] = t->copies_ready[1] = 0;
    for (uint32_t c = d->first_context; c; c = m->context[c].next) {
        check_context(m, device, c, t);
        wants += m->context[c].wants;
    }
    bool pending = d->next_ns <= m->now_ns;
    HOLDS(m->next_ns <= d->next_ns, device);
    HOLDS(d->phase <= SIM_PHASE_RUN && d->phase_start_ns <= m->now_ns, device);
    HOLDS(d->phase != SIM_PHASE_RUN || d->current, device);
    HOLDS(d->phase != SIM_PHASE_IDLE || !wants || pending, device);
    HOLDS(d->phase != SIM_PHASE_SWITCH || d->phase_end_ns >= d->phase_start_ns, device);
    for (int i = 0; i < SIM_MAX_SMS / 64; i++)
        HOLDS(d->phase != SIM_PHASE_RUN || d->busy.word[i] == t->busy.word[i], device);
    for (int e = 0; e < 2; e++)
        HOLDS(d->copies_ready[e] == t->copies_ready[e], device);
}

static void check_lists(const struct sim_machine *m, const struct tally *t)
{
    uint32_t blocked = 0, queues = 0, contexts = 0;
    for (uint32_t q = m->first_blocked; q; q = m->queue[q].next_blocked) {
        HOLDS(m->queue[q].state == SIM_STREAM_BLOCKED, q);
        blocked++;
    }
    for (uint32_t q = m->free_queue; q; q = m->queue[q].next) {
        HOLDS(m->queue[q].context == 0, q);
        queues++;
    }
    for (uint32_t c = m->free_context; c; c = m->context[c].next) {
        HOLDS(m->context[c].process == 0, c);
        contexts++;
    }
    HOLDS(blocked == t->blocked, blocked);
    HOLDS(queues + t->queues == m->queues_made, queues);
    HOLDS(contexts + t->contexts == m->contexts_made, contexts);
}

/* -------- sums -------- */

static void check_sums(const struct sim_machine *m)
{
    uint64_t gpu_ns[SIM_MAX_DEVICES] = {0}, bytes[SIM_MAX_DEVICES] = {0}, sampled_ns[SIM_MAX_DEVICES] = {0};
    uint64_t sample = sim_sample_last(m);
    for (uint32_t p = 1; p <= SIM_MAX_PROCESSES; p++) {
        const struct sim_process *process = &m->process[p];
        if (process->state == SIM_PROCESS_FREE)
            continue;
        for (uint32_t d = 0; d < m->device_count; d++) {
            const struct sim_process_device *usage = &process->device[d];
            uint64_t sum = 0;
            for (int kind = 0; kind < SIM_MEM_KINDS; kind++)
                sum += usage->memory[kind];
            HOLDS(sum == usage->used_bytes && sum <= usage->peak_bytes, p);
            HOLDS(process->state == SIM_PROCESS_LIVE || (sum == 0 && usage->contexts == 0), p);
            bytes[d] += sum;
            gpu_ns[d] += sim_process_gpu_ns(m, p, d);
            sampled_ns[d] += sample ? sim_sample_process_ns(m, p, d, sample, sample) : 0;
        }
    }
    for (uint32_t d = 0; d < m->device_count; d++) {
        gpu_ns[d] += m->device[d].forgotten_gpu_ns + sim_device_idle_ns(m, d) + sim_device_switch_ns(m, d);
        HOLDS(gpu_ns[d] == sim_device_elapsed_ns(m, d), d);
        HOLDS(!sample || sampled_ns[d] <= sim_sample_device_ns(m, d, sample, sample), d);
        HOLDS(!sample || sim_sample_device_ns(m, d, sample, sample) <= m->sample_ns, d);
        HOLDS(bytes[d] == m->device[d].used_bytes && bytes[d] <= m->device[d].profile.memory_bytes, d);
    }
}

void sim_check(const struct sim_machine *m)
{
    struct tally t = {0};
    HOLDS(m->journal_count == 0, m->journal_count);
    HOLDS(m->now_ns < m->sample_due_ns, 0);
    for (uint32_t d = 0; d < m->device_count; d++)
        check_device(m, d, &t);
    check_lists(m, &t);
    check_sums(m);
    for (uint32_t i = 0; i < m->live_count; i++)
        HOLDS(m->process[m->live[i]].state == SIM_PROCESS_LIVE, i);
}

#endif
