/* context.c -- what a context takes of the device by existing, and the end of all that was allocated in it.
 *
 * A library is loaded into no context, and into any at its first use there, which may be any launch.  So each
 * context is charged for each library as soon as both exist. */

#include <string.h>

#include "bytes.h"
#include "context.h"
#include "device.h"
#include "graph_memory.h"
#include "hooks.h"
#include "later.h"
#include "ledger.h"
#include "meter.h"
#include "physical.h"
#include "pool.h"
#include "reserve.h"

struct gs_lock gs_context_lock;

/* Contexts of this process that are charged, and what each of them is charged for libraries. */
static uint32_t contexts[GS_MAX_DEVICES];
static uint64_t library_bytes;

/* No device has as much. */
#define ABSURD_BYTES ((uint64_t)1 << 56)

/* Of a foreign device nothing may be had. */
uint64_t gs_context_bytes(const struct gs_region *region, int device)
{
    return device < 0 ? 1 : __atomic_load_n(&region->limits->device[device].context_bytes, __ATOMIC_RELAXED);
}

int gs_context_enter(int device, uint64_t bytes)
{
    if (!gs_reserve(device, GS_CONTEXT, bytes))
        return 0;
    if (device < 0)
        return 1;
    if (!gs_reserve(device, GS_LIBRARY, library_bytes)) {
        gs_quota_release(device, GS_CONTEXT, bytes);
        return 0;
    }
    contexts[device]++;
    return 1;
}

CUresult gs_context_refuse(const char *api, int device, uint64_t bytes)
{
    gs_lock(&gs_context_lock);
    bytes += device < 0 ? 0 : library_bytes;
    gs_unlock(&gs_context_lock);
    return gs_refuse(api, device, bytes);
}

void gs_context_leave(int device, uint64_t bytes)
{
    if (device < 0)
        return;
    contexts[device]--;
    gs_quota_release(device, GS_CONTEXT, bytes);
    gs_quota_release(device, GS_LIBRARY, library_bytes);
}

int gs_context_charge_each(uint64_t bytes, int *device, uint64_t *more)
{
    int charged = 0, fits;

    gs_lock(&gs_context_lock);
    fits = bytes <= ABSURD_BYTES - library_bytes;
    for (; fits && charged < GS_MAX_DEVICES; charged += fits)
        fits = !contexts[charged] || gs_reserve(charged, GS_LIBRARY, gs_times(bytes, contexts[charged]));
    *device = charged;
    *more = fits || !contexts[charged] ? bytes : gs_times(bytes, contexts[charged]);
    if (fits)
        library_bytes += bytes;
    while (!fits && charged--)
        gs_quota_release(charged, GS_LIBRARY, bytes * contexts[charged]);
    gs_unlock(&gs_context_lock);
    return fits;
}

void gs_context_release_each(uint64_t bytes)
{
    gs_lock(&gs_context_lock);
    library_bytes -= bytes;
    for (int device = 0; device < GS_MAX_DEVICES; device++)
        gs_quota_release(device, GS_LIBRARY, bytes * contexts[device]);
    gs_unlock(&gs_context_lock);
}

static void release(uint64_t handle, const struct gs_entry *entry)
{
    gs_quota_release(entry->device, entry->kind, entry->bytes);
}

void gs_context_gone(CUcontext context)
{
    gs_meter_context_gone(context);
    gs_later_context_gone(context);
    gs_ledger_take_owned((uint64_t)context, release);
    gs_physical_context_gone(context);
    gs_pool_streams_gone();
    gs_pool_refresh();
    gs_graph_memory_refresh();
}

/* -------- contexts that the program creates -------- */

struct creation {
    uint64_t bytes;
    int device;
};

/* True: the lock is held. */
static int begin(struct creation *creation, const struct gs_region *region, CUdevice device)
{
    creation->device = gs_device_index(device);
    creation->bytes = gs_context_bytes(region, creation->device);
    gs_lock(&gs_context_lock);
    if (gs_context_enter(creation->device, creation->bytes))
        return 1;
    gs_unlock(&gs_context_lock);
    return 0;
}

