/* register.c -- what nvcc's start code says about a program: its images, kernels and variables. */
#include "cudart.h"

#include <pthread.h>
#include <search.h>
#include <stdlib.h>

#define EXPORT __attribute__((visibility("default")))

struct image {
    const void *binary;
    cudaLibrary_t library; /* loaded at the first use of something in it */
    struct symbol *symbols;
};

struct symbol {
    struct symbol *next; /* of the same image */
    const void *host;    /* a kernel's stub, or a variable's shadow */
    const char *name;
    struct image *image;
    cudaKernel_t kernel;
    bool managed; /* `host` is then where the host's code finds its address */
    size_t managed_bytes;
};

enum { ATTACH_GLOBAL = 1 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static void *symbols; /* a tree of struct symbol, by host address */
static void *kernels; /* the same symbols, by kernel handle once there is one */

static int by_host(const void *a, const void *b)
{
    const void *x = ((const struct symbol *)a)->host, *y = ((const struct symbol *)b)->host;
    return (x > y) - (x < y);
}

static int by_kernel(const void *a, const void *b)
{
    const cudaKernel_t x = ((const struct symbol *)a)->kernel, y = ((const struct symbol *)b)->kernel;
    return (x > y) - (x < y);
}

static void add(struct image *image, const void *host, const char *name, bool managed)
{
    struct symbol *symbol = image ? malloc(sizeof *symbol) : NULL;
    if (!symbol)
        return;
    pthread_mutex_lock(&lock);
    *symbol = (struct symbol){image->symbols, host, name, image, NULL, managed, 0};
    void *kept = tsearch(symbol, &symbols, by_host);
    if (kept && *(struct symbol **)kept == symbol)
        image->symbols = symbol;
    else
        free(symbol);
    pthread_mutex_unlock(&lock);
}

static struct symbol *find(const void *host)
{
    struct symbol key = {.host = host};
    void *found = tfind(&key, &symbols, by_host);
    return found ? *(struct symbol **)found : NULL;
}

static cudaError_t load_image(struct image *image)
{
    if (image->library)
        return cudaSuccess;
    return (cudaError_t)rt_legacy.cuLibraryLoadData(&image->library, image->binary, NULL, NULL, 0, NULL, NULL,
                                                    0);
}

static cudaError_t find_kernel(const void *function, cudaKernel_t *kernel)
{
    struct symbol key = {.kernel = (cudaKernel_t)function}, *symbol = find(function);
    if (!symbol && tfind(&key, &kernels, by_kernel)) {
        *kernel = key.kernel;
        return cudaSuccess;
    }
    if (!symbol)
        return cudaErrorInvalidDeviceFunction;
    if (!symbol->kernel) {
        cudaError_t error = load_image(symbol->image);
        if (!error)
            error = (cudaError_t)rt_legacy.cuLibraryGetKernel(&symbol->kernel, symbol->image->library,
                                                              symbol->name);
        if (error)
            return error == CUDA_ERROR_NOT_FOUND ? cudaErrorInvalidDeviceFunction : error;
        tsearch(symbol, &kernels, by_kernel);
    }
    *kernel = symbol->kernel;
    return cudaSuccess;
}

cudaError_t rt_kernel_of(const void *function, cudaKernel_t *kernel)
{
    cudaError_t error = rt_load();
    if (error)
        return error;
    pthread_mutex_lock(&lock);
    error = find_kernel(function, kernel);
    pthread_mutex_unlock(&lock);
    return error;
}

cudaError_t rt_function_of(const void *function, CUfunction *driver_function)
{
    cudaKernel_t kernel;
    cudaError_t error = rt_enter();
    if (!error)
        error = rt_kernel_of(function, &kernel);
    return error ? error : (cudaError_t)rt_legacy.cuKernelGetFunction(driver_function, kernel);
}

/* Where the driver keeps managed variables of an image as plain ones, the managed memory is made here. */
static cudaError_t place_managed(struct symbol *symbol)
{
    cudaLibrary_t library = symbol->image->library;
    CUdeviceptr at, initial;
    size_t bytes;
    CUresult result = rt_legacy.cuLibraryGetManaged(&at, &bytes, library, symbol->name);
    if (result == CUDA_ERROR_NOT_FOUND) {
        result = rt_legacy.cuLibraryGetGlobal(&initial, &bytes, library, symbol->name);
        if (!result)
            result = rt_legacy.cuMemAllocManaged((void **)&at, bytes, ATTACH_GLOBAL);
        if (!result)
            result = rt_legacy.cuMemcpyDtoH((void *)at, initial, bytes);
    }
    if (!result)
        *(CUdeviceptr *)symbol->host = at;
    symbol->managed_bytes = result ? 0 : bytes;
    return (cudaError_t)result;
}

static cudaError_t place(struct symbol *symbol, CUdeviceptr *address, size_t *bytes)
{
    cudaError_t error = load_image(symbol->image);
    if (error)
        return error;
    if (!symbol->managed)
        return (cudaError_t)rt_legacy.cuLibraryGetGlobal(address, bytes, symbol->image->library,
                                                         symbol->name);
    if (!symbol->managed_bytes)
        error = place_managed(symbol);
    *address = *(CUdeviceptr *)symbol->host;
    *bytes = symbol->managed_bytes;
    return error;
}

cudaError_t rt_symbol(const void *host, CUdeviceptr *address, size_t *bytes)
{
    cudaError_t error = rt_enter();
    if (error)
        return error;
    pthread_mutex_lock(&lock);
    struct symbol *symbol = find(host);
    error = symbol ? place(symbol, address, bytes) : cudaErrorInvalidSymbol;
    pthread_mutex_unlock(&lock);
    return error == CUDA_ERROR_NOT_FOUND ? cudaErrorInvalidSymbol : error;
}

EXPORT void **__cudaRegisterFatBinary(void *binary)
{
    struct image *image = calloc(1, sizeof *image);
    if (image)
        image->binary = binary;
    return (void **)image;
}

EXPORT void __cudaRegisterFatBinaryEnd(void **image)
{
}

/* At dlclose, and by exit handlers. */
EXPORT void __cudaUnregisterFatBinary(void **handle)
{
    struct image *image = (struct image *)handle;
    if (!image)
        return;
    pthread_mutex_lock(&lock);
    for (struct symbol *symbol = image->symbols, *next; symbol; symbol = next) {
        next = symbol->next;
        tdelete(symbol, &symbols, by_host);
        if (symbol->kernel)
            tdelete(symbol, &kernels, by_kernel);
        free(symbol);
    }
    if (image->library)
        rt_legacy.cuLibraryUnload(image->library);
    free(image);
    pthread_mutex_unlock(&lock);
}

/* The host's code calls it before it reads a managed variable. */
EXPORT char __cudaInitModule(void **image)
{
    bool good = rt_enter() == cudaSuccess;
    pthread_mutex_lock(&lock);
    for (struct symbol *symbol = ((struct image *)image)->symbols; symbol && good; symbol = symbol->next) {
        CUdeviceptr address;
        size_t bytes;
        good = !symbol->managed || place(symbol, &address, &bytes) == cudaSuccess;
    }
    pthread_mutex_unlock(&lock);
    return good;
}

EXPORT void __cudaRegisterFunction(void **image, const char *host, char *device_function, const char *name,
                                   int thread_limit, void *tid, void *bid, void *block, void *grid, int *warp)
{
    add((struct image *)image, host, name, false);
}

EXPORT void __cudaRegisterVar(void **image, char *host, char *device_address, const char *name, int external,
                              size_t bytes, int constant, int global)
{
    add((struct image *)image, host, name, false);
}

EXPORT void __cudaRegisterManagedVar(void **image, void **host, char *device_address, const char *name,
                                     int external, size_t bytes, int constant, int global)
{
    add((struct image *)image, host, name, true);
}

EXPORT cudaError_t __cudaGetKernel(cudaKernel_t *kernel, const void *function)
{
    return rt_remember(rt_kernel_of(function, kernel));
}

RT_API(cudaGetKernel, (cudaKernel_t * kernel, const void *function))
{
    return rt_remember(kernel ? rt_kernel_of(function, kernel) : cudaErrorInvalidValue);
}

RT_API(cudaGetFuncBySymbol, (CUfunction * function, const void *symbol))
{
    return rt_remember(function ? rt_function_of(symbol, function) : cudaErrorInvalidValue);
}

RT_API(cudaFuncGetName, (const char **name, const void *function))
{
    cudaKernel_t kernel;
    cudaError_t error = name ? rt_kernel_of(function, &kernel) : cudaErrorInvalidValue;
    return rt_remember(error ? error : (cudaError_t)rt_legacy.cuKernelGetName(name, kernel));
}

RT_API(cudaGetSymbolAddress, (void **address, const void *symbol))
{
    size_t bytes;
    return rt_remember(address ? rt_symbol(symbol, (CUdeviceptr *)address, &bytes) : cudaErrorInvalidValue);
}

RT_API(cudaGetSymbolSize, (size_t * bytes, const void *symbol))
{
    CUdeviceptr address;
    return rt_remember(bytes ? rt_symbol(symbol, &address, bytes) : cudaErrorInvalidValue);
}
