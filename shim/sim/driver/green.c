/* green.c -- green contexts: made of a part of the device's SMs, used through streams or as the current context.
 *
 * The model has each as a context in the ring of the primary one (shared_context.c), so that they are on the engine
 * together and their kernels stay on their SMs.  They take no memory of their own. */
#include "green.h"
#include "context.h"
#include "process.h"

#include <string.h>

#define DEFAULT_STREAM 1u /* required by this driver */

static CUresult check(CUgreenCtx green)
{
    return sim_is(green, SIM_GREEN) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_CONTEXT;
}

/* -------- making and unmaking -------- */

static struct sim_context *new_view(struct sim_context *root, struct sim_green *green)
{
    struct sim_machine *m = sim_driver.machine;
    struct sim_context *view = sim_object_new(SIM_CONTEXT, sizeof(*view));
    if (!view)
        return NULL;
    view->device = root->device;
    view->flags = root->flags;
    view->api_version = root->api_version;
    view->primary = true; /* not to be destroyed as a context */
    view->id = sim_context_next_id();
    view->root = root;
    view->green = green;
    pthread_mutex_init(&view->lock, NULL);
    sim_machine_lock(m);
    view->shared = sim_shared_context_join(m, root->shared, &green->sms);
    if (view->shared)
        m->context[view->shared].id = view->id;
    sim_machine_unlock(m);
    if (view->shared &&
        sim_stream_open(view, CU_STREAM_DEFAULT, 0, SIM_ROLE_LEGACY, &view->legacy) == CUDA_SUCCESS)
        return view;
    if (view->shared) {
        sim_machine_lock(m);
        sim_shared_context_close(m, view->shared);
        sim_machine_unlock(m);
    }
    sim_object_free(view);
    return NULL;
}

