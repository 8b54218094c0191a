/* context.c -- contexts that programs create, and each thread's stack of current ones. */
#include "context.h"
#include "graph_memory.h"
#include "green.h"
#include "mps.h"
#include "process.h"

#include <string.h>

#define STACK_DEPTH 64

/* A created context's address may come back as another context: its id tells.  A primary context keeps its. */
struct entry {
    struct sim_context *ctx;
    unsigned long long id;
};

static __thread struct entry stack[STACK_DEPTH];
static __thread int depth;

static _Atomic unsigned long long last_id;

static bool living(const struct entry *entry)
{
    return sim_is(entry->ctx, SIM_CONTEXT) && entry->ctx->id == entry->id;
}

struct sim_context *sim_current_context(void)
{
    return depth > 0 && living(&stack[depth - 1]) ? stack[depth - 1].ctx : NULL;
}

CUresult sim_no_context(void)
{
    return depth > 0 && stack[depth - 1].ctx ? CUDA_ERROR_CONTEXT_IS_DESTROYED : CUDA_ERROR_INVALID_CONTEXT;
}

/* -------- making and unmaking -------- */

static const size_t default_limit[CU_LIMIT_SETTABLE] = {
    [CU_LIMIT_STACK_SIZE] = 1024,
    [CU_LIMIT_PRINTF_FIFO_SIZE] = 7 * SIM_MIB,
    [CU_LIMIT_MALLOC_HEAP_SIZE] = 8 * SIM_MIB,
    [CU_LIMIT_DEV_RUNTIME_SYNC_DEPTH] = 2,
    [CU_LIMIT_DEV_RUNTIME_PENDING_LAUNCH_COUNT] = 2048,
    [CU_LIMIT_MAX_L2_FETCH_GRANULARITY] = 64,
    [CU_LIMIT_PERSISTING_L2_CACHE_SIZE] = 0,
};

CUresult sim_context_open(struct sim_context *ctx, uint32_t sms)
{
    struct sim_machine *m = sim_driver.machine;
    uint64_t bytes = sim_device_of(ctx->device)->profile.context_bytes;
    if (sim_device_of(ctx->device)->lost)
        return CUDA_ERROR_UNKNOWN;
    SIM_TRY(sim_charge(ctx->device, SIM_MEM_CONTEXT, bytes));
    sim_machine_lock(m);
    ctx->shared = sim_shared_context_open(m, sim_driver.process, sim_driver.device[ctx->device]);
    sim_machine_unlock(m);
    memcpy(ctx->limit, default_limit, sizeof(ctx->limit));
    CUresult result = CUDA_ERROR_OUT_OF_MEMORY;
    if (ctx->shared) {
        ctx->magic = SIM_CONTEXT;
        m->context[ctx->shared].id = ctx->id;
        sim_mps_join(ctx, sms);
        result = sim_stream_open(ctx, CU_STREAM_DEFAULT, 0, SIM_ROLE_LEGACY, &ctx->legacy);
        if (result == CUDA_SUCCESS)
            return result;
        sim_machine_lock(m);
        sim_shared_context_close(m, ctx->shared);
        sim_machine_unlock(m);
    }
    sim_uncharge(ctx->device, SIM_MEM_CONTEXT, bytes);
    return result;
}

/* The driver's heap beyond the default, which the context's memory includes. */
static uint64_t heap_bytes(const struct sim_context *ctx)
{
    size_t heap = ctx->limit[CU_LIMIT_MALLOC_HEAP_SIZE], included = default_limit[CU_LIMIT_MALLOC_HEAP_SIZE];
    return heap > included ? heap - included : 0;
}

