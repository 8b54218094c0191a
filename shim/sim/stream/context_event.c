/* context_event.c -- events of whole contexts: what all streams were given so far, and what all wait for.
 *
 * Each context that is used so has a hidden stream, its marker: it waits for the last command of every stream and then
 * records the event; or it waits for the event, and every stream for it. */
#include "green.h"
#include "process.h"

#include <stdlib.h>

struct sim_gate {
    struct sim_point point;
};

static CUresult marker_of(struct sim_context *ctx, struct sim_stream **marker)
{
    if (!ctx->marker)
        SIM_TRY(sim_stream_open(ctx, CU_STREAM_NON_BLOCKING, 0, SIM_ROLE_NON_BLOCKING, &ctx->marker));
    *marker = ctx->marker;
    return CUDA_SUCCESS;
}

/* The context's streams but for its marker; the caller frees them. */
static struct sim_stream **streams_of(struct sim_context *ctx, uint32_t *count)
{
    uint32_t room = 0;
    *count = 0;
    pthread_mutex_lock(&ctx->lock);
    for (struct sim_stream *s = ctx->streams; s; s = s->next)
        room++;
    struct sim_stream **all = malloc(room * sizeof(*all) + 1);
    for (struct sim_stream *s = all ? ctx->streams : NULL; s; s = s->next)
        if (s != ctx->marker)
            all[(*count)++] = s;
    pthread_mutex_unlock(&ctx->lock);
    return all;
}

/* A capture in one of the streams becomes invalid. */
static CUresult no_capture(struct sim_stream *const *stream, uint32_t count)
{
    CUresult result = CUDA_SUCCESS;
    for (uint32_t i = 0; i < count; i++)
        if (stream[i]->capture)
            result = sim_capture_forbids(stream[i]);
    return result;
}

/* The marker waits for all that the context was given. */
static CUresult gather(struct sim_context *ctx, struct sim_stream *marker)
{
    uint32_t count;
    struct sim_stream **all = streams_of(ctx, &count);
    if (!all)
        return CUDA_ERROR_OUT_OF_MEMORY;
    CUresult result = no_capture(all, count);
    for (uint32_t i = 0; i < count && result == CUDA_SUCCESS; i++)
        result = sim_submit_after(marker, sim_stream_now(all[i]));
    free(all);
    return result;
}

CUresult sim_context_record(struct sim_context *ctx, struct sim_event *event)
{
    struct sim_stream *marker;
    if (!sim_is(event, SIM_EVENT) || event->context != ctx->root)
        return CUDA_ERROR_INVALID_HANDLE;
    SIM_TRY(marker_of(ctx, &marker));
    SIM_TRY(gather(ctx, marker));
    for (struct sim_context *green = ctx->greens; green; green = green->next_green)
        SIM_TRY(gather(green, marker));
    sim_capture_event_forget(event);
    struct sim_work work = {.kind = SIM_WORK_RECORD, .event = {.event = event}};
    return sim_submit_now(marker, &work);
}

/* Streams that exist wait for the gate now, later ones when they are made. */
static CUresult hold(struct sim_context *ctx, struct sim_point point)
{
    uint32_t count;
    struct sim_stream **all = streams_of(ctx, &count);
    if (!all)
        return CUDA_ERROR_OUT_OF_MEMORY;
    CUresult result = no_capture(all, count);
    if (result == CUDA_SUCCESS && !ctx->gate && !(ctx->gate = malloc(sizeof(*ctx->gate))))
        result = CUDA_ERROR_OUT_OF_MEMORY;
    if (result == CUDA_SUCCESS)
        ctx->gate->point = point;
    for (uint32_t i = 0; i < count && result == CUDA_SUCCESS; i++)
        result = sim_submit_after(all[i], point);
    free(all);
    return result;
}

CUresult sim_context_greet(struct sim_stream *stream)
{
    return sim_submit_after(stream, stream->context->gate->point);
}

void sim_context_unmark(struct sim_context *ctx)
{
    ctx->marker = NULL;
    free(ctx->gate);
    ctx->gate = NULL;
}

CUresult sim_context_wait(struct sim_context *ctx, struct sim_event *event)
{
    struct sim_stream *marker;
    if (!sim_is(event, SIM_EVENT))
        return CUDA_ERROR_INVALID_HANDLE;
    if (event->capture)
        return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    if (atomic_load(&sim_driver.machine->event[event->slot].submitted) == event->unused_until)
        return CUDA_SUCCESS; /* never recorded */
    SIM_TRY(marker_of(ctx, &marker));
    struct sim_work work = {.kind = SIM_WORK_WAIT, .event = {.event = event}};
    SIM_TRY(sim_submit_now(marker, &work));
    struct sim_point point = sim_stream_now(marker);
    SIM_TRY(hold(ctx, point));
    for (struct sim_context *green = ctx->greens; green; green = green->next_green)
        SIM_TRY(hold(green, point));
    return CUDA_SUCCESS;
}

SIM_API(cuCtxRecordEvent, (CUcontext ctx, CUevent event))
{
    SIM_ENTER(cuCtxRecordEvent);
    if (!sim_is(ctx, SIM_CONTEXT))
        return CUDA_ERROR_INVALID_CONTEXT;
    return sim_context_record(ctx, event);
}

SIM_API(cuCtxWaitEvent, (CUcontext ctx, CUevent event))
{
    SIM_ENTER(cuCtxWaitEvent);
    if (!sim_is(ctx, SIM_CONTEXT))
        return CUDA_ERROR_INVALID_CONTEXT;
    return sim_context_wait(ctx, event);
}
