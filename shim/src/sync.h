/* sync.h -- around a wait of the host for the GPU. */
#ifndef GS_SYNC_H
#define GS_SYNC_H

#include "launch.h"

/* Before: an end marker behind everything that is in flight, so that the tail is measured at once.  NULL: nothing is. */
struct gs_meter_context *gs_wait_begins(void);

/* After, with what the other one returned. */
void gs_wait_ends(struct gs_meter_context *context);

#endif
