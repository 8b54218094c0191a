/* device.c -- a CUDA device's row of the limits, found by UUID. */
#include <string.h>

#include "device.h"
#include "hooks.h"
#include "region.h"

#define MOST_ORDINALS 64

/* Of every ordinal, FIRST_ROW + its row, or one of the others: an ordinal means one device for a process's
 * life. */
static int8_t cache[MOST_ORDINALS];

enum { NOT_ASKED = 0, FIRST_ROW = 1, FOREIGN = -1 };

int gs_device_of_uuid(const struct gs_limits *limits, const CUuuid *uuid)
{
    for (uint32_t i = 0; i < limits->device_count; i++)
        if (!memcmp(limits->device[i].uuid, uuid->bytes, sizeof uuid->bytes))
            return (int)i;
    return GS_FOREIGN_DEVICE;
}

static int look_up(const struct gs_limits *limits, CUdevice device)
{
    CUuuid uuid;
    int row;

    /* With MIG only the newer one tells instances apart. */
    if (REAL(cuDeviceGetUuid_v2)(&uuid, device) && REAL(cuDeviceGetUuid)(&uuid, device))
        return NOT_ASKED;
    row = gs_device_of_uuid(limits, &uuid);
    return row < 0 ? FOREIGN : FIRST_ROW + row;
}

int gs_device_index(CUdevice device)
{
    const struct gs_region *region;
    int known;

    if (device < 0 || device >= MOST_ORDINALS)
        return GS_NO_DEVICE;
    known = __atomic_load_n(&cache[device], __ATOMIC_RELAXED);
    if (known == NOT_ASKED && (region = gs_region_view())) {
        known = look_up(region->limits, device);
        __atomic_store_n(&cache[device], known, __ATOMIC_RELAXED);
    }
    if (known == NOT_ASKED)
        return GS_NO_DEVICE;
    return known == FOREIGN ? GS_FOREIGN_DEVICE : known - FIRST_ROW;
}

int gs_current_device(void)
{
    CUdevice device;

    return REAL(cuCtxGetDevice)(&device) ? GS_NO_DEVICE : gs_device_index(device);
}
