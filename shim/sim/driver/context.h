/* context.h -- making and unmaking contexts: what created and primary ones have in common (context.c). */
#ifndef SIM_CONTEXT_H
#define SIM_CONTEXT_H

#include "sim.h"

unsigned long long sim_context_next_id(void);
/* An object without life in the machine; NULL: no memory. */
struct sim_context *sim_context_new(CUdevice device, unsigned flags);
/* Bring one to life; `sms` limits it, unless 0. */
CUresult sim_context_open(struct sim_context *ctx, uint32_t sms);
/* Waits for its work. */
void sim_context_close(struct sim_context *ctx);

#endif
