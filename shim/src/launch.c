/* launch.c -- kernel launches, in all their spellings.
 *
 * The common ones choose where to go without a branch, and end in a jump: so no argument has to be moved. */
#include "gate.h"
#include "launch.h"

#define NOINLINE __attribute__((noinline))

typedef CUresult launch_function(CUfunction f, unsigned int gridDimX, unsigned int gridDimY,
                                 unsigned int gridDimZ, unsigned int blockDimX, unsigned int blockDimY,
                                 unsigned int blockDimZ, unsigned int sharedMemBytes, CUstream hStream,
                                 void **kernelParams, void **extra);

/* Whether a launch that begins a window gets one of its own: work not known yet, and a sample now and then. */
static bool wants_sample(struct gs_cost *work, const struct gs_stream *stream)
{
    uint32_t countdown = __atomic_load_n(&work->countdown, __ATOMIC_RELAXED);
    bool due = countdown == 0 || gs_cost_load(&work->mean_ns) == 0;

    if (due)
        countdown = stream->gappy ? GS_SAMPLE_GAPPY : GS_SAMPLE_EVERY;
    __atomic_store_n(&work->countdown, countdown - 1, __ATOMIC_RELAXED);
    return due;
}

static int64_t left_ns(const struct gs_stream *stream)
{
    return __atomic_load_n(&stream->credit_ns, __ATOMIC_RELAXED) +
           __atomic_load_n(&stream->margin_ns, __ATOMIC_RELAXED);
}

/* Waits, sets the start marker where one is needed, and prepays for a window. */
static void open_window(struct gs_stream *stream, int64_t cost_ns, bool alone)
{
    int64_t window_ns = alone ? 0 : gs_gate_window_ns(stream->device);
    int64_t granted_ns = gs_gate_pass(stream->device, cost_ns, window_ns);

    if (alone || stream->idle)
        gs_meter_begin(stream, alone);
    __atomic_fetch_add(&stream->granted_ns, granted_ns, __ATOMIC_RELAXED);
    __atomic_fetch_add(&stream->margin_ns, cost_ns, __ATOMIC_RELAXED);
    __atomic_fetch_add(&stream->credit_ns, granted_ns - cost_ns, __ATOMIC_RELAXED);
}

struct gs_launch gs_launch_begin(CUstream handle, uint64_t key, bool alone)
{
    struct gs_launch launch = {.stream = gs_stream_find(handle)};
    struct gs_stream *stream = launch.stream;

    if (stream == NULL)
        return launch;
    if (__atomic_load_n(&gs_captures, __ATOMIC_RELAXED) != 0 && gs_meter_capturing(handle)) {
        launch.stream = NULL;
        return launch;
    }
    struct gs_cost *work = gs_cost_of(key);
    uint64_t mean_ns = gs_cost_load(&work->mean_ns);
    int64_t cost_ns = mean_ns == 0 ? gs_gate_unknown_ns(stream->device) : (int64_t)mean_ns;
    if (alone || stream->idle || left_ns(stream) < cost_ns) {
        launch.alone = alone || wants_sample(work, stream);
        open_window(stream, cost_ns, launch.alone);
    }
    __atomic_fetch_sub(&stream->credit_ns, cost_ns, __ATOMIC_RELAXED);
    if (__atomic_fetch_add(&stream->open_launches, 1, __ATOMIC_RELAXED) == 0) {
        stream->open_work = work;
        stream->open_mix = 0;
    } else if (stream->open_work != work) {
        stream->open_mix = 1;
    }
    return launch;
}

CUresult gs_launch_end(const struct gs_launch *launch, CUresult result)
{
    struct gs_stream *stream = launch->stream;

    if (stream != NULL && (launch->alone || __atomic_load_n(&stream->credit_ns, __ATOMIC_RELAXED) < 0))
        gs_meter_mark(stream);
    return result;
}

