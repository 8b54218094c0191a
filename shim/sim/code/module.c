/* module.c -- modules: an image loaded into one context. */
#include "module.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { JIT_WALL_TIME = 2, JIT_INFO_BUFFER, JIT_INFO_BYTES, JIT_ERROR_BUFFER, JIT_ERROR_BYTES };

#define DEFAULT_SHARED_BYTES 49152 /* what a block may use without asking for more */

pthread_mutex_t sim_modules_lock = PTHREAD_MUTEX_INITIALIZER;

uint32_t sim_context_arch(const struct sim_context *ctx)
{
    const struct sim_profile *profile = &sim_device_of(ctx->device)->profile;
    return profile->compute_major * 10 + profile->compute_minor;
}

/* A block's registers are 65,536; a thread's are handed out by eights, and warps by fours. */
static uint32_t threads_by_registers(uint32_t registers)
{
    uint32_t of_warp = 32 * ((registers + 7) & ~7u);
    uint32_t threads = of_warp ? 32 * (65536 / of_warp & ~3u) : SIM_MAX_BLOCK_THREADS;
    return threads < SIM_MAX_BLOCK_THREADS ? threads : SIM_MAX_BLOCK_THREADS;
}

void sim_function_shape(struct sim_function *function, const struct sim_entry *entry)
{
    function->name = entry->name;
    function->param_count = entry->param_count;
    function->param = entry->param;
    function->param_bytes = entry->param_bytes;
    function->launch_bound = entry->max_threads;
    function->max_threads = threads_by_registers(entry->registers);
    if (entry->max_threads && entry->max_threads < function->max_threads)
        function->max_threads = entry->max_threads;
    function->registers = entry->registers;
    function->const_bytes = entry->const_bytes;
    function->shared_bytes = entry->shared_bytes;
    function->local_bytes = entry->local_bytes;
    function->max_dynamic_shared =
        entry->shared_bytes < DEFAULT_SHARED_BYTES ? DEFAULT_SHARED_BYTES - entry->shared_bytes : 0;
    function->settable[0] = -1; /* carveout: the driver's choice */
    sim_function_choose_model(function);
}

static CUresult place_variables(struct sim_module *module)
{
    const struct sim_image *image = &module->image;
    if (!image->variable_bytes)
        return CUDA_SUCCESS;
    SIM_TRY(sim_device_alloc(module->context, SIM_BLOCK_MODULE, image->variable_bytes, &module->variables));
    for (uint32_t i = 0; i < image->variable_count; i++)
        if (image->variable[i].init) /* device memory is host memory */
            memcpy((char *)module->variables + image->variable[i].offset, image->variable[i].init,
                   image->variable[i].init_bytes);
    return CUDA_SUCCESS;
}

