/* launch.c -- kernel launches, in all their spellings.
 *
 * While nothing is limited, a hook is one branch and a jump.  The metered way is a function of the same parameters,
 * so that nothing is saved or moved before it is needed. */
#include "launch.h"

#define NOINLINE __attribute__((noinline))

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

GSHARE_HOOK(cuLaunchKernel,
            (CUfunction f, unsigned int gridDimX, unsigned int gridDimY, unsigned int gridDimZ,
             unsigned int blockDimX, unsigned int blockDimY, unsigned int blockDimZ,
             unsigned int sharedMemBytes, CUstream hStream, void **kernelParams, void **extra))
{
    return gs_launch_unlimited()
               ? REAL(cuLaunchKernel)(f, gridDimX, gridDimY, gridDimZ, blockDimX, blockDimY, blockDimZ,
                                      sharedMemBytes, hStream, kernelParams, extra)
               : metered_cuLaunchKernel(f, gridDimX, gridDimY, gridDimZ, blockDimX, blockDimY, blockDimZ,
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

GSHARE_HOOK(cuLaunchKernel_ptsz,
            (CUfunction f, unsigned int gridDimX, unsigned int gridDimY, unsigned int gridDimZ,
             unsigned int blockDimX, unsigned int blockDimY, unsigned int blockDimZ,
             unsigned int sharedMemBytes, CUstream hStream, void **kernelParams, void **extra))
{
    return gs_launch_unlimited()
               ? REAL(cuLaunchKernel_ptsz)(f, gridDimX, gridDimY, gridDimZ, blockDimX, blockDimY, blockDimZ,
                                           sharedMemBytes, hStream, kernelParams, extra)
               : metered_cuLaunchKernel_ptsz(f, gridDimX, gridDimY, gridDimZ, blockDimX, blockDimY, blockDimZ,
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
    if (gs_launch_unlimited() || config == NULL)
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
    if (gs_launch_unlimited() || config == NULL)
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
