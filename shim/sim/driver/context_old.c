/* context_old.c -- the usage count that contexts had before CUDA 4: deprecated, and still answered. */
#include "sim.h"

CUresult cuCtxDestroy_v2(CUcontext ctx);

SIM_API(cuCtxAttach, (CUcontext * out, unsigned flags))
{
    SIM_ENTER_CONTEXT(cuCtxAttach, ctx);
    if (!out || flags != 0)
        return CUDA_ERROR_INVALID_VALUE;
    ctx->attached++;
    *out = ctx;
    return CUDA_SUCCESS;
}

/* Being made counts as the first use of a context. */
SIM_API(cuCtxDetach, (CUcontext ctx))
{
    SIM_ENTER(cuCtxDetach);
    if (!sim_is(ctx, SIM_CONTEXT) || sim_current_context() != ctx)
        return CUDA_ERROR_INVALID_CONTEXT;
    if (ctx->attached > 0) {
        ctx->attached--;
        return CUDA_SUCCESS;
    }
    return cuCtxDestroy_v2(ctx);
}
