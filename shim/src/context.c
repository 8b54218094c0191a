/* context.c -- what a context takes of the device by existing, and the end of all that was allocated in it.
 *
 * One lock is held across the driver's creating and destroying, so that the handle of a context that goes is
 * not given to a new one before the old one's memory has been released. */

#include "context.h"
#include "device.h"
#include "hooks.h"
#include "ledger.h"
#include "lock.h"
#include "meter.h"
#include "pool.h"
#include "region.h"
#include "reserve.h"

/* The primary context of each ordinal, while it exists: how much it is charged, and its handle. */
static struct primary {
    CUcontext context;
    uint64_t bytes;
    int charged;
} primaries[GS_MOST_ORDINALS];

static struct gs_lock lock;

/* An upper bound, measured by the controller; of a foreign device nothing may be had. */
static uint64_t context_bytes(const struct gs_region *region, int device)
{
    return device < 0 ? 1 : __atomic_load_n(&region->limits->device[device].context_bytes, __ATOMIC_RELAXED);
}

static void release(uint64_t handle, const struct gs_entry *entry)
{
    gs_quota_release(entry->device, entry->bytes);
}

/* With the lock held, after the driver has destroyed it. */
static void release_all_in(CUcontext context)
{
    gs_meter_context_gone(context);
    gs_ledger_take_owned((uint64_t)context, release);
    gs_pool_refresh();
}

/* -------- contexts that the program creates -------- */

struct creation {
    uint64_t bytes;
    int device;
};

static int begin(struct creation *creation, const struct gs_region *region, CUdevice device)
{
    creation->device = gs_device_index(device);
    creation->bytes = context_bytes(region, creation->device);
    if (!gs_reserve(creation->device, creation->bytes))
        return 0;
    gs_lock(&lock);
    return 1;
}

static CUresult end(const struct creation *creation, CUresult result, CUcontext *context)
{
    struct gs_entry entry = {.bytes = creation->bytes, .device = creation->device, .kind = GS_CONTEXT};
    struct gs_entry stale;

    if (result) {
        gs_quota_release(creation->device, creation->bytes);
    } else if (creation->device >= 0 && gs_ledger_put((uint64_t)*context, &entry, &stale) == GS_NOT_NOTED) {
        REAL(cuCtxDestroy_v2)(*context);
        gs_quota_release(creation->device, creation->bytes);
        result = CUDA_ERROR_OUT_OF_MEMORY;
    }
    gs_meter_rebind(); /* it is the current one now */
    gs_unlock(&lock);
    return result;
}

GSHARE_HOOK(cuCtxCreate, (CUcontext * pctx, unsigned int flags, CUdevice dev))
{
    const struct gs_region *region = gs_region();
    struct creation creation;

    if (!region || !pctx)
        return REAL(cuCtxCreate)(pctx, flags, dev);
    if (!begin(&creation, region, dev))
        return gs_refuse(creation.device);
    return end(&creation, REAL(cuCtxCreate)(pctx, flags, dev), pctx);
}

GSHARE_HOOK(cuCtxCreate_v2, (CUcontext * pctx, unsigned int flags, CUdevice dev))
{
    const struct gs_region *region = gs_region();
    struct creation creation;

    if (!region || !pctx)
        return REAL(cuCtxCreate_v2)(pctx, flags, dev);
    if (!begin(&creation, region, dev))
        return gs_refuse(creation.device);
    return end(&creation, REAL(cuCtxCreate_v2)(pctx, flags, dev), pctx);
}

GSHARE_HOOK(cuCtxCreate_v3,
            (CUcontext * pctx, void *paramsArray, int numParams, unsigned int flags, CUdevice dev))
{
    const struct gs_region *region = gs_region();
    struct creation creation;

    if (!region || !pctx)
        return REAL(cuCtxCreate_v3)(pctx, paramsArray, numParams, flags, dev);
    if (!begin(&creation, region, dev))
        return gs_refuse(creation.device);
    return end(&creation, REAL(cuCtxCreate_v3)(pctx, paramsArray, numParams, flags, dev), pctx);
}

GSHARE_HOOK(cuCtxCreate_v4, (CUcontext * pctx, void *ctxCreateParams, unsigned int flags, CUdevice dev))
{
    const struct gs_region *region = gs_region();
    struct creation creation;

    if (!region || !pctx)
        return REAL(cuCtxCreate_v4)(pctx, ctxCreateParams, flags, dev);
    if (!begin(&creation, region, dev))
        return gs_refuse(creation.device);
    return end(&creation, REAL(cuCtxCreate_v4)(pctx, ctxCreateParams, flags, dev), pctx);
}

