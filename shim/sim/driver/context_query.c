/* context_query.c -- what a program asks of a context, and sets in it. */
#include "process.h"

#define GREATEST_PRIORITY (-5)

SIM_API(cuCtxGetDevice, (CUdevice * device))
{
    SIM_ENTER_ANY_CONTEXT(cuCtxGetDevice, ctx);
    if (!device)
        return CUDA_ERROR_INVALID_VALUE;
    *device = ctx->device;
    return CUDA_SUCCESS;
}

/* The context that a call names, the current one for NULL. */
static CUresult named(CUcontext *ctx)
{
    if (*ctx)
        return sim_is(*ctx, SIM_CONTEXT) ? CUDA_SUCCESS : CUDA_ERROR_CONTEXT_IS_DESTROYED;
    *ctx = sim_current_context();
    return *ctx ? CUDA_SUCCESS : sim_no_context();
}

SIM_API(cuCtxGetDevice_v2, (CUdevice * device, CUcontext ctx))
{
    SIM_ENTER(cuCtxGetDevice_v2);
    if (!device)
        return CUDA_ERROR_INVALID_VALUE;
    SIM_TRY(named(&ctx));
    *device = ctx->device;
    return CUDA_SUCCESS;
}

SIM_API(cuCtxGetFlags, (unsigned *flags))
{
    if (!flags) /* said even before cuInit */
        return CUDA_ERROR_INVALID_VALUE;
    SIM_ENTER_ANY_CONTEXT(cuCtxGetFlags, ctx);
    *flags = ctx->flags;
    return CUDA_SUCCESS;
}

SIM_API(cuCtxSetFlags, (unsigned flags))
{
    SIM_ENTER_CONTEXT(cuCtxSetFlags, ctx);
    if (flags & ~(unsigned)CU_CTX_FLAGS_MASK)
        return CUDA_ERROR_INVALID_VALUE;
    ctx->flags = flags | CU_CTX_MAP_HOST;
    return CUDA_SUCCESS;
}

SIM_API(cuCtxGetId, (CUcontext ctx, unsigned long long *id))
{
    if (!id) /* said even before cuInit */
        return CUDA_ERROR_INVALID_VALUE;
    SIM_ENTER(cuCtxGetId);
    SIM_TRY(named(&ctx));
    *id = ctx->id;
    return CUDA_SUCCESS;
}

SIM_API(cuCtxGetApiVersion, (CUcontext ctx, unsigned *version))
{
    SIM_ENTER(cuCtxGetApiVersion);
    if (!version)
        return CUDA_ERROR_INVALID_VALUE;
    SIM_TRY(named(&ctx));
    *version = ctx->api_version;
    return CUDA_SUCCESS;
}

SIM_API(cuCtxGetStreamPriorityRange, (int *least, int *greatest))
{
    SIM_ENTER_ANY_CONTEXT(cuCtxGetStreamPriorityRange, ctx);
    if (least)
        *least = 0;
    if (greatest)
        *greatest = GREATEST_PRIORITY;
    return CUDA_SUCCESS;
}

static CUresult limit_known(const struct sim_context *ctx, int limit)
{
    if (limit < 0 || limit >= CU_LIMIT_SETTABLE)
        return CUDA_ERROR_UNSUPPORTED_LIMIT;
    if (limit == CU_LIMIT_DEV_RUNTIME_SYNC_DEPTH && sim_device_of(ctx->device)->profile.compute_major >= 9)
        return CUDA_ERROR_UNSUPPORTED_LIMIT;
    return CUDA_SUCCESS;
}

SIM_API(cuCtxGetLimit, (size_t * value, CUlimit limit))
{
    SIM_ENTER_ANY_CONTEXT(cuCtxGetLimit, ctx);
    if (!value)
        return CUDA_ERROR_INVALID_VALUE;
    SIM_TRY(limit_known(ctx, (int)limit));
    ctx = ctx->root; /* of green contexts, too: the memory is that of the one which they live in */
    pthread_mutex_lock(&ctx->lock);
    *value = ctx->limit[limit];
    pthread_mutex_unlock(&ctx->lock);
    return CUDA_SUCCESS;
}

