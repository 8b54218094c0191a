/* array_size.h -- what an array, or a mipmapped one, will take of the device. */
#ifndef GS_ARRAY_SIZE_H
#define GS_ARRAY_SIZE_H

#include <stdint.h>

#include "driver.h"

/* More than any device has: such an array cannot exist. */
#define GS_ABSURD_ARRAY ((uint64_t)1 << 60)

#define GS_ARRAY_PAGE (64u << 10)

/* Of `levels` levels (0: an array that has none), on the current context's device.  The driver's own number where
 * it gives one, else an upper bound.  Takes no memory of the device and waits for nothing. */
uint64_t gs_array_size(const CUDA_ARRAY3D_DESCRIPTOR *desc, unsigned int levels, CUdevice ordinal);

/* What the driver would say of it that is not about memory: it makes such arrays, and none of this shape.  0: nothing,
 * or that is not known. */
CUresult gs_array_refusal(const CUDA_ARRAY3D_DESCRIPTOR *desc, unsigned int levels, CUdevice ordinal);

/* The program has just destroyed an array in that context, and so waited for all that runs there: what we made
 * there to ask the driver can go without a wait. */
void gs_array_clear(CUcontext context);

void gs_array_forget(void); /* in a fork's child */

/* -------- from the descriptor alone -------- */

/* Saturates: UINT64_MAX means too many. */
uint64_t gs_array_bound(const CUDA_ARRAY3D_DESCRIPTOR *desc, unsigned int levels);

#endif
