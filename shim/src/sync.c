/* sync.c -- waits for the GPU, during which what has been launched can be measured; and what changes the meaning of
 * a thread's launches: its current context, and the end of a stream. */
#include "reserve.h"
#include "sync.h"

struct gs_meter_context *gs_wait_begins(void)
{
    struct gs_meter_context *context = gs_launch_unlimited() ? NULL : gs_meter_current();

    if (context == NULL || __atomic_load_n(&context->device->in_flight_ns, __ATOMIC_RELAXED) <= 0)
        return NULL;
    if (gs_meter_settle(context->device) == 0)
        return NULL;
    gs_busy_wait_begin(context->device);
    return context;
}

void gs_wait_ends(struct gs_meter_context *context)
{
    if (context == NULL)
        return;
    gs_busy_wait_end(context->device);
    gs_meter_settle(context->device);
}

static CUresult wait_ends(struct gs_meter_context *context, CUresult result)
{
    gs_after_wait();
    gs_wait_ends(context);
    return result;
}

GSHARE_HOOK(cuCtxSynchronize, (void))
{
    struct gs_meter_context *context = gs_wait_begins();
    CUresult result = wait_ends(context, REAL(cuCtxSynchronize)());

    if (context != NULL && result == CUDA_SUCCESS)
        gs_meter_all_done(context);
    return result;
}

GSHARE_HOOK(cuCtxSynchronize_v2, (CUcontext ctx))
{
    struct gs_meter_context *context = gs_wait_begins();

    return wait_ends(context, REAL(cuCtxSynchronize_v2)(ctx));
}

GSHARE_HOOK(cuStreamSynchronize, (CUstream hStream))
{
    struct gs_meter_context *context = gs_wait_begins();

    return wait_ends(context, REAL(cuStreamSynchronize)(hStream));
}

GSHARE_HOOK(cuStreamSynchronize_ptsz, (CUstream hStream))
{
    struct gs_meter_context *context = gs_wait_begins();

    return wait_ends(context, REAL(cuStreamSynchronize_ptsz)(hStream));
}

GSHARE_HOOK(cuEventSynchronize, (CUevent hEvent))
{
    struct gs_meter_context *context = gs_wait_begins();

    return wait_ends(context, REAL(cuEventSynchronize)(hEvent));
}

/* -------- the current context -------- */

GSHARE_HOOK(cuCtxSetCurrent, (CUcontext ctx))
{
    gs_meter_rebind();
    return REAL(cuCtxSetCurrent)(ctx);
}

GSHARE_HOOK(cuCtxPushCurrent, (CUcontext ctx))
{
    gs_meter_rebind();
    return REAL(cuCtxPushCurrent)(ctx);
}

GSHARE_HOOK(cuCtxPushCurrent_v2, (CUcontext ctx))
{
    gs_meter_rebind();
    return REAL(cuCtxPushCurrent_v2)(ctx);
}

GSHARE_HOOK(cuCtxPopCurrent, (CUcontext * pctx))
{
    gs_meter_rebind();
    return REAL(cuCtxPopCurrent)(pctx);
}

GSHARE_HOOK(cuCtxPopCurrent_v2, (CUcontext * pctx))
{
    gs_meter_rebind();
    return REAL(cuCtxPopCurrent_v2)(pctx);
}

/* -------- streams that end -------- */

GSHARE_HOOK(cuStreamDestroy, (CUstream hStream))
{
    gs_meter_stream_gone(hStream);
    return REAL(cuStreamDestroy)(hStream);
}

GSHARE_HOOK(cuStreamDestroy_v2, (CUstream hStream))
{
    gs_meter_stream_gone(hStream);
    return REAL(cuStreamDestroy_v2)(hStream);
}
