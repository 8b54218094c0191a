/* launch.c -- what every launch does, and the launches of kernels in all spellings but the common one. */
#include "collective.h"
#include "gate.h"
#include "launch.h"

/* What a launch is expected to take. */
static int64_t expected_ns(struct gs_cost *cost, const struct gs_meter_device *device)
{
    uint64_t mean_ns = __atomic_load_n(&cost->mean_ns, __ATOMIC_RELAXED);

    if (mean_ns != 0)
        return (int64_t)mean_ns;
    bool again = cost->countdown != 0; /* some of it has been launched since it was last forgotten */
    cost->countdown = GS_SAMPLE_EVERY;
    return gs_gate_unknown_ns(device, again);
}

/* Whether a launch that begins a window gets one of its own: work not known yet, and a sample now and then. */
static bool wants_sample(struct gs_cost *cost, const struct gs_stream *stream)
{
    uint32_t countdown = cost->countdown;
    bool due = countdown == 0 || cost->mean_ns == 0;

    if (due)
        countdown = stream->gappy ? GS_SAMPLE_GAPPY : GS_SAMPLE_EVERY;
    cost->countdown = countdown - 1;
    return due;
}

static int64_t left_ns(const struct gs_stream *stream)
{
    return __atomic_load_n(&stream->credit_ns, __ATOMIC_RELAXED) +
           __atomic_load_n(&stream->margin_ns, __ATOMIC_RELAXED);
}

/* Waits, sets the start marker where one is needed, and prepays for a window. */
static void open_window(struct gs_stream *stream, struct gs_cost *cost, int64_t cost_ns, bool alone,
                        bool joins)
{
    int64_t window_ns = alone ? 0 : gs_gate_window_ns(stream->device);

    if (window_ns > cost_ns * stream->trust) /* cost_ns is at most hours */
        window_ns = cost_ns * stream->trust;
    int64_t granted_ns = cost_ns;
    if (joins)
        gs_gate_prepay(stream->device, cost_ns);
    else
        granted_ns = gs_gate_pass(stream->device, cost_ns, window_ns);

    if (alone || stream->idle || stream->apart)
        gs_meter_begin(stream, alone);
    if (__atomic_load_n(&stream->launches_most, __ATOMIC_RELAXED) == 0) {
        stream->open_cost = cost;
        __atomic_fetch_add(&stream->launches_most, stream->trust, __ATOMIC_RELAXED);
        __atomic_fetch_add(&stream->launches_left, stream->trust, __ATOMIC_RELAXED);
    }
    __atomic_fetch_add(&stream->granted_ns, granted_ns, __ATOMIC_RELAXED);
    int64_t margin_ns = __atomic_load_n(&gs_captures, __ATOMIC_RELAXED) == 0 ? cost_ns : granted_ns;
    __atomic_fetch_add(&stream->margin_ns, margin_ns, __ATOMIC_RELAXED);
    __atomic_fetch_add(&stream->credit_ns, granted_ns - margin_ns, __ATOMIC_RELAXED);
}

struct gs_launch gs_launch_begin(CUstream handle, const struct gs_work *work, bool alone)
{
    struct gs_stream *stream = gs_thread.stream;

    if (stream->handle != handle)
        stream = gs_stream_find(handle);
    struct gs_launch launch = {.stream = stream};

    if (stream == NULL)
        return launch;
    if (__atomic_load_n(&gs_captures, __ATOMIC_RELAXED) != 0 && gs_meter_capturing(handle)) {
        launch.stream = NULL;
        return launch;
    }
    bool collective = gs_collective_is(work->function);
    struct gs_work seen_here;
    if (__builtin_expect(collective,
                         0)) { /* under another name, so that no launch of it takes the short way */
        seen_here = *work;
        seen_here.function = (const char *)work->function + 1;
        work = &seen_here;
    }
    struct gs_cost *cost = gs_cost_of(work);
    int64_t cost_ns = expected_ns(cost, stream->device);
    if (alone || stream->idle || left_ns(stream) < cost_ns) {
        launch.alone = alone || wants_sample(cost, stream);
        open_window(stream, cost, cost_ns, launch.alone,
                    collective && gs_collective_runs_beside(stream->device));
    }
    if (collective)
        gs_collective_begins(stream->device);
    __atomic_fetch_sub(&stream->credit_ns, cost_ns, __ATOMIC_RELAXED);
    __atomic_fetch_sub(&stream->launches_left, 1, __ATOMIC_RELAXED);
    launch.cost_ns = cost_ns;
    return launch;
}

