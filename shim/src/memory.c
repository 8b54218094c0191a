/* memory.c -- linear, pitched and managed memory, and every way to free it. */
#include "bytes.h"
#include "device.h"
#include "graph_memory.h"
#include "hooks.h"
#include "later.h"
#include "managed.h"
#include "meter.h"
#include "physical.h"
#include "pool.h"
#include "region.h"
#include "reserve.h"

#define LINEAR_GRAIN 512ull

/* An upper bound of a row's length in pitched memory; the true one comes with the driver's answer. */
#define PITCH_GRAIN 512ull

#define CU_DEVICE_ATTRIBUTE_MAX_PITCH 11

#define CU_MEM_ATTACH_GLOBAL 1u
#define CU_MEM_ATTACH_HOST   2u

/* A reservation between the decision and the driver's answer: what the ledger will say. */
struct hold {
    struct gs_entry entry; /* owner: the current context */
};

/* What the driver takes for `bytes` of linear memory. */
static uint64_t linear_bytes(uint64_t bytes)
{
    return bytes > UINT64_MAX - LINEAR_GRAIN ? UINT64_MAX
                                             : (bytes + LINEAR_GRAIN - 1) / LINEAR_GRAIN * LINEAR_GRAIN;
}

static inline int hold_here(struct hold *hold, uint32_t kind, uint64_t bytes)
{
    CUcontext context = NULL;

    REAL(cuCtxGetCurrent)(&context);
    hold->entry.owner = (uint64_t)context;
    hold->entry.device = gs_current_device();
    hold->entry.bytes = bytes;
    hold->entry.kind = kind;
    return gs_reserve(hold->entry.device, kind, bytes);
}

static inline void hold_drop(const struct hold *hold)
{
    gs_quota_release(hold->entry.device, hold->entry.kind, hold->entry.bytes);
}

/* The bound was not the truth. */
static __attribute__((noinline)) int correct(struct hold *hold, uint64_t taken_bytes)
{
    struct gs_entry *entry = &hold->entry;

    if (taken_bytes < entry->bytes)
        gs_quota_release(entry->device, entry->kind, entry->bytes - taken_bytes);
    else if (!gs_reserve(entry->device, entry->kind, taken_bytes - entry->bytes))
        return 0;
    entry->bytes = taken_bytes;
    return 1;
}

/* The driver has given its address out again. */
static __attribute__((noinline, cold)) void forget(const struct gs_entry *stale)
{
    gs_entry_release(stale);
}

static __attribute__((noinline, cold)) CUresult give_back(CUresult result, const struct hold *hold,
                                                          CUdeviceptr pointer)
{
    hold_drop(hold);
    REAL(cuMemFree_v2)(pointer);
    return result;
}

/* What the program gets, given what the driver said. */
static inline CUresult settle(const char *api, CUresult result, struct hold *hold, uint64_t taken_bytes,
                              CUdeviceptr pointer)
{
    struct gs_entry stale;
    enum gs_noted noted;

    if (result) {
        hold_drop(hold);
        return result;
    }
    if (hold->entry.device < 0)
        return CUDA_SUCCESS;
    if (taken_bytes != hold->entry.bytes && !correct(hold, taken_bytes))
        return give_back(gs_refuse(api, hold->entry.device, taken_bytes - hold->entry.bytes), hold, pointer);
    noted = gs_ledger_put(pointer, &hold->entry, &stale);
    if (noted == GS_NOT_NOTED)
        return give_back(CUDA_ERROR_OUT_OF_MEMORY, hold, pointer);
    if (noted == GS_NOTED_OVER)
        forget(&stale);
    return CUDA_SUCCESS;
}

GSHARE_HOOK(cuMemAlloc_v2, (CUdeviceptr * dptr, size_t bytesize))
{
    uint64_t bytes = linear_bytes(bytesize);
    struct hold hold;
    CUresult result;

    if (!gs_region() || !dptr || !bytesize)
        return REAL(cuMemAlloc_v2)(dptr, bytesize);
    if (!hold_here(&hold, GS_LINEAR, bytes))
        return gs_refuse(__func__, hold.entry.device, hold.entry.bytes);
    result = REAL(cuMemAlloc_v2)(dptr, bytesize);
    return settle(__func__, result, &hold, bytes, result ? 0 : *dptr);
}