SIM_API(cuCtxSetLimit, (CUlimit limit, size_t value))
{
    SIM_ENTER_CONTEXT(cuCtxSetLimit, ctx);
    SIM_TRY(limit_known(ctx, (int)limit));
    ctx = ctx->root; /* of green contexts, too: the memory is that of the one which they live in */
    CUresult result = CUDA_SUCCESS;
    pthread_mutex_lock(&ctx->lock);
    if (limit == CU_LIMIT_MALLOC_HEAP_SIZE)
        result = sim_context_set_heap(ctx, value);
    else
        ctx->limit[limit] = value;
    pthread_mutex_unlock(&ctx->lock);
    return result;
}

SIM_API(cuCtxGetCacheConfig, (int *config))
{
    SIM_ENTER_ANY_CONTEXT(cuCtxGetCacheConfig, ctx);
    if (!config)
        return CUDA_ERROR_INVALID_VALUE;
    *config = (int)ctx->cache_config;
    return CUDA_SUCCESS;
}

SIM_API(cuCtxSetCacheConfig, (int config))
{
    SIM_ENTER_CONTEXT(cuCtxSetCacheConfig, ctx);
    if (config < 0 || config > 3)
        return CUDA_ERROR_INVALID_VALUE;
    ctx->cache_config = (uint32_t)config;
    return CUDA_SUCCESS;
}

SIM_API(cuCtxGetSharedMemConfig, (int *config))
{
    SIM_ENTER_ANY_CONTEXT(cuCtxGetSharedMemConfig, ctx);
    if (!config)
        return CUDA_ERROR_INVALID_VALUE;
    *config = 1; /* four-byte banks: nothing else exists any more */
    return CUDA_SUCCESS;
}

SIM_API(cuCtxSetSharedMemConfig, (int config))
{
    SIM_ENTER_CONTEXT(cuCtxSetSharedMemConfig, ctx);
    return config >= 0 && config <= 2 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

SIM_API(cuCtxResetPersistingL2Cache, (void))
{
    SIM_ENTER_CONTEXT(cuCtxResetPersistingL2Cache, ctx);
    return CUDA_SUCCESS;
}

SIM_API(cuCtxSynchronize, (void))
{
    SIM_ENTER_CONTEXT(cuCtxSynchronize, ctx);
    SIM_TRY(sim_capture_unsafe_call());
    return sim_context_synchronize(ctx);
}

SIM_API(cuCtxSynchronize_v2, (CUcontext ctx))
{
    SIM_ENTER(cuCtxSynchronize_v2);
    SIM_TRY(named(&ctx));
    SIM_TRY(sim_capture_unsafe_call());
    return sim_context_synchronize(ctx);
}

static CUresult peers(struct sim_context *ctx, CUcontext peer)
{
    if (!sim_is(peer, SIM_CONTEXT))
        return CUDA_ERROR_INVALID_CONTEXT;
    return peer->device == ctx->device ? CUDA_ERROR_INVALID_CONTEXT : CUDA_SUCCESS;
}

/* Device memory is one address space here: access is only book-keeping. */
SIM_API(cuCtxEnablePeerAccess, (CUcontext peer, unsigned flags))
{
    SIM_ENTER_CONTEXT(cuCtxEnablePeerAccess, ctx);
    if (flags != 0)
        return CUDA_ERROR_INVALID_VALUE;
    SIM_TRY(peers(ctx, peer));
    uint32_t bit = 1u << peer->device;
    return atomic_fetch_or(&ctx->peers, bit) & bit ? CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED : CUDA_SUCCESS;
}

SIM_API(cuCtxDisablePeerAccess, (CUcontext peer))
{
    SIM_ENTER_CONTEXT(cuCtxDisablePeerAccess, ctx);
    SIM_TRY(peers(ctx, peer));
    uint32_t bit = 1u << peer->device;
    return atomic_fetch_and(&ctx->peers, ~bit) & bit ? CUDA_SUCCESS : CUDA_ERROR_PEER_ACCESS_NOT_ENABLED;
}
