/* launch_old.c -- launches as CUDA 3 made them: shape and parameters are set in the function beforehand; and launches
 * on several devices at once. */
#include "sim.h"

#include <stdlib.h>
#include <string.h>

#define PARAM_ROOM 4096

/* What was set for a function; it outlives the function's module. */
struct setting {
    struct setting *next;
    CUfunction function;
    unsigned block[3], shared;
    size_t param_bytes;
    char params[PARAM_ROOM];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct setting *settings;

CUresult cuLaunchKernel(CUfunction, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned,
                        CUstream, void **, void **);
CUresult cuLaunchCooperativeKernel(CUfunction, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned,
                                   unsigned, CUstream, void **);

static CUresult setting_of(CUfunction function, struct setting **out)
{
    struct sim_context *ctx = sim_current_context();
    if (!ctx)
        return sim_no_context();
    if (!sim_is(function, SIM_FUNCTION))
        return CUDA_ERROR_INVALID_HANDLE;
    pthread_mutex_lock(&lock);
    struct setting *s = settings;
    while (s && s->function != function)
        s = s->next;
    if (!s && (s = calloc(1, sizeof(*s)))) {
        s->function = function;
        s->next = settings;
        settings = s;
    }
    pthread_mutex_unlock(&lock);
    *out = s;
    return s ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

SIM_API(cuFuncSetBlockShape, (CUfunction function, int x, int y, int z))
{
    SIM_ENTER(cuFuncSetBlockShape);
    struct setting *s;
    SIM_TRY(setting_of(function, &s));
    if (x <= 0 || y <= 0 || z <= 0)
        return CUDA_ERROR_INVALID_VALUE;
    s->block[0] = (unsigned)x;
    s->block[1] = (unsigned)y;
    s->block[2] = (unsigned)z;
    return CUDA_SUCCESS;
}

SIM_API(cuFuncSetSharedSize, (CUfunction function, unsigned bytes))
{
    SIM_ENTER(cuFuncSetSharedSize);
    struct setting *s;
    SIM_TRY(setting_of(function, &s));
    s->shared = bytes;
    return CUDA_SUCCESS;
}

SIM_API(cuParamSetSize, (CUfunction function, unsigned bytes))
{
    SIM_ENTER(cuParamSetSize);
    struct setting *s;
    SIM_TRY(setting_of(function, &s));
    if (bytes > PARAM_ROOM)
        return CUDA_ERROR_INVALID_VALUE;
    s->param_bytes = bytes;
    return CUDA_SUCCESS;
}

static CUresult set_param(CUfunction function, int offset, const void *value, unsigned bytes)
{
    struct setting *s;
    SIM_TRY(setting_of(function, &s));
    if (!value || offset < 0 || (unsigned)offset > PARAM_ROOM || bytes > PARAM_ROOM - (unsigned)offset)
        return CUDA_ERROR_INVALID_VALUE;
    memcpy(s->params + offset, value, bytes);
    return CUDA_SUCCESS;
}

SIM_API(cuParamSeti, (CUfunction function, int offset, unsigned value))
{
    SIM_ENTER(cuParamSeti);
    return set_param(function, offset, &value, sizeof(value));
}

SIM_API(cuParamSetf, (CUfunction function, int offset, float value))
{
    SIM_ENTER(cuParamSetf);
    return set_param(function, offset, &value, sizeof(value));
}

SIM_API(cuParamSetv, (CUfunction function, int offset, void *value, unsigned bytes))
{
    SIM_ENTER(cuParamSetv);
    return set_param(function, offset, value, bytes);
}

/* A block shape that was never set is a bad value. */
static CUresult launch(CUfunction function, int width, int height, CUstream stream)
{
    struct setting *s;
    SIM_TRY(setting_of(function, &s));
    if (width <= 0 || height <= 0)
        return CUDA_ERROR_INVALID_VALUE;
    void *extra[] = {CU_LAUNCH_PARAM_BUFFER_POINTER, s->params, CU_LAUNCH_PARAM_BUFFER_SIZE, &s->param_bytes,
                     CU_LAUNCH_PARAM_END};
    return cuLaunchKernel(function, (unsigned)width, (unsigned)height, 1, s->block[0], s->block[1],
                          s->block[2], s->shared, stream, NULL, extra);
}

SIM_API(cuLaunch, (CUfunction function))
{
    SIM_ENTER(cuLaunch);
    return launch(function, 1, 1, NULL);
}

SIM_API(cuLaunchGrid, (CUfunction function, int width, int height))
{
    SIM_ENTER(cuLaunchGrid);
    return launch(function, width, height, NULL);
}

SIM_API(cuLaunchGridAsync, (CUfunction function, int width, int height, CUstream stream))
{
    SIM_ENTER(cuLaunchGridAsync);
    return launch(function, width, height, stream);
}

/* -------- one cooperative kernel on several devices -------- */

struct launch_params {
    CUfunction function;
    unsigned grid[3], block[3], shared;
    CUstream stream;
    void **params;
};

#define NO_SYNC_FLAGS 3u

/* Each on another device, in a stream of its own, with the same shape. */
static CUresult check_launches(const struct launch_params *list, unsigned count)
{
    uint32_t devices = 0;
    for (unsigned i = 0; i < count; i++) {
        if ((uintptr_t)list[i].stream <= (uintptr_t)CU_STREAM_PER_THREAD ||
            !sim_is(list[i].stream, SIM_STREAM))
            return CUDA_ERROR_INVALID_HANDLE;
        uint32_t device = 1u << list[i].stream->context->device;
        if (devices & device || memcmp(list[i].grid, list[0].grid, sizeof(list[i].grid)) != 0 ||
            memcmp(list[i].block, list[0].block, sizeof(list[i].block)) != 0 ||
            list[i].shared != list[0].shared)
            return CUDA_ERROR_INVALID_VALUE;
        devices |= device;
    }
    return CUDA_SUCCESS;
}

SIM_API(cuLaunchCooperativeKernelMultiDevice, (struct launch_params * list, unsigned count, unsigned flags))
{
    SIM_ENTER_CONTEXT(cuLaunchCooperativeKernelMultiDevice, ctx);
    if (!list || count == 0 || flags & ~NO_SYNC_FLAGS)
        return CUDA_ERROR_INVALID_VALUE;
    SIM_TRY(check_launches(list, count));
    for (unsigned i = 0; i < count; i++)
        SIM_TRY(cuLaunchCooperativeKernel(list[i].function, list[i].grid[0], list[i].grid[1], list[i].grid[2],
                                          list[i].block[0], list[i].block[1], list[i].block[2],
                                          list[i].shared, list[i].stream, list[i].params));
    return CUDA_SUCCESS;
}
