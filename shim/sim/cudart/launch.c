/* launch.c -- kernel<<<grid, block>>>(…) and its relations: launches, attributes of functions, occupancy. */
#include "cudart.h"

#define MAX_NESTED 8

/* <<< >>> pushes what the stub of the kernel pops. */
static _Thread_local struct {
    dim3 grid, block;
    size_t shared_bytes;
    cudaStream_t stream;
} configurations[MAX_NESTED];
static _Thread_local unsigned configuration_count;

__attribute__((visibility("default"))) unsigned __cudaPushCallConfiguration(dim3 grid, dim3 block,
                                                                            size_t shared_bytes, void *stream)
{
    if (configuration_count == MAX_NESTED)
        return 1;
    configurations[configuration_count].grid = grid;
    configurations[configuration_count].block = block;
    configurations[configuration_count].shared_bytes = shared_bytes;
    configurations[configuration_count++].stream = stream;
    return 0;
}

RT_API(__cudaPopCallConfiguration, (dim3 * grid, dim3 *block, size_t *shared_bytes, void *stream))
{
    if (configuration_count == 0)
        return cudaErrorInvalidConfiguration;
    configuration_count--;
    *grid = configurations[configuration_count].grid;
    *block = configurations[configuration_count].block;
    *shared_bytes = configurations[configuration_count].shared_bytes;
    *(cudaStream_t *)stream = configurations[configuration_count].stream;
    return cudaSuccess;
}

/* The driver calls a grid that no device can run an invalid value. */
static cudaError_t launched(CUresult result)
{
    return result == CUDA_ERROR_INVALID_VALUE ? cudaErrorInvalidConfiguration : (cudaError_t)result;
}

RT_STREAM_API(__cudaLaunchKernel, __cudaLaunchKernel_ptsz,
              (cudaKernel_t kernel, dim3 grid, dim3 block, void **arguments, size_t shared_bytes,
               cudaStream_t stream),
              (kernel, grid, block, arguments, shared_bytes, stream))
{
    if (!kernel)
        return rt_remember(cudaErrorInvalidDeviceFunction);
    return RT_CALL(launched(rt->cuLaunchKernel((CUfunction)kernel, grid.x, grid.y, grid.z, block.x, block.y,
                                               block.z, (unsigned)shared_bytes, stream, arguments, NULL)));
}

RT_STREAM_API(cudaLaunchKernel, cudaLaunchKernel_ptsz,
              (const void *function, dim3 grid, dim3 block, void **arguments, size_t shared_bytes,
               cudaStream_t stream),
              (function, grid, block, arguments, shared_bytes, stream))
{
    cudaKernel_t kernel;
    cudaError_t error = rt_kernel_of(function, &kernel);
    return error ? rt_remember(error)
                 : do___cudaLaunchKernel(rt, kernel, grid, block, arguments, shared_bytes, stream);
}

RT_STREAM_API(cudaLaunchCooperativeKernel, cudaLaunchCooperativeKernel_ptsz,
              (const void *function, dim3 grid, dim3 block, void **arguments, size_t shared_bytes,
               cudaStream_t stream),
              (function, grid, block, arguments, shared_bytes, stream))
{
    cudaKernel_t kernel;
    cudaError_t error = rt_kernel_of(function, &kernel);
    if (error)
        return rt_remember(error);
    return RT_CALL(
        launched(rt->cuLaunchCooperativeKernel((CUfunction)kernel, grid.x, grid.y, grid.z, block.x, block.y,
                                               block.z, (unsigned)shared_bytes, stream, arguments)));
}

static CUlaunchConfig driver_config(const cudaLaunchConfig_t *from)
{
    return (CUlaunchConfig){
        .gridDimX = from->gridDim.x,
        .gridDimY = from->gridDim.y,
        .gridDimZ = from->gridDim.z,
        .blockDimX = from->blockDim.x,
        .blockDimY = from->blockDim.y,
        .blockDimZ = from->blockDim.z,
        .sharedMemBytes = (unsigned)from->dynamicSmemBytes,
        .hStream = from->stream,
        .attrs = from->attrs,
        .numAttrs = from->numAttrs,
    };
}

RT_STREAM_API(cudaLaunchKernelExC, cudaLaunchKernelExC_ptsz,
              (const cudaLaunchConfig_t *config, const void *function, void **arguments),
              (config, function, arguments))
{
    cudaKernel_t kernel;
    cudaError_t error = config ? rt_kernel_of(function, &kernel) : cudaErrorInvalidConfiguration;
    if (error)
        return rt_remember(error);
    CUlaunchConfig driver = driver_config(config);
    return RT_CALL(launched(rt->cuLaunchKernelEx(&driver, (CUfunction)kernel, arguments, NULL)));
}

