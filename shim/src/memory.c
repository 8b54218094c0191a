/* memory.c -- linear, pitched and managed memory, and every way to free it. */
#include "hold.h"
#include "hooks.h"
#include "later.h"
#include "pool.h"
#include "region.h"

/* An upper bound of a row's length in pitched memory; the true one comes with the driver's answer. */
#define PITCH_GRAIN 512ull

#define CU_MEM_ATTACH_GLOBAL 1u
#define CU_MEM_ATTACH_HOST   2u

/* What the program gets, given what the driver said. */
static CUresult settle(CUresult result, const struct gs_hold *hold, uint64_t taken_bytes, CUdeviceptr pointer,
                       enum gs_kind kind)
{
    if (result) {
        gs_hold_drop(hold);
        return result;
    }
    if (gs_hold_keep(hold, taken_bytes, pointer, kind))
        return CUDA_SUCCESS;
    REAL(cuMemFree_v2)(pointer);
    return gs_refuse(hold->device);
}

GSHARE_HOOK(cuMemAlloc_v2, (CUdeviceptr * dptr, size_t bytesize))
{
    uint64_t bytes = gs_linear_bytes(bytesize);
    struct gs_hold hold;
    CUresult result;

    if (!gs_region() || !dptr || !bytesize)
        return REAL(cuMemAlloc_v2)(dptr, bytesize);
    if (!gs_hold_here(&hold, bytes))
        return gs_refuse(hold.device);
    result = REAL(cuMemAlloc_v2)(dptr, bytesize);
    return settle(result, &hold, bytes, result ? 0 : *dptr, GS_LINEAR);
}

GSHARE_HOOK(cuMemAlloc, (CUdeviceptr_v1 * dptr, unsigned int bytesize))
{
    uint64_t bytes = gs_linear_bytes(bytesize);
    struct gs_hold hold;
    CUresult result;

    if (!gs_region() || !dptr || !bytesize)
        return REAL(cuMemAlloc)(dptr, bytesize);
    if (!gs_hold_here(&hold, bytes))
        return gs_refuse(hold.device);
    result = REAL(cuMemAlloc)(dptr, bytesize);
    return settle(result, &hold, bytes, result ? 0 : *dptr, GS_LINEAR);
}

GSHARE_HOOK(cuMemAllocManaged, (CUdeviceptr * dptr, size_t bytesize, unsigned int flags))
{
    uint64_t bytes = gs_linear_bytes(bytesize);
    struct gs_hold hold;
    CUresult result;

    if (!gs_region() || !dptr || !bytesize || (flags != CU_MEM_ATTACH_GLOBAL && flags != CU_MEM_ATTACH_HOST))
        return REAL(cuMemAllocManaged)(dptr, bytesize, flags);
    if (!gs_hold_here(&hold, bytes))
        return gs_refuse(hold.device);
    result = REAL(cuMemAllocManaged)(dptr, bytesize, flags);
    return settle(result, &hold, bytes, result ? 0 : *dptr, GS_MANAGED);
}

/* What `height` rows take at most before their pitch is known. */
static uint64_t pitched_bound(uint64_t width_bytes, uint64_t height)
{
    uint64_t row = width_bytes > UINT64_MAX - PITCH_GRAIN ? UINT64_MAX : width_bytes + PITCH_GRAIN - 1;

    return gs_linear_bytes(gs_times(row / PITCH_GRAIN * PITCH_GRAIN, height));
}

GSHARE_HOOK(cuMemAllocPitch_v2, (CUdeviceptr * dptr, size_t *pPitch, size_t WidthInBytes, size_t Height,
                                 unsigned int ElementSizeBytes))
{
    struct gs_hold hold;
    CUresult result;

    if (!gs_region() || !dptr || !pPitch || !WidthInBytes || !Height)
        return REAL(cuMemAllocPitch_v2)(dptr, pPitch, WidthInBytes, Height, ElementSizeBytes);
    if (!gs_hold_here(&hold, pitched_bound(WidthInBytes, Height)))
        return gs_refuse(hold.device);
    result = REAL(cuMemAllocPitch_v2)(dptr, pPitch, WidthInBytes, Height, ElementSizeBytes);
    return settle(result, &hold, result ? 0 : gs_linear_bytes(gs_times(*pPitch, Height)), result ? 0 : *dptr,
                  GS_PITCHED);
}

GSHARE_HOOK(cuMemAllocPitch, (CUdeviceptr_v1 * dptr, unsigned int *pPitch, unsigned int WidthInBytes,
                              unsigned int Height, unsigned int ElementSizeBytes))
{
    struct gs_hold hold;
    CUresult result;

    if (!gs_region() || !dptr || !pPitch || !WidthInBytes || !Height)
        return REAL(cuMemAllocPitch)(dptr, pPitch, WidthInBytes, Height, ElementSizeBytes);
    if (!gs_hold_here(&hold, pitched_bound(WidthInBytes, Height)))
        return gs_refuse(hold.device);
    result = REAL(cuMemAllocPitch)(dptr, pPitch, WidthInBytes, Height, ElementSizeBytes);
    return settle(result, &hold, result ? 0 : gs_linear_bytes(gs_times(*pPitch, Height)), result ? 0 : *dptr,
                  GS_PITCHED);
}

/* After the driver's free.  The note was taken before it: once freed, another thread may get the same address. */
static CUresult freed(CUresult result, int known, CUdeviceptr pointer, const struct gs_entry *entry)
{
    struct gs_entry stale;

    if (!known)
        return result;
    if (result)
        gs_ledger_put(pointer, *entry, &stale); /* room for it was there a moment ago */
    else if (entry->kind == GS_POOL)
        gs_pool_freed(entry);
    else
        gs_quota_release(entry->device, entry->bytes);
    return result;
}

GSHARE_HOOK(cuMemFree_v2, (CUdeviceptr dptr))
{
    struct gs_entry entry;
    int known = gs_region() && gs_ledger_take(dptr, &entry);

    return freed(REAL(cuMemFree_v2)(dptr), known, dptr, &entry);
}

GSHARE_HOOK(cuMemFree, (CUdeviceptr_v1 dptr))
{
    struct gs_entry entry;
    int known = gs_region() && gs_ledger_take(dptr, &entry);

    return freed(REAL(cuMemFree)(dptr), known, dptr, &entry);
}

/* Linear memory is the driver's until the stream gets there; so its charge is, too. */
static CUresult freed_in_order(CUresult result, int known, CUdeviceptr pointer, const struct gs_entry *entry,
                               CUstream stream)
{
    if (!result && known && entry->kind != GS_POOL && gs_later_release(entry, stream))
        return result;
    return freed(result, known, pointer, entry);
}

GSHARE_HOOK(cuMemFreeAsync, (CUdeviceptr dptr, CUstream hStream))
{
    struct gs_entry entry;
    int known = gs_region() && gs_ledger_take(dptr, &entry);

    return freed_in_order(REAL(cuMemFreeAsync)(dptr, hStream), known, dptr, &entry, hStream);
}

GSHARE_HOOK(cuMemFreeAsync_ptsz, (CUdeviceptr dptr, CUstream hStream))
{
    struct gs_entry entry;
    int known = gs_region() && gs_ledger_take(dptr, &entry);

    return freed_in_order(REAL(cuMemFreeAsync_ptsz)(dptr, hStream), known, dptr, &entry,
                          hStream ? hStream : CU_STREAM_PER_THREAD);
}
