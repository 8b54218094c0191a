/* driver.c -- how the runtime reaches the driver, and the state of each thread: its device and last error. */
#include "cudart.h"

#include <dlfcn.h>
#include <pthread.h>

struct rt_driver rt_legacy, rt_per_thread;

static CUresult (*get_proc_address)(const char *, void **, int, uint64_t, int *);
static pthread_once_t once = PTHREAD_ONCE_INIT;
static cudaError_t loaded;

static _Thread_local int thread_device;
static _Thread_local cudaError_t last_error;

enum { LEGACY_STREAM = 1, PER_THREAD_STREAM = 2 };

static const struct {
    const char *name;
    int version;
    size_t offset;
} calls[] = {
#define CALL(driver, version, params)                        {#driver, version, offsetof(struct rt_driver, driver)},
#define PASS(runtime, driver, version, params, args)         CALL(driver, version, params)
#define STREAM(runtime, twin, driver, version, params, args) CALL(driver, version, params)
#include "calls.def"
#undef CALL
#undef PASS
#undef STREAM
};

/* In the place of a function that the driver does not have. */
static CUresult missing(void)
{
    return (CUresult)cudaErrorCallRequiresNewerDriver;
}

static void resolve(struct rt_driver *driver, uint64_t flags)
{
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        void *function = NULL;
        if (get_proc_address(calls[i].name, &function, calls[i].version, flags, NULL) != CUDA_SUCCESS ||
            !function)
            function = (void *)missing;
        *(void **)((char *)driver + calls[i].offset) = function;
    }
}

static void load(void)
{
    void *library = dlopen("libcuda.so.1", RTLD_NOW);
    if (library)
        *(void **)&get_proc_address = dlsym(library, "cuGetProcAddress_v2");
    if (!get_proc_address) {
        loaded = cudaErrorInsufficientDriver;
        return;
    }
    resolve(&rt_legacy, LEGACY_STREAM);
    resolve(&rt_per_thread, PER_THREAD_STREAM);
    loaded = (cudaError_t)rt_legacy.cuInit(0);
}

cudaError_t rt_load(void)
{
    pthread_once(&once, load);
    return loaded;
}

static cudaError_t make_current(int device)
{
    CUcontext ctx;
    CUresult result = rt_legacy.cuDevicePrimaryCtxRetain(&ctx, device);
    return (cudaError_t)(result ? result : rt_legacy.cuCtxSetCurrent(ctx));
}

cudaError_t rt_enter(void)
{
    CUcontext ctx = NULL;
    cudaError_t error = rt_load();
    if (error)
        return error;
    error = (cudaError_t)rt_legacy.cuCtxGetCurrent(&ctx);
    return error || ctx ? error : make_current(thread_device);
}

cudaError_t rt_remember(cudaError_t error)
{
    if (error)
        last_error = error;
    return error;
}

CUresult rt_look_up(const char *name, void **function, int version, uint64_t flags, int *found)
{
    return get_proc_address(name, function, version, flags, found);
}

RT_API(cudaGetLastError, (void))
{
    cudaError_t error = last_error;
    last_error = cudaSuccess;
    return error;
}

RT_API(cudaPeekAtLastError, (void))
{
    return last_error;
}

RT_API(cudaSetDevice, (int device))
{
    int count = 0;
    cudaError_t error = rt_load();
    if (!error)
        error = (cudaError_t)rt_legacy.cuDeviceGetCount(&count);
    if (!error && (device < 0 || device >= count))
        error = cudaErrorInvalidDevice;
    if (!error)
        error = make_current(device);
    if (!error)
        thread_device = device;
    return rt_remember(error);
}

/* Also where the program has made a context of its own current. */
RT_API(cudaGetDevice, (int *device))
{
    CUcontext ctx = NULL;
    cudaError_t error = device ? rt_load() : cudaErrorInvalidValue;
    if (error)
        return rt_remember(error);
    if (rt_legacy.cuCtxGetCurrent(&ctx) == CUDA_SUCCESS && ctx)
        return rt_remember((cudaError_t)rt_legacy.cuCtxGetDevice(device));
    *device = thread_device;
    return cudaSuccess;
}

RT_API(cudaDeviceReset, (void))
{
    int device = 0;
    cudaError_t error = cudaGetDevice(&device);
    return rt_remember(error ? error : (cudaError_t)rt_legacy.cuDevicePrimaryCtxReset(device));
}