/* -------- what is known of a function -------- */

static const struct {
    size_t offset;
    bool wide; /* a size_t */
} attributes[] = {
#define WIDE(field)                                                                                          \
    {                                                                                                        \
        offsetof(cudaFuncAttributes, field), true                                                            \
    }
#define NARROW(field)                                                                                        \
    {                                                                                                        \
        offsetof(cudaFuncAttributes, field), false                                                           \
    }
    /* in the order of CUfunction_attribute */
    NARROW(maxThreadsPerBlock),
    WIDE(sharedSizeBytes),
    WIDE(constSizeBytes),
    WIDE(localSizeBytes),
    NARROW(numRegs),
    NARROW(ptxVersion),
    NARROW(binaryVersion),
    NARROW(cacheModeCA),
    NARROW(maxDynamicSharedSizeBytes),
    NARROW(preferredShmemCarveout),
    NARROW(clusterDimMustBeSet),
    NARROW(requiredClusterWidth),
    NARROW(requiredClusterHeight),
    NARROW(requiredClusterDepth),
    NARROW(nonPortableClusterSizeAllowed),
    NARROW(clusterSchedulingPolicyPreference),
};

RT_API(cudaFuncGetAttributes, (cudaFuncAttributes * all, const void *function))
{
    CUfunction driver_function;
    cudaError_t error = all ? rt_function_of(function, &driver_function) : cudaErrorInvalidValue;
    if (error)
        return rt_remember(error);
    *all = (cudaFuncAttributes){0};
    for (size_t i = 0; i < sizeof attributes / sizeof *attributes && !error; i++) {
        char *field = (char *)all + attributes[i].offset;
        int value = 0;
        error = (cudaError_t)rt_legacy.cuFuncGetAttribute(&value, (int)i, driver_function);
        if (attributes[i].wide)
            *(size_t *)field = (size_t)value;
        else
            *(int *)field = value;
    }
    return rt_remember(error);
}

RT_API(cudaFuncSetAttribute, (const void *function, int attribute, int value))
{
    CUfunction driver_function;
    cudaError_t error = rt_function_of(function, &driver_function);
    return rt_remember(error ? error
                             : (cudaError_t)rt_legacy.cuFuncSetAttribute(driver_function, attribute, value));
}

RT_API(cudaFuncSetCacheConfig, (const void *function, int config))
{
    CUfunction driver_function;
    cudaError_t error = rt_function_of(function, &driver_function);
    return rt_remember(error ? error : (cudaError_t)rt_legacy.cuFuncSetCacheConfig(driver_function, config));
}

RT_API(cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags,
       (int *blocks, const void *function, int threads, size_t shared_bytes, unsigned flags))
{
    CUfunction driver_function;
    cudaError_t error = rt_function_of(function, &driver_function);
    return rt_remember(error ? error
                             : (cudaError_t)rt_legacy.cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(
                                   blocks, driver_function, threads, shared_bytes, flags));
}

RT_API(cudaOccupancyMaxActiveBlocksPerMultiprocessor,
       (int *blocks, const void *function, int threads, size_t shared_bytes))
{
    return cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(blocks, function, threads, shared_bytes, 0);
}

RT_API(cudaOccupancyAvailableDynamicSMemPerBlock,
       (size_t * bytes, const void *function, int blocks, int threads))
{
    CUfunction driver_function;
    cudaError_t error = rt_function_of(function, &driver_function);
    return rt_remember(error ? error
                             : (cudaError_t)rt_legacy.cuOccupancyAvailableDynamicSMemPerBlock(
                                   bytes, driver_function, blocks, threads));
}

RT_API(cudaOccupancyMaxActiveClusters,
       (int *clusters, const void *function, const cudaLaunchConfig_t *config))
{
    CUfunction driver_function;
    cudaError_t error = config ? rt_function_of(function, &driver_function) : cudaErrorInvalidValue;
    if (error)
        return rt_remember(error);
    CUlaunchConfig driver = driver_config(config);
    return rt_remember(
        (cudaError_t)rt_legacy.cuOccupancyMaxActiveClusters(clusters, driver_function, &driver));
}

RT_API(cudaOccupancyMaxPotentialClusterSize,
       (int *blocks, const void *function, const cudaLaunchConfig_t *config))
{
    CUfunction driver_function;
    cudaError_t error = config ? rt_function_of(function, &driver_function) : cudaErrorInvalidValue;
    if (error)
        return rt_remember(error);
    CUlaunchConfig driver = driver_config(config);
    return rt_remember(
        (cudaError_t)rt_legacy.cuOccupancyMaxPotentialClusterSize(blocks, driver_function, &driver));
}