static CUresult end(const struct creation *creation, CUresult result, CUcontext *context)
{
    struct gs_entry entry = {.bytes = creation->bytes, .device = creation->device, .kind = GS_CONTEXT};
    struct gs_entry stale;

    if (result) {
        gs_context_leave(creation->device, creation->bytes);
    } else if (creation->device >= 0 && gs_ledger_put((uint64_t)*context, &entry, &stale) == GS_NOT_NOTED) {
        REAL(cuCtxDestroy_v2)(*context);
        gs_context_leave(creation->device, creation->bytes);
        result = CUDA_ERROR_OUT_OF_MEMORY;
    }
    gs_meter_rebind(); /* it is the current one now */
    gs_unlock(&gs_context_lock);
    return result;
}

GSHARE_HOOK(cuCtxCreate, (CUcontext * pctx, unsigned int flags, CUdevice dev))
{
    const struct gs_region *region = gs_region();
    struct creation creation;

    if (!region || !pctx)
        return REAL(cuCtxCreate)(pctx, flags, dev);
    if (!begin(&creation, region, dev))
        return gs_context_refuse(__func__, creation.device, creation.bytes);
    return end(&creation, REAL(cuCtxCreate)(pctx, flags, dev), pctx);
}

GSHARE_HOOK(cuCtxCreate_v2, (CUcontext * pctx, unsigned int flags, CUdevice dev))
{
    const struct gs_region *region = gs_region();
    struct creation creation;

    if (!region || !pctx)
        return REAL(cuCtxCreate_v2)(pctx, flags, dev);
    if (!begin(&creation, region, dev))
        return gs_context_refuse(__func__, creation.device, creation.bytes);
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
        return gs_context_refuse(__func__, creation.device, creation.bytes);
    return end(&creation, REAL(cuCtxCreate_v3)(pctx, paramsArray, numParams, flags, dev), pctx);
}

GSHARE_HOOK(cuCtxCreate_v4, (CUcontext * pctx, void *ctxCreateParams, unsigned int flags, CUdevice dev))
{
    const struct gs_region *region = gs_region();
    struct creation creation;

    if (!region || !pctx)
        return REAL(cuCtxCreate_v4)(pctx, ctxCreateParams, flags, dev);
    if (!begin(&creation, region, dev))
        return gs_context_refuse(__func__, creation.device, creation.bytes);
    return end(&creation, REAL(cuCtxCreate_v4)(pctx, ctxCreateParams, flags, dev), pctx);
}

/* -------- contexts for graphics: no other way to make them is left out -------- */

GSHARE_HOOK(cuGLCtxCreate, (CUcontext * pCtx, unsigned int Flags, CUdevice device))
{
    const struct gs_region *region = gs_region();
    struct creation creation;

    if (!region || !pCtx)
        return REAL(cuGLCtxCreate)(pCtx, Flags, device);
    if (!begin(&creation, region, device))
        return gs_context_refuse(__func__, creation.device, creation.bytes);
    return end(&creation, REAL(cuGLCtxCreate)(pCtx, Flags, device), pCtx);
}

GSHARE_HOOK(cuGLCtxCreate_v2, (CUcontext * pCtx, unsigned int Flags, CUdevice device))
{
    const struct gs_region *region = gs_region();
    struct creation creation;

    if (!region || !pCtx)
        return REAL(cuGLCtxCreate_v2)(pCtx, Flags, device);
    if (!begin(&creation, region, device))
        return gs_context_refuse(__func__, creation.device, creation.bytes);
    return end(&creation, REAL(cuGLCtxCreate_v2)(pCtx, Flags, device), pCtx);
}

