/* mps.h -- what a client of MPS has of a device: fewer SMs where its environment says so, or its context. */
#ifndef SIM_MPS_H
#define SIM_MPS_H

#include "sim.h"

typedef struct {
    int type; /* 0: SM count, the only one */
    unsigned sms;
} CUexecAffinityParam;

/* SMs that a new context of this process gets; all of them where no MPS runs. */
uint32_t sim_mps_sms(CUdevice device);
/* What cuCtxCreate_v3 asks for; 0 without parameters. */
CUresult sim_mps_affinity(CUdevice device, const CUexecAffinityParam *params, int count, uint32_t *sms);
/* A context was opened: its limit (0: the environment's) and its client's priority. */
void sim_mps_join(struct sim_context *ctx, uint32_t sms);

#endif