GSHARE_HOOK(cuMemAlloc, (CUdeviceptr_v1 * dptr, unsigned int bytesize))
{
    uint64_t bytes = linear_bytes(bytesize);
    struct hold hold;
    CUresult result;

    if (!gs_region() || !dptr || !bytesize)
        return REAL(cuMemAlloc)(dptr, bytesize);
    if (!hold_here(&hold, GS_LINEAR, bytes))
        return gs_refuse(__func__, hold.entry.device, hold.entry.bytes);
    result = REAL(cuMemAlloc)(dptr, bytesize);
    return settle(__func__, result, &hold, bytes, result ? 0 : *dptr);
}

GSHARE_HOOK(cuMemAllocManaged, (CUdeviceptr * dptr, size_t bytesize, unsigned int flags))
{
    uint64_t bytes = linear_bytes(bytesize);
    struct hold hold;
    CUresult result;

    if (!gs_region() || !dptr || !bytesize || (flags != CU_MEM_ATTACH_GLOBAL && flags != CU_MEM_ATTACH_HOST))
        return REAL(cuMemAllocManaged)(dptr, bytesize, flags);
    if (!hold_here(&hold, GS_MANAGED, bytes))
        return gs_refuse(__func__, hold.entry.device, hold.entry.bytes);
    result = REAL(cuMemAllocManaged)(dptr, bytesize, flags);
    return settle(__func__, result, &hold, bytes, result ? 0 : *dptr);
}

/* What `height` rows take at most before their pitch is known. */
static uint64_t pitched_bound(uint64_t width_bytes, uint64_t height)
{
    uint64_t row = width_bytes > UINT64_MAX - PITCH_GRAIN ? UINT64_MAX : width_bytes + PITCH_GRAIN - 1;

    return linear_bytes(gs_times(row / PITCH_GRAIN * PITCH_GRAIN, height));
}

/* The driver's own answer to what it makes of no size, where it cannot be asked: there is no room. */
static CUresult refuse_pitched(const char *api, const struct hold *hold, uint64_t width_bytes,
                               unsigned int element_bytes)
{
    CUdevice ordinal;
    int most = 0;

    if ((element_bytes != 4 && element_bytes != 8 && element_bytes != 16) ||
        (!REAL(cuCtxGetDevice)(&ordinal) &&
         !REAL(cuDeviceGetAttribute)(&most, CU_DEVICE_ATTRIBUTE_MAX_PITCH, ordinal) && most > 0 &&
         width_bytes > (uint64_t)most))
        return CUDA_ERROR_INVALID_VALUE;
    return gs_refuse(api, hold->entry.device, hold->entry.bytes);
}

GSHARE_HOOK(cuMemAllocPitch_v2, (CUdeviceptr * dptr, size_t *pPitch, size_t WidthInBytes, size_t Height,
                                 unsigned int ElementSizeBytes))
{
    struct hold hold;
    CUresult result;

    if (!gs_region() || !dptr || !pPitch || !WidthInBytes || !Height)
        return REAL(cuMemAllocPitch_v2)(dptr, pPitch, WidthInBytes, Height, ElementSizeBytes);
    if (!hold_here(&hold, GS_LINEAR, pitched_bound(WidthInBytes, Height)))
        return refuse_pitched(__func__, &hold, WidthInBytes, ElementSizeBytes);
    result = REAL(cuMemAllocPitch_v2)(dptr, pPitch, WidthInBytes, Height, ElementSizeBytes);
    return settle(__func__, result, &hold, result ? 0 : linear_bytes(gs_times(*pPitch, Height)),
                  result ? 0 : *dptr);
}

GSHARE_HOOK(cuMemAllocPitch, (CUdeviceptr_v1 * dptr, unsigned int *pPitch, unsigned int WidthInBytes,
                              unsigned int Height, unsigned int ElementSizeBytes))
{
    struct hold hold;
    CUresult result;

    if (!gs_region() || !dptr || !pPitch || !WidthInBytes || !Height)
        return REAL(cuMemAllocPitch)(dptr, pPitch, WidthInBytes, Height, ElementSizeBytes);
    if (!hold_here(&hold, GS_LINEAR, pitched_bound(WidthInBytes, Height)))
        return refuse_pitched(__func__, &hold, WidthInBytes, ElementSizeBytes);
    result = REAL(cuMemAllocPitch)(dptr, pPitch, WidthInBytes, Height, ElementSizeBytes);
    return settle(__func__, result, &hold, result ? 0 : linear_bytes(gs_times(*pPitch, Height)),
                  result ? 0 : *dptr);
}

