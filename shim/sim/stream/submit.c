/* submit.c -- from a piece of work to a command in the shared queue of its stream. */
#include "faults.h"
#include "model.h"
#include "process.h"

static enum sim_engine copy_engine(const struct sim_copy *copy)
{
    if (copy->source_host)
        return copy->destination_host ? SIM_ENGINE_NONE : SIM_ENGINE_H2D;
    return copy->destination_host ? SIM_ENGINE_D2H : SIM_ENGINE_COMPUTE;
}

static uint8_t flags_of(const struct sim_launch *launch)
{
    return (uint8_t)(SIM_CMD_KERNEL | (launch->cooperative ? SIM_CMD_WHOLE : 0) |
                     (launch->own_priority ? SIM_CMD_OWN_PRIORITY : 0));
}

static struct sim_command command_of(const struct sim_work *work)
{
    struct sim_command c = {.kind = SIM_CMD_WORK, .engine = SIM_ENGINE_NONE};
    switch (work->kind) {
    case SIM_WORK_KERNEL:
        c.engine = SIM_ENGINE_COMPUTE;
        c.flags = flags_of(&work->launch);
        c.priority = (int8_t)work->launch.priority;
        c.event = work->launch.begun ? work->launch.begun->slot : 0;
        break;
    case SIM_WORK_FILL:
        c.engine = SIM_ENGINE_COMPUTE;
        break;
    case SIM_WORK_COPY:
        c.engine = (uint8_t)copy_engine(&work->copy);
        c.bytes = work->copy.width * work->copy.height * work->copy.depth;
        break;
    case SIM_WORK_RECORD:
        c.event = work->event.event->slot;
        c.kind = SIM_CMD_STAMP;
        break;
    case SIM_WORK_WAIT:
        c.event = work->event.event->slot;
        c.kind = SIM_CMD_WAIT_EVENT;
        c.flags = work->event.event->share ? SIM_CMD_FOREIGN : 0;
        break;
    case SIM_WORK_WRITE_VALUE:
        c.kind = SIM_CMD_STAMP;
        break;
    case SIM_WORK_HOST:
    case SIM_WORK_WAIT_VALUE:
        c.kind = SIM_CMD_HOST;
        break;
    case SIM_WORK_MIGRATE:
        c.engine = work->migrate.to_host ? SIM_ENGINE_D2H : SIM_ENGINE_H2D;
        c.bytes = work->migrate.bytes;
        break;
    case SIM_WORK_EMPTY:
        break;
    }
    if (c.kind == SIM_CMD_WORK && c.engine != SIM_ENGINE_NONE) {
        c.work_ns = work->duration_ns;
        c.sms = work->sms ? work->sms : 1;
        c.waves = work->waves > 1 ? work->waves : 1;
    }
    return c;
}

/* A command's place is free when it is done and its effect carried out. */
static bool has_room(const struct sim_stream *stream, const struct sim_queue *q)
{
    uint64_t done = atomic_load(&stream->effects_done), kept = q->head;
    if (done < atomic_load(&stream->last_effect) && done < kept)
        kept = done;
    return q->tail - kept < SIM_QUEUE_DEPTH;
}

/* With the machine's lock held, and again held on return. */
static CUresult wait_for_room(struct sim_stream *stream)
{
    struct sim_machine *m = sim_driver.machine;
    struct sim_process *self = &m->process[sim_driver.process];
    const struct sim_queue *q = &m->queue[stream->queue];
    unsigned long long serial = stream->serial;
    while (!has_room(stream, q)) {
        bool full = q->tail - q->head >= SIM_QUEUE_DEPTH;
        uint64_t at = sim_queue_predict(m, stream->queue, q->head + 1);
        uint32_t seen = atomic_load(&self->wake);
        sim_machine_unlock(m);
        sim_effects_run();
        if (full)
            sim_sleep_until(&self->wake, seen, at);
        sim_machine_lock(m);
        if (stream->serial != serial)
            return CUDA_ERROR_CONTEXT_IS_DESTROYED;
    }
    return CUDA_SUCCESS;
}

