/* nvml_memory.c -- a device's memory as monitors see it, which may never touch CUDA and get no slot. */
#include "device.h"
#include "hooks.h"
#include "view.h"

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

int gs_view_look_nvml(const struct gs_region *region, nvmlDevice_t handle, struct gs_view *view)
{
    char text[96] = "";
    CUuuid uuid;

    if (!region || REAL(nvmlDeviceGetUUID)(handle, text, sizeof text) || !text[0] || !parse_uuid(text, &uuid))
        return 0;
    return gs_view_look(region, gs_device_of_uuid(region->limits, &uuid), view);
}

GSHARE_HOOK(nvmlDeviceGetMemoryInfo, (nvmlDevice_t device, nvmlMemory_t *memory))
{
    nvmlReturn_t result = REAL(nvmlDeviceGetMemoryInfo)(device, memory);
    struct gs_view view;

    if (!result && memory && gs_view_look_nvml(gs_region_view(), device, &view)) {
        memory->total = gs_view_total(&view, memory->total);
        memory->used = view.used_bytes;
        memory->free = gs_view_free(&view, memory->free);
    }
    return result;
}

GSHARE_HOOK(nvmlDeviceGetMemoryInfo_v2, (nvmlDevice_t device, nvmlMemory_v2_t *memory))
{
    nvmlReturn_t result = REAL(nvmlDeviceGetMemoryInfo_v2)(device, memory);
    struct gs_view view;

    if (!result && memory && gs_view_look_nvml(gs_region_view(), device, &view)) {
        memory->total = gs_view_total(&view, memory->total);
        memory->reserved = 0; /* not the tenant's */
        memory->used = view.used_bytes;
        memory->free = gs_view_free(&view, memory->free);
    }
    return result;
}