/* The driver has refused it: as if it had not been. */
static void take_back(const struct gs_launch *launch)
{
    struct gs_stream *stream = launch->stream;

    __atomic_fetch_add(&stream->credit_ns, launch->cost_ns, __ATOMIC_RELAXED);
    __atomic_fetch_add(&stream->launches_left, 1, __ATOMIC_RELAXED);
    gs_meter_cancel(stream);
}

CUresult gs_launch_end(const struct gs_launch *launch, CUresult result)
{
    struct gs_stream *stream = launch->stream;

    if (stream != NULL && result != CUDA_SUCCESS)
        take_back(launch);
    else if (stream != NULL && (launch->alone || __atomic_load_n(&stream->credit_ns, __ATOMIC_RELAXED) < 0 ||
                                __atomic_load_n(&stream->launches_left, __ATOMIC_RELAXED) <= 0))
        gs_meter_mark(stream);
    return result;
}

void gs_launch_apart(CUstream handle)
{
    struct gs_stream *stream = gs_stream_known(handle);

    if (stream != NULL &&
        (__atomic_load_n(&gs_captures, __ATOMIC_RELAXED) == 0 || !gs_meter_capturing(handle)))
        gs_meter_apart(stream);
}

/* -------- with attributes -------- */

static inline struct gs_work work_of(CUfunction f, const CUlaunchConfig *config)
{
    return (struct gs_work){f,
                            config->gridDimX,
                            config->gridDimY,
                            config->gridDimZ,
                            config->blockDimX,
                            config->blockDimY,
                            config->blockDimZ,
                            config->sharedMemBytes};
}

GSHARE_HOOK(cuLaunchKernelEx, (const CUlaunchConfig *config, CUfunction f, void **kernelParams, void **extra))
{
    if (gs_launch_unlimited() || config == NULL)
        return REAL(cuLaunchKernelEx)(config, f, kernelParams, extra);
    struct gs_work work = work_of(f, config);
    if (gs_launch_covered(gs_legacy(config->hStream), &work))
        return REAL(cuLaunchKernelEx)(config, f, kernelParams, extra);
    struct gs_launch launch = gs_launch_begin(gs_legacy(config->hStream), &work, false);
    return gs_launch_end(&launch, REAL(cuLaunchKernelEx)(config, f, kernelParams, extra));
}

GSHARE_HOOK(cuLaunchKernelEx_ptsz,
            (const CUlaunchConfig *config, CUfunction f, void **kernelParams, void **extra))
{
    if (gs_launch_unlimited() || config == NULL)
        return REAL(cuLaunchKernelEx_ptsz)(config, f, kernelParams, extra);
    struct gs_work work = work_of(f, config);
    if (gs_launch_covered(gs_per_thread(config->hStream), &work))
        return REAL(cuLaunchKernelEx_ptsz)(config, f, kernelParams, extra);
    struct gs_launch launch = gs_launch_begin(gs_per_thread(config->hStream), &work, false);
    return gs_launch_end(&launch, REAL(cuLaunchKernelEx_ptsz)(config, f, kernelParams, extra));
}

/* -------- cooperative -------- */

GSHARE_HOOK(cuLaunchCooperativeKernel,
            (CUfunction f, unsigned int gridDimX, unsigned int gridDimY, unsigned int gridDimZ,
             unsigned int blockDimX, unsigned int blockDimY, unsigned int blockDimZ,
             unsigned int sharedMemBytes, CUstream hStream, void **kernelParams))
{
    if (gs_launch_unlimited())
        return REAL(cuLaunchCooperativeKernel)(f, gridDimX, gridDimY, gridDimZ, blockDimX, blockDimY,
                                               blockDimZ, sharedMemBytes, hStream, kernelParams);
    struct gs_work work = {f, gridDimX, gridDimY, gridDimZ, blockDimX, blockDimY, blockDimZ, sharedMemBytes};
    struct gs_launch launch = gs_launch_begin(gs_legacy(hStream), &work, false);
    return gs_launch_end(&launch, REAL(cuLaunchCooperativeKernel)(f, gridDimX, gridDimY, gridDimZ, blockDimX,
                                                                  blockDimY, blockDimZ, sharedMemBytes,
                                                                  hStream, kernelParams));
}

