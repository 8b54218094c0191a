/* faults.h -- failures: those that SIMGPU_FAULTS asks for, and what broken contexts mean for their process. */
#ifndef SIM_FAULTS_H
#define SIM_FAULTS_H

#include "sim.h"

CUresult cuGetErrorName(CUresult code, const char **name);

/* faults.c: false and one line in `why` where SIMGPU_FAULTS is no list of rules. */
bool sim_faults_read(char *why, unsigned why_size);
bool sim_faults_any(void);
/* The error with which this launch of an entry of that name breaks its context when it ends, 0 for none; adds to
 * the kernel's time. */
uint32_t sim_kernel_fault(const char *name, uint64_t *delay_ns);

/* sticky.c: is it an error that leaves a context unusable? */
bool sim_breaks_context(uint32_t error);
/* A command that will break its context was queued: somebody must look when it is done. */
void sim_failure_expect(uint32_t queue, uint64_t command);
/* Helper: when to look next. */
uint64_t sim_failure_due(void);

#endif
