/* context.h -- what a context takes of the device by existing, and what ends with it. */
#ifndef GS_CONTEXT_H
#define GS_CONTEXT_H

#include "driver.h"
#include "lock.h"
#include "region.h"

/* Held across the driver's creating and destroying, so that the handle of a context that goes is not given to a
 * new one before the old one's memory has been released. */
extern struct gs_lock gs_context_lock;

/* An upper bound, measured by the controller. */
uint64_t gs_context_bytes(const struct gs_region *region, int device);

/* With the lock held: one context more, or less, that is charged `bytes`, and what libraries take in it.  False:
 * over the quota. */
int gs_context_enter(int device, uint64_t bytes);
void gs_context_leave(int device, uint64_t bytes);

/* The answer to who wanted one of `bytes` too many; without the lock. */
CUresult gs_context_refuse(const char *api, int device, uint64_t bytes);

/* With the lock held, after the driver has destroyed it: all that was allocated in it is gone. */
void gs_context_gone(CUcontext context);

/* What each context takes from now on, those included that are still to come, until it is released again.  False:
 * over the quota of `*device`, by `*more`. */
int gs_context_charge_each(uint64_t bytes, int *device, uint64_t *more);
void gs_context_release_each(uint64_t bytes);

void gs_context_forget(void); /* in a fork's child */
void gs_primary_forget(void);

#endif
