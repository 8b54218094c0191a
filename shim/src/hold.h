/* hold.h -- reserve, call, settle: what every allocating hook does around the driver's function. */
#ifndef GS_HOLD_H
#define GS_HOLD_H

#include "driver.h"
#include "ledger.h"

/* A reservation between the decision and the driver's answer. */
struct gs_hold {
    uint64_t bytes;
    uint64_t owner; /* the current context */
    int device;
};

/* What the driver takes for `bytes` of linear memory. */
uint64_t gs_linear_bytes(uint64_t bytes);

/* a * b, or the largest number. */
uint64_t gs_times(uint64_t a, uint64_t b);

/* False: over the quota, even after everybody who may hold what is not needed any more has been asked. */
int gs_reserve(int device, uint64_t bytes);

/* The program has waited for its work: what was freed in stream order may be free now, and pools may have shrunk. */
void gs_after_wait(void);

/* What the program is told when it is over: CUDA_ERROR_OUT_OF_MEMORY, as on a full GPU. */
CUresult gs_refuse(int device);

/* Reserves on the current context's device.  False: over the quota. */
int gs_hold_here(struct gs_hold *hold, uint64_t bytes);

/* The driver said no: gives the reservation back. */
void gs_hold_drop(const struct gs_hold *hold);

/* The driver said yes, and took `taken_bytes` for the handle.  False: it took more than the quota allows, or the
 * handle cannot be noted down; then the reservation is gone, and the caller undoes the driver's call. */
int gs_hold_keep(const struct gs_hold *hold, uint64_t taken_bytes, uint64_t handle, enum gs_kind kind);

#endif
