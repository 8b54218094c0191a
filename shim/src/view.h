/* view.h -- what a tenant is shown of a device: its quota, as if that were all there is. */
#ifndef GS_VIEW_H
#define GS_VIEW_H

#include "region.h"

struct gs_view {
    int device; /* negative: not the tenant's, and nothing of it is shown */
    uint64_t quota_bytes;
    uint64_t used_bytes; /* with what the controller has taken off the quota */
};

/* False: nothing is limited, and what the driver said stands. */
int gs_view_look(const struct gs_region *region, int device, struct gs_view *view);

/* The same for NVML's handle of a device, whether or not this process has ever touched CUDA. */
int gs_view_look_nvml(const struct gs_region *region, nvmlDevice_t handle, struct gs_view *view);

/* Never more than the device has, or has left; and never an error: above a lowered limit nothing is free. */
uint64_t gs_view_total(const struct gs_view *view, uint64_t real_bytes);
uint64_t gs_view_free(const struct gs_view *view, uint64_t real_bytes);

#endif
