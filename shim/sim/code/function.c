/* function.c -- what can be asked of a kernel, and changed. */
#include "module.h"

enum {
    ATTRIBUTE_MAX_THREADS,
    ATTRIBUTE_SHARED,
    ATTRIBUTE_CONST,
    ATTRIBUTE_LOCAL,
    ATTRIBUTE_REGISTERS,
    ATTRIBUTE_PTX_VERSION,
    ATTRIBUTE_BINARY_VERSION,
    ATTRIBUTE_CACHE_MODE_CA,
    ATTRIBUTE_MAX_DYNAMIC_SHARED,
    ATTRIBUTE_CARVEOUT, /* the first of settable[] */
};

struct sim_function *sim_function_resolve(CUfunction handle, struct sim_context *ctx)
{
    if (sim_is(handle, SIM_FUNCTION))
        return handle->module->context->root == ctx->root ? handle : NULL;
    if (sim_is(handle, SIM_KERNEL))
        return sim_kernel_function((struct sim_kernel *)(void *)handle, ctx);
    return NULL;
}

CUresult sim_function_attribute(const struct sim_function *function, const struct sim_image *image,
                                uint32_t arch, int attribute, int *value)
{
    if (!value || attribute < 0 || attribute >= ATTRIBUTE_CARVEOUT + SIM_SETTABLE_ATTRIBUTES)
        return CUDA_ERROR_INVALID_VALUE;
    switch (attribute) {
    case ATTRIBUTE_MAX_THREADS:
        *value = (int)function->max_threads;
        break;
    case ATTRIBUTE_SHARED:
        *value = (int)function->shared_bytes;
        break;
    case ATTRIBUTE_CONST:
        *value = (int)function->const_bytes;
        break;
    case ATTRIBUTE_LOCAL:
        *value = (int)function->local_bytes;
        break;
    case ATTRIBUTE_REGISTERS:
        *value = (int)function->registers;
        break;
    case ATTRIBUTE_PTX_VERSION:
        *value = (int)image->arch;
        break;
    case ATTRIBUTE_BINARY_VERSION:
        *value = (int)(image->kind == SIM_IMAGE_PTX ? arch : image->arch);
        break;
    case ATTRIBUTE_CACHE_MODE_CA:
        *value = 0;
        break;
    case ATTRIBUTE_MAX_DYNAMIC_SHARED:
        *value = (int)function->max_dynamic_shared;
        break;
    default:
        *value = function->settable[attribute - ATTRIBUTE_CARVEOUT];
    }
    return CUDA_SUCCESS;
}

CUresult sim_function_set_attribute(struct sim_function *function, CUdevice device, int attribute, int value)
{
    uint32_t most = sim_device_of(device)->profile.shared_per_block_optin;
    if (attribute == ATTRIBUTE_MAX_DYNAMIC_SHARED) {
        if (value < 0 || (uint32_t)value + function->shared_bytes > most)
            return CUDA_ERROR_INVALID_VALUE;
        function->max_dynamic_shared = (uint32_t)value;
        return CUDA_SUCCESS;
    }
    if (attribute < ATTRIBUTE_CARVEOUT || attribute >= ATTRIBUTE_CARVEOUT + SIM_SETTABLE_ATTRIBUTES ||
        (attribute == ATTRIBUTE_CARVEOUT && (value < -1 || value > 100)))
        return CUDA_ERROR_INVALID_VALUE;
    function->settable[attribute - ATTRIBUTE_CARVEOUT] = value;
    return CUDA_SUCCESS;
}

CUresult sim_param_info(const struct sim_function *function, size_t index, size_t *offset, size_t *bytes)
{
    if (!offset || index >= function->param_count)
        return CUDA_ERROR_INVALID_VALUE;
    *offset = function->param[index].offset;
    if (bytes)
        *bytes = function->param[index].bytes;
    return CUDA_SUCCESS;
}

/* Declares `function`, what the handle means in the current context. */
#define ENTER_FUNCTION(name, handle, function)                                                               \
    SIM_ENTER_CONTEXT(name, ctx);                                                                            \
    struct sim_function *function = sim_function_resolve(handle, ctx);                                       \
    if (!function)                                                                                           \
    return CUDA_ERROR_INVALID_HANDLE

SIM_API(cuFuncGetAttribute, (int *value, int attribute, CUfunction handle))
{
    if (!value)
        return CUDA_ERROR_INVALID_VALUE;
    ENTER_FUNCTION(cuFuncGetAttribute, handle, function);
    return sim_function_attribute(function, &function->module->image, sim_context_arch(ctx), attribute,
                                  value);
}

SIM_API(cuFuncSetAttribute, (CUfunction handle, int attribute, int value))
{
    ENTER_FUNCTION(cuFuncSetAttribute, handle, function);
    return sim_function_set_attribute(function, ctx->device, attribute, value);
}

SIM_API(cuFuncSetCacheConfig, (CUfunction handle, unsigned config))
{
    ENTER_FUNCTION(cuFuncSetCacheConfig, handle, function);
    if (config > 3)
        return CUDA_ERROR_INVALID_VALUE;
    function->cache_config = config;
    return CUDA_SUCCESS;
}

SIM_API(cuFuncSetSharedMemConfig, (CUfunction handle, unsigned config))
{
    ENTER_FUNCTION(cuFuncSetSharedMemConfig, handle, function);
    return config > 2 ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
}

SIM_API(cuFuncGetModule, (CUmodule * module, CUfunction handle))
{
    ENTER_FUNCTION(cuFuncGetModule, handle, function);
    if (!module)
        return CUDA_ERROR_INVALID_VALUE;
    *module = function->module;
    return CUDA_SUCCESS;
}

SIM_API(cuFuncGetName, (const char **name, CUfunction handle))
{
    SIM_ENTER_CONTEXT(cuFuncGetName, ctx);
    if (!name || !handle)
        return CUDA_ERROR_INVALID_VALUE;
    const struct sim_function *function = sim_function_resolve(handle, ctx);
    if (!function)
        return CUDA_ERROR_INVALID_HANDLE;
    *name = function->name;
    return CUDA_SUCCESS;
}

SIM_API(cuFuncGetParamInfo, (CUfunction handle, size_t index, size_t *offset, size_t *bytes))
{
    if (!offset)
        return CUDA_ERROR_INVALID_VALUE;
    ENTER_FUNCTION(cuFuncGetParamInfo, handle, function);
    return sim_param_info(function, index, offset, bytes);
}

SIM_API(cuFuncGetParamCount, (CUfunction handle, size_t *count))
{
    ENTER_FUNCTION(cuFuncGetParamCount, handle, function);
    if (!count)
        return CUDA_ERROR_INVALID_VALUE;
    *count = function->param_count;
    return CUDA_SUCCESS;
}

SIM_API(cuFuncIsLoaded, (int *state, CUfunction handle))
{
    if (!state)
        return CUDA_ERROR_INVALID_VALUE;
    ENTER_FUNCTION(cuFuncIsLoaded, handle, function);
    *state = 1;
    return CUDA_SUCCESS;
}

SIM_API(cuFuncLoad, (CUfunction handle))
{
    ENTER_FUNCTION(cuFuncLoad, handle, function);
    return CUDA_SUCCESS;
}