GSHARE_HOOK(cuLaunchCooperativeKernel_ptsz,
            (CUfunction f, unsigned int gridDimX, unsigned int gridDimY, unsigned int gridDimZ,
             unsigned int blockDimX, unsigned int blockDimY, unsigned int blockDimZ,
             unsigned int sharedMemBytes, CUstream hStream, void **kernelParams))
{
    if (gs_launch_unlimited())
        return REAL(cuLaunchCooperativeKernel_ptsz)(f, gridDimX, gridDimY, gridDimZ, blockDimX, blockDimY,
                                                    blockDimZ, sharedMemBytes, hStream, kernelParams);
    struct gs_work work = {f, gridDimX, gridDimY, gridDimZ, blockDimX, blockDimY, blockDimZ, sharedMemBytes};
    struct gs_launch launch = gs_launch_begin(gs_per_thread(hStream), &work, false);
    return gs_launch_end(
        &launch, REAL(cuLaunchCooperativeKernel_ptsz)(f, gridDimX, gridDimY, gridDimZ, blockDimX, blockDimY,
                                                      blockDimZ, sharedMemBytes, hStream, kernelParams));
}

#define MOST_DEVICES 64

GSHARE_HOOK(cuLaunchCooperativeKernelMultiDevice,
            (CUDA_LAUNCH_PARAMS * launchParamsList, unsigned int numDevices, unsigned int flags))
{
    struct gs_launch launches[MOST_DEVICES];

    if (gs_launch_unlimited() || launchParamsList == NULL || numDevices > MOST_DEVICES)
        return REAL(cuLaunchCooperativeKernelMultiDevice)(launchParamsList, numDevices, flags);
    for (unsigned int i = 0; i < numDevices; i++) {
        const CUDA_LAUNCH_PARAMS *p = &launchParamsList[i];
        struct gs_work work = {p->function,  p->gridDimX,  p->gridDimY,  p->gridDimZ,
                               p->blockDimX, p->blockDimY, p->blockDimZ, p->sharedMemBytes};
        launches[i] = gs_launch_begin(gs_legacy(p->hStream), &work, true);
    }
    CUresult result = REAL(cuLaunchCooperativeKernelMultiDevice)(launchParamsList, numDevices, flags);
    for (unsigned int i = 0; i < numDevices; i++)
        gs_launch_end(&launches[i], result);
    return result;
}

/* -------- the spellings of before CUDA 4, whose block size and shared memory are the function's own -------- */

GSHARE_HOOK(cuLaunch, (CUfunction f))
{
    if (gs_launch_unlimited())
        return REAL(cuLaunch)(f);
    struct gs_work work = {.function = f, .grid_x = 1, .grid_y = 1};
    struct gs_launch launch = gs_launch_begin(CU_STREAM_LEGACY, &work, false);
    return gs_launch_end(&launch, REAL(cuLaunch)(f));
}

GSHARE_HOOK(cuLaunchGrid, (CUfunction f, int grid_width, int grid_height))
{
    if (gs_launch_unlimited())
        return REAL(cuLaunchGrid)(f, grid_width, grid_height);
    struct gs_work work = {.function = f, .grid_x = (uint32_t)grid_width, .grid_y = (uint32_t)grid_height};
    struct gs_launch launch = gs_launch_begin(CU_STREAM_LEGACY, &work, false);
    return gs_launch_end(&launch, REAL(cuLaunchGrid)(f, grid_width, grid_height));
}

GSHARE_HOOK(cuLaunchGridAsync, (CUfunction f, int grid_width, int grid_height, CUstream hStream))
{
    if (gs_launch_unlimited())
        return REAL(cuLaunchGridAsync)(f, grid_width, grid_height, hStream);
    struct gs_work work = {.function = f, .grid_x = (uint32_t)grid_width, .grid_y = (uint32_t)grid_height};
    struct gs_launch launch = gs_launch_begin(gs_legacy(hStream), &work, false);
    return gs_launch_end(&launch, REAL(cuLaunchGridAsync)(f, grid_width, grid_height, hStream));
}
