/* collective.c -- notes which functions are NCCL's kernels when a program looks them up, and which devices run one. */
#include "collective.h"

#define MOST 4096u /* functions; a power of two.  NCCL has hundreds for each of its contexts */

/* Never emptied: a handle that comes back for something else just passes a gate now and then. */
static const void *known[MOST];
static uint32_t known_count;

static struct gs_meter_device *running[GS_MAX_DEVICES];

static bool begins_with(const char *name, const char *prefix)
{
    while (*prefix != '\0' && *name == *prefix)
        name++, prefix++;
    return *prefix == '\0';
}

/* As in the source, or as C++ writes it: _Z, the length, the name. */
static bool is_collective(const char *name)
{
    if (name == NULL)
        return false;
    if (begins_with(name, "_Z"))
        for (name += 2; *name >= '0' && *name <= '9'; name++)
            ;
    return begins_with(name, "ncclDevKernel") || begins_with(name, "ncclKernel");
}

static uint32_t place_of(const void *function, uint32_t try)
{
    return (uint32_t)(((uint64_t)(uintptr_t)function * 0x9e3779b97f4a7c15ull >> 40) + try) % MOST;
}

static void note(const void *function)
{
    for (uint32_t try = 0; try < MOST && !gs_collective_is(function); try++) {
        const void *none = NULL;
        if (__atomic_compare_exchange_n(&known[place_of(function, try)], &none, function, false,
                                        __ATOMIC_RELEASE, __ATOMIC_RELAXED))
            __atomic_add_fetch(&known_count, 1, __ATOMIC_RELEASE);
    }
}

bool gs_collective_is(const void *function)
{
    if (__builtin_expect(__atomic_load_n(&known_count, __ATOMIC_ACQUIRE) == 0, 1))
        return false;
    for (uint32_t try = 0; try < MOST; try++) {
        const void *here = __atomic_load_n(&known[place_of(function, try)], __ATOMIC_ACQUIRE);
        if (here == function || here == NULL)
            return here != NULL;
    }
    return false;
}

void gs_collective_begins(struct gs_meter_device *device)
{
    __atomic_store_n(&running[device->index], device, __ATOMIC_RELEASE);
}

/* As long as anything is in flight there: which of it, nobody asks. */
bool gs_collective_runs(uint32_t device)
{
    struct gs_meter_device *here = __atomic_load_n(&running[device], __ATOMIC_ACQUIRE);

    if (here == NULL)
        return false;
    if (__atomic_load_n(&here->in_flight_ns, __ATOMIC_RELAXED) > 0)
        return true;
    __atomic_store_n(&running[device], NULL, __ATOMIC_RELAXED);
    return false;
}

bool gs_collective_runs_beside(const struct gs_meter_device *device)
{
    for (uint32_t i = 0; i < GS_MAX_DEVICES; i++)
        if (i != device->index && gs_collective_runs(i))
            return true;
    return false;
}

void gs_collective_forget(void)
{
    for (uint32_t i = 0; i < GS_MAX_DEVICES; i++)
        running[i] = NULL;
}

GSHARE_HOOK(cuModuleGetFunction, (CUfunction * hfunc, CUmodule hmod, const char *name))
{
    CUresult result = REAL(cuModuleGetFunction)(hfunc, hmod, name);

    if (result == CUDA_SUCCESS && hfunc != NULL && is_collective(name))
        note(*hfunc);
    return result;
}

GSHARE_HOOK(cuLibraryGetKernel, (CUkernel * pKernel, CUlibrary library, const char *name))
{
    CUresult result = REAL(cuLibraryGetKernel)(pKernel, library, name);

    if (result == CUDA_SUCCESS && pKernel != NULL && is_collective(name))
        note(*pKernel); /* may be launched as a function is */
    return result;
}

GSHARE_HOOK(cuKernelGetFunction, (CUfunction * pFunc, CUkernel kernel))
{
    CUresult result = REAL(cuKernelGetFunction)(pFunc, kernel);

    if (result == CUDA_SUCCESS && pFunc != NULL && gs_collective_is(kernel))
        note(*pFunc);
    return result;
}
