/* reserve.h -- what every allocating hook does before it refuses, and when. */
#ifndef GS_RESERVE_H
#define GS_RESERVE_H

#include <stdint.h>

#include "driver.h"
#include "quota.h"

int gs_reserve_after_asking(int device, uint32_t kind, uint64_t bytes);

/* False: over the quota, even after everybody who may hold what is not needed any more has been asked. */
static inline int gs_reserve(int device, uint32_t kind, uint64_t bytes)
{
    return __builtin_expect(gs_quota_try(device, kind, bytes), 1) ||
           gs_reserve_after_asking(device, kind, bytes);
}

/* What the program is told when `bytes` more are too many, CUDA_ERROR_OUT_OF_MEMORY as on a full GPU; and a note of it
 * for the controller, with the name of the function that was called. */
CUresult gs_refuse(const char *api, int device, uint64_t bytes);

/* The program has waited for its work: what was freed in stream order may be free now, and pools may have
 * shrunk. */
void gs_after_wait(void);

#endif