void sim_context_close(struct sim_context *ctx)
{
    struct sim_machine *m = sim_driver.machine;
    sim_context_synchronize(ctx);
    sim_green_forget(ctx);
    sim_modules_unload_all(ctx);
    sim_memory_forget(ctx);
    pthread_mutex_lock(&ctx->lock);
    while (ctx->streams)
        sim_stream_close(ctx->streams);
    pthread_mutex_unlock(&ctx->lock);
    sim_machine_lock(m);
    sim_shared_context_close(m, ctx->shared);
    bool last = m->process[sim_driver.process].device[sim_driver.device[ctx->device]].contexts == 0;
    sim_machine_unlock(m);
    if (last) {
        sim_pools_forget(ctx->device);
        sim_graph_memory_forget(ctx->device);
    }
    sim_uncharge(ctx->device, SIM_MEM_CONTEXT,
                 sim_device_of(ctx->device)->profile.context_bytes + heap_bytes(ctx));
}

unsigned long long sim_context_next_id(void)
{
    return ++last_id;
}

struct sim_context *sim_context_new(CUdevice device, unsigned flags)
{
    struct sim_context *ctx = sim_object_new(SIM_CONTEXT, sizeof(*ctx));
    if (ctx) {
        ctx->device = device;
        ctx->flags = flags | CU_CTX_MAP_HOST;
        ctx->api_version = 3020;
        ctx->id = sim_context_next_id();
        ctx->root = ctx;
        pthread_mutex_init(&ctx->lock, NULL);
    }
    return ctx;
}

static CUresult create(CUcontext *out, const CUexecAffinityParam *affinity, int count, unsigned flags,
                       CUdevice device)
{
    if (!out || (flags & ~(unsigned)CU_CTX_FLAGS_MASK))
        return CUDA_ERROR_INVALID_VALUE;
    if (!sim_device_valid(device))
        return CUDA_ERROR_INVALID_DEVICE;
    uint32_t sms;
    SIM_TRY(sim_mps_affinity(device, affinity, count, &sms));
    if (depth == STACK_DEPTH)
        return CUDA_ERROR_UNKNOWN;
    struct sim_context *ctx = sim_context_new(device, flags);
    if (!ctx)
        return CUDA_ERROR_OUT_OF_MEMORY;
    CUresult result = sim_context_open(ctx, sms);
    if (result != CUDA_SUCCESS) {
        sim_object_free(ctx);
        return result;
    }
    stack[depth++] = (struct entry){ctx, ctx->id};
    *out = ctx;
    return CUDA_SUCCESS;
}

SIM_API(cuCtxCreate, (CUcontext * ctx, unsigned flags, CUdevice device))
{
    SIM_ENTER(cuCtxCreate);
    SIM_TRY(create(ctx, NULL, 0, flags, device));
    (*ctx)->api_version = 3010; /* addresses of 32 bits: legacy.h */
    return CUDA_SUCCESS;
}

SIM_API(cuCtxCreate_v2, (CUcontext * ctx, unsigned flags, CUdevice device))
{
    SIM_ENTER(cuCtxCreate_v2);
    return create(ctx, NULL, 0, flags, device);
}

SIM_API(cuCtxCreate_v3,
        (CUcontext * ctx, void *affinity, int affinity_count, unsigned flags, CUdevice device))
{
    SIM_ENTER(cuCtxCreate_v3);
    return create(ctx, affinity, affinity_count, flags, device);
}

SIM_API(cuCtxCreate_v4, (CUcontext * ctx, CUctxCreateParams *params, unsigned flags, CUdevice device))
{
    SIM_ENTER(cuCtxCreate_v4);
    if (!params)
        return create(ctx, NULL, 0, flags, device);
    if (params->cigParams)
        return CUDA_ERROR_NOT_SUPPORTED;
    return create(ctx, params->execAffinityParams, params->numExecAffinityParams, flags, device);
}

static CUresult destroy(CUcontext ctx)
{
    if (!ctx)
        return CUDA_ERROR_INVALID_VALUE;
    if (!sim_is(ctx, SIM_CONTEXT))
        return CUDA_ERROR_CONTEXT_IS_DESTROYED;
    if (ctx->primary)
        return CUDA_ERROR_INVALID_CONTEXT;
    bool current = depth > 0 && stack[depth - 1].ctx == ctx;
    sim_context_close(ctx);
    if (current)
        depth--;
    sim_object_free(ctx);
    return CUDA_SUCCESS;
}

