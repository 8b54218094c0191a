/* launch.c -- kernel launches, and how long a kernel takes.
 *
 * Kernels do not compute; they take time on SMs.  An entry named `spin` with one u64 parameter takes that many
 * nanoseconds; those in SIMGPU_KERNELS="name=ns,name=ns" take what is said there; any other takes 5 us plus 10 us
 * for every wave of its blocks over the device's SMs, one block an SM. */
#include "launch.h"
#include "process.h"

#include <stdlib.h>
#include <string.h>

#define START_NS    5000
#define PER_WAVE_NS 10000
#define MAX_GRID_YZ 65535

/* The name's value in "a=1,b=2", or 0. */
static uint64_t listed_ns(const char *list, const char *name)
{
    size_t length = strlen(name);
    for (; list && *list; list = strchr(list, ',') ? strchr(list, ',') + 1 : "")
        if (strncmp(list, name, length) == 0 && list[length] == '=')
            return strtoull(list + length + 1, NULL, 10);
    return 0;
}

void sim_function_choose_model(struct sim_function *f)
{
    uint64_t listed = listed_ns(getenv("SIMGPU_KERNELS"), f->name);
    if (listed) {
        f->model = SIM_MODEL_FIXED;
        f->model_ns = listed;
    } else if (strcmp(f->name, "spin") == 0 && f->param_count == 1 && f->param[0].bytes == 8)
        f->model = SIM_MODEL_SPIN;
    else
        f->model = SIM_MODEL_GRID;
}

/* The buffer of CU_LAUNCH_PARAM_BUFFER_POINTER, NULL if there is none. */
static const void *packed_params(void **extra)
{
    const void *buffer = NULL;
    for (int i = 0; extra && extra[i] != CU_LAUNCH_PARAM_END && i < 8; i += 2)
        if (extra[i] == CU_LAUNCH_PARAM_BUFFER_POINTER)
            buffer = extra[i + 1];
    return buffer;
}

static uint64_t first_param(const struct sim_launch *launch)
{
    uint64_t value = 0;
    const void *at = launch->params ? launch->params[0] : packed_params(launch->extra);
    if (at)
        memcpy(&value, at, sizeof(value));
    return value;
}

static uint64_t block_count(const struct sim_launch *launch)
{
    return (uint64_t)launch->grid[0] * launch->grid[1] * launch->grid[2];
}

static void cost_of_launch(const struct sim_context *ctx, struct sim_work *work)
{
    const struct sim_launch *launch = &work->launch;
    uint32_t sm_count = sim_device_of(ctx->device)->profile.sm_count;
    uint64_t blocks = block_count(launch);
    work->sms = blocks < sm_count ? (uint32_t)blocks : sm_count;
    uint64_t waves = blocks <= sm_count ? 1 : (blocks + sm_count - 1) / sm_count;
    work->waves = launch->function->model == SIM_MODEL_SPIN ? 1
                  : waves < UINT32_MAX                      ? (uint32_t)waves
                                                            : UINT32_MAX;
    switch (launch->function->model) {
    case SIM_MODEL_SPIN:
        work->duration_ns = first_param(launch);
        break;
    case SIM_MODEL_FIXED:
        work->duration_ns = launch->function->model_ns;
        break;
    default:
        work->duration_ns = START_NS + waves * PER_WAVE_NS;
    }
    if (work->duration_ns == 0)
        work->duration_ns = 1;
}

void sim_work_cost(const struct sim_context *ctx, struct sim_work *work)
{
    if (work->kind == SIM_WORK_KERNEL)
        cost_of_launch(ctx, work);
    else if (work->kind == SIM_WORK_COPY || work->kind == SIM_WORK_FILL)
        sim_transfer_cost(ctx, work);
}

