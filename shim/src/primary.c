/* primary.c -- the primary context of each device, and the green contexts, which live in it.
 *
 * A green context keeps the primary one alive and takes no memory of its own that anybody tells of.  What is allocated
 * while it is current is the primary context's, and outlives it. */
#include <string.h>

#include "context.h"
#include "device.h"
#include "hooks.h"
#include "later.h"
#include "ledger.h"
#include "meter.h"
#include "reserve.h"

/* The primary context of each ordinal, while it exists: how much it is charged, and its handle. */
static struct primary {
    CUcontext context;
    uint64_t bytes;
    int charged;
} primaries[GS_MOST_ORDINALS];

/* -------- begin -------- */

struct retaining {
    struct primary *primary;
    uint64_t bytes;
    int device;
    int is_new;
};

/* True: the lock is held, and the context may come to life.  The device must have a row, so that its ordinal is in
 * range. */
static int begin(struct retaining *retaining, const struct gs_region *region, CUdevice dev, int device)
{
    *retaining = (struct retaining){&primaries[dev], gs_context_bytes(region, device), device, 0};
    gs_lock(&gs_context_lock);
    retaining->is_new = !retaining->primary->charged;
    if (!retaining->is_new || gs_context_enter(device, retaining->bytes))
        return 1;
    gs_unlock(&gs_context_lock);
    return 0;
}

/* With the lock held. */
static void end(const struct retaining *retaining, CUresult result, CUcontext context)
{
    if (retaining->is_new && result)
        gs_context_leave(retaining->device, retaining->bytes);
    else if (retaining->is_new)
        *retaining->primary = (struct primary){.context = context, .bytes = retaining->bytes, .charged = 1};
}

GSHARE_HOOK(cuDevicePrimaryCtxRetain, (CUcontext * pctx, CUdevice dev))
{
    const struct gs_region *region = gs_region();
    int device = region ? gs_device_index(dev) : GS_NO_DEVICE;
    struct retaining retaining;
    CUresult result;

    if (!region || !pctx || device == GS_NO_DEVICE)
        return REAL(cuDevicePrimaryCtxRetain)(pctx, dev);
    if (!begin(&retaining, region, dev, device))
        return gs_context_refuse(__func__, device, retaining.bytes);
    result = REAL(cuDevicePrimaryCtxRetain)(pctx, dev);
    end(&retaining, result, result ? NULL : *pctx);
    gs_unlock(&gs_context_lock);
    return result;
}

/* -------- end -------- */

/* With the lock held: nothing in it is left, nor in its green contexts. */
static void gone(CUcontext context)
{
    struct gs_entry entry;
    uint64_t green;

    while (gs_ledger_find_owned((uint64_t)context, GS_CONTEXT, &green)) {
        gs_ledger_take(green, &entry);
        gs_context_gone((CUcontext)green);
    }
    gs_context_gone(context);
}

/* The lock is held from here on. */
static void leaves(void)
{
    gs_lock(&gs_context_lock);
    gs_later_hold();
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
            gs_context_leave(device, primary.bytes);
        }
        if (!active || memory_is_gone)
            gone(primary.context);
    }
    gs_later_go_on();
    gs_unlock(&gs_context_lock);
    return result;
}

GSHARE_HOOK(cuDevicePrimaryCtxRelease, (CUdevice dev))
{
    if (!gs_region())
        return REAL(cuDevicePrimaryCtxRelease)(dev);
    leaves();
    return left(REAL(cuDevicePrimaryCtxRelease)(dev), dev, 0);
}

GSHARE_HOOK(cuDevicePrimaryCtxRelease_v2, (CUdevice dev))
{
    if (!gs_region())
        return REAL(cuDevicePrimaryCtxRelease_v2)(dev);
    leaves();
    return left(REAL(cuDevicePrimaryCtxRelease_v2)(dev), dev, 0);
}

GSHARE_HOOK(cuDevicePrimaryCtxReset, (CUdevice dev))
{
    if (!gs_region())
        return REAL(cuDevicePrimaryCtxReset)(dev);
    leaves();
    return left(REAL(cuDevicePrimaryCtxReset)(dev), dev, 1);
}

GSHARE_HOOK(cuDevicePrimaryCtxReset_v2, (CUdevice dev))
{
    if (!gs_region())
        return REAL(cuDevicePrimaryCtxReset_v2)(dev);
    leaves();
    return left(REAL(cuDevicePrimaryCtxReset_v2)(dev), dev, 1);
}

/* -------- green contexts -------- */

/* The context that a green one is to everybody else, and the primary one that it lives in. */
static void note(CUgreenCtx green, int device, const struct primary *primary)
{
    struct gs_entry entry = {.owner = (uint64_t)primary->context, .device = device, .kind = GS_CONTEXT};
    struct gs_entry stale;
    CUcontext context;

    if (!REAL(cuCtxFromGreenCtx)(&context, green))
        gs_ledger_put((uint64_t)context, &entry, &stale);
}

GSHARE_HOOK(cuGreenCtxCreate, (CUgreenCtx * phCtx, CUdevResourceDesc desc, CUdevice dev, unsigned int flags))
{
    const struct gs_region *region = gs_region();
    int device = region ? gs_device_index(dev) : GS_NO_DEVICE;
    struct retaining retaining;
    CUcontext context = NULL;
    CUresult result;

    if (!region || !phCtx || device == GS_NO_DEVICE)
        return REAL(cuGreenCtxCreate)(phCtx, desc, dev, flags);
    if (!begin(&retaining, region, dev, device))
        return gs_context_refuse(__func__, device, retaining.bytes);
    result = REAL(cuGreenCtxCreate)(phCtx, desc, dev, flags);
    if (!result && !REAL(cuDevicePrimaryCtxRetain)(&context, dev)) /* to know which one it is */
        REAL(cuDevicePrimaryCtxRelease_v2)(dev);
    end(&retaining, result, context);
    if (!result)
        note(*phCtx, device, retaining.primary);
    gs_unlock(&gs_context_lock);
    return result;
}

static CUdevice ordinal_of(CUcontext primary)
{
    CUdevice dev = 0;

    while (dev < GS_MOST_ORDINALS && !(primaries[dev].charged && primaries[dev].context == primary))
        dev++;
    return dev;
}

GSHARE_HOOK(cuGreenCtxDestroy, (CUgreenCtx hCtx))
{
    struct gs_entry entry, stale;
    CUcontext context;
    CUresult result;

    if (!gs_region())
        return REAL(cuGreenCtxDestroy)(hCtx);
    gs_lock(&gs_context_lock);
    if (REAL(cuCtxFromGreenCtx)(&context, hCtx) || !gs_ledger_take((uint64_t)context, &entry)) {
        result = REAL(cuGreenCtxDestroy)(hCtx);
        gs_unlock(&gs_context_lock);
        return result;
    }
    gs_later_hold();
    gs_meter_context_gone(context);
    result = REAL(cuGreenCtxDestroy)(hCtx);
    if (result) {
        gs_ledger_put((uint64_t)context, &entry, &stale); /* room for it was there a moment ago */
    } else {
        gs_ledger_hand_on((uint64_t)context, entry.owner);
        gs_later_context_gone(context);
    }
    return left(result, ordinal_of((CUcontext)entry.owner), 0);
}

void gs_primary_forget(void)
{
    memset(primaries, 0, sizeof primaries);
}