/* A buffer of external memory is not charged, but may keep what is. */
static __attribute__((noinline)) int take_imported(CUdeviceptr pointer, struct gs_entry *entry)
{
    entry->kind = GS_IMPORTED;
    entry->owner = gs_physical_going(gs_name(GS_NAME_BUFFER, pointer));
    return entry->owner != 0;
}

static inline int take(CUdeviceptr pointer, struct gs_entry *entry)
{
    if (!gs_region() || !(gs_ledger_take(pointer, entry) || take_imported(pointer, entry)))
        return 0;
    if (__builtin_expect(entry->kind == GS_POOL, 0))
        gs_pool_freeing(entry);
    return 1;
}

/* The driver has not freed it.  Where the address has been given out again meanwhile, somebody else has. */
static void put_back(CUdeviceptr pointer, const struct gs_entry *entry)
{
    struct gs_entry newer, own;

    if (gs_ledger_put(pointer, entry, &newer) != GS_NOTED_OVER) /* room for it was there a moment ago */
        return;
    gs_ledger_put(pointer, &newer, &own);
    forget(entry);
}

static __attribute__((noinline)) CUresult freed_otherwise(CUresult result, CUdeviceptr pointer,
                                                          const struct gs_entry *entry, CUstream stream)
{
    if (entry->kind == GS_IMPORTED)
        return gs_physical_gone((uint32_t)entry->owner, result);
    if (result)
        put_back(pointer, entry);
    if (entry->kind == GS_POOL)
        gs_pool_freed(entry, stream, result);
    else if (result)
        return result;
    else if (entry->kind == GS_GRAPH)
        gs_graph_memory_freed(entry, stream);
    else if (stream == GS_ANY_STREAM || !gs_later_release(entry, stream))
        gs_quota_release(entry->device, entry->kind, entry->bytes);
    if (!result && entry->kind == GS_MANAGED)
        gs_managed_freed(pointer, stream);
    return result;
}

/* After the driver's free.  The note was taken before it: once freed, another thread may get the same
 * address. */
static inline __attribute__((always_inline)) CUresult freed(CUresult result, int known, CUdeviceptr pointer,
                                                            const struct gs_entry *entry, CUstream stream)
{
    if (!known)
        return result;
    if (result || stream != GS_ANY_STREAM || !gs_is_charge(entry) || entry->kind == GS_MANAGED)
        return freed_otherwise(result, pointer, entry, stream);
    gs_quota_release(entry->device, entry->kind, entry->bytes);
    return CUDA_SUCCESS;
}

GSHARE_HOOK(cuMemFree_v2, (CUdeviceptr dptr))
{
    struct gs_entry entry;
    int known = take(dptr, &entry);

    return freed(REAL(cuMemFree_v2)(dptr), known, dptr, &entry, GS_ANY_STREAM);
}

GSHARE_HOOK(cuMemFree, (CUdeviceptr_v1 dptr))
{
    struct gs_entry entry;
    int known = take(dptr, &entry);

    return freed(REAL(cuMemFree)(dptr), known, dptr, &entry, GS_ANY_STREAM);
}

/* True: nothing is freed now, a node of a graph is made that will. */
static inline int is_captured(CUstream stream)
{
    return __builtin_expect(__atomic_load_n(&gs_captures, __ATOMIC_RELAXED) != 0, 0) &&
           gs_is_captured(stream);
}

GSHARE_HOOK(cuMemFreeAsync, (CUdeviceptr dptr, CUstream hStream))
{
    struct gs_entry entry;
    int known = !is_captured(hStream) && take(dptr, &entry);

    return freed(REAL(cuMemFreeAsync)(dptr, hStream), known, dptr, &entry, hStream);
}

GSHARE_HOOK(cuMemFreeAsync_ptsz, (CUdeviceptr dptr, CUstream hStream))
{
    CUstream stream = hStream ? hStream : CU_STREAM_PER_THREAD;
    struct gs_entry entry;
    int known = !is_captured(stream) && take(dptr, &entry);

    return freed(REAL(cuMemFreeAsync_ptsz)(dptr, hStream), known, dptr, &entry, stream);
}