static CUresult make_functions(struct sim_module *module)
{
    module->function = calloc(module->image.entry_count + 1, sizeof(*module->function));
    for (uint32_t i = 0; module->function && i < module->image.entry_count; i++) {
        struct sim_function *function = sim_object_new(SIM_FUNCTION, sizeof(*function));
        if (!function)
            return CUDA_ERROR_OUT_OF_MEMORY;
        function->module = module;
        sim_function_shape(function, &module->image.entry[i]);
        module->function[module->function_count++] = function;
    }
    return module->function ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

CUresult sim_module_make(struct sim_context *ctx, const void *data, size_t size, struct sim_module **out)
{
    ctx = ctx->root;
    struct sim_module *module = sim_object_new(SIM_MODULE, sizeof(*module));
    if (!module)
        return CUDA_ERROR_OUT_OF_MEMORY;
    module->context = ctx;
    module->next = ctx->modules;
    ctx->modules = module;
    CUresult result = sim_image_parse(data, size, sim_context_arch(ctx), &module->image);
    if (result == CUDA_SUCCESS) {
        result = sim_charge(ctx->device, SIM_MEM_MODULE, module->image.code_bytes);
        module->charged_bytes = result == CUDA_SUCCESS ? module->image.code_bytes : 0;
    }
    if (result == CUDA_SUCCESS)
        result = place_variables(module);
    if (result == CUDA_SUCCESS)
        result = make_functions(module);
    if (result == CUDA_SUCCESS)
        *out = module;
    else
        sim_module_unmake(module);
    return result;
}

static void unlink_module(struct sim_module *module)
{
    for (struct sim_module **at = &module->context->modules; *at; at = &(*at)->next)
        if (*at == module) {
            *at = module->next;
            break;
        }
    for (struct sim_module **at = module->library ? &module->library->modules : NULL; at && *at;
         at = &(*at)->next_of_library)
        if (*at == module) {
            *at = module->next_of_library;
            break;
        }
}

void sim_module_unmake(struct sim_module *module)
{
    unlink_module(module);
    for (uint32_t i = 0; i < module->function_count; i++)
        sim_object_free(module->function[i]);
    free(module->function);
    if (module->variables)
        sim_device_free(module->variables);
    if (module->charged_bytes)
        sim_uncharge(module->context->device, SIM_MEM_MODULE, module->charged_bytes);
    sim_image_free(&module->image);
    sim_object_free(module);
}

void sim_modules_unload_all(struct sim_context *ctx)
{
    pthread_mutex_lock(&sim_modules_lock);
    while (ctx->modules)
        sim_module_unmake(ctx->modules);
    pthread_mutex_unlock(&sim_modules_lock);
}

CUresult sim_read_file(const char *path, void **data, size_t *size)
{
    FILE *file = fopen(path, "rbe");
    char *bytes = NULL;
    size_t used = 0, room = 0, got = 1;
    if (!file)
        return CUDA_ERROR_FILE_NOT_FOUND;
    while (got) {
        if (used + 1 >= room) {
            char *grown = realloc(bytes, room = room ? 2 * room : 65536);
            if (!grown)
                break;
            bytes = grown;
        }
        got = fread(bytes + used, 1, room - used - 1, file);
        used += got;
    }
    fclose(file);
    if (got) {
        free(bytes);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    bytes[used] = 0;
    *data = bytes;
    *size = used;
    return CUDA_SUCCESS;
}

static void write_log(const struct sim_jit *jit, int buffer, int bytes, const char *text)
{
    char *to = NULL;
    size_t room = 0, length = 0;
    for (unsigned i = 0; i < jit->count; i++) {
        if (jit->option[i] == buffer)
            to = jit->value[i];
        else if (jit->option[i] == bytes)
            room = (uintptr_t)jit->value[i] & UINT32_MAX;
    }
    if (to && room) {
        length = strlen(text) < room ? strlen(text) : room - 1;
        memcpy(to, text, length);
        to[length] = 0;
    }
    for (unsigned i = 0; i < jit->count; i++)
        if (jit->option[i] == bytes) /* the option's value is replaced by what was written */
            jit->value[i] = (void *)(uintptr_t)length;
}

void sim_jit_log(const struct sim_jit *jit, CUresult result)
{
    write_log(jit, JIT_INFO_BUFFER, JIT_INFO_BYTES, "");
    write_log(jit, JIT_ERROR_BUFFER, JIT_ERROR_BYTES,
              result == CUDA_ERROR_INVALID_PTX               ? "simulated GPU: this PTX text cannot be read"
              : result == CUDA_ERROR_UNSUPPORTED_PTX_VERSION ? "simulated GPU: .version is newer than 9.0"
              : result == CUDA_ERROR_NO_BINARY_FOR_GPU ? "simulated GPU: no code for this device in the image"
                                                       : "");
    for (unsigned i = 0; i < jit->count; i++)
        if (jit->option[i] == JIT_WALL_TIME)
            jit->value[i] = NULL; /* a float of 0 ms */
}

static CUresult load(CUmodule *module, const void *data, size_t size, const struct sim_jit *jit)
{
    struct sim_context *ctx = sim_current_context();
    if (!ctx)
        return CUDA_ERROR_INVALID_CONTEXT;
    SIM_TRY(sim_context_error(ctx));
    pthread_mutex_lock(&sim_modules_lock);
    CUresult result = sim_module_make(ctx, data, size, module);
    pthread_mutex_unlock(&sim_modules_lock);
    sim_jit_log(jit, result);
    return result;
}

static CUresult load_image(CUmodule *module, const void *image, const struct sim_jit *jit)
{
    if (!module || !image || (jit->count && (!jit->option || !jit->value)))
        return CUDA_ERROR_INVALID_VALUE;
    image = sim_fatbin_unwrap(image);
    size_t size = sim_image_size(image);
    return size ? load(module, image, size, jit) : CUDA_ERROR_INVALID_IMAGE;
}

SIM_API(cuModuleLoadData, (CUmodule * module, const void *image))
{
    SIM_ENTER(cuModuleLoadData);
    return load_image(module, image, &(struct sim_jit){0});
}

SIM_API(cuModuleLoadDataEx, (CUmodule * module, const void *image, unsigned count, int *option, void **value))
{
    SIM_ENTER(cuModuleLoadDataEx);
    return load_image(module, image, &(struct sim_jit){count, option, value});
}

SIM_API(cuModuleLoadFatBinary, (CUmodule * module, const void *image))
{
    SIM_ENTER(cuModuleLoadFatBinary);
    return load_image(module, image, &(struct sim_jit){0});
}

SIM_API(cuModuleLoad, (CUmodule * module, const char *path))
{
    SIM_ENTER(cuModuleLoad);
    void *data;
    size_t size;
    if (!module || !path)
        return CUDA_ERROR_INVALID_VALUE;
    SIM_TRY(sim_read_file(path, &data, &size));
    CUresult result = load(module, data, size, &(struct sim_jit){0});
    free(data);
    return result;
}

SIM_API(cuModuleUnload, (CUmodule module))
{
    SIM_ENTER_CONTEXT(cuModuleUnload, ctx);
    if (!sim_is(module, SIM_MODULE) || module->library)
        return CUDA_ERROR_INVALID_HANDLE;
    pthread_mutex_lock(&sim_modules_lock);
    sim_module_unmake(module);
    pthread_mutex_unlock(&sim_modules_lock);
    return CUDA_SUCCESS;
}

SIM_API(cuModuleGetLoadingMode, (int *mode))
{
    SIM_ENTER(cuModuleGetLoadingMode);
    const char *wish = getenv("CUDA_MODULE_LOADING");
    if (!mode)
        return CUDA_ERROR_INVALID_VALUE;
    *mode = wish && strcmp(wish, "EAGER") == 0 ? 1 : 2; /* lazy */
    return CUDA_SUCCESS;
}

SIM_API(cuModuleGetFunction, (CUfunction * function, CUmodule module, const char *name))
{
    SIM_ENTER_CONTEXT(cuModuleGetFunction, ctx);
    if (!function || !name)
        return CUDA_ERROR_INVALID_VALUE;
    if (!sim_is(module, SIM_MODULE))
        return CUDA_ERROR_INVALID_HANDLE;
    for (uint32_t i = 0; i < module->function_count; i++)
        if (strcmp(module->function[i]->name, name) == 0) {
            *function = module->function[i];
            return CUDA_SUCCESS;
        }
    return CUDA_ERROR_NOT_FOUND;
}

SIM_API(cuModuleGetFunctionCount, (unsigned *count, CUmodule module))
{
    SIM_ENTER(cuModuleGetFunctionCount);
    if (!count)
        return CUDA_ERROR_INVALID_VALUE;
    if (!sim_is(module, SIM_MODULE))
        return CUDA_ERROR_INVALID_HANDLE;
    *count = module->function_count;
    return CUDA_SUCCESS;
}

SIM_API(cuModuleEnumerateFunctions, (CUfunction * functions, unsigned count, CUmodule module))
{
    SIM_ENTER(cuModuleEnumerateFunctions);
    if (!functions || !count)
        return CUDA_ERROR_INVALID_VALUE;
    if (!sim_is(module, SIM_MODULE))
        return CUDA_ERROR_INVALID_HANDLE;
    for (uint32_t i = 0; i < module->function_count && i < count; i++)
        functions[i] = module->function[i];
    return CUDA_SUCCESS;
}

SIM_API(cuModuleGetGlobal_v2, (CUdeviceptr * address, size_t *bytes, CUmodule module, const char *name))
{
    SIM_ENTER_CONTEXT(cuModuleGetGlobal_v2, ctx);
    if (!name || (!address && !bytes))
        return CUDA_ERROR_INVALID_VALUE;
    if (!sim_is(module, SIM_MODULE))
        return CUDA_ERROR_INVALID_HANDLE;
    const struct sim_variable *variable = sim_image_variable(&module->image, name);
    if (!variable)
        return CUDA_ERROR_NOT_FOUND;
    if (address)
        *address = module->variables + variable->offset;
    if (bytes)
        *bytes = variable->size;
    return CUDA_SUCCESS;
}
