/* kernel.c -- kernels of libraries: handles that belong to no context. */
#include "module.h"

SIM_API(cuKernelGetFunction, (CUfunction * function, CUkernel kernel))
{
    SIM_ENTER_CONTEXT(cuKernelGetFunction, ctx);
    if (!function)
        return CUDA_ERROR_INVALID_VALUE;
    if (!sim_is(kernel, SIM_KERNEL))
        return CUDA_ERROR_INVALID_HANDLE;
    struct sim_function *found = sim_kernel_function(kernel, ctx);
    if (!found)
        return CUDA_ERROR_NO_BINARY_FOR_GPU;
    *function = found;
    return CUDA_SUCCESS;
}

SIM_API(cuKernelGetLibrary, (CUlibrary * library, CUkernel kernel))
{
    SIM_ENTER(cuKernelGetLibrary);
    if (!library)
        return CUDA_ERROR_INVALID_VALUE;
    if (!sim_is(kernel, SIM_KERNEL))
        return CUDA_ERROR_INVALID_HANDLE;
    *library = kernel->library;
    return CUDA_SUCCESS;
}

SIM_API(cuKernelGetAttribute, (int *value, int attribute, CUkernel kernel, CUdevice device))
{
    SIM_ENTER(cuKernelGetAttribute);
    if (!sim_device_valid(device))
        return CUDA_ERROR_INVALID_DEVICE;
    if (!sim_is(kernel, SIM_KERNEL))
        return CUDA_ERROR_INVALID_HANDLE;
    const struct sim_profile *profile = &sim_device_of(device)->profile;
    return sim_function_attribute(&kernel->shape, &kernel->library->image,
                                  profile->compute_major * 10 + profile->compute_minor, attribute, value);
}

/* Applies to all devices alike, and to the contexts that use the kernel already. */
SIM_API(cuKernelSetAttribute, (int attribute, int value, CUkernel kernel, CUdevice device))
{
    SIM_ENTER(cuKernelSetAttribute);
    if (!sim_device_valid(device))
        return CUDA_ERROR_INVALID_DEVICE;
    if (!sim_is(kernel, SIM_KERNEL))
        return CUDA_ERROR_INVALID_HANDLE;
    SIM_TRY(sim_function_set_attribute(&kernel->shape, device, attribute, value));
    pthread_mutex_lock(&sim_modules_lock);
    for (struct sim_module *module = kernel->library->modules; module; module = module->next_of_library)
        for (uint32_t i = 0; i < module->function_count; i++)
            if (module->function[i]->kernel == kernel)
                sim_function_set_attribute(module->function[i], device, attribute, value);
    pthread_mutex_unlock(&sim_modules_lock);
    return CUDA_SUCCESS;
}

SIM_API(cuKernelSetCacheConfig, (CUkernel kernel, unsigned config, CUdevice device))
{
    SIM_ENTER(cuKernelSetCacheConfig);
    if (!sim_device_valid(device))
        return CUDA_ERROR_INVALID_DEVICE;
    if (!sim_is(kernel, SIM_KERNEL))
        return CUDA_ERROR_INVALID_HANDLE;
    if (config > 3)
        return CUDA_ERROR_INVALID_VALUE;
    kernel->shape.cache_config = config;
    return CUDA_SUCCESS;
}

SIM_API(cuKernelGetName, (const char **name, CUkernel kernel))
{
    SIM_ENTER(cuKernelGetName);
    if (!name || !kernel)
        return CUDA_ERROR_INVALID_VALUE;
    if (!sim_is(kernel, SIM_KERNEL))
        return CUDA_ERROR_INVALID_HANDLE;
    *name = kernel->shape.name;
    return CUDA_SUCCESS;
}

SIM_API(cuKernelGetParamCount, (CUkernel kernel, size_t *count))
{
    SIM_ENTER_CONTEXT(cuKernelGetParamCount, ctx);
    if (!sim_is(kernel, SIM_KERNEL))
        return CUDA_ERROR_INVALID_HANDLE;
    if (!count)
        return CUDA_ERROR_INVALID_VALUE;
    *count = kernel->shape.param_count;
    return CUDA_SUCCESS;
}

SIM_API(cuKernelGetParamInfo, (CUkernel kernel, size_t index, size_t *offset, size_t *bytes))
{
    if (!offset)
        return CUDA_ERROR_INVALID_VALUE;
    SIM_ENTER_CONTEXT(cuKernelGetParamInfo, ctx); /* the parameters are known once the kernel is loaded */
    if (!sim_is(kernel, SIM_KERNEL))
        return CUDA_ERROR_INVALID_HANDLE;
    return sim_param_info(&kernel->shape, index, offset, bytes);
}
