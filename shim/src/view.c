/* view.c -- a quota looks like a smaller GPU, whoever asks and however. */
#include "device.h"
#include "hooks.h"
#include "quota.h"
#include "reserve.h"
#include "view.h"

int gs_view_look(const struct gs_region *region, int device, struct gs_view *view)
{
    uint64_t limit;

    if (!region || device == GS_NO_DEVICE)
        return 0;
    *view = (struct gs_view){.device = device};
    if (device < 0)
        return 1;
    limit = __atomic_load_n(&region->limits->device[device].memory_limit_bytes, __ATOMIC_RELAXED);
    if (limit == GS_NO_LIMIT_BYTES)
        return 0;
    gs_quota_repair(device);
    view->quota_bytes = __atomic_load_n(&region->limits->device[device].memory_quota_bytes, __ATOMIC_RELAXED);
    view->used_bytes = gs_quota_used(device) + (view->quota_bytes > limit ? view->quota_bytes - limit : 0);
    return 1;
}

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

uint64_t gs_view_total(const struct gs_view *view, uint64_t real_bytes)
{
    return least(view->quota_bytes, real_bytes);
}

uint64_t gs_view_free(const struct gs_view *view, uint64_t real_bytes)
{
    return view->used_bytes >= view->quota_bytes ? 0
                                                 : least(view->quota_bytes - view->used_bytes, real_bytes);
}

/* After the driver has answered.  False: the program gets that answer. */
static int look(CUresult result, struct gs_view *view)
{
    if (result || !gs_region())
        return 0;
    gs_after_wait();
    return gs_view_look(gs_region(), gs_current_device(), view);
}

GSHARE_HOOK(cuMemGetInfo_v2, (size_t * free, size_t *total))
{
    CUresult result = REAL(cuMemGetInfo_v2)(free, total);
    struct gs_view view;

    if (look(result, &view)) {
        if (free)
            *free = gs_view_free(&view, *free);
        if (total)
            *total = gs_view_total(&view, *total);
    }
    return result;
}

GSHARE_HOOK(cuMemGetInfo, (unsigned int *free, unsigned int *total))
{
    CUresult result = REAL(cuMemGetInfo)(free, total);
    struct gs_view view;

    if (look(result, &view)) {
        if (free)
            *free = gs_view_free(&view, *free);
        if (total)
            *total = gs_view_total(&view, *total);
    }
    return result;
}

GSHARE_HOOK(cuDeviceTotalMem_v2, (size_t * bytes, CUdevice dev))
{
    CUresult result = REAL(cuDeviceTotalMem_v2)(bytes, dev);
    struct gs_view view;

    if (!result && bytes && gs_view_look(gs_region(), gs_device_index(dev), &view))
        *bytes = gs_view_total(&view, *bytes);
    return result;
}

GSHARE_HOOK(cuDeviceTotalMem, (unsigned int *bytes, CUdevice dev))
{
    CUresult result = REAL(cuDeviceTotalMem)(bytes, dev);
    struct gs_view view;

    if (!result && bytes && gs_view_look(gs_region(), gs_device_index(dev), &view))
        *bytes = gs_view_total(&view, *bytes);
    return result;
}
