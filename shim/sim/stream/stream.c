/* stream.c -- streams: default, per-thread and created; waiting for them. */
#include "green.h"
#include "process.h"

#include <stdlib.h>
#include <sys/mman.h>

#define LEAST_PRIORITY    0
#define GREATEST_PRIORITY (-5)

static _Atomic unsigned long long last_id = 2; /* 1 and 2 are the default streams */
static unsigned long long last_serial;
static unsigned long long serial_of[SIM_MAX_STREAMS + 1]; /* by queue, under the machine's lock; 0: closed */

CUresult sim_stream_open(struct sim_context *ctx, uint32_t flags, int priority, enum sim_stream_role role,
                         struct sim_stream **out)
{
    struct sim_machine *m = sim_driver.machine;
    struct sim_stream *stream = sim_object_new(SIM_STREAM, sizeof(*stream));
    if (!stream)
        return CUDA_ERROR_OUT_OF_MEMORY;
    stream->effect = mmap(NULL, SIM_QUEUE_DEPTH * sizeof(struct sim_work), PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (stream->effect != MAP_FAILED) {
        sim_machine_lock(m);
        stream->queue = sim_queue_open(m, ctx->shared, role, priority);
        stream->serial = serial_of[stream->queue] = ++last_serial;
        stream->effects_done = stream->last_effect = m->queue[stream->queue].head;
        sim_machine_unlock(m);
        if (!stream->queue)
            munmap(stream->effect, SIM_QUEUE_DEPTH * sizeof(struct sim_work));
    }
    if (!stream->queue) {
        sim_object_free(stream);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    stream->context = ctx;
    stream->flags = flags;
    stream->priority = priority;
    stream->id = role == SIM_ROLE_LEGACY ? 1 : ++last_id;
    sim_effects_add(stream);
    pthread_mutex_lock(&ctx->lock);
    struct sim_point gate = ctx->gate;
    stream->next = ctx->streams;
    ctx->streams = stream;
    pthread_mutex_unlock(&ctx->lock);
    *out = stream;
    return gate.queue ? sim_submit_after(stream, gate) : CUDA_SUCCESS;
}

void sim_stream_close(struct sim_stream *stream)
{
    struct sim_machine *m = sim_driver.machine;
    struct sim_stream **link = &stream->context->streams;
    while (*link != stream)
        link = &(*link)->next;
    *link = stream->next;
    if (stream == stream->context->marker) {
        stream->context->marker = NULL;
        stream->context->gate = (struct sim_point){0};
    }
    sim_capture_leave(stream);
    sim_effects_remove(stream);
    sim_machine_lock(m);
    serial_of[stream->queue] = stream->serial = 0;
    sim_queue_close(m, stream->queue);
    sim_machine_unlock(m);
    sim_wake(&m->process[sim_driver.process].wake);
    munmap(stream->effect, SIM_QUEUE_DEPTH * sizeof(struct sim_work));
    sim_object_free(stream);
}

/* -------- the thread's own default streams -------- */

#define OWN_STREAMS 16

static __thread struct own {
    struct sim_stream *stream;
    unsigned long long context_id, serial;
} own[OWN_STREAMS];
static __thread int own_count;

CUresult sim_per_thread_stream(struct sim_context *ctx, struct sim_stream **stream)
{
    for (int i = 0; i < own_count; i++)
        if (own[i].context_id == ctx->id && sim_is(own[i].stream, SIM_STREAM) &&
            own[i].stream->serial == own[i].serial) {
            *stream = own[i].stream;
            return CUDA_SUCCESS;
        }
    SIM_TRY(sim_stream_open(ctx, CU_STREAM_DEFAULT, 0, SIM_ROLE_BLOCKING, stream));
    own[own_count < OWN_STREAMS ? own_count++ : (int)(ctx->id % OWN_STREAMS)] =
        (struct own){*stream, ctx->id, (*stream)->serial};
    return CUDA_SUCCESS;
}

CUresult sim_stream_resolve(CUstream handle, bool per_thread, struct sim_stream **stream)
{
    if (__builtin_expect((uintptr_t)handle > (uintptr_t)CU_STREAM_PER_THREAD, 1)) {
        if (!sim_is(handle, SIM_STREAM))
            return CUDA_ERROR_INVALID_HANDLE;
        *stream = handle;
        return sim_context_error(handle->context);
    }
    struct sim_context *ctx = sim_current_context();
    if (!ctx)
        return sim_no_context();
    SIM_TRY(sim_context_error(ctx));
    if (handle == CU_STREAM_PER_THREAD || (handle == NULL && per_thread))
        return sim_per_thread_stream(ctx, stream);
    *stream = ctx->legacy;
    return CUDA_SUCCESS;
}

/* -------- waiting -------- */

struct sim_point sim_stream_now(struct sim_stream *stream)
{
    struct sim_machine *m = sim_driver.machine;
    sim_machine_lock(m);
    struct sim_point point = {stream->queue, stream->serial, m->queue[stream->queue].tail};
    sim_machine_unlock(m);
    return point;
}

/* With the machine's lock held. */
static bool passed(const struct sim_point *point)
{
    return serial_of[point->queue] != point->serial ||
           sim_driver.machine->queue[point->queue].head >= point->command;
}

bool sim_point_passed(struct sim_point point)
{
    sim_machine_lock(sim_driver.machine);
    bool result = passed(&point);
    sim_machine_unlock(sim_driver.machine);
    return result;
}

void sim_point_wait(struct sim_point point)
{
    struct sim_machine *m = sim_driver.machine;
    struct sim_process *self = &m->process[sim_driver.process];
    sim_machine_lock(m);
    while (!passed(&point)) {
        uint32_t seen = atomic_load(&self->wake);
        uint64_t at = sim_queue_predict(m, point.queue, point.command);
        sim_machine_unlock(m);
        sim_sleep_until(&self->wake, seen, at);
        sim_machine_lock(m);
    }
    sim_machine_unlock(m);
    sim_effects_run();
}

/* With the locks of the context and of the one whose list it is in. */
static bool list(struct sim_stream_list *all, const struct sim_context *ctx)
{
    uint32_t room = all->count;
    for (struct sim_stream *s = ctx->streams; s; s = s->next)
        room++;
    struct sim_stream_entry *grown = realloc(all->entry, room * sizeof(*grown) + 1);
    if (!grown)
        return false;
    all->entry = grown;
    for (struct sim_stream *s = ctx->streams; s; s = s->next)
        all->entry[all->count++] = (struct sim_stream_entry){s, sim_stream_now(s)};
    return true;
}

CUresult sim_context_streams(struct sim_context *ctx, struct sim_stream_list *all)
{
    *all = (struct sim_stream_list){0};
    pthread_mutex_lock(&ctx->lock);
    bool whole = list(all, ctx);
    for (struct sim_context *green = ctx->greens; green && whole; green = green->next_green) {
        pthread_mutex_lock(&green->lock);
        whole = list(all, green);
        pthread_mutex_unlock(&green->lock);
    }
    pthread_mutex_unlock(&ctx->lock);
    if (!whole)
        free(all->entry);
    return whole ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

CUresult sim_stream_synchronize(struct sim_stream *stream)
{
    if (stream == stream->context->legacy) { /* it also stands for all blocking streams */
        struct sim_work marker = {.kind = SIM_WORK_EMPTY};
        SIM_TRY(sim_submit_now(stream, &marker));
    }
    sim_point_wait(sim_stream_now(stream));
    sim_pools_settle();
    return sim_context_error(stream->context);
}

CUresult sim_context_synchronize(struct sim_context *ctx)
{
    struct sim_stream_list all;
    SIM_TRY(sim_context_streams(ctx, &all));
    for (uint32_t i = 0; i < all.count; i++)
        sim_point_wait(all.entry[i].now);
    free(all.entry);
    sim_pools_settle();
    return sim_context_error(ctx);
}

/* -------- the API -------- */

int sim_stream_priority(int priority)
{
    if (priority > LEAST_PRIORITY)
        return LEAST_PRIORITY;
    return priority < GREATEST_PRIORITY ? GREATEST_PRIORITY : priority;
}

static CUresult create(CUstream *stream, unsigned flags, int priority)
{
    struct sim_context *ctx = sim_current_context();
    if (!ctx)
        return sim_no_context();
    SIM_TRY(sim_context_error(ctx));
    if (!stream || (flags & ~(unsigned)CU_STREAM_NON_BLOCKING))
        return CUDA_ERROR_INVALID_VALUE;
    return sim_stream_open(ctx, flags, sim_stream_priority(priority),
                           flags ? SIM_ROLE_NON_BLOCKING : SIM_ROLE_BLOCKING, stream);
}

SIM_API(cuStreamCreate, (CUstream * stream, unsigned flags))
{
    SIM_ENTER(cuStreamCreate);
    return create(stream, flags, LEAST_PRIORITY);
}

SIM_API(cuStreamCreateWithPriority, (CUstream * stream, unsigned flags, int priority))
{
    SIM_ENTER(cuStreamCreateWithPriority);
    return create(stream, flags, priority);
}

/* The driver returns at once and frees the stream when its work is done; here the caller waits for it. */
static CUresult destroy(CUstream stream)
{
    if ((uintptr_t)stream <= (uintptr_t)CU_STREAM_PER_THREAD || !sim_is(stream, SIM_STREAM))
        return CUDA_ERROR_INVALID_HANDLE;
    struct sim_context *ctx = stream->context;
    if (stream == ctx->legacy)
        return CUDA_ERROR_INVALID_HANDLE;
    sim_point_wait(sim_stream_now(stream));
    pthread_mutex_lock(&ctx->lock);
    sim_stream_close(stream);
    pthread_mutex_unlock(&ctx->lock);
    return sim_context_error(ctx);
}

SIM_API(cuStreamDestroy, (CUstream stream))
{
    SIM_ENTER(cuStreamDestroy);
    return destroy(stream);
}

SIM_API(cuStreamDestroy_v2, (CUstream stream))
{
    SIM_ENTER(cuStreamDestroy_v2);
    return destroy(stream);
}

SIM_STREAM_API(cuStreamSynchronize, cuStreamSynchronize_ptsz, (CUstream handle), (handle))
{
    SIM_ENTER(cuStreamSynchronize);
    struct sim_stream *stream;
    SIM_TRY(sim_stream_resolve(handle, per_thread, &stream));
    if (stream->capture)
        return sim_capture_forbids(stream);
    SIM_TRY(sim_capture_unsafe_call());
    return sim_stream_synchronize(stream);
}

/* Everything that the stream has to wait for is done. */
static bool is_idle(const struct sim_machine *m, const struct sim_stream *stream)
{
    const struct sim_queue *q = &m->queue[stream->queue];
    if (q->head != q->tail)
        return false;
    if (q->role == SIM_ROLE_LEGACY)
        for (uint32_t o = m->context[q->context].first; o; o = m->queue[o].next)
            if (m->queue[o].role == SIM_ROLE_BLOCKING && m->queue[o].head != m->queue[o].tail)
                return false;
    return true;
}

SIM_STREAM_API(cuStreamQuery, cuStreamQuery_ptsz, (CUstream handle), (handle))
{
    SIM_ENTER(cuStreamQuery);
    struct sim_machine *m = sim_driver.machine;
    struct sim_stream *stream;
    SIM_TRY(sim_stream_resolve(handle, per_thread, &stream));
    if (stream->capture)
        return sim_capture_forbids(stream);
    SIM_TRY(sim_capture_unsafe_call());
    sim_machine_lock(m);
    bool idle = is_idle(m, stream);
    sim_machine_unlock(m);
    SIM_TRY(sim_context_error(stream->context));
    if (!idle)
        return CUDA_ERROR_NOT_READY;
    sim_effects_run();
    return CUDA_SUCCESS;
}

SIM_STREAM_API(cuStreamGetFlags, cuStreamGetFlags_ptsz, (CUstream handle, unsigned *flags), (handle, flags))
{
    SIM_ENTER(cuStreamGetFlags);
    struct sim_stream *stream;
    SIM_TRY(sim_stream_resolve(handle, per_thread, &stream));
    if (!flags)
        return CUDA_ERROR_INVALID_VALUE;
    *flags = stream->flags;
    return CUDA_SUCCESS;
}

SIM_STREAM_API(cuStreamGetPriority, cuStreamGetPriority_ptsz, (CUstream handle, int *priority),
               (handle, priority))
{
    SIM_ENTER(cuStreamGetPriority);
    struct sim_stream *stream;
    SIM_TRY(sim_stream_resolve(handle, per_thread, &stream));
    if (!priority)
        return CUDA_ERROR_INVALID_VALUE;
    *priority = stream->priority;
    return CUDA_SUCCESS;
}

SIM_STREAM_API(cuStreamGetId, cuStreamGetId_ptsz, (CUstream handle, unsigned long long *id), (handle, id))
{
    SIM_ENTER(cuStreamGetId);
    struct sim_stream *stream;
    SIM_TRY(sim_stream_resolve(handle, per_thread, &stream));
    if (!id)
        return CUDA_ERROR_INVALID_VALUE;
    *id = stream->id;
    return CUDA_SUCCESS;
}

SIM_STREAM_API(cuStreamGetCtx, cuStreamGetCtx_ptsz, (CUstream handle, CUcontext *ctx), (handle, ctx))
{
    SIM_ENTER(cuStreamGetCtx);
    struct sim_stream *stream;
    SIM_TRY(sim_stream_resolve(handle, per_thread, &stream));
    if (!ctx)
        return CUDA_ERROR_INVALID_VALUE;
    *ctx = stream->context;
    return CUDA_SUCCESS;
}

SIM_STREAM_API(cuStreamGetCtx_v2, cuStreamGetCtx_v2_ptsz, (CUstream handle, CUcontext *ctx, void **green),
               (handle, ctx, green))
{
    SIM_ENTER(cuStreamGetCtx_v2);
    struct sim_stream *stream;
    SIM_TRY(sim_stream_resolve(handle, per_thread, &stream));
    if (!ctx || !green)
        return CUDA_ERROR_INVALID_VALUE;
    *green = stream->context->green;
    *ctx = *green ? NULL : stream->context;
    return CUDA_SUCCESS;
}

SIM_STREAM_API(cuStreamGetDevice, cuStreamGetDevice_ptsz, (CUstream handle, CUdevice *device),
               (handle, device))
{
    SIM_ENTER(cuStreamGetDevice);
    struct sim_stream *stream;
    SIM_TRY(sim_stream_resolve(handle, per_thread, &stream));
    if (!device)
        return CUDA_ERROR_INVALID_VALUE;
    *device = stream->context->device;
    return CUDA_SUCCESS;
}
