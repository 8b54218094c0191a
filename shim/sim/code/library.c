/* library.c -- libraries: images loaded without a context, whose kernels get a function in each context that uses them. */
#include "module.h"

#include <stdlib.h>
#include <string.h>

static void unmake(struct sim_library *library)
{
    while (library->modules)
        sim_module_unmake(library->modules);
    for (uint32_t i = 0; i < library->kernel_count; i++)
        sim_object_free(library->kernel[i]);
    free(library->kernel);
    free(library->data);
    sim_image_free(&library->image);
    sim_object_free(library);
}

static CUresult fill(struct sim_library *library, uint32_t arch)
{
    SIM_TRY(sim_image_parse(library->data, library->size, arch, &library->image));
    library->kernel = calloc(library->image.entry_count + 1, sizeof(*library->kernel));
    if (!library->kernel)
        return CUDA_ERROR_OUT_OF_MEMORY;
    for (uint32_t i = 0; i < library->image.entry_count; i++) {
        struct sim_kernel *kernel = sim_object_new(SIM_KERNEL, sizeof(*kernel));
        if (!kernel)
            return CUDA_ERROR_OUT_OF_MEMORY;
        kernel->library = library;
        sim_function_shape(&kernel->shape, &library->image.entry[i]);
        library->kernel[library->kernel_count++] = kernel;
    }
    return CUDA_SUCCESS;
}

