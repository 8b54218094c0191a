/* view.c -- a quota looks like a smaller GPU, whoever asks and however. */
#include "device.h"
#include "hooks.h"
#include "quota.h"
#include "region.h"
#include "reserve.h"

struct view {
    uint64_t quota_bytes;
    uint64_t used_bytes; /* with what the controller has taken off the quota */
};

/* False: nothing is limited, and what the driver said stands. */
static int look(const struct gs_region *region, int device, struct view *view)
{
    uint64_t limit;

    if (!region || device == GS_NO_DEVICE)
        return 0;
    *view = (struct view){0};
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

/* Never more than the device has left, and never an error: above a lowered limit nothing is free. */
static uint64_t free_bytes(const struct view *view, uint64_t real_bytes)
{
    return view->used_bytes >= view->quota_bytes ? 0
                                                 : least(view->quota_bytes - view->used_bytes, real_bytes);
}

GSHARE_HOOK(cuMemGetInfo_v2, (size_t * free, size_t *total))
{
    CUresult result = REAL(cuMemGetInfo_v2)(free, total);
    struct view view;

    if (result || !gs_region())
        return result;
    gs_after_wait();
    if (look(gs_region(), gs_current_device(), &view)) {
        if (free)
            *free = free_bytes(&view, *free);
        if (total)
            *total = least(view.quota_bytes, *total);
    }
    return result;
}

GSHARE_HOOK(cuMemGetInfo, (unsigned int *free, unsigned int *total))
{
    CUresult result = REAL(cuMemGetInfo)(free, total);
    struct view view;

    if (result || !gs_region())
        return result;
    gs_after_wait();
    if (look(gs_region(), gs_current_device(), &view)) {
        if (free)
            *free = free_bytes(&view, *free);
        if (total)
            *total = least(view.quota_bytes, *total);
    }
    return result;
}

GSHARE_HOOK(cuDeviceTotalMem_v2, (size_t * bytes, CUdevice dev))
{
    CUresult result = REAL(cuDeviceTotalMem_v2)(bytes, dev);
    struct view view;

    if (!result && bytes && look(gs_region(), gs_device_index(dev), &view))
        *bytes = least(view.quota_bytes, *bytes);
    return result;
}

GSHARE_HOOK(cuDeviceTotalMem, (unsigned int *bytes, CUdevice dev))
{
    CUresult result = REAL(cuDeviceTotalMem)(bytes, dev);
    struct view view;

    if (!result && bytes && look(gs_region(), gs_device_index(dev), &view))
        *bytes = least(view.quota_bytes, *bytes);
    return result;
}

/* -------- NVML: a monitor may never touch CUDA, and gets no slot -------- */

static int hex_digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* "GPU-" or "MIG-" and 32 hexadecimal digits, with dashes between. */
static int parse_uuid(const char *text, CUuuid *uuid)
{
    int digits = 0;

    for (text += 4; *text; text++) {
        int digit = hex_digit(*text);

        if (*text == '-')
            continue;
        if (digit < 0 || digits == 32)
            return 0;
        uuid->bytes[digits / 2] = uuid->bytes[digits / 2] << 4 | digit;
        digits++;
    }
    return digits == 32;
}

static int look_through_nvml(nvmlDevice_t device, struct view *view)
{
    const struct gs_region *region = gs_region_view();
    char text[96] = "";
    CUuuid uuid;

    if (!region || REAL(nvmlDeviceGetUUID)(device, text, sizeof text) || !text[0] || !parse_uuid(text, &uuid))
        return 0;
    return look(region, gs_device_of_uuid(region->limits, &uuid), view);
}

GSHARE_HOOK(nvmlDeviceGetMemoryInfo, (nvmlDevice_t device, nvmlMemory_t *memory))
{
    nvmlReturn_t result = REAL(nvmlDeviceGetMemoryInfo)(device, memory);
    struct view view;

    if (!result && memory && look_through_nvml(device, &view)) {
        memory->total = least(view.quota_bytes, memory->total);
        memory->used = view.used_bytes;
        memory->free = free_bytes(&view, memory->free);
    }
    return result;
}

GSHARE_HOOK(nvmlDeviceGetMemoryInfo_v2, (nvmlDevice_t device, nvmlMemory_v2_t *memory))
{
    nvmlReturn_t result = REAL(nvmlDeviceGetMemoryInfo_v2)(device, memory);
    struct view view;

    if (!result && memory && look_through_nvml(device, &view)) {
        memory->total = least(view.quota_bytes, memory->total);
        memory->reserved = 0; /* not the tenant's */
        memory->used = view.used_bytes;
        memory->free = free_bytes(&view, memory->free);
    }
    return result;
}
