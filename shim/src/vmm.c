/* vmm.c -- physical memory handles: made, held, mapped, and let go.
 *
 * Memory lives, and is charged, until its handle has been released as often as it was given out and nothing is
 * mapped to it any more.  The granularity is the driver's to insist on: the size it takes is the size asked for. */
#include "device.h"
#include "hooks.h"
#include "physical.h"
#include "region.h"
#include "reserve.h"

/* Where a mapping is noted: its size, and as owner the record, when it was made, and a bit that no context has. */
#define OWNER_BIT    ((uint64_t)1 << 63)
#define RECORD_OF(o) ((uint32_t)((o) & ((1u << GS_RECORD_BITS) - 1)))
#define TIME_OF(o)   (((o) & ~OWNER_BIT) >> GS_RECORD_BITS)

static uint64_t unmaps; /* begun: the clock of mappings */

/* -------- handles -------- */

/* What the driver would say of what it cannot make; it is not asked to try, as it might succeed. */
static CUresult refuse(size_t size, const CUmemAllocationProp *prop, unsigned long long flags, int device)
{
    size_t grain = 0;
    CUresult result = REAL(cuMemGetAllocationGranularity)(&grain, prop, 0);

    if (result)
        return result;
    if (!size || flags || !grain || size % grain)
        return CUDA_ERROR_INVALID_VALUE;
    return gs_refuse("cuMemCreate", device, size);
}

GSHARE_HOOK(cuMemCreate, (CUmemGenericAllocationHandle * handle, size_t size, const CUmemAllocationProp *prop,
                          unsigned long long flags))
{
    CUresult result;
    uint64_t bytes;
    int device;

    if (!gs_region() || !handle || !prop)
        return REAL(cuMemCreate)(handle, size, prop, flags);
    device = gs_row_of_location(&prop->location);
    bytes = device == GS_NO_DEVICE ? 0 : size;
    if (!gs_reserve(device, GS_PHYSICAL, bytes))
        return refuse(size, prop, flags, device);
    result = REAL(cuMemCreate)(handle, size, prop, flags);
    if (!result && !gs_physical_new(gs_name(GS_NAME_HANDLE, *handle), device, bytes)) {
        REAL(cuMemRelease)(*handle);
        result = CUDA_ERROR_OUT_OF_MEMORY;
    }
    if (result)
        gs_quota_release(device, GS_PHYSICAL, bytes);
    return result;
}

GSHARE_HOOK(cuMemRelease, (CUmemGenericAllocationHandle handle))
{
    uint32_t record;

    if (!gs_region())
        return REAL(cuMemRelease)(handle);
    record = gs_physical_hold(gs_name(GS_NAME_HANDLE, handle));
    return gs_physical_dropped(record, REAL(cuMemRelease)(handle));
}

/* The driver gives the very handle that was mapped there. */
GSHARE_HOOK(cuMemRetainAllocationHandle, (CUmemGenericAllocationHandle * handle, void *addr))
{
    return gs_region() ? gs_physical_retain(handle, addr) : REAL(cuMemRetainAllocationHandle)(handle, addr);
}

/* -------- mappings -------- */

/* False: no memory for it.  The hold on the record is the mapping's from now on. */
static int note(CUdeviceptr ptr, size_t size, uint32_t record)
{
    struct gs_entry entry = {.bytes = size, .device = GS_NO_DEVICE, .kind = GS_PHYSICAL}, stale;
    enum gs_noted noted;

    entry.owner = OWNER_BIT | __atomic_load_n(&unmaps, __ATOMIC_ACQUIRE) << GS_RECORD_BITS | record;
    noted = gs_ledger_put(gs_name(GS_NAME_MAPPING, ptr), &entry, &stale);
    if (noted == GS_NOTED_OVER)
        gs_physical_drop(RECORD_OF(stale.owner));
    return noted != GS_NOT_NOTED;
}

GSHARE_HOOK(cuMemMap, (CUdeviceptr ptr, size_t size, size_t offset, CUmemGenericAllocationHandle handle,
                       unsigned long long flags))
{
    uint32_t record;
    CUresult result;

    if (!gs_region())
        return REAL(cuMemMap)(ptr, size, offset, handle, flags);
    record = gs_physical_hold(gs_name(GS_NAME_HANDLE, handle));
    result = REAL(cuMemMap)(ptr, size, offset, handle, flags);
    if (!result && !note(ptr, size, record)) {
        REAL(cuMemUnmap)(ptr, size);
        result = CUDA_ERROR_OUT_OF_MEMORY;
    }
    if (result)
        gs_physical_drop(record);
    return result;
}

/* Mappings lie side by side, and only whole ones are unmapped.  What was mapped since then is not meant. */
static void forget(CUdeviceptr at, CUdeviceptr end, uint64_t time)
{
    struct gs_entry entry;

    while (at < end && gs_ledger_find(gs_name(GS_NAME_MAPPING, at), &entry)) {
        if (TIME_OF(entry.owner) < time && gs_ledger_take(gs_name(GS_NAME_MAPPING, at), &entry))
            gs_physical_drop(RECORD_OF(entry.owner));
        at += entry.bytes;
    }
}

GSHARE_HOOK(cuMemUnmap, (CUdeviceptr ptr, size_t size))
{
    CUresult result;
    uint64_t time;

    if (!gs_region())
        return REAL(cuMemUnmap)(ptr, size);
    time = __atomic_add_fetch(&unmaps, 1, __ATOMIC_ACQ_REL);
    result = REAL(cuMemUnmap)(ptr, size);
    if (!result)
        forget(ptr, ptr + size, time);
    return result;
}
