/* reserve.h -- what every allocating hook does before it refuses, and when. */
#ifndef GS_RESERVE_H
#define GS_RESERVE_H

#include <stdint.h>

#include "driver.h"
#include "quota.h"

int gs_reserve_after_asking(int device, uint64_t bytes);

/* False: over the quota, even after everybody who may hold what is not needed any more has been asked. */
static inline int gs_reserve(int device, uint64_t bytes)
{
    return __builtin_expect(gs_quota_try(device, bytes), 1) || gs_reserve_after_asking(device, bytes);
}

/* What the program is told when it is over: CUDA_ERROR_OUT_OF_MEMORY, as on a full GPU. */
CUresult gs_refuse(int device);

/* The program has waited for its work: what was freed in stream order may be free now, and pools may have
 * shrunk. */
void gs_after_wait(void);

#endif
