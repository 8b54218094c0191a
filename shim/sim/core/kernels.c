/* kernels.c -- what the contexts on the compute engine do with its SMs.
 *
 * A kernel that can use s SMs for t ns needs s*t SM-nanoseconds; while it holds g of them it gets through g of these a
 * nanosecond.  SMs go to kernels in order of priority, then of readiness, and what the first leaves the next may have
 * (the left-over policy): one that finds too few begins slower, and gets more as they become free.  A context's
 * kernels use only its partition's SMs (green contexts) and no more than its limit (MPS thread percentage).  A kernel
 * of more than one wave of blocks gives way to a higher priority between two waves; any other runs to its end. */
#include "model.h"

static uint32_t bits(uint64_t word)
{
    word -= word >> 1 & 0x5555555555555555;
    word = (word & 0x3333333333333333) + (word >> 2 & 0x3333333333333333);
    return (uint32_t)(((word + (word >> 4)) & 0x0f0f0f0f0f0f0f0f) * 0x0101010101010101 >> 56);
}

static uint64_t lowest(uint64_t word, uint32_t most)
{
    uint64_t chosen = 0;
    for (; most > 0; most--) {
        chosen |= word & -word;
        word &= word - 1;
    }
    return chosen;
}

/* The first `most` of `from` that are in `allowed` too; returns how many there are. */
static uint32_t choose(struct sim_sms *chosen, const struct sim_sms *from, const struct sim_sms *allowed,
                       uint32_t most)
{
    uint32_t found = 0;
    *chosen = (struct sim_sms){{0}};
    for (int i = 0; i < SIM_MAX_SMS / 64 && found < most; i++) {
        uint64_t word = from->word[i] & allowed->word[i];
        uint32_t here = word ? bits(word) : 0, wanted = most - found;
        chosen->word[i] = here > wanted ? lowest(word, wanted) : word;
        found += here > wanted ? wanted : here;
    }
    return found;
}

static void add(struct sim_machine *m, struct sim_sms *to, const struct sim_sms *more)
{
    for (int i = 0; i < SIM_MAX_SMS / 64; i++)
        if (more->word[i])
            SIM_PUT(m, to->word[i], to->word[i] | more->word[i]);
}

static void take_away(struct sim_machine *m, struct sim_sms *from, const struct sim_sms *less)
{
    for (int i = 0; i < SIM_MAX_SMS / 64; i++)
        if (from->word[i] & less->word[i])
            SIM_PUT(m, from->word[i], from->word[i] & ~less->word[i]);
}

bool sim_on_engine(const struct sim_machine *m, uint32_t context)
{
    const struct sim_device *d = &m->device[m->context[context].device];
    return d->phase == SIM_PHASE_RUN && d->current &&
           m->context[d->current].group == m->context[context].group;
}

/* -------- one kernel's progress -------- */

static uint64_t needs_sm_ns(const struct sim_command *c)
{
    return c->sms * c->work_ns;
}

uint64_t sim_kernel_left_sm_ns(const struct sim_machine *m, uint32_t queue)
{
    const struct sim_queue *q = &m->queue[queue];
    uint64_t got = sim_on_engine(m, q->context) ? (m->now_ns - q->since_ns) * q->granted : 0;
    return got < q->left_sm_ns ? q->left_sm_ns - got : 0;
}

uint64_t sim_kernel_done_sm_ns(const struct sim_machine *m, uint32_t queue)
{
    const struct sim_queue *q = &m->queue[queue];
    return needs_sm_ns(&m->command[queue][q->head & (SIM_QUEUE_DEPTH - 1)]) - sim_kernel_left_sm_ns(m, queue);
}

static uint64_t block_ns(const struct sim_command *c)
{
    uint64_t ns = c->work_ns / c->waves;
    return ns ? ns : 1;
}

/* How far the blocks that run now are. */
static uint64_t wave_ns(const struct sim_machine *m, const struct sim_queue *q, const struct sim_command *c)
{
    return c->waves > 1 ? (q->wave_ns + m->now_ns - q->since_ns) % block_ns(c) : 0;
}

/* Its pace changes now. */
static void bring_up(struct sim_machine *m, uint32_t queue)
{
    struct sim_queue *q = &m->queue[queue];
    if (q->since_ns == m->now_ns)
        return;
    SIM_PUT(m, q->wave_ns, wave_ns(m, q, sim_queue_head(m, queue)));
    SIM_PUT(m, q->left_sm_ns, sim_kernel_left_sm_ns(m, queue));
    SIM_PUT(m, q->since_ns, m->now_ns);
}

