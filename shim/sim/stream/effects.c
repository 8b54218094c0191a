/* effects.c -- what finished work does to memory, and the work that only the host can finish.
 *
 * The model completes commands, in whichever process looks; their effects are the issuing process's own.  They are
 * carried out in the order in which the model completed them, over all streams, by whoever needs to see them: a
 * thread that has waited, or the helper for those that the host may be watching for. */
#include "model.h"
#include "process.h"

#include <stdlib.h>
#include <string.h>

#define POLL_NS 50000 /* between looks at a value that a stream waits for */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct sim_stream *streams[SIM_MAX_STREAMS];
static uint32_t stream_count;
static _Atomic uint64_t expected; /* effects queued and not carried out */

void sim_effects_add(struct sim_stream *stream)
{
    pthread_mutex_lock(&lock);
    streams[stream_count++] = stream;
    pthread_mutex_unlock(&lock);
}

void sim_effects_remove(struct sim_stream *stream)
{
    pthread_mutex_lock(&lock);
    for (uint32_t i = 0; i < stream_count; i++)
        if (streams[i] == stream) {
            streams[i] = streams[--stream_count];
            break;
        }
    pthread_mutex_unlock(&lock);
}

void sim_effects_expect(void)
{
    atomic_fetch_add_explicit(&expected, 1, memory_order_relaxed);
}

bool sim_effects_expected(void)
{
    return atomic_load_explicit(&expected, memory_order_acquire) != 0; /* what was done for others is seen */
}

void sim_effects_pause(void)
{
    pthread_mutex_lock(&lock);
}

void sim_effects_resume(void)
{
    pthread_mutex_unlock(&lock);
}

static struct sim_work *work_at(struct sim_stream *stream, uint64_t command)
{
    return &stream->effect[command & (SIM_QUEUE_DEPTH - 1)];
}

/* Step over finished commands that have no effect; false when none with one is due. */
static bool find_due(struct sim_stream *stream)
{
    uint64_t done = stream->effects_done;
    if (done >= stream->last_effect && done < stream->effects_due)
        done = stream->effects_due;
    while (done < stream->effects_due && !sim_has_effect(work_at(stream, done)->kind))
        done++;
    stream->effects_done = done;
    return done < stream->effects_due;
}

static void write_value(const struct sim_work *work)
{
    if (work->value.bytes == 8)
        atomic_store((_Atomic uint64_t *)work->value.address, work->value.value);
    else
        atomic_store((_Atomic uint32_t *)work->value.address, (uint32_t)work->value.value);
}

/* Found out here, by the process that did it. */
static void illegal_address(const struct sim_context *ctx)
{
    struct sim_machine *m = sim_driver.machine;
    sim_machine_lock(m);
    sim_context_fail_now(m, ctx->shared, CUDA_ERROR_ILLEGAL_ADDRESS);
    sim_machine_unlock(m);
}

static void perform(const struct sim_stream *stream, struct sim_work *work, bool dropped)
{
    if (!dropped && !sim_work_still_there(work)) {
        illegal_address(stream->context);
        dropped = true;
    }
    if (dropped) {
        if (work->kind == SIM_WORK_COPY && work->copy.staged)
            free((void *)work->copy.source);
    } else if (work->kind == SIM_WORK_COPY)
        sim_copy_perform(&work->copy);
    else if (work->kind == SIM_WORK_FILL)
        sim_fill_perform(&work->fill);
    else
        write_value(work);
}

/* With the lock held. */
static void run_due(void)
{
    struct sim_machine *m = sim_driver.machine;
    sim_machine_lock(m);
    for (uint32_t i = 0; i < stream_count; i++)
        streams[i]->effects_due = m->queue[streams[i]->queue].head;
    sim_machine_unlock(m);
    for (;;) {
        struct sim_stream *first = NULL;
        uint64_t first_ns = UINT64_MAX;
        bool dropped = false;
        for (uint32_t i = 0; i < stream_count; i++) {
            if (!find_due(streams[i]))
                continue;
            const struct sim_command *c = sim_command_at(m, streams[i]->queue, streams[i]->effects_done);
            uint64_t end_ns = c->end_ns;
            if (end_ns < first_ns) {
                first = streams[i];
                first_ns = end_ns;
                dropped = c->dropped;
            }
        }
        if (!first)
            return;
        perform(first, work_at(first, first->effects_done), dropped);
        first->effects_done++;
        atomic_fetch_sub_explicit(&expected, 1, memory_order_release);
    }
}

