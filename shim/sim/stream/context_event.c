/* context_event.c -- events of whole contexts: what all streams were given so far, and what all wait for.
 *
 * Each context that is used so has a hidden stream, its marker: it waits for the last command of every stream and then
 * records the event; or it waits for the event, and every stream for it. */
#include "green.h"
#include "process.h"

#include <stdlib.h>

static CUresult marker_of(struct sim_context *ctx, struct sim_stream **marker)
{
    pthread_mutex_lock(&ctx->lock);
    *marker = ctx->marker;
    pthread_mutex_unlock(&ctx->lock);
    if (*marker)
        return CUDA_SUCCESS;
    struct sim_stream *made;
    SIM_TRY(sim_stream_open(ctx, CU_STREAM_NON_BLOCKING, 0, SIM_ROLE_NON_BLOCKING, &made));
    pthread_mutex_lock(&ctx->lock);
    if (!ctx->marker)
        ctx->marker = made;
    else /* another thread was here first */
        sim_stream_close(made);
    *marker = ctx->marker;
    pthread_mutex_unlock(&ctx->lock);
    return CUDA_SUCCESS;
}

/* A capture in one of the context's streams becomes invalid. */
static CUresult no_capture(struct sim_context *ctx)
{
    struct sim_stream_list all;
    SIM_TRY(sim_context_streams(ctx, &all));
    CUresult result = CUDA_SUCCESS;
    for (uint32_t i = 0; i < all.count; i++)
        if (all.entry[i].stream->capture)
            result = sim_capture_forbids(all.entry[i].stream);
    free(all.entry);
    return result;
}

/* The marker waits for all that the context was given. */
static CUresult gather(struct sim_context *ctx, struct sim_stream *marker)
{
    struct sim_stream_list all;
    SIM_TRY(sim_context_streams(ctx, &all));
    CUresult result = CUDA_SUCCESS;
    for (uint32_t i = 0; i < all.count && result == CUDA_SUCCESS; i++)
        result = sim_submit_after(marker, all.entry[i].now);
    free(all.entry);
    return result;
}

CUresult sim_context_record(struct sim_context *ctx, struct sim_event *event)
{
    struct sim_stream *marker;
    if (!sim_is(event, SIM_EVENT) || event->context != ctx->root)
        return CUDA_ERROR_INVALID_HANDLE;
    SIM_TRY(marker_of(ctx, &marker));
    SIM_TRY(no_capture(ctx));
    SIM_TRY(gather(ctx, marker));
    sim_capture_event_forget(event);
    struct sim_work work = {.kind = SIM_WORK_RECORD, .event = {.event = event}};
    return sim_submit_now(marker, &work);
}

/* Streams that exist wait for the point now, later ones when they are made. */
static CUresult hold(struct sim_context *ctx, struct sim_point point)
{
    struct sim_stream_list all;
    pthread_mutex_lock(&ctx->lock);
    ctx->gate = point;
    for (struct sim_context *green = ctx->greens; green; green = green->next_green) {
        pthread_mutex_lock(&green->lock);
        green->gate = point;
        pthread_mutex_unlock(&green->lock);
    }
    pthread_mutex_unlock(&ctx->lock);
    SIM_TRY(sim_context_streams(ctx, &all));
    CUresult result = CUDA_SUCCESS;
    for (uint32_t i = 0; i < all.count && result == CUDA_SUCCESS; i++)
        result = sim_submit_after_if_open(&all.entry[i], point);
    free(all.entry);
    return result;
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
    SIM_TRY(no_capture(ctx));
    struct sim_work work = {.kind = SIM_WORK_WAIT, .event = {.event = event}};
    SIM_TRY(sim_submit_now(marker, &work));
    return hold(ctx, sim_stream_now(marker));
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