static void set_end(struct sim_machine *m, struct sim_queue *q)
{
    uint64_t left_ns = q->granted ? (q->left_sm_ns + q->granted - 1) / q->granted : 0;
    SIM_PUT(m, q->end_ns, q->granted ? m->now_ns + left_ns : UINT64_MAX);
}

/* The same for one that begins. */
static void set_first_end(struct sim_machine *m, struct sim_queue *q, const struct sim_command *c)
{
    if (q->granted == c->sms)
        SIM_PUT(m, q->end_ns, m->now_ns + c->work_ns);
    else
        set_end(m, q);
}

/* A division of the SMs ends here, if anybody is to be told from anybody. */
static void divide_time(struct sim_machine *m, struct sim_device *d)
{
    if (m->context[d->current].mate != d->current)
        sim_account(m, d);
}

static void give(struct sim_machine *m, struct sim_device *d, uint32_t queue, const struct sim_sms *more,
                 uint32_t sms)
{
    struct sim_queue *q = &m->queue[queue];
    struct sim_shared_context *ctx = &m->context[q->context];
    const struct sim_command *c = sim_queue_head(m, queue);
    bool begins = !sim_is_running(q);
    divide_time(m, d);
    if (begins) {
        sim_queue_place(m, queue, SIM_STREAM_RUNNING, SIM_ENGINE_COMPUTE);
        SIM_PUT(m, q->since_ns, m->now_ns);
        SIM_PUT(m, q->wave_ns, 0);
        SIM_PUT(m, q->left_sm_ns, needs_sm_ns(c));
        SIM_PUT(m, ctx->running, ctx->running + 1);
    } else
        bring_up(m, queue);
    SIM_PUT(m, q->granted, q->granted + sms);
    SIM_PUT(m, ctx->sms_in_use, ctx->sms_in_use + sms);
    add(m, &q->held, more);
    add(m, &d->busy, more);
    if (begins)
        set_first_end(m, q, c);
    else
        set_end(m, q);
}

static void take(struct sim_machine *m, struct sim_device *d, uint32_t queue, const struct sim_sms *less,
                 uint32_t sms)
{
    struct sim_queue *q = &m->queue[queue];
    struct sim_shared_context *ctx = &m->context[q->context];
    divide_time(m, d);
    bring_up(m, queue);
    SIM_PUT(m, q->granted, q->granted - sms);
    SIM_PUT(m, ctx->sms_in_use, ctx->sms_in_use - sms);
    take_away(m, &q->held, less);
    take_away(m, &d->busy, less);
    set_end(m, q);
}

void sim_kernel_leave(struct sim_machine *m, uint32_t queue)
{
    struct sim_queue *q = &m->queue[queue];
    struct sim_shared_context *ctx = &m->context[q->context];
    struct sim_device *d = &m->device[ctx->device];
    struct sim_process_device *usage = &m->process[ctx->process].device[ctx->device];
    bool on_engine = sim_on_engine(m, q->context);
    uint64_t done = sim_kernel_done_sm_ns(m, queue);
    SIM_PUT(m, ctx->sm_ns, ctx->sm_ns + done);
    SIM_PUT(m, usage->sm_ns, usage->sm_ns + done);
    if (on_engine) {
        divide_time(m, d);
        take_away(m, &d->busy, &q->held);
    }
    SIM_PUT(m, ctx->running, ctx->running - 1);
    SIM_PUT(m, ctx->sms_in_use, ctx->sms_in_use - q->granted);
    take_away(m, &q->held, &q->held);
    SIM_PUT(m, q->granted, 0);
}

/* -------- who comes first -------- */

static bool goes_before(struct sim_machine *m, uint32_t a, uint32_t b)
{
    const struct sim_queue *x = &m->queue[a], *y = &m->queue[b];
    const struct sim_command *cx = sim_queue_head(m, a), *cy = sim_queue_head(m, b);
    uint32_t level_x = m->context[x->context].level, level_y = m->context[y->context].level;
    if (level_x != level_y)
        return level_x < level_y;
    if (cx->priority != cy->priority)
        return cx->priority < cy->priority;
    if (x->queued_ns != y->queued_ns)
        return x->queued_ns < y->queued_ns;
    return cx->ticket != cy->ticket ? cx->ticket < cy->ticket : a < b;
}

