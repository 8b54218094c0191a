/* device.h -- which row of the limits a CUDA device is, whatever CUDA_VISIBLE_DEVICES made of its number. */
#ifndef GS_DEVICE_H
#define GS_DEVICE_H

#include "driver.h"

#define GS_NO_DEVICE (-1)

/* Index into gs_limits.device[] by UUID (cached per ordinal); GS_NO_DEVICE when no limit is in force or the
 * controller does not know the device. */
int gs_device_index(CUdevice device);

/* The same for the calling thread's current context; GS_NO_DEVICE when there is none. */
int gs_current_device(void);

#endif
