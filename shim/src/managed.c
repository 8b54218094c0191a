/* managed.c -- prefetches: managed memory is charged where it was allocated, and from its first prefetch to another
 * device on there, too, until it is freed.
 *
 * A managed pool's memory is so as a whole (pool_rows.h).
 *
 * A driver never answers a prefetch with "out of memory".  So what would not fit into the quota of the device is sent
 * to the host instead, from where the device reaches it. */
#include "managed.h"
#include "device.h"
#include "later.h"
#include "launch.h"
#include "pool.h"
#include "region.h"
#include "reserve.h"

/* Some has been sent elsewhere: else whoever frees need not look. */
static bool moved;

/* Of an allocation on a device; no address is like it. */
static uint64_t name_of(CUdeviceptr base, int device)
{
    return base ^ (uint64_t)(device + 1) << 56;
}

/* The allocation that the address lies in.  What the driver does not know is nothing that we have charged; false: it
 * does not say. */
static bool find(CUdeviceptr pointer, CUdeviceptr *base, struct gs_entry *entry)
{
    CUresult result;
    size_t size;

    *base = pointer;
    if (gs_ledger_find(pointer, entry))
        return true;
    *entry = (struct gs_entry){.kind = GS_IMPORTED};
    result = REAL(cuMemGetAddressRange_v2)(base, &size, pointer);
    if (!result)
        gs_ledger_find(*base, entry);
    return !result || result == CUDA_ERROR_NOT_FOUND || result == CUDA_ERROR_INVALID_VALUE;
}

/* False: over the quota there, for all we know. */
static bool charge_on(int device, CUdeviceptr pointer)
{
    struct gs_entry entry, stale;
    CUdeviceptr base;

    if (device == GS_NO_DEVICE)
        return true;
    if (!find(pointer, &base, &entry))
        return false;
    if (entry.kind == GS_POOL)
        return gs_pool_bring(&entry, device);
    if (entry.kind != GS_MANAGED || entry.device == device)
        return true;
    if (device >= 0 && gs_ledger_find(name_of(base, device), &stale))
        return true;
    if (!gs_reserve(device, GS_MANAGED, entry.bytes))
        return false;
    __atomic_store_n(&moved, true, __ATOMIC_RELAXED);
    entry.device = device;
    if (gs_ledger_put(name_of(base, device), &entry, &stale) == GS_NOTED)
        return true;
    gs_quota_release(device, GS_MANAGED,
                     entry.bytes); /* another thread was there first, or it cannot be noted */
    return gs_ledger_find(name_of(base, device), &stale);
}

void gs_managed_freed(CUdeviceptr pointer, CUstream stream)
{
    struct gs_entry entry;

    for (int device = 0; __atomic_load_n(&moved, __ATOMIC_RELAXED) && device < GS_MAX_DEVICES; device++)
        if (gs_ledger_take(name_of(pointer, device), &entry) &&
            (stream == GS_ANY_STREAM || !gs_later_release(&entry, stream)))
            gs_quota_release(device, GS_MANAGED, entry.bytes);
}

static bool fits_at(const CUmemLocation *location, CUdeviceptr pointer)
{
    int row = gs_row_of_location(location);

    return row == GS_HOST_ROW || charge_on(row, pointer);
}

/* A stream is at work on the bus then, and not on the GPU. */
static void set_apart(CUstream stream)
{
    if (!gs_launch_unlimited() && gs_meter_current() != NULL)
        gs_launch_apart(stream);
}

static const CUmemLocation host = {.type = CU_MEM_LOCATION_TYPE_HOST};

/* -------- one range -------- */

static CUdevice there(CUdevice device, CUdeviceptr pointer, CUstream stream)
{
    if (!gs_region())
        return device;
    set_apart(stream);
    return device == CU_DEVICE_CPU || charge_on(gs_device_index(device), pointer) ? device : CU_DEVICE_CPU;
}

GSHARE_HOOK(cuMemPrefetchAsync, (CUdeviceptr devPtr, size_t count, CUdevice dstDevice, CUstream hStream))
{
    return REAL(cuMemPrefetchAsync)(devPtr, count, there(dstDevice, devPtr, gs_legacy(hStream)), hStream);
}