/* Whether a's blocks may take the place of b's. */
static bool outranks(struct sim_machine *m, uint32_t a, uint32_t b)
{
    uint32_t level_a = m->context[m->queue[a].context].level, level_b = m->context[m->queue[b].context].level;
    return level_a != level_b ? level_a < level_b
                              : sim_queue_head(m, a)->priority < sim_queue_head(m, b)->priority;
}

/* SMs that the head could still use. */
static uint32_t lacks(struct sim_machine *m, uint32_t queue)
{
    const struct sim_queue *q = &m->queue[queue];
    const struct sim_shared_context *ctx = &m->context[q->context];
    const struct sim_command *c = sim_queue_head(m, queue);
    bool ready = q->state == SIM_STREAM_READY && q->engine == SIM_ENGINE_COMPUTE && c->kind == SIM_CMD_WORK;
    if (!ready && !sim_is_running(q))
        return 0;
    uint32_t most = c->sms < ctx->sms_limit ? c->sms : ctx->sms_limit;
    return most - q->granted;
}

/* The first in order after `last` (0: of all) that lacks SMs. */
static uint32_t next_lacking(struct sim_machine *m, const struct sim_device *d, uint32_t last)
{
    uint32_t best = 0;
    for (uint32_t c = d->current; c; c = sim_mate_after(m, d->current, c))
        if (m->context[c].wants)
            for (uint32_t q = m->context[c].first; q; q = m->queue[q].next)
                if (lacks(m, q) && q != last && (!last || goes_before(m, last, q)) &&
                    (!best || goes_before(m, q, best)))
                    best = q;
    return best;
}

/* -------- starting and ending -------- */

/* Event records wait for their context's turn, and for nothing else. */
static bool stamp_ready(struct sim_machine *m, const struct sim_device *d)
{
    bool any = false;
    for (uint32_t c = d->current; c; c = sim_mate_after(m, d->current, c))
        for (uint32_t q = m->context[c].wants ? m->context[c].first : 0; q; q = m->queue[q].next)
            if (m->queue[q].state == SIM_STREAM_READY && m->queue[q].engine == SIM_ENGINE_COMPUTE &&
                sim_queue_head(m, q)->kind == SIM_CMD_STAMP) {
                if (sim_journal_tight(m))
                    return false;
                sim_queue_complete(m, q);
                sim_queue_settle(m, q, SIM_ENGINE_COMPUTE);
                any = true;
            }
    if (any)
        sim_queue_unblock(m);
    return any;
}

/* Between two waves lower ones give way to `queue`, as far as it lacks SMs; those of its own context only where that is
 * at its limit. */
static void make_way(struct sim_machine *m, struct sim_device *d, uint32_t queue, uint32_t lacking,
                     bool own_only)
{
    const struct sim_sms *allowed = &m->context[m->queue[queue].context].allowed;
    for (uint32_t c = d->current; c && lacking; c = sim_mate_after(m, d->current, c))
        for (uint32_t q = m->context[c].running ? m->context[c].first : 0; q && lacking;
             q = m->queue[q].next) {
            const struct sim_command *head = sim_queue_head(m, q);
            if (!sim_is_running(&m->queue[q]) || !m->queue[q].granted || head->waves <= 1 ||
                (own_only && c != m->queue[queue].context) || wave_ns(m, &m->queue[q], head) != 0 ||
                !outranks(m, queue, q))
                continue;
            struct sim_sms given;
            uint32_t sms = choose(&given, &m->queue[q].held, allowed, lacking);
            if (sms)
                take(m, d, q, &given, sms);
            lacking -= sms;
        }
}

/* SMs for `queue` now: free ones of its partition, within its context's limit. */
static uint32_t find(struct sim_sms *more, const struct sim_machine *m, const struct sim_device *d,
                     uint32_t queue, uint32_t most, const struct sim_sms *kept)
{
    const struct sim_shared_context *ctx = &m->context[m->queue[queue].context];
    uint32_t room = ctx->sms_limit - ctx->sms_in_use;
    struct sim_sms free;
    for (int i = 0; i < SIM_MAX_SMS / 64; i++)
        free.word[i] = ~(d->busy.word[i] | kept->word[i]);
    return choose(more, &free, &ctx->allowed, most < room ? most : room);
}

