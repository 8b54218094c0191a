/* primary.c -- the primary contexts: one for each device, there while anybody retains it. */
#include "context.h"
#include "sim.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct sim_context *primary[SIM_MAX_DEVICES];

/* With the lock held: the device's primary object, perhaps without life. */
static struct sim_context *primary_object(CUdevice device)
{
    if (!primary[device]) {
        primary[device] = sim_context_new(device, 0);
        if (primary[device]) {
            primary[device]->primary = true;
            primary[device]->magic = SIM_DEAD;
        }
    }
    return primary[device];
}

CUresult sim_primary_retain(CUdevice device, struct sim_context **out)
{
    if (!sim_device_valid(device))
        return CUDA_ERROR_INVALID_DEVICE;
    pthread_mutex_lock(&lock);
    struct sim_context *ctx = primary_object(device);
    CUresult result = ctx ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
    if (ctx && ctx->magic != SIM_CONTEXT)
        result = sim_context_open(ctx, 0);
    if (result == CUDA_SUCCESS) {
        ctx->users++;
        *out = ctx;
    }
    pthread_mutex_unlock(&lock);
    return result;
}

static void close_primary(struct sim_context *ctx)
{
    sim_context_close(ctx);
    ctx->magic = SIM_DEAD;
    ctx->users = 0;
}

static CUresult primary_release(CUdevice device)
{
    if (!sim_device_valid(device))
        return CUDA_ERROR_INVALID_DEVICE;
    pthread_mutex_lock(&lock);
    struct sim_context *ctx = primary[device];
    CUresult result = ctx && ctx->users ? CUDA_SUCCESS : CUDA_ERROR_INVALID_CONTEXT;
    if (result == CUDA_SUCCESS && --ctx->users == 0)
        close_primary(ctx);
    pthread_mutex_unlock(&lock);
    return result;
}

static CUresult primary_reset(CUdevice device)
{
    if (!sim_device_valid(device))
        return CUDA_ERROR_INVALID_DEVICE;
    pthread_mutex_lock(&lock);
    struct sim_context *ctx = primary[device];
    if (ctx && ctx->magic == SIM_CONTEXT)
        close_primary(ctx);
    pthread_mutex_unlock(&lock);
    return CUDA_SUCCESS;
}

static CUresult primary_set_flags(CUdevice device, unsigned flags)
{
    if (!sim_device_valid(device))
        return CUDA_ERROR_INVALID_DEVICE;
    if (flags & ~(unsigned)CU_CTX_FLAGS_MASK)
        return CUDA_ERROR_INVALID_VALUE;
    pthread_mutex_lock(&lock);
    struct sim_context *ctx = primary_object(device);
    if (ctx)
        ctx->flags = flags | CU_CTX_MAP_HOST;
    pthread_mutex_unlock(&lock);
    return ctx ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

SIM_API(cuDevicePrimaryCtxRetain, (CUcontext * ctx, CUdevice device))
{
    SIM_ENTER(cuDevicePrimaryCtxRetain);
    return ctx ? sim_primary_retain(device, ctx) : CUDA_ERROR_INVALID_VALUE;
}

SIM_API(cuDevicePrimaryCtxRelease, (CUdevice device))
{
    SIM_ENTER(cuDevicePrimaryCtxRelease);
    return primary_release(device);
}

SIM_API(cuDevicePrimaryCtxRelease_v2, (CUdevice device))
{
    SIM_ENTER(cuDevicePrimaryCtxRelease_v2);
    return primary_release(device);
}

SIM_API(cuDevicePrimaryCtxReset, (CUdevice device))
{
    SIM_ENTER(cuDevicePrimaryCtxReset);
    return primary_reset(device);
}

SIM_API(cuDevicePrimaryCtxReset_v2, (CUdevice device))
{
    SIM_ENTER(cuDevicePrimaryCtxReset_v2);
    return primary_reset(device);
}

SIM_API(cuDevicePrimaryCtxSetFlags, (CUdevice device, unsigned flags))
{
    SIM_ENTER(cuDevicePrimaryCtxSetFlags);
    return primary_set_flags(device, flags);
}

SIM_API(cuDevicePrimaryCtxSetFlags_v2, (CUdevice device, unsigned flags))
{
    SIM_ENTER(cuDevicePrimaryCtxSetFlags_v2);
    return primary_set_flags(device, flags);
}

SIM_API(cuDevicePrimaryCtxGetState, (CUdevice device, unsigned *flags, int *active))
{
    if (!flags || !active) /* said even before cuInit */
        return CUDA_ERROR_INVALID_VALUE;
    SIM_ENTER(cuDevicePrimaryCtxGetState);
    if (!sim_device_valid(device))
        return CUDA_ERROR_INVALID_DEVICE;
    pthread_mutex_lock(&lock);
    *flags = primary[device] ? primary[device]->flags & ~(unsigned)CU_CTX_MAP_HOST : 0;
    *active = primary[device] && primary[device]->magic == SIM_CONTEXT;
    pthread_mutex_unlock(&lock);
    return CUDA_SUCCESS;
}