GSHARE_HOOK(cuVDPAUCtxCreate, (CUcontext * pCtx, unsigned int flags, CUdevice device, uint32_t vdpDevice,
                               void *vdpGetProcAddress))
{
    const struct gs_region *region = gs_region();
    struct creation creation;

    if (!region || !pCtx)
        return REAL(cuVDPAUCtxCreate)(pCtx, flags, device, vdpDevice, vdpGetProcAddress);
    if (!begin(&creation, region, device))
        return gs_context_refuse(__func__, creation.device, creation.bytes);
    return end(&creation, REAL(cuVDPAUCtxCreate)(pCtx, flags, device, vdpDevice, vdpGetProcAddress), pCtx);
}

GSHARE_HOOK(cuVDPAUCtxCreate_v2, (CUcontext * pCtx, unsigned int flags, CUdevice device, uint32_t vdpDevice,
                                  void *vdpGetProcAddress))
{
    const struct gs_region *region = gs_region();
    struct creation creation;

    if (!region || !pCtx)
        return REAL(cuVDPAUCtxCreate_v2)(pCtx, flags, device, vdpDevice, vdpGetProcAddress);
    if (!begin(&creation, region, device))
        return gs_context_refuse(__func__, creation.device, creation.bytes);
    return end(&creation, REAL(cuVDPAUCtxCreate_v2)(pCtx, flags, device, vdpDevice, vdpGetProcAddress), pCtx);
}

/* -------- and destroys -------- */

/* Once it is destroyed, another thread may get its address for anything: so its entry is taken before. */
struct ending {
    struct gs_entry entry;
    int known;
};

/* The lock is held from here on. */
static struct ending ends(CUcontext context)
{
    struct ending ending;

    gs_lock(&gs_context_lock);
    gs_later_hold();
    ending.known = gs_ledger_take((uint64_t)context, &ending.entry);
    return ending;
}

static void stays(const struct ending *ending, CUcontext context)
{
    struct gs_entry stale;

    if (ending->known)
        gs_ledger_put((uint64_t)context, &ending->entry, &stale); /* room for it was there a moment ago */
    gs_later_go_on();
    gs_unlock(&gs_context_lock);
}

static CUresult destroyed(CUresult result, const struct ending *ending, CUcontext context)
{
    if (result) {
        stays(ending, context);
        return result;
    }
    if (ending->known)
        gs_context_leave(ending->entry.device, ending->entry.bytes);
    gs_context_gone(context);
    gs_later_go_on();
    gs_unlock(&gs_context_lock);
    return CUDA_SUCCESS;
}

GSHARE_HOOK(cuCtxDestroy_v2, (CUcontext ctx))
{
    struct ending ending;

    if (!gs_region())
        return REAL(cuCtxDestroy_v2)(ctx);
    ending = ends(ctx);
    gs_meter_context_gone(ctx);
    return destroyed(REAL(cuCtxDestroy_v2)(ctx), &ending, ctx);
}

GSHARE_HOOK(cuCtxDestroy, (CUcontext ctx))
{
    struct ending ending;

    if (!gs_region())
        return REAL(cuCtxDestroy)(ctx);
    ending = ends(ctx);
    gs_meter_context_gone(ctx);
    return destroyed(REAL(cuCtxDestroy)(ctx), &ending, ctx);
}

/* The last of its users to go destroys it: then the driver does not know it any more. */
GSHARE_HOOK(cuCtxDetach, (CUcontext ctx))
{
    struct ending ending;
    unsigned int version;
    CUresult result;

    if (!gs_region())
        return REAL(cuCtxDetach)(ctx);
    ending = ends(ctx);
    result = REAL(cuCtxDetach)(ctx);
    if (!result && REAL(cuCtxGetApiVersion)(ctx, &version))
        return destroyed(result, &ending, ctx);
    stays(&ending, ctx);
    return result;
}

void gs_context_forget(void)
{
    gs_context_lock.word = GS_LOCK_FREE;
    memset(contexts, 0, sizeof contexts);
    library_bytes = 0;
}
