/* quota.h -- a tenant's memory on a device: reserved before the driver is asked, settled and released after.
 */
#ifndef GS_QUOTA_H
#define GS_QUOTA_H

#include "abi.h"

/* What a charge is for. */
enum gs_kind {
    GS_LINEAR,
    GS_PITCHED,
    GS_MANAGED,
    GS_POOL,
    GS_PHYSICAL,
    GS_CONTEXT,
    GS_CONTEXT_MORE,
    GS_ARRAY,
    GS_GRAPH,
    GS_GRAPH_EXEC, /* nothing: notes on what its launches take */
    GS_MODULE,
    GS_LIBRARY,
    GS_IMPORTED, /* nothing: its owner pays */
};

/* All take an index from gs_device_index() or gs_current_device().  Nothing is charged on GS_NO_DEVICE;
 * a foreign device has a limit of 0. */

/* True: the bytes are the tenant's, for sure, over all its processes.  False: they would pass its limit. */
int gs_quota_try(int device, uint64_t bytes);

/* The same, and false only after what dead processes left has been given back. */
int gs_quota_reserve(int device, uint64_t bytes);

/* For the record: the program has been told that it is over its quota. */
void gs_quota_count_refusal(int device);

void gs_quota_release(int device, uint64_t bytes);

/* What the driver has taken already: limit or not. */
void gs_quota_charge(int device, uint64_t bytes);

/* Over all processes of the tenant, dead ones that nobody has cleaned up included. */
uint64_t gs_quota_used(int device);

/* Gives back what dead processes held on the device.  Needs no slot of one's own. */
void gs_quota_repair(int device);

/* Releases all that a slot holds.  For the owner before its first change, and for whoever has a dead slot's
 * lock: killed anywhere in here, it leaves what the next one needs. */
void gs_quota_clean_slot(struct gs_usage *usage, uint32_t slot);

void gs_quota_forget(void); /* in a fork's child */

#endif
