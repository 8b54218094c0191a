/* event.c -- events: their slots lie in the shared file, so that whoever advances the model can stamp them.
 *
 * Slots come in blocks of 64 that one process owns; inside a block it deals them out without the lock.  A slot's
 * counts only grow, so a wait that still refers to an event destroyed since is not confused by its successor. */
#include "event_ipc.h"
#include "process.h"
#include "recognise.h"

#include <stdlib.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static uint32_t *free_slots;
static uint32_t free_count, free_capacity, first_block;

/* With the lock held. */
static bool add_block(void)
{
    struct sim_machine *m = sim_driver.machine;
    uint32_t *grown = realloc(free_slots, (free_capacity + SIM_BLOCK_EVENTS) * sizeof(*grown));
    if (!grown)
        return false;
    free_slots = grown;
    free_capacity += SIM_BLOCK_EVENTS;
    sim_machine_lock(m);
    uint32_t block = first_block;
    while (block < SIM_EVENT_BLOCKS && m->block_owner[block])
        block++;
    if (block < SIM_EVENT_BLOCKS &&
        !sim_have_room(&m->event[block * SIM_BLOCK_EVENTS], SIM_BLOCK_EVENTS * sizeof(m->event[0])))
        block = SIM_EVENT_BLOCKS;
    if (block < SIM_EVENT_BLOCKS)
        m->block_owner[block] = (uint16_t)sim_driver.process;
    sim_machine_unlock(m);
    if (block == SIM_EVENT_BLOCKS)
        return false;
    first_block = block + 1;
    for (uint32_t i = SIM_BLOCK_EVENTS; i-- > 0;)
        if (block * SIM_BLOCK_EVENTS + i != 0) /* 0 means no event */
            free_slots[free_count++] = block * SIM_BLOCK_EVENTS + i;
    return true;
}