CUresult sim_launch_check(const struct sim_context *ctx, const struct sim_launch *launch)
{
    const struct sim_function *f = launch->function;
    const struct sim_profile *profile = &sim_device_of(ctx->device)->profile;
    uint64_t threads = (uint64_t)launch->block[0] * launch->block[1] * launch->block[2];
    if (block_count(launch) == 0 || threads == 0)
        return CUDA_ERROR_INVALID_VALUE;
    if (launch->grid[0] > INT32_MAX || launch->grid[1] > MAX_GRID_YZ || launch->grid[2] > MAX_GRID_YZ)
        return CUDA_ERROR_INVALID_VALUE;
    if (threads > SIM_MAX_BLOCK_THREADS || launch->block[2] > 64)
        return CUDA_ERROR_INVALID_VALUE;
    if (f->launch_bound && threads > f->launch_bound)
        return CUDA_ERROR_INVALID_VALUE;
    if (threads > f->max_threads)
        return CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES;
    if (launch->shared_bytes + f->shared_bytes > profile->shared_per_block_optin)
        return CUDA_ERROR_INVALID_VALUE;
    if (launch->params && launch->extra)
        return CUDA_ERROR_INVALID_VALUE;
    if (f->param_count > 0 && !launch->params && !packed_params(launch->extra))
        return CUDA_ERROR_INVALID_VALUE;
    if (launch->cooperative && threads &&
        block_count(launch) > (uint64_t)profile->sm_count * (profile->threads_per_sm / threads))
        return CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE;
    return sim_launch_check_cluster(ctx, launch);
}

static CUresult launch_on(struct sim_stream *stream, CUfunction handle, struct sim_work *work)
{
    struct sim_launch *launch = &work->launch;
    launch->function = sim_function_resolve(handle, stream->context);
    if (!launch->function)
        return CUDA_ERROR_INVALID_HANDLE;
    SIM_TRY(sim_launch_check(stream->context, launch));
    cost_of_launch(stream->context, work);
    return sim_submit(stream, work);
}

SIM_STREAM_API(cuLaunchKernel, cuLaunchKernel_ptsz,
               (CUfunction f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                unsigned shared, CUstream handle, void **params, void **extra),
               (f, gx, gy, gz, bx, by, bz, shared, handle, params, extra))
{
    SIM_ENTER_CONTEXT(cuLaunchKernel, ctx);
    struct sim_stream *stream;
    SIM_TRY(sim_stream_resolve(handle, per_thread, &stream));
    struct sim_work work;
    work.kind = SIM_WORK_KERNEL;
    work.launch = (struct sim_launch){.grid = {gx, gy, gz},
                                      .block = {bx, by, bz},
                                      .shared_bytes = shared,
                                      .params = params,
                                      .extra = extra};
    return launch_on(stream, f, &work);
}

SIM_STREAM_API(cuLaunchCooperativeKernel, cuLaunchCooperativeKernel_ptsz,
               (CUfunction f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                unsigned shared, CUstream handle, void **params),
               (f, gx, gy, gz, bx, by, bz, shared, handle, params))
{
    SIM_ENTER_CONTEXT(cuLaunchCooperativeKernel, ctx);
    struct sim_stream *stream;
    SIM_TRY(sim_stream_resolve(handle, per_thread, &stream));
    struct sim_work work;
    work.kind = SIM_WORK_KERNEL;
    work.launch = (struct sim_launch){.grid = {gx, gy, gz},
                                      .block = {bx, by, bz},
                                      .shared_bytes = shared,
                                      .cooperative = 1,
                                      .params = params};
    return launch_on(stream, f, &work);
}

SIM_STREAM_API(cuLaunchKernelEx, cuLaunchKernelEx_ptsz,
               (const CUlaunchConfig *config, CUfunction f, void **params, void **extra),
               (config, f, params, extra))
{
    SIM_ENTER_CONTEXT(cuLaunchKernelEx, ctx);
    if (!config || (config->numAttrs > 0 && !config->attrs))
        return CUDA_ERROR_INVALID_VALUE;
    struct sim_stream *stream;
    SIM_TRY(sim_stream_resolve(config->hStream, per_thread, &stream));
    struct sim_work work;
    work.kind = SIM_WORK_KERNEL;
    work.launch = (struct sim_launch){.grid = {config->gridDimX, config->gridDimY, config->gridDimZ},
                                      .block = {config->blockDimX, config->blockDimY, config->blockDimZ},
                                      .shared_bytes = config->sharedMemBytes,
                                      .params = params,
                                      .extra = extra};
    struct sim_event *ended;
    SIM_TRY(sim_launch_attributes(stream->context, config, &work.launch, &ended));
    if (stream->capture && work.launch.begun) { /* a captured launch is recorded as a whole */
        ended = work.launch.begun;
        work.launch.begun = NULL;
    }
    SIM_TRY(launch_on(stream, f, &work));
    if (!ended)
        return CUDA_SUCCESS;
    struct sim_work record = {.kind = SIM_WORK_RECORD, .event = {.event = ended}};
    return sim_submit(stream, &record);
}