/* True when an event of a beginning was stamped: others may have waited for it. */
static bool give_out(struct sim_machine *m, struct sim_device *d)
{
    bool stamped = false;
    struct sim_sms more,
        kept = {{0}}; /* for a kernel that starts whole or not at all: nobody overtakes it there */
    for (uint32_t q = 0; (q = next_lacking(m, d, q)) && !sim_journal_tight(m);) {
        const struct sim_shared_context *ctx = &m->context[m->queue[q].context];
        const struct sim_command *c = sim_queue_head(m, q);
        uint32_t most = lacks(m, q), got = find(&more, m, d, q, most, &kept);
        if (got < most) {
            make_way(m, d, q, most - got, ctx->sms_limit - ctx->sms_in_use < most);
            got = find(&more, m, d, q, most, &kept);
        }
        if (got == most || (got && !(c->flags & SIM_CMD_WHOLE))) {
            give(m, d, q, &more, got);
            if (c->event && c->waves <= 1) {
                sim_queue_stamp(m, c);
                stamped = true;
            }
        } else if (c->flags & SIM_CMD_WHOLE)
            for (int i = 0; i < SIM_MAX_SMS / 64; i++)
                kept.word[i] |= ctx->allowed.word[i];
        if (got < most && ctx->sms_limit == d->profile.sm_count)
            break; /* none is left for anybody */
        if (ctx->wants == 1 && m->context[d->current].mate == d->current)
            break; /* nobody else wants any */
    }
    if (stamped)
        sim_queue_unblock(m);
    return stamped;
}

void sim_kernels_start(struct sim_machine *m, struct sim_device *d)
{
    do {
        while (stamp_ready(m, d))
            ;
    } while (give_out(m, d) && !sim_journal_tight(m));
}

void sim_kernels_end(struct sim_machine *m, struct sim_device *d)
{
    for (uint32_t c = d->current; c; c = sim_mate_after(m, d->current, c))
        for (uint32_t q = m->context[c].running ? m->context[c].first : 0; q && m->context[c].running;
             q = m->queue[q].next) {
            if (!sim_is_running(&m->queue[q]) || m->queue[q].end_ns > m->now_ns)
                continue;
            if (sim_journal_tight(m))
                return;
            sim_kernel_leave(m, q);
            sim_queue_complete(m, q);
            sim_queue_settle(m, q, SIM_ENGINE_COMPUTE);
        }
}

void sim_kernels_preempt(struct sim_machine *m, struct sim_device *d)
{
    for (uint32_t c = d->current; c; c = sim_mate_after(m, d->current, c))
        for (uint32_t q = m->context[c].running ? m->context[c].first : 0; q; q = m->queue[q].next)
            if (sim_is_running(&m->queue[q]))
                bring_up(m, q);
    take_away(m, &d->busy, &d->busy);
}

void sim_kernels_resume(struct sim_machine *m, struct sim_device *d)
{
    for (uint32_t c = d->current; c; c = sim_mate_after(m, d->current, c))
        for (uint32_t q = m->context[c].running ? m->context[c].first : 0; q; q = m->queue[q].next)
            if (sim_is_running(&m->queue[q])) {
                SIM_PUT(m, m->queue[q].since_ns, m->now_ns);
                set_end(m, &m->queue[q]);
                add(m, &d->busy, &m->queue[q].held);
            }
}

/* When the first wave of those that would give way to `queue` ends, if before `next`. */
static uint64_t next_wave(struct sim_machine *m, const struct sim_device *d, uint32_t queue, uint64_t next)
{
    for (uint32_t c = d->current; c; c = sim_mate_after(m, d->current, c))
        for (uint32_t q = m->context[c].running ? m->context[c].first : 0; q; q = m->queue[q].next) {
            const struct sim_command *head = sim_queue_head(m, q);
            if (!sim_is_running(&m->queue[q]) || head->waves <= 1 || !m->queue[q].granted ||
                !outranks(m, queue, q))
                continue;
            uint64_t end = m->now_ns + block_ns(head) - wave_ns(m, &m->queue[q], head);
            next = end < next ? end : next;
        }
    return next;
}

uint64_t sim_kernels_next(struct sim_machine *m, const struct sim_device *d)
{
    uint64_t next = UINT64_MAX;
    bool waves = false;
    for (uint32_t c = d->current; c; c = sim_mate_after(m, d->current, c))
        for (uint32_t q = m->context[c].running ? m->context[c].first : 0; q; q = m->queue[q].next)
            if (sim_is_running(&m->queue[q])) {
                next = m->queue[q].end_ns < next ? m->queue[q].end_ns : next;
                waves |= sim_queue_head(m, q)->waves > 1;
            }
    uint32_t first = waves ? next_lacking(m, d, 0) : 0;
    return first ? next_wave(m, d, first, next) : next;
}