static CUresult destroyed(CUresult result, CUcontext context)
{
    struct gs_entry entry;

    if (!result) {
        if (gs_ledger_take((uint64_t)context, &entry))
            release((uint64_t)context, &entry);
        release_all_in(context);
    }
    gs_unlock(&lock);
    return result;
}

GSHARE_HOOK(cuCtxDestroy_v2, (CUcontext ctx))
{
    if (!gs_region())
        return REAL(cuCtxDestroy_v2)(ctx);
    gs_lock(&lock);
    gs_meter_context_gone(ctx);
    return destroyed(REAL(cuCtxDestroy_v2)(ctx), ctx);
}

GSHARE_HOOK(cuCtxDestroy, (CUcontext ctx))
{
    if (!gs_region())
        return REAL(cuCtxDestroy)(ctx);
    gs_lock(&lock);
    gs_meter_context_gone(ctx);
    return destroyed(REAL(cuCtxDestroy)(ctx), ctx);
}

/* The last of its users to go destroys it: then the driver does not know it any more. */
GSHARE_HOOK(cuCtxDetach, (CUcontext ctx))
{
    unsigned int version;
    CUresult result;

    if (!gs_region())
        return REAL(cuCtxDetach)(ctx);
    gs_lock(&lock);
    result = REAL(cuCtxDetach)(ctx);
    if (!result && REAL(cuCtxGetApiVersion)(ctx, &version))
        return destroyed(result, ctx);
    gs_unlock(&lock);
    return result;
}

/* -------- primary contexts -------- */

GSHARE_HOOK(cuDevicePrimaryCtxRetain, (CUcontext * pctx, CUdevice dev))
{
    const struct gs_region *region = gs_region();
    int device = region ? gs_device_index(dev) : GS_NO_DEVICE;
    struct primary *primary;
    uint64_t bytes;
    CUresult result;

    if (!region || !pctx || device == GS_NO_DEVICE)
        return REAL(cuDevicePrimaryCtxRetain)(pctx, dev);
    primary = &primaries[dev]; /* the device has a row, so its ordinal is in range */
    gs_lock(&lock);
    bytes = primary->charged ? 0 : context_bytes(region, device);
    if (!gs_reserve(device, bytes)) {
        gs_unlock(&lock);
        return gs_refuse(device);
    }
    result = REAL(cuDevicePrimaryCtxRetain)(pctx, dev);
    if (result) {
        gs_quota_release(device, bytes);
    } else if (!primary->charged) {
        *primary = (struct primary){.context = *pctx, .bytes = bytes, .charged = 1};
    }
    gs_unlock(&lock);
    return result;
}

/* Released or reset: its memory is gone if the context is. */
static CUresult left(CUresult result, CUdevice dev, int memory_is_gone)
{
    int device = gs_device_index(dev);
    unsigned int flags;
    int active = 1;

    if (!result && device >= 0 && primaries[dev].charged) {
        struct primary primary = primaries[dev];

        if (!REAL(cuDevicePrimaryCtxGetState)(dev, &flags, &active) && !active) {
            primaries[dev].charged = 0;
            gs_quota_release(device, primary.bytes);
        }
        if (!active || memory_is_gone)
            release_all_in(primary.context);
    }
    gs_unlock(&lock);
    return result;
}

GSHARE_HOOK(cuDevicePrimaryCtxRelease, (CUdevice dev))
{
    if (!gs_region())
        return REAL(cuDevicePrimaryCtxRelease)(dev);
    gs_lock(&lock);
    return left(REAL(cuDevicePrimaryCtxRelease)(dev), dev, 0);
}

GSHARE_HOOK(cuDevicePrimaryCtxRelease_v2, (CUdevice dev))
{
    if (!gs_region())
        return REAL(cuDevicePrimaryCtxRelease_v2)(dev);
    gs_lock(&lock);
    return left(REAL(cuDevicePrimaryCtxRelease_v2)(dev), dev, 0);
}

GSHARE_HOOK(cuDevicePrimaryCtxReset, (CUdevice dev))
{
    if (!gs_region())
        return REAL(cuDevicePrimaryCtxReset)(dev);
    gs_lock(&lock);
    return left(REAL(cuDevicePrimaryCtxReset)(dev), dev, 1);
}

GSHARE_HOOK(cuDevicePrimaryCtxReset_v2, (CUdevice dev))
{
    if (!gs_region())
        return REAL(cuDevicePrimaryCtxReset_v2)(dev);
    gs_lock(&lock);
    return left(REAL(cuDevicePrimaryCtxReset_v2)(dev), dev, 1);
}

void gs_context_forget(void)
{
    lock.word = GS_LOCK_FREE;
    for (int i = 0; i < GS_MOST_ORDINALS; i++)
        primaries[i].charged = 0;
}