SIM_API(cuEventCreate, (CUevent * out, unsigned flags))
{
    SIM_ENTER_CONTEXT(cuEventCreate, ctx);
    if (!out || (flags & ~7u))
        return CUDA_ERROR_INVALID_VALUE;
    if ((flags & CU_EVENT_INTERPROCESS) && !(flags & CU_EVENT_DISABLE_TIMING))
        return CUDA_ERROR_INVALID_VALUE;
    struct sim_event *event = sim_object_new(SIM_EVENT, sizeof(*event));
    if (!event)
        return CUDA_ERROR_OUT_OF_MEMORY;
    pthread_mutex_lock(&lock);
    if (free_count > 0 || add_block())
        event->slot = free_slots[--free_count];
    pthread_mutex_unlock(&lock);
    if (!event->slot) {
        sim_object_free(event);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    struct sim_event_slot *slot = &sim_driver.machine->event[event->slot];
    event->context = ctx->root;
    event->context_id = ctx->root->id;
    event->flags = flags;
    event->unused_until = atomic_load(&slot->submitted);
    *out = event;
    return CUDA_SUCCESS;
}

static CUresult destroy(CUevent event)
{
    if (!sim_is(event, SIM_EVENT))
        return CUDA_ERROR_INVALID_HANDLE;
    CUresult result = sim_is(event->context, SIM_CONTEXT) ? sim_context_error(event->context) : CUDA_SUCCESS;
    bool free_slot = sim_event_unshare(event);
    pthread_mutex_lock(&lock);
    if (free_slot)
        free_slots[free_count++] = event->slot;
    pthread_mutex_unlock(&lock);
    sim_capture_event_forget(event);
    sim_object_free(event);
    return result;
}

SIM_API(cuEventDestroy, (CUevent event))
{
    SIM_ENTER(cuEventDestroy);
    return destroy(event);
}

SIM_API(cuEventDestroy_v2, (CUevent event))
{
    SIM_ENTER(cuEventDestroy_v2);
    return destroy(event);
}

/* -------- recording and waiting -------- */

static CUresult check(CUevent event)
{
    return sim_is(event, SIM_EVENT) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

static CUresult record(CUevent event, CUstream handle, unsigned flags, bool per_thread)
{
    struct sim_stream *stream;
    SIM_TRY(check(event));
    SIM_TRY(sim_stream_resolve(handle, per_thread, &stream));
    if (flags & ~(stream->capture ? 1u : 0u)) /* external: a node of the graph that is being captured */
        return CUDA_ERROR_INVALID_VALUE;
    if (stream->context->root != event->context)
        return CUDA_ERROR_INVALID_HANDLE;
    struct sim_work work = {.kind = SIM_WORK_RECORD, .event = {.event = event, .flags = flags}};
    if (!stream->capture) {
        sim_capture_event_forget(event);
        if (event->share)
            SIM_TRY(sim_event_publish(stream));
    }
    return sim_submit(stream, &work);
}

SIM_STREAM_API(cuEventRecord, cuEventRecord_ptsz, (CUevent event, CUstream handle), (event, handle))
{
    SIM_ENTER(cuEventRecord);
    return record(event, handle, 0, per_thread);
}

SIM_STREAM_API(cuEventRecordWithFlags, cuEventRecordWithFlags_ptsz,
               (CUevent event, CUstream handle, unsigned flags), (event, handle, flags))
{
    SIM_ENTER(cuEventRecordWithFlags);
    return record(event, handle, flags, per_thread);
}

static bool never_recorded(const struct sim_event *event, uint64_t submitted)
{
    return submitted == event->unused_until;
}

/* What the stream comes after, for pools: the event's record and all before it in that stream. */
static void follow(struct sim_stream *stream, uint64_t last)
{
    struct sim_point point = {.queue = (uint32_t)(last >> 48), .command = last & ((1ull << 48) - 1)};
    pthread_mutex_lock(&lock);
    struct sim_point *place = &stream->after[stream->after_count % SIM_STREAM_AFTER];
    for (uint32_t i = 0; i < SIM_STREAM_AFTER; i++)
        if (stream->after[i].queue == point.queue)
            place = &stream->after[i];
    if (place->queue != point.queue)
        stream->after_count++;
    *place = point;
    pthread_mutex_unlock(&lock);
}

bool sim_stream_follows(const struct sim_stream *stream, struct sim_point point)
{
    bool follows = false;
    pthread_mutex_lock(&lock);
    for (uint32_t i = 0; i < SIM_STREAM_AFTER; i++)
        follows |= stream->after[i].queue == point.queue && stream->after[i].command >= point.command;
    pthread_mutex_unlock(&lock);
    return follows;
}

SIM_STREAM_API(cuStreamWaitEvent, cuStreamWaitEvent_ptsz, (CUstream handle, CUevent event, unsigned flags),
               (handle, event, flags))
{
    SIM_ENTER(cuStreamWaitEvent);
    struct sim_stream *stream;
    SIM_TRY(sim_stream_resolve(handle, per_thread, &stream));
    SIM_TRY(check(event));
    if (flags & ~(stream->capture ? 1u : 0u))
        return CUDA_ERROR_INVALID_VALUE;
    struct sim_work work = {.kind = SIM_WORK_WAIT, .event = {.event = event, .flags = flags}};
    CUresult result;
    if (event->capture && !stream->capture && sim_capture_work(stream, &work, &result))
        return result; /* the stream has joined the capture that the event belongs to */
    if (!stream->capture) {
        const struct sim_event_slot *slot = &sim_driver.machine->event[event->slot];
        sim_machine_lock(sim_driver.machine);
        uint64_t submitted = atomic_load(&slot->submitted), last = slot->stream_and_command;
        sim_machine_unlock(sim_driver.machine);
        if (never_recorded(event, submitted))
            return CUDA_SUCCESS;
        follow(stream, last);
        if (atomic_load(&slot->stamped) >= submitted)
            return CUDA_SUCCESS;
        work.event.sequence = submitted;
    }
    return sim_submit(stream, &work);
}

/* -------- asking -------- */

/* Done as far as the model has been advanced. */
static bool is_stamped(const struct sim_event *event)
{
    const struct sim_event_slot *slot = &sim_driver.machine->event[event->slot];
    uint64_t submitted = atomic_load(&slot->submitted);
    return never_recorded(event, submitted) || atomic_load(&slot->stamped) >= submitted;
}

static CUresult living(const struct sim_event *event)
{
    if (!sim_is(event->context, SIM_CONTEXT) || event->context->id != event->context_id)
        return CUDA_ERROR_CONTEXT_IS_DESTROYED;
    return sim_context_error(event->context);
}

SIM_API(cuEventQuery, (CUevent event))
{
    SIM_ENTER(cuEventQuery);
    SIM_TRY(check(event));
    if (event->capture)
        return sim_capture_event_use(event);
    SIM_TRY(sim_capture_unsafe_call());
    SIM_TRY(living(event));
    if (!is_stamped(event)) {
        sim_machine_lock(sim_driver.machine);
        bool stamped = is_stamped(event);
        sim_machine_unlock(sim_driver.machine);
        if (!stamped)
            return CUDA_ERROR_NOT_READY;
    }
    sim_effects_run();
    return CUDA_SUCCESS;
}

SIM_API(cuEventSynchronize, (CUevent event))
{
    SIM_ENTER(cuEventSynchronize);
    struct sim_machine *m = sim_driver.machine;
    SIM_TRY(check(event));
    if (event->capture)
        return sim_capture_event_use(event);
    SIM_TRY(sim_capture_unsafe_call());
    SIM_TRY(living(event));
    const struct sim_event_slot *slot = &m->event[event->slot];
    struct sim_process *self = &m->process[sim_driver.process];
    uint64_t submitted = atomic_load(&slot->submitted);
    if (!never_recorded(event, submitted)) {
        sim_machine_lock(m);
        while (sim_is(event, SIM_EVENT) && atomic_load(&slot->stamped) < submitted) {
            uint64_t last = atomic_load(&slot->stream_and_command);
            uint32_t seen = atomic_load(&self->wake);
            uint64_t at = sim_queue_predict(m, (uint32_t)(last >> 48), last & ((1ull << 48) - 1));
            if (at <= m->now_ns) /* of a kernel's beginning */
                at = m->next_ns;
            if (event->share && at > m->now_ns + SIM_FOREIGN_LOOK_NS)
                at = m->now_ns + SIM_FOREIGN_LOOK_NS;
            sim_machine_unlock(m);
            sim_sleep_until(&self->wake, seen, at);
            sim_machine_lock(m);
        }
        sim_machine_unlock(m);
    }
    sim_effects_run();
    sim_pools_settle();
    return living(event);
}

static CUresult elapsed(float *ms, CUevent start, CUevent end)
{
    struct sim_machine *m = sim_driver.machine;
    if (!ms)
        return CUDA_ERROR_INVALID_VALUE;
    SIM_TRY(check(start));
    SIM_TRY(check(end));
    if (start->capture || end->capture)
        return sim_capture_event_use(start->capture ? start : end);
    if (sim_is(start->context, SIM_CONTEXT))
        SIM_TRY(sim_context_error(start->context));
    if (start->context != end->context || ((start->flags | end->flags) & CU_EVENT_DISABLE_TIMING))
        return CUDA_ERROR_INVALID_HANDLE;
    const struct sim_event_slot *from = &m->event[start->slot], *to = &m->event[end->slot];
    if (never_recorded(start, atomic_load(&from->submitted)) ||
        never_recorded(end, atomic_load(&to->submitted)))
        return CUDA_ERROR_INVALID_HANDLE;
    if (!is_stamped(start) || !is_stamped(end)) {
        sim_machine_lock(m);
        bool stamped = is_stamped(start) && is_stamped(end);
        sim_machine_unlock(m);
        if (!stamped)
            return CUDA_ERROR_NOT_READY;
    }
    int64_t ns = (int64_t)(atomic_load(&to->stamp_ns) - atomic_load(&from->stamp_ns));
    *ms = (float)((double)ns / 1e6);
    return CUDA_SUCCESS;
}

SIM_API(cuEventElapsedTime, (float *ms, CUevent start, CUevent end))
{
    SIM_ENTER(cuEventElapsedTime);
    return elapsed(ms, start, end);
}

SIM_API(cuEventElapsedTime_v2, (float *ms, CUevent start, CUevent end))
{
    SIM_ENTER(cuEventElapsedTime_v2);
    return elapsed(ms, start, end);
}