void sim_effects_run(void)
{
    if (!sim_effects_expected())
        return;
    pthread_mutex_lock(&lock);
    run_due();
    pthread_mutex_unlock(&lock);
}

static bool value_reached(const struct sim_work *work)
{
    uint64_t now = work->value.bytes == 8 ? atomic_load((_Atomic uint64_t *)work->value.address)
                                          : atomic_load((_Atomic uint32_t *)work->value.address);
    uint64_t value = work->value.value;
    bool wide = work->value.bytes == 8;
    switch (work->value.flags & 3) {
    case CU_STREAM_WAIT_VALUE_GEQ:
        return wide ? (int64_t)(now - value) >= 0 : (int32_t)((uint32_t)now - (uint32_t)value) >= 0;
    case CU_STREAM_WAIT_VALUE_EQ:
        return wide ? now == value : (uint32_t)now == (uint32_t)value;
    case CU_STREAM_WAIT_VALUE_AND:
        return (now & value) != 0;
    default:
        return wide ? ~(now | value) != 0 : (uint32_t) ~(now | value) != 0;
    }
}

/* A stream whose head waits for the host, with what it asks for. */
static bool find_host_work(struct sim_work *work, uint32_t *queue, bool *failed, uint32_t from)
{
    struct sim_machine *m = sim_driver.machine;
    for (uint32_t i = 0; i < stream_count; i++) {
        struct sim_stream *stream = streams[(from + i) % stream_count];
        const struct sim_queue *q = &m->queue[stream->queue];
        if (q->state != SIM_STREAM_HOST)
            continue;
        *work = *work_at(stream, q->head);
        *queue = stream->queue;
        *failed = sim_context_error(stream->context) != CUDA_SUCCESS;
        if (*failed || work->kind == SIM_WORK_HOST || value_reached(work))
            return true;
    }
    return false;
}

static uint64_t next_look(void)
{
    struct sim_machine *m = sim_driver.machine;
    uint64_t next = UINT64_MAX;
    for (uint32_t i = 0; i < stream_count; i++) {
        struct sim_stream *stream = streams[i];
        uint64_t command = stream->effects_done;
        uint64_t last = stream->last_effect;
        while (command < last && !sim_has_effect(work_at(stream, command)->kind) &&
               !sim_needs_host(work_at(stream, command)->kind))
            command++;
        if (command >= last)
            continue;
        /* A host command is due when those before it are done. */
        bool host = sim_needs_host(work_at(stream, command)->kind);
        uint64_t at = sim_queue_predict(m, stream->queue, command + !host);
        if (m->queue[stream->queue].state == SIM_STREAM_HOST)
            at = m->now_ns + POLL_NS;
        next = at < next ? at : next;
    }
    return next;
}

uint64_t sim_effects_host(void)
{
    struct sim_machine *m = sim_driver.machine;
    static uint32_t from; /* only the helper comes here */
    for (;;) {
        struct sim_work work;
        uint32_t queue;
        bool failed;
        pthread_mutex_lock(&lock);
        run_due();
        sim_machine_lock(m);
        bool found = find_host_work(&work, &queue, &failed, from++);
        uint64_t next = found ? 0 : next_look();
        sim_machine_unlock(m);
        pthread_mutex_unlock(&lock);
        if (!found)
            return next;
        if (work.kind == SIM_WORK_HOST && !failed)
            work.host.function(work.host.argument);
        sim_machine_lock(m);
        sim_queue_host_done(m, queue);
        sim_machine_unlock(m);
        sim_wake(&m->process[sim_driver.process].wake);
    }
}
