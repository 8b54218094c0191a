/* device.h -- which row of the limits a CUDA device is, whatever CUDA_VISIBLE_DEVICES made of its number. */
#ifndef GS_DEVICE_H
#define GS_DEVICE_H

#include "abi.h"
#include "driver.h"

#define GS_NO_DEVICE      (-1) /* no context is current, the number means no device, or no limit is in force */
#define GS_FOREIGN_DEVICE (-2) /* limits are in force, and the controller granted nothing on this one */

/* Index into gs_limits.device[], found by UUID (and cached), or one of the above. */
int gs_device_index(CUdevice device);

int gs_device_of_uuid(const struct gs_limits *limits, const CUuuid *uuid);

/* The same for the calling thread's current context. */
int gs_current_device(void);

#endif