static NOINLINE CUresult metered_cuLaunchKernel(CUfunction f, unsigned int gridDimX, unsigned int gridDimY,
                                                unsigned int gridDimZ, unsigned int blockDimX,
                                                unsigned int blockDimY, unsigned int blockDimZ,
                                                unsigned int sharedMemBytes, CUstream hStream,
                                                void **kernelParams, void **extra)
{
    struct gs_launch launch = gs_launch_begin(
        gs_legacy(hStream),
        gs_cost_key(f, gridDimX, gridDimY, gridDimZ, blockDimX, blockDimY, blockDimZ, sharedMemBytes), false);

    return gs_launch_end(&launch,
                         REAL(cuLaunchKernel)(f, gridDimX, gridDimY, gridDimZ, blockDimX, blockDimY,
                                              blockDimZ, sharedMemBytes, hStream, kernelParams, extra));
}

static NOINLINE CUresult limited_cuLaunchKernel(CUfunction f, unsigned int gridDimX, unsigned int gridDimY,
                                                unsigned int gridDimZ, unsigned int blockDimX,
                                                unsigned int blockDimY, unsigned int blockDimZ,
                                                unsigned int sharedMemBytes, CUstream hStream,
                                                void **kernelParams, void **extra)
{
    uint64_t key =
        gs_cost_key(f, gridDimX, gridDimY, gridDimZ, blockDimX, blockDimY, blockDimZ, sharedMemBytes);
    launch_function *next = metered_cuLaunchKernel;

    if (gs_launch_covered(gs_legacy(hStream), key))
        next = &REAL(cuLaunchKernel);
    return next(f, gridDimX, gridDimY, gridDimZ, blockDimX, blockDimY, blockDimZ, sharedMemBytes, hStream,
                kernelParams, extra);
}

GSHARE_HOOK(cuLaunchKernel,
            (CUfunction f, unsigned int gridDimX, unsigned int gridDimY, unsigned int gridDimZ,
             unsigned int blockDimX, unsigned int blockDimY, unsigned int blockDimZ,
             unsigned int sharedMemBytes, CUstream hStream, void **kernelParams, void **extra))
{
    launch_function *const next[] = {limited_cuLaunchKernel, &REAL(cuLaunchKernel)};

    return next[gs_launch_unlimited()](f, gridDimX, gridDimY, gridDimZ, blockDimX, blockDimY, blockDimZ,
                                       sharedMemBytes, hStream, kernelParams, extra);
}

static NOINLINE CUresult metered_cuLaunchKernel_ptsz(CUfunction f, unsigned int gridDimX,
                                                     unsigned int gridDimY, unsigned int gridDimZ,
                                                     unsigned int blockDimX, unsigned int blockDimY,
                                                     unsigned int blockDimZ, unsigned int sharedMemBytes,
                                                     CUstream hStream, void **kernelParams, void **extra)
{
    struct gs_launch launch = gs_launch_begin(
        gs_per_thread(hStream),
        gs_cost_key(f, gridDimX, gridDimY, gridDimZ, blockDimX, blockDimY, blockDimZ, sharedMemBytes), false);

    return gs_launch_end(&launch,
                         REAL(cuLaunchKernel_ptsz)(f, gridDimX, gridDimY, gridDimZ, blockDimX, blockDimY,
                                                   blockDimZ, sharedMemBytes, hStream, kernelParams, extra));
}

static NOINLINE CUresult limited_cuLaunchKernel_ptsz(CUfunction f, unsigned int gridDimX,
                                                     unsigned int gridDimY, unsigned int gridDimZ,
                                                     unsigned int blockDimX, unsigned int blockDimY,
                                                     unsigned int blockDimZ, unsigned int sharedMemBytes,
                                                     CUstream hStream, void **kernelParams, void **extra)
{
    uint64_t key =
        gs_cost_key(f, gridDimX, gridDimY, gridDimZ, blockDimX, blockDimY, blockDimZ, sharedMemBytes);
    launch_function *next = metered_cuLaunchKernel_ptsz;

    if (gs_launch_covered(gs_per_thread(hStream), key))
        next = &REAL(cuLaunchKernel_ptsz);
    return next(f, gridDimX, gridDimY, gridDimZ, blockDimX, blockDimY, blockDimZ, sharedMemBytes, hStream,
                kernelParams, extra);
}

