/* collective.h -- kernels that wait on the GPU for their peers on other devices: NCCL's.
 *
 * One that spins for a peer whose launch a gate keeps waiting spins for ever, and its tenant's debt grows meanwhile.
 * So while one of a process's devices has such a kernel in flight, those for the others wait for nothing. */
#ifndef GS_COLLECTIVE_H
#define GS_COLLECTIVE_H

#include "meter.h"

/* Told by the name under which the program looked the function up. */
bool gs_collective_is(const void *function);

/* Before a launch of one. */
void gs_collective_begins(struct gs_meter_device *device);

/* Whether a device may have one in flight. */
bool gs_collective_runs(uint32_t device);

/* Whether another one may. */
bool gs_collective_runs_beside(const struct gs_meter_device *device);

void gs_collective_forget(void); /* in a fork's child */

#endif
