/* device.c -- a CUDA device's row of the limits, found by UUID. */
#include <string.h>

#include "device.h"
#include "hooks.h"
#include "region.h"

int8_t gs_device_cache[GS_MOST_ORDINALS];

int gs_device_of_uuid(const struct gs_limits *limits, const CUuuid *uuid)
{
    for (uint32_t i = 0; i < limits->device_count; i++)
        if (!memcmp(limits->device[i].uuid, uuid->bytes, sizeof uuid->bytes))
            return (int)i;
    return GS_FOREIGN_DEVICE;
}

int gs_device_look_up(CUdevice device)
{
    const struct gs_region *region = gs_region_view();
    CUuuid uuid;
    int index;

    /* With MIG only the newer one tells instances apart. */
    if (!region || (REAL(cuDeviceGetUuid_v2)(&uuid, device) && REAL(cuDeviceGetUuid)(&uuid, device)))
        return GS_NO_DEVICE;
    index = gs_device_of_uuid(region->limits, &uuid);
    __atomic_store_n(&gs_device_cache[device], (int8_t)(index - GS_FOREIGN_DEVICE + 1), __ATOMIC_RELAXED);
    return index;
}
