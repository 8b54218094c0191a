/* mps.c -- this process as a client of MPS: SIMGPU_MPS=1 puts every process of the machine under one server.
 *
 * CUDA_MPS_ACTIVE_THREAD_PERCENTAGE limits the SMs that a context's kernels may have at a time, rounded down to whole
 * pairs, which share a texture processing cluster; at least one pair.  CUDA_MPS_CLIENT_PRIORITY=1 puts all of the
 * client's kernels behind those of clients with 0, whatever their streams' priorities.  Both are read when a context
 * is made. */
#include "mps.h"

#include <stdlib.h>

#define PAIR 2u

uint32_t sim_mps_sms(CUdevice device)
{
    uint32_t all = sim_device_of(device)->profile.sm_count;
    const char *text = getenv("CUDA_MPS_ACTIVE_THREAD_PERCENTAGE");
    char *end;
    if (!sim_driver.machine->mps || !text || !*text)
        return all;
    double percent = strtod(text, &end);
    if (*end || !(percent > 0) || percent >= 100)
        return all;
    uint32_t sms = (uint32_t)(percent * all / 100) / PAIR * PAIR;
    return sms < PAIR ? PAIR : sms;
}

CUresult sim_mps_affinity(CUdevice device, const CUexecAffinityParam *params, int count, uint32_t *sms)
{
    *sms = 0;
    if (count == 0)
        return CUDA_SUCCESS;
    if (count < 0 || !params)
        return CUDA_ERROR_INVALID_VALUE;
    for (int i = 0; i < count; i++) {
        if (params[i].type != 0 || !sim_driver.machine->mps)
            return CUDA_ERROR_UNSUPPORTED_EXEC_AFFINITY;
        if (params[i].sms == 0 || params[i].sms > sim_device_of(device)->profile.sm_count)
            return CUDA_ERROR_INVALID_VALUE;
        *sms = params[i].sms;
    }
    return CUDA_SUCCESS;
}

void sim_mps_join(struct sim_context *ctx, uint32_t sms)
{
    struct sim_machine *m = sim_driver.machine;
    const char *priority = getenv("CUDA_MPS_CLIENT_PRIORITY");
    if (!m->mps)
        return;
    sim_machine_lock(m);
    sim_shared_context_limit(m, ctx->shared, sms ? sms : sim_mps_sms(ctx->device),
                             priority && strtol(priority, NULL, 10) > 0);
    sim_machine_unlock(m);
}

SIM_API(cuCtxGetExecAffinity, (CUexecAffinityParam * param, int type))
{
    SIM_ENTER_CONTEXT(cuCtxGetExecAffinity, ctx);
    if (!param)
        return CUDA_ERROR_INVALID_VALUE;
    if (type != 0)
        return CUDA_ERROR_UNSUPPORTED_EXEC_AFFINITY;
    *param = (CUexecAffinityParam){0, sim_driver.machine->context[ctx->shared].sms_limit};
    return CUDA_SUCCESS;
}