/* Does the host watch for it, without a call to the driver? */
static bool host_visible(const struct sim_work *work)
{
    return work->kind == SIM_WORK_WRITE_VALUE || sim_needs_host(work->kind) ||
           (work->kind == SIM_WORK_COPY && work->copy.destination_host);
}

CUresult sim_submit_now(struct sim_stream *stream, struct sim_work *work)
{
    struct sim_machine *m = sim_driver.machine;
    struct sim_command command = command_of(work);
    bool effect = sim_has_effect(work->kind), host = sim_needs_host(work->kind);
    uint64_t at = UINT64_MAX;
    if (__builtin_expect(atomic_load_explicit(&sim_gate, memory_order_relaxed) & SIM_GATE_FAULTS, 0) &&
        work->kind == SIM_WORK_KERNEL)
        command.fault = sim_kernel_fault(work->launch.function->name, &command.work_ns);
    sim_machine_lock(m);
    struct sim_queue *q = &m->queue[stream->queue];
    CUresult result = CUDA_SUCCESS;
    if (__builtin_expect(!has_room(stream, q), 0))
        result = wait_for_room(stream);
    if (result == CUDA_SUCCESS)
        result = sim_context_error(stream->context);
    if (__builtin_expect(result != CUDA_SUCCESS, 0)) {
        sim_machine_unlock(m);
        return result;
    }
    if (command.event) {
        uint64_t submitted = atomic_load(&m->event[command.event].submitted);
        if (command.kind != SIM_CMD_WAIT_EVENT)
            command.event_sequence = submitted + 1;
        else
            command.event_sequence = work->event.sequence ? work->event.sequence : submitted;
    }
    struct sim_work *kept = &stream->effect[q->tail & (SIM_QUEUE_DEPTH - 1)];
    if (effect || host) {
        *kept = *work;
        atomic_store(&stream->last_effect, q->tail + 1);
        if (effect)
            sim_effects_expect();
    } else
        kept->kind = work->kind;
    sim_queue_append(m, stream->queue, command);
    if (((effect || host) && host_visible(work)) || command.fault)
        at = sim_queue_predict(m, stream->queue, q->tail - host);
    uint64_t number = q->tail;
    sim_machine_unlock(m);
    if (command.fault)
        sim_failure_expect(stream->queue, number);
    if (at != UINT64_MAX)
        sim_helper_expect(at);
    return CUDA_SUCCESS;
}

CUresult sim_submit_after_if_open(const struct sim_stream_entry *entry, struct sim_point point)
{
    struct sim_machine *m = sim_driver.machine;
    struct sim_stream *stream = entry->stream;
    CUresult result = CUDA_SUCCESS;
    sim_machine_lock(m);
    struct sim_queue *q = &m->queue[entry->now.queue];
    if (stream->serial == entry->now.serial && point.queue != entry->now.queue &&
        m->queue[point.queue].head < point.command) {
        if (!has_room(stream, q))
            result = wait_for_room(stream);
        if (result == CUDA_SUCCESS) {
            stream->effect[q->tail & (SIM_QUEUE_DEPTH - 1)].kind = SIM_WORK_EMPTY;
            sim_queue_append(m, stream->queue,
                             (struct sim_command){.kind = SIM_CMD_WAIT_QUEUE,
                                                  .engine = SIM_ENGINE_NONE,
                                                  .event = point.queue,
                                                  .event_sequence = point.command});
        }
    }
    sim_machine_unlock(m);
    return result;
}

CUresult sim_submit_after(struct sim_stream *stream, struct sim_point point)
{
    struct sim_stream_entry entry = {stream, {.queue = stream->queue, .serial = stream->serial}};
    return sim_submit_after_if_open(&entry, point);
}

CUresult sim_submit(struct sim_stream *stream, struct sim_work *work)
{
    CUresult result;
    if (__builtin_expect(stream->capture != NULL, 0) && sim_capture_work(stream, work, &result))
        return result;
    if (stream == stream->context->legacy)
        SIM_TRY(sim_capture_legacy_use(stream->context));
    return sim_submit_now(stream, work);
}