/* Takes over `data`. */
static CUresult make(CUlibrary *out, void *data, size_t size, const struct sim_jit *jit)
{
    struct sim_library *library = sim_object_new(SIM_LIBRARY, sizeof(*library));
    if (!library) {
        free(data);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    library->data = data;
    library->size = size;
    struct sim_context *ctx = sim_current_context();
    const struct sim_profile *profile = &sim_device_of(ctx ? ctx->device : 0)->profile;
    CUresult result = fill(library, profile->compute_major * 10 + profile->compute_minor);
    sim_jit_log(jit, result);
    if (result == CUDA_SUCCESS)
        *out = library;
    else
        unmake(library);
    return result;
}

CUresult sim_library_module(struct sim_library *library, struct sim_context *ctx, struct sim_module **out)
{
    ctx = ctx->root; /* green contexts have it with the one that they live in */
    for (*out = library->modules; *out; *out = (*out)->next_of_library)
        if ((*out)->context == ctx)
            return CUDA_SUCCESS;
    struct sim_module *module;
    SIM_TRY(sim_module_make(ctx, library->data, library->size, &module));
    module->library = library;
    module->next_of_library = library->modules;
    library->modules = module;
    for (uint32_t i = 0; i < module->function_count; i++)
        for (uint32_t k = 0; k < library->kernel_count; k++)
            if (strcmp(module->function[i]->name, library->kernel[k]->shape.name) == 0) {
                const struct sim_function *shape = &library->kernel[k]->shape;
                module->function[i]->kernel = library->kernel[k];
                module->function[i]->max_dynamic_shared = shape->max_dynamic_shared;
                module->function[i]->cache_config = shape->cache_config;
                memcpy(module->function[i]->settable, shape->settable, sizeof(shape->settable));
            }
    *out = module;
    return CUDA_SUCCESS;
}

/* NULL: the context cannot have it (no code for its device, no memory). */
struct sim_function *sim_kernel_function(struct sim_kernel *kernel, struct sim_context *ctx)
{
    ctx = ctx->root;
    struct sim_function *function = atomic_load_explicit(&kernel->recent, memory_order_acquire);
    if (sim_is(function, SIM_FUNCTION) && function->kernel == kernel && function->module->context == ctx)
        return function;
    struct sim_module *module;
    function = NULL;
    pthread_mutex_lock(&sim_modules_lock);
    if (sim_library_module(kernel->library, ctx, &module) == CUDA_SUCCESS)
        for (uint32_t i = 0; i < module->function_count && !function; i++)
            if (module->function[i]->kernel == kernel)
                function = module->function[i];
    atomic_store_explicit(&kernel->recent, function, memory_order_release);
    pthread_mutex_unlock(&sim_modules_lock);
    return function;
}

SIM_API(cuLibraryLoadData, (CUlibrary * library, const void *code, int *jit_option, void **jit_value,
                            unsigned jit_count, int *option, void **value, unsigned count))
{
    SIM_ENTER(cuLibraryLoadData);
    if (!library || !code || (jit_count && (!jit_option || !jit_value)) || (count && !option))
        return CUDA_ERROR_INVALID_VALUE;
    code = sim_fatbin_unwrap(code);
    size_t size = sim_image_size(code);
    if (!size)
        return CUDA_ERROR_INVALID_IMAGE;
    void *copy = malloc(size);
    if (!copy)
        return CUDA_ERROR_OUT_OF_MEMORY;
    memcpy(copy, code, size);
    return make(library, copy, size, &(struct sim_jit){jit_count, jit_option, jit_value});
}

SIM_API(cuLibraryLoadFromFile, (CUlibrary * library, const char *path, int *jit_option, void **jit_value,
                                unsigned jit_count, int *option, void **value, unsigned count))
{
    SIM_ENTER(cuLibraryLoadFromFile);
    void *data;
    size_t size;
    if (!library || !path || (jit_count && (!jit_option || !jit_value)) || (count && !option))
        return CUDA_ERROR_INVALID_VALUE;
    SIM_TRY(sim_read_file(path, &data, &size));
    return make(library, data, size, &(struct sim_jit){jit_count, jit_option, jit_value});
}

SIM_API(cuLibraryUnload, (CUlibrary library))
{
    if (!library) /* said even before cuInit */
        return CUDA_ERROR_INVALID_HANDLE;
    SIM_ENTER(cuLibraryUnload);
    if (!sim_is(library, SIM_LIBRARY))
        return CUDA_ERROR_INVALID_HANDLE;
    pthread_mutex_lock(&sim_modules_lock);
    unmake(library);
    pthread_mutex_unlock(&sim_modules_lock);
    return CUDA_SUCCESS;
}

SIM_API(cuLibraryGetKernel, (CUkernel * kernel, CUlibrary library, const char *name))
{
    SIM_ENTER(cuLibraryGetKernel);
    if (!kernel || !name)
        return CUDA_ERROR_INVALID_VALUE;
    if (!sim_is(library, SIM_LIBRARY))
        return CUDA_ERROR_INVALID_HANDLE;
    for (uint32_t i = 0; i < library->kernel_count; i++)
        if (strcmp(library->kernel[i]->shape.name, name) == 0) {
            *kernel = library->kernel[i];
            return CUDA_SUCCESS;
        }
    return CUDA_ERROR_NOT_FOUND;
}

SIM_API(cuLibraryGetKernelCount, (unsigned *count, CUlibrary library))
{
    SIM_ENTER(cuLibraryGetKernelCount);
    if (!count)
        return CUDA_ERROR_INVALID_VALUE;
    if (!sim_is(library, SIM_LIBRARY))
        return CUDA_ERROR_INVALID_HANDLE;
    *count = library->kernel_count;
    return CUDA_SUCCESS;
}

SIM_API(cuLibraryEnumerateKernels, (CUkernel * kernels, unsigned count, CUlibrary library))
{
    SIM_ENTER(cuLibraryEnumerateKernels);
    if (!kernels || !count)
        return CUDA_ERROR_INVALID_VALUE;
    if (!sim_is(library, SIM_LIBRARY))
        return CUDA_ERROR_INVALID_HANDLE;
    for (uint32_t i = 0; i < library->kernel_count && i < count; i++)
        kernels[i] = library->kernel[i];
    return CUDA_SUCCESS;
}

SIM_API(cuLibraryGetModule, (CUmodule * module, CUlibrary library))
{
    SIM_ENTER_CONTEXT(cuLibraryGetModule, ctx);
    if (!module)
        return CUDA_ERROR_INVALID_VALUE;
    if (!sim_is(library, SIM_LIBRARY))
        return CUDA_ERROR_INVALID_HANDLE;
    pthread_mutex_lock(&sim_modules_lock);
    CUresult result = sim_library_module(library, ctx, module);
    pthread_mutex_unlock(&sim_modules_lock);
    return result;
}

SIM_API(cuLibraryGetGlobal, (CUdeviceptr * address, size_t *bytes, CUlibrary library, const char *name))
{
    SIM_ENTER_CONTEXT(cuLibraryGetGlobal, ctx);
    struct sim_module *module;
    if (!name || (!address && !bytes))
        return CUDA_ERROR_INVALID_VALUE;
    if (!sim_is(library, SIM_LIBRARY))
        return CUDA_ERROR_INVALID_HANDLE;
    pthread_mutex_lock(&sim_modules_lock);
    CUresult result = sim_library_module(library, ctx, &module);
    pthread_mutex_unlock(&sim_modules_lock);
    if (result)
        return result;
    const struct sim_variable *variable = sim_image_variable(&module->image, name);
    if (!variable)
        return CUDA_ERROR_NOT_FOUND;
    if (address)
        *address = module->variables + variable->offset;
    if (bytes)
        *bytes = variable->size;
    return CUDA_SUCCESS;
}

/* No image of ours holds managed variables or unified functions. */
SIM_API(cuLibraryGetManaged, (CUdeviceptr * address, size_t *bytes, CUlibrary library, const char *name))
{
    SIM_ENTER(cuLibraryGetManaged);
    if (!name || (!address && !bytes))
        return CUDA_ERROR_INVALID_VALUE;
    return sim_is(library, SIM_LIBRARY) ? CUDA_ERROR_NOT_FOUND : CUDA_ERROR_INVALID_HANDLE;
}

SIM_API(cuLibraryGetUnifiedFunction, (void **function, CUlibrary library, const char *name))
{
    SIM_ENTER(cuLibraryGetUnifiedFunction);
    if (!name || !function)
        return CUDA_ERROR_INVALID_VALUE;
    return sim_is(library, SIM_LIBRARY) ? CUDA_ERROR_NOT_FOUND : CUDA_ERROR_INVALID_HANDLE;
}