GSHARE_HOOK(cuMemPrefetchAsync_ptsz, (CUdeviceptr devPtr, size_t count, CUdevice dstDevice, CUstream hStream))
{
    return REAL(cuMemPrefetchAsync_ptsz)(devPtr, count, there(dstDevice, devPtr, gs_per_thread(hStream)),
                                         hStream);
}

static CUmemLocation at(CUmemLocation location, CUdeviceptr pointer, CUstream stream)
{
    if (!gs_region())
        return location;
    set_apart(stream);
    return fits_at(&location, pointer) ? location : host;
}

GSHARE_HOOK(cuMemPrefetchAsync_v2,
            (CUdeviceptr devPtr, size_t count, CUmemLocation location, unsigned int flags, CUstream hStream))
{
    return REAL(cuMemPrefetchAsync_v2)(devPtr, count, at(location, devPtr, gs_legacy(hStream)), flags,
                                       hStream);
}

GSHARE_HOOK(cuMemPrefetchAsync_v2_ptsz,
            (CUdeviceptr devPtr, size_t count, CUmemLocation location, unsigned int flags, CUstream hStream))
{
    return REAL(cuMemPrefetchAsync_v2_ptsz)(devPtr, count, at(location, devPtr, gs_per_thread(hStream)),
                                            flags, hStream);
}

/* -------- many ranges -------- */

struct batch {
    CUdeviceptr *pointers;
    size_t *sizes;
    size_t count;
    CUmemLocation *locations; /* locations[k] is for the ranges from first[k] to before first[k + 1] */
    size_t *first;
    size_t location_count;
    unsigned long long flags;
    CUstream handle;
};

typedef CUresult batch_function(CUdeviceptr *pointers, size_t *sizes, size_t count, CUmemLocation *locations,
                                size_t *first, size_t location_count, unsigned long long flags,
                                CUstream handle);

/* Each range of its own, as some go elsewhere than they should. */
static CUresult one_by_one(batch_function *real, const struct batch *batch)
{
    CUresult result = CUDA_SUCCESS;
    size_t none = 0;

    for (size_t i = 0, k = 0; i < batch->count && !result; i++) {
        while (k + 1 < batch->location_count && batch->first[k + 1] <= i)
            k++;
        CUmemLocation location =
            fits_at(&batch->locations[k], batch->pointers[i]) ? batch->locations[k] : host;
        result =
            real(&batch->pointers[i], &batch->sizes[i], 1, &location, &none, 1, batch->flags, batch->handle);
    }
    return result;
}

static CUresult prefetch(batch_function *real, const struct batch *batch, CUstream stream)
{
    bool fits = true;

    if (gs_region() && batch->pointers && batch->sizes && batch->locations && batch->first &&
        batch->location_count) {
        set_apart(stream);
        for (size_t i = 0, k = 0; i < batch->count && fits; i++) {
            while (k + 1 < batch->location_count && batch->first[k + 1] <= i)
                k++;
            fits = fits_at(&batch->locations[k], batch->pointers[i]);
        }
    }
    return fits ? real(batch->pointers, batch->sizes, batch->count, batch->locations, batch->first,
                       batch->location_count, batch->flags, batch->handle)
                : one_by_one(real, batch);
}

#define BATCH(name, stands)                                                                                  \
    GSHARE_HOOK(name, (CUdeviceptr * dptrs, size_t * sizes, size_t count, CUmemLocation * prefetchLocs,      \
                       size_t * prefetchLocIdxs, size_t numPrefetchLocs, unsigned long long flags,           \
                       CUstream hStream))                                                                    \
    {                                                                                                        \
        const struct batch batch = {dptrs,           sizes,           count, prefetchLocs,                   \
                                    prefetchLocIdxs, numPrefetchLocs, flags, hStream};                       \
        return prefetch(REAL(name), &batch, stands(hStream));                                                \
    }
BATCH(cuMemPrefetchBatchAsync, gs_legacy)
BATCH(cuMemPrefetchBatchAsync_ptsz, gs_per_thread)
BATCH(cuMemDiscardAndPrefetchBatchAsync, gs_legacy)
BATCH(cuMemDiscardAndPrefetchBatchAsync_ptsz, gs_per_thread)