SIM_API(cuGreenCtxCreate,
        (CUgreenCtx * out, const struct sim_resource_desc *desc, CUdevice device, unsigned flags))
{
    SIM_ENTER(cuGreenCtxCreate);
    if (!out || !sim_is_desc(desc) || flags != DEFAULT_STREAM)
        return CUDA_ERROR_INVALID_VALUE;
    if (!sim_device_valid(device) || (CUdevice)desc->device != device)
        return CUDA_ERROR_INVALID_DEVICE;
    struct sim_context *root;
    SIM_TRY(sim_primary_retain(device, &root));
    struct sim_green *green = sim_object_new(SIM_GREEN, sizeof(*green));
    if (green) {
        green->device = device;
        green->sms = desc->sms;
        green->context = new_view(root, green);
    }
    if (!green || !green->context) {
        if (green)
            sim_object_free(green);
        cuDevicePrimaryCtxRelease_v2(device);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    pthread_mutex_lock(&root->lock);
    green->context->next_green = root->greens;
    root->greens = green->context;
    pthread_mutex_unlock(&root->lock);
    *out = green;
    return CUDA_SUCCESS;
}

static void close_view(struct sim_context *view)
{
    struct sim_machine *m = sim_driver.machine;
    sim_context_synchronize(view);
    pthread_mutex_lock(&view->lock);
    while (view->streams)
        sim_stream_close(view->streams);
    pthread_mutex_unlock(&view->lock);
    sim_machine_lock(m);
    sim_shared_context_close(m, view->shared);
    sim_machine_unlock(m);
    sim_object_free(view->green);
    sim_object_free(view);
}

void sim_green_forget(struct sim_context *ctx)
{
    while (ctx->greens) {
        struct sim_context *view = ctx->greens;
        ctx->greens = view->next_green;
        close_view(view);
    }
}

SIM_API(cuGreenCtxDestroy, (CUgreenCtx green))
{
    SIM_ENTER(cuGreenCtxDestroy);
    SIM_TRY(check(green));
    CUdevice device = green->device;
    struct sim_context *view = green->context, *root = view->root;
    pthread_mutex_lock(&root->lock);
    struct sim_context **link = &root->greens;
    while (*link != view)
        link = &(*link)->next_green;
    *link = view->next_green;
    pthread_mutex_unlock(&root->lock);
    close_view(view);
    return cuDevicePrimaryCtxRelease_v2(device);
}

/* -------- using -------- */

SIM_API(cuCtxFromGreenCtx, (CUcontext * ctx, CUgreenCtx green))
{
    SIM_ENTER(cuCtxFromGreenCtx);
    if (!ctx)
        return CUDA_ERROR_INVALID_VALUE;
    SIM_TRY(check(green));
    *ctx = green->context;
    return CUDA_SUCCESS;
}

SIM_API(cuGreenCtxStreamCreate, (CUstream * stream, CUgreenCtx green, unsigned flags, int priority))
{
    SIM_ENTER(cuGreenCtxStreamCreate);
    SIM_TRY(check(green));
    if (!stream || flags != CU_STREAM_NON_BLOCKING)
        return CUDA_ERROR_INVALID_VALUE;
    return sim_stream_open(green->context, flags, sim_stream_priority(priority), SIM_ROLE_NON_BLOCKING,
                           stream);
}

SIM_API(cuStreamGetGreenCtx, (CUstream handle, CUgreenCtx *green))
{
    SIM_ENTER(cuStreamGetGreenCtx);
    struct sim_stream *stream;
    SIM_TRY(sim_stream_resolve(handle, false, &stream));
    if (!green)
        return CUDA_ERROR_INVALID_VALUE;
    *green = stream->context->green;
    return CUDA_SUCCESS;
}

SIM_API(cuGreenCtxGetId, (CUgreenCtx green, unsigned long long *id))
{
    SIM_ENTER(cuGreenCtxGetId);
    if (!id)
        return CUDA_ERROR_INVALID_VALUE;
    if (!green) {
        struct sim_context *ctx = sim_current_context();
        if (!ctx)
            return sim_no_context();
        green = ctx->green;
    }
    SIM_TRY(check(green));
    *id = green->context->id;
    return CUDA_SUCCESS;
}

SIM_API(cuGreenCtxRecordEvent, (CUgreenCtx green, CUevent event))
{
    SIM_ENTER(cuGreenCtxRecordEvent);
    SIM_TRY(check(green));
    return sim_context_record(green->context, event);
}

SIM_API(cuGreenCtxWaitEvent, (CUgreenCtx green, CUevent event))
{
    SIM_ENTER(cuGreenCtxWaitEvent);
    SIM_TRY(check(green));
    return sim_context_wait(green->context, event);
}

/* -------- what SMs -------- */

static CUresult sms_of(const struct sim_context *ctx, CUdevResource *resource, int type)
{
    if (!resource)
        return CUDA_ERROR_INVALID_VALUE;
    if (type != CU_DEV_RESOURCE_TYPE_SM)
        return CUDA_ERROR_INVALID_RESOURCE_TYPE;
    sim_resource_of(resource, ctx->device, &sim_driver.machine->context[ctx->shared].allowed, 0);
    return CUDA_SUCCESS;
}

SIM_API(cuGreenCtxGetDevResource, (CUgreenCtx green, CUdevResource *resource, int type))
{
    SIM_ENTER(cuGreenCtxGetDevResource);
    SIM_TRY(check(green));
    return sms_of(green->context, resource, type);
}

SIM_API(cuCtxGetDevResource, (CUcontext ctx, CUdevResource *resource, int type))
{
    SIM_ENTER(cuCtxGetDevResource);
    if (!sim_is(ctx, SIM_CONTEXT))
        return CUDA_ERROR_INVALID_CONTEXT;
    return sms_of(ctx, resource, type);
}

SIM_STREAM_API(cuStreamGetDevResource, cuStreamGetDevResource_ptsz,
               (CUstream handle, CUdevResource *resource, int type), (handle, resource, type))
{
    SIM_ENTER(cuStreamGetDevResource);
    struct sim_stream *stream;
    SIM_TRY(sim_stream_resolve(handle, per_thread, &stream));
    return sms_of(stream->context, resource, type);
}