GSHARE_HOOK(cuLaunchKernel_ptsz,
            (CUfunction f, unsigned int gridDimX, unsigned int gridDimY, unsigned int gridDimZ,
             unsigned int blockDimX, unsigned int blockDimY, unsigned int blockDimZ,
             unsigned int sharedMemBytes, CUstream hStream, void **kernelParams, void **extra))
{
    launch_function *const next[] = {limited_cuLaunchKernel_ptsz, &REAL(cuLaunchKernel_ptsz)};

    return next[gs_launch_unlimited()](f, gridDimX, gridDimY, gridDimZ, blockDimX, blockDimY, blockDimZ,
                                       sharedMemBytes, hStream, kernelParams, extra);
}

static NOINLINE CUresult metered_cuLaunchCooperativeKernel(CUfunction f, unsigned int gridDimX,
                                                           unsigned int gridDimY, unsigned int gridDimZ,
                                                           unsigned int blockDimX, unsigned int blockDimY,
                                                           unsigned int blockDimZ,
                                                           unsigned int sharedMemBytes, CUstream hStream,
                                                           void **kernelParams)
{
    struct gs_launch launch = gs_launch_begin(
        gs_legacy(hStream),
        gs_cost_key(f, gridDimX, gridDimY, gridDimZ, blockDimX, blockDimY, blockDimZ, sharedMemBytes), false);

    return gs_launch_end(&launch, REAL(cuLaunchCooperativeKernel)(f, gridDimX, gridDimY, gridDimZ, blockDimX,
                                                                  blockDimY, blockDimZ, sharedMemBytes,
                                                                  hStream, kernelParams));
}

GSHARE_HOOK(cuLaunchCooperativeKernel,
            (CUfunction f, unsigned int gridDimX, unsigned int gridDimY, unsigned int gridDimZ,
             unsigned int blockDimX, unsigned int blockDimY, unsigned int blockDimZ,
             unsigned int sharedMemBytes, CUstream hStream, void **kernelParams))
{
    return gs_launch_unlimited()
               ? REAL(cuLaunchCooperativeKernel)(f, gridDimX, gridDimY, gridDimZ, blockDimX, blockDimY,
                                                 blockDimZ, sharedMemBytes, hStream, kernelParams)
               : metered_cuLaunchCooperativeKernel(f, gridDimX, gridDimY, gridDimZ, blockDimX, blockDimY,
                                                   blockDimZ, sharedMemBytes, hStream, kernelParams);
}

static NOINLINE CUresult metered_cuLaunchCooperativeKernel_ptsz(
    CUfunction f, unsigned int gridDimX, unsigned int gridDimY, unsigned int gridDimZ, unsigned int blockDimX,
    unsigned int blockDimY, unsigned int blockDimZ, unsigned int sharedMemBytes, CUstream hStream,
    void **kernelParams)
{
    struct gs_launch launch = gs_launch_begin(
        gs_per_thread(hStream),
        gs_cost_key(f, gridDimX, gridDimY, gridDimZ, blockDimX, blockDimY, blockDimZ, sharedMemBytes), false);

    return gs_launch_end(
        &launch, REAL(cuLaunchCooperativeKernel_ptsz)(f, gridDimX, gridDimY, gridDimZ, blockDimX, blockDimY,
                                                      blockDimZ, sharedMemBytes, hStream, kernelParams));
}

GSHARE_HOOK(cuLaunchCooperativeKernel_ptsz,
            (CUfunction f, unsigned int gridDimX, unsigned int gridDimY, unsigned int gridDimZ,
             unsigned int blockDimX, unsigned int blockDimY, unsigned int blockDimZ,
             unsigned int sharedMemBytes, CUstream hStream, void **kernelParams))
{
    return gs_launch_unlimited()
               ? REAL(cuLaunchCooperativeKernel_ptsz)(f, gridDimX, gridDimY, gridDimZ, blockDimX, blockDimY,
                                                      blockDimZ, sharedMemBytes, hStream, kernelParams)
               : metered_cuLaunchCooperativeKernel_ptsz(f, gridDimX, gridDimY, gridDimZ, blockDimX, blockDimY,
                                                        blockDimZ, sharedMemBytes, hStream, kernelParams);
}

static uint64_t config_key(CUfunction f, const CUlaunchConfig *config)
{
    return gs_cost_key(f, config->gridDimX, config->gridDimY, config->gridDimZ, config->blockDimX,
                       config->blockDimY, config->blockDimZ, config->sharedMemBytes);
}

