/* quota.h -- a tenant's memory on a device: reserved before the driver is asked, settled and released after.
 */
#ifndef GS_QUOTA_H
#define GS_QUOTA_H

#include "abi.h"

/* All take an index from gs_device_index() or gs_current_device(), or GS_HOST_ROW, and what the charge is for: an
 * enum gs_charge, or an enum gs_kind of the ledger.  Nothing is charged on GS_NO_DEVICE; a foreign device has a limit
 * of 0. */

/* True: the bytes are the tenant's, for sure, over all its processes.  False: they would pass its limit. */
int gs_quota_try(int device, uint32_t kind, uint64_t bytes);

/* The same, and false only after what dead processes left has been given back. */
int gs_quota_reserve(int device, uint32_t kind, uint64_t bytes);

void gs_quota_release(int device, uint32_t kind, uint64_t bytes);

/* What the driver has taken already: limit or not. */
void gs_quota_charge(int device, uint32_t kind, uint64_t bytes);

/* Over all processes of the tenant, dead ones that nobody has cleaned up included. */
uint64_t gs_quota_used(int device);

/* What a slot's process holds of it. */
uint64_t gs_quota_held(const struct gs_usage *usage, uint32_t slot, int device);

/* Gives back what dead processes held on the device.  Needs no slot of one's own. */
void gs_quota_repair(int device);

/* Releases all that a slot holds.  For the owner before its first change, and for whoever has a dead slot's
 * lock: killed anywhere in here, it leaves what the next one needs. */
void gs_quota_clean_slot(struct gs_usage *usage, uint32_t slot);

void gs_quota_forget(void); /* in a fork's child */

#endif
