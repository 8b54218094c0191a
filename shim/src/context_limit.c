/* context_limit.c -- cuCtxSetLimit: what a context takes beyond what it was measured with. */
#include "bytes.h"
#include "context.h"
#include "device.h"
#include "hooks.h"
#include "ledger.h"
#include "reserve.h"

enum { STACK_SIZE, PRINTF_FIFO_SIZE, MALLOC_HEAP_SIZE, LIMITS };

#define CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT           16
#define CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR 39

#define GRAIN ((uint64_t)2 << 20)

/* What each is before anybody sets it: so much is in what a new context of a device takes.  Asked for before the first
 * one is set, with the lock held; 0: not yet. */
static uint64_t usual[GS_MAX_DEVICES][LIMITS];

static uint64_t usual_of(int device, int limit)
{
    size_t value = 0;

    if (!usual[device][limit] && !REAL(cuCtxGetLimit)(&value, limit))
        usual[device][limit] = value;
    return usual[device][limit];
}

/* What an ordinal's threads are that can be resident at once, each with a stack of its own. */
static uint64_t threads_of(CUdevice ordinal)
{
    int processors = 0, threads = 0;

    REAL(cuDeviceGetAttribute)(&processors, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, ordinal);
    REAL(cuDeviceGetAttribute)(&threads, CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR, ordinal);
    return (uint64_t)processors * (uint64_t)threads;
}

/* Beyond the usual, in whole pieces of what the driver takes. */
static uint64_t more_bytes(int limit, uint64_t value, uint64_t first, CUdevice ordinal)
{
    uint64_t bytes = value > first ? value - first : 0;

    if (limit == STACK_SIZE)
        bytes = gs_times(bytes, threads_of(ordinal));
    return gs_plus(bytes, GRAIN - 1) / GRAIN * GRAIN;
}

/* Of the current context; no address, and no name of physical memory, is like it. */
static uint64_t name_of(CUcontext context, int limit)
{
    return (uint64_t)context ^ (uint64_t)(9 + limit) << 60;
}

/* With the lock held.  The note is there before the driver is asked, as it cannot be told to forget. */
static CUresult set(uint64_t name, struct gs_entry *entry, uint64_t wanted, int limit, size_t value)
{
    struct gs_entry stale = {0};
    uint64_t had = gs_ledger_find(name, &stale) ? stale.bytes : 0;
    CUresult result;

    if (wanted > had && !gs_reserve(entry->device, entry->kind, wanted - had))
        return gs_refuse("cuCtxSetLimit", entry->device, wanted - had);
    entry->bytes = gs_larger(wanted, had);
    if (entry->bytes && gs_ledger_put(name, entry, &stale) == GS_NOT_NOTED) {
        gs_quota_release(entry->device, entry->kind, entry->bytes - had);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    result = REAL(cuCtxSetLimit)(limit, value);
    if (!entry->bytes)
        return result;
    gs_quota_release(entry->device, entry->kind, entry->bytes - (result ? had : wanted));
    entry->bytes = result ? had : wanted;
    if (entry->bytes)
        gs_ledger_put(name, entry, &stale); /* it is there already */
    else
        gs_ledger_take(name, &stale);
    return result;
}

GSHARE_HOOK(cuCtxSetLimit, (int limit, size_t value))
{
    struct gs_entry entry = {.kind = GS_CONTEXT_MORE};
    CUcontext context = NULL;
    CUdevice ordinal;
    CUresult result;
    uint64_t more;

    if (!gs_region() || limit < 0 || limit >= LIMITS || REAL(cuCtxGetCurrent)(&context) || !context ||
        REAL(cuCtxGetDevice)(&ordinal) || gs_device_index(ordinal) < 0)
        return REAL(cuCtxSetLimit)(limit, value);
    entry.owner = (uint64_t)context;
    entry.device = gs_device_index(ordinal);
    gs_lock(&gs_context_lock);
    more = more_bytes(limit, value, usual_of(entry.device, limit), ordinal);
    result = set(name_of(context, limit), &entry, more, limit, value);
    gs_unlock(&gs_context_lock);
    return result;
}
