/* device.h -- which row of the limits a CUDA device is, whatever CUDA_VISIBLE_DEVICES made of its number. */
#ifndef GS_DEVICE_H
#define GS_DEVICE_H

#include "abi.h"
#include "hooks.h"

#define GS_NO_DEVICE      (-1) /* no current context, no such device, or no limit in force */
#define GS_FOREIGN_DEVICE (-2) /* limits are in force, and the controller granted nothing on this one */

#define GS_MOST_ORDINALS 64

/* What an ordinal means, less the most negative answer and plus 1, so that 0 is: not asked yet.  An ordinal
 * means one device for a process's life. */
extern int8_t gs_device_cache[GS_MOST_ORDINALS];

int gs_device_look_up(CUdevice device);

/* Index into gs_limits.device[], found by UUID (and cached), or one of the above. */
static inline int gs_device_index(CUdevice device)
{
    int cached;

    if (__builtin_expect((unsigned int)device >= GS_MOST_ORDINALS, 0))
        return GS_NO_DEVICE;
    cached = __atomic_load_n(&gs_device_cache[device], __ATOMIC_RELAXED);
    return __builtin_expect(cached != 0, 1) ? cached + GS_FOREIGN_DEVICE - 1 : gs_device_look_up(device);
}

int gs_device_of_uuid(const struct gs_limits *limits, const CUuuid *uuid);

/* The row of physical memory that lies there: a device's, as above, or GS_HOST_ROW, as host memory is pinned. */
static inline int gs_row_of_location(const CUmemLocation *location)
{
    switch (location->type) {
    case CU_MEM_LOCATION_TYPE_DEVICE:
        return gs_device_index(location->id);
    case CU_MEM_LOCATION_TYPE_LOCALITY_DOMAIN: /* a part of a device's memory */
        return gs_device_index(location->id & 0xff);
    case CU_MEM_LOCATION_TYPE_HOST:
    case CU_MEM_LOCATION_TYPE_HOST_NUMA:
    case CU_MEM_LOCATION_TYPE_HOST_NUMA_CURRENT:
        return GS_HOST_ROW;
    default:
        return GS_NO_DEVICE;
    }
}

/* The same for the calling thread's current context. */
static inline int gs_current_device(void)
{
    CUdevice device;

    return REAL(cuCtxGetDevice)(&device) ? GS_NO_DEVICE : gs_device_index(device);
}

#endif