SIM_API(cuCtxDestroy, (CUcontext ctx))
{
    if (!ctx) /* said even before cuInit */
        return CUDA_ERROR_INVALID_VALUE;
    SIM_ENTER(cuCtxDestroy);
    return destroy(ctx);
}

SIM_API(cuCtxDestroy_v2, (CUcontext ctx))
{
    if (!ctx) /* said even before cuInit */
        return CUDA_ERROR_INVALID_VALUE;
    SIM_ENTER(cuCtxDestroy_v2);
    return destroy(ctx);
}

/* -------- the stack -------- */

SIM_API(cuCtxPushCurrent_v2, (CUcontext ctx))
{
    SIM_ENTER(cuCtxPushCurrent_v2);
    if (!ctx)
        return CUDA_ERROR_INVALID_CONTEXT;
    if (!sim_is(ctx, SIM_CONTEXT))
        return CUDA_ERROR_CONTEXT_IS_DESTROYED;
    if (depth == STACK_DEPTH)
        return CUDA_ERROR_UNKNOWN;
    stack[depth++] = (struct entry){ctx, ctx->id};
    return CUDA_SUCCESS;
}

SIM_API(cuCtxPopCurrent_v2, (CUcontext * ctx))
{
    SIM_ENTER(cuCtxPopCurrent_v2);
    if (depth == 0)
        return CUDA_ERROR_INVALID_CONTEXT;
    depth--;
    if (ctx)
        *ctx = stack[depth].ctx;
    return CUDA_SUCCESS;
}

SIM_API(cuCtxPushCurrent, (CUcontext ctx))
{
    return cuCtxPushCurrent_v2(ctx);
}

SIM_API(cuCtxPopCurrent, (CUcontext * ctx))
{
    return cuCtxPopCurrent_v2(ctx);
}

SIM_API(cuCtxSetCurrent, (CUcontext ctx))
{
    SIM_ENTER(cuCtxSetCurrent);
    if (!ctx) {
        depth -= depth > 0;
        return CUDA_SUCCESS;
    }
    if (!sim_is(ctx, SIM_CONTEXT))
        return CUDA_ERROR_CONTEXT_IS_DESTROYED;
    depth += depth == 0;
    stack[depth - 1] = (struct entry){ctx, ctx->id};
    return CUDA_SUCCESS;
}

SIM_API(cuCtxGetCurrent, (CUcontext * ctx))
{
    SIM_ENTER(cuCtxGetCurrent);
    if (!ctx)
        return CUDA_ERROR_INVALID_VALUE;
    *ctx = depth > 0 ? stack[depth - 1].ctx : NULL;
    return CUDA_SUCCESS;
}

/* context_query.c raises it, and pays for it here, where it is given back. */
CUresult sim_context_set_heap(struct sim_context *ctx, size_t bytes)
{
    uint64_t before = heap_bytes(ctx);
    size_t old = ctx->limit[CU_LIMIT_MALLOC_HEAP_SIZE];
    size_t pieces = (bytes + SIM_PHYSICAL_GRAIN - 1) & ~(SIM_PHYSICAL_GRAIN - 1);
    if (pieces < bytes)
        return CUDA_ERROR_OUT_OF_MEMORY;
    ctx->limit[CU_LIMIT_MALLOC_HEAP_SIZE] = pieces;
    uint64_t after = heap_bytes(ctx);
    if (after > before && sim_charge(ctx->device, SIM_MEM_CONTEXT, after - before) != CUDA_SUCCESS) {
        ctx->limit[CU_LIMIT_MALLOC_HEAP_SIZE] = old;
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    if (after < before)
        sim_uncharge(ctx->device, SIM_MEM_CONTEXT, before - after);
    return CUDA_SUCCESS;
}