static NOINLINE CUresult metered_cuLaunchKernelEx(const CUlaunchConfig *config, CUfunction f,
                                                  void **kernelParams, void **extra)
{
    struct gs_launch launch = gs_launch_begin(gs_legacy(config->hStream), config_key(f, config), false);

    return gs_launch_end(&launch, REAL(cuLaunchKernelEx)(config, f, kernelParams, extra));
}

GSHARE_HOOK(cuLaunchKernelEx, (const CUlaunchConfig *config, CUfunction f, void **kernelParams, void **extra))
{
    if (gs_launch_unlimited() || config == NULL ||
        gs_launch_covered(gs_legacy(config->hStream), config_key(f, config)))
        return REAL(cuLaunchKernelEx)(config, f, kernelParams, extra);
    return metered_cuLaunchKernelEx(config, f, kernelParams, extra);
}

static NOINLINE CUresult metered_cuLaunchKernelEx_ptsz(const CUlaunchConfig *config, CUfunction f,
                                                       void **kernelParams, void **extra)
{
    struct gs_launch launch = gs_launch_begin(gs_per_thread(config->hStream), config_key(f, config), false);

    return gs_launch_end(&launch, REAL(cuLaunchKernelEx_ptsz)(config, f, kernelParams, extra));
}

GSHARE_HOOK(cuLaunchKernelEx_ptsz,
            (const CUlaunchConfig *config, CUfunction f, void **kernelParams, void **extra))
{
    if (gs_launch_unlimited() || config == NULL ||
        gs_launch_covered(gs_per_thread(config->hStream), config_key(f, config)))
        return REAL(cuLaunchKernelEx_ptsz)(config, f, kernelParams, extra);
    return metered_cuLaunchKernelEx_ptsz(config, f, kernelParams, extra);
}

/* -------- one launch on several devices -------- */

#define MOST_DEVICES 64

GSHARE_HOOK(cuLaunchCooperativeKernelMultiDevice,
            (CUDA_LAUNCH_PARAMS * launchParamsList, unsigned int numDevices, unsigned int flags))
{
    struct gs_launch launches[MOST_DEVICES];

    if (gs_launch_unlimited() || launchParamsList == NULL || numDevices > MOST_DEVICES)
        return REAL(cuLaunchCooperativeKernelMultiDevice)(launchParamsList, numDevices, flags);
    for (unsigned int i = 0; i < numDevices; i++) {
        const CUDA_LAUNCH_PARAMS *p = &launchParamsList[i];
        uint64_t key = gs_cost_key(p->function, p->gridDimX, p->gridDimY, p->gridDimZ, p->blockDimX,
                                   p->blockDimY, p->blockDimZ, p->sharedMemBytes);
        launches[i] = gs_launch_begin(gs_legacy(p->hStream), key, true);
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
    struct gs_launch launch = gs_launch_begin(CU_STREAM_LEGACY, gs_cost_key(f, 1, 1, 1, 0, 0, 0, 0), false);
    return gs_launch_end(&launch, REAL(cuLaunch)(f));
}

GSHARE_HOOK(cuLaunchGrid, (CUfunction f, int grid_width, int grid_height))
{
    if (gs_launch_unlimited())
        return REAL(cuLaunchGrid)(f, grid_width, grid_height);
    uint64_t key = gs_cost_key(f, (uint32_t)grid_width, (uint32_t)grid_height, 1, 0, 0, 0, 0);
    struct gs_launch launch = gs_launch_begin(CU_STREAM_LEGACY, key, false);
    return gs_launch_end(&launch, REAL(cuLaunchGrid)(f, grid_width, grid_height));
}

GSHARE_HOOK(cuLaunchGridAsync, (CUfunction f, int grid_width, int grid_height, CUstream hStream))
{
    if (gs_launch_unlimited())
        return REAL(cuLaunchGridAsync)(f, grid_width, grid_height, hStream);
    uint64_t key = gs_cost_key(f, (uint32_t)grid_width, (uint32_t)grid_height, 1, 0, 0, 0, 0);
    struct gs_launch launch = gs_launch_begin(gs_legacy(hStream), key, false);
    return gs_launch_end(&launch, REAL(cuLaunchGridAsync)(f, grid_width, grid_height, hStream));
}
