/* stream_attributes.c -- attributes of streams: kept and given back; only the priority matters to the model. */
#include "process.h"

#include <stdlib.h>
#include <string.h>

enum { SYNC_AUTO = 1, SYNC_BLOCKING = 4 };
enum { PROPERTY_NORMAL, PROPERTY_STREAMING, PROPERTY_PERSISTING };
#define DOMAINS 4 /* since compute capability 9.0; one before */

static bool window_valid(const struct sim_context *ctx, const CUaccessPolicyWindow *w)
{
    const struct sim_profile *p = &sim_device_of(ctx->device)->profile;
    return w->hit_ratio >= 0 && w->hit_ratio <= 1 && w->hit >= PROPERTY_NORMAL &&
           w->hit <= PROPERTY_PERSISTING && w->miss >= PROPERTY_NORMAL && w->miss <= PROPERTY_STREAMING &&
           w->bytes <= p->l2_bytes;
}

static uint32_t domains_of(const struct sim_context *ctx)
{
    return sim_device_of(ctx->device)->profile.compute_major >= 9 ? DOMAINS : 1;
}

static CUresult set(struct sim_stream *stream, int id, const CUlaunchAttributeValue *value)
{
    const struct sim_context *ctx = stream->context;
    struct sim_stream_attributes *a = &stream->attributes;
    switch (id) {
    case CU_LAUNCH_ATTRIBUTE_ACCESS_POLICY_WINDOW:
        if (!window_valid(ctx, &value->window))
            return CUDA_ERROR_INVALID_VALUE;
        a->window = value->window;
        return CUDA_SUCCESS;
    case CU_LAUNCH_ATTRIBUTE_SYNCHRONIZATION_POLICY:
        if (value->sync_policy < SYNC_AUTO || value->sync_policy > SYNC_BLOCKING)
            return CUDA_ERROR_INVALID_VALUE;
        a->sync_policy = value->sync_policy;
        return CUDA_SUCCESS;
    case CU_LAUNCH_ATTRIBUTE_PRIORITY:
        if (value->priority != sim_stream_priority(value->priority))
            return CUDA_ERROR_INVALID_VALUE;
        stream->priority = value->priority;
        sim_machine_lock(sim_driver.machine);
        sim_queue_set_priority(sim_driver.machine, stream->queue, value->priority);
        sim_machine_unlock(sim_driver.machine);
        return CUDA_SUCCESS;
    case CU_LAUNCH_ATTRIBUTE_MEM_SYNC_DOMAIN_MAP:
        if (value->domain_map[0] >= domains_of(ctx) || value->domain_map[1] >= domains_of(ctx))
            return CUDA_ERROR_INVALID_VALUE;
        a->domain_map_set = true;
        memcpy(a->domain_map, value->domain_map, sizeof(a->domain_map));
        return CUDA_SUCCESS;
    case CU_LAUNCH_ATTRIBUTE_MEM_SYNC_DOMAIN:
        if (value->domain < 0 || value->domain > 1)
            return CUDA_ERROR_INVALID_VALUE;
        a->domain = value->domain;
        return CUDA_SUCCESS;
    default:
        return CUDA_ERROR_INVALID_VALUE;
    }
}

static CUresult get(const struct sim_stream *stream, int id, CUlaunchAttributeValue *value)
{
    const struct sim_stream_attributes *a = &stream->attributes;
    switch (id) {
    case CU_LAUNCH_ATTRIBUTE_ACCESS_POLICY_WINDOW:
        value->window = a->window;
        return CUDA_SUCCESS;
    case CU_LAUNCH_ATTRIBUTE_SYNCHRONIZATION_POLICY:
        value->sync_policy = a->sync_policy ? a->sync_policy : SYNC_AUTO;
        return CUDA_SUCCESS;
    case CU_LAUNCH_ATTRIBUTE_PRIORITY:
        value->priority = stream->priority;
        return CUDA_SUCCESS;
    case CU_LAUNCH_ATTRIBUTE_MEM_SYNC_DOMAIN_MAP: /* the remote domain is another one where there are several */
        value->domain_map[0] = a->domain_map[0];
        value->domain_map[1] = a->domain_map_set ? a->domain_map[1] : domains_of(stream->context) > 1;
        return CUDA_SUCCESS;
    case CU_LAUNCH_ATTRIBUTE_MEM_SYNC_DOMAIN:
        value->domain = a->domain;
        return CUDA_SUCCESS;
    default:
        return CUDA_ERROR_INVALID_VALUE;
    }
}

SIM_STREAM_API(cuStreamSetAttribute, cuStreamSetAttribute_ptsz,
               (CUstream handle, int id, const CUlaunchAttributeValue *value), (handle, id, value))
{
    SIM_ENTER(cuStreamSetAttribute);
    struct sim_stream *stream;
    SIM_TRY(sim_stream_resolve(handle, per_thread, &stream));
    return value ? set(stream, id, value) : CUDA_ERROR_INVALID_VALUE;
}

SIM_STREAM_API(cuStreamGetAttribute, cuStreamGetAttribute_ptsz,
               (CUstream handle, int id, CUlaunchAttributeValue *value), (handle, id, value))
{
    SIM_ENTER(cuStreamGetAttribute);
    struct sim_stream *stream;
    SIM_TRY(sim_stream_resolve(handle, per_thread, &stream));
    return value ? get(stream, id, value) : CUDA_ERROR_INVALID_VALUE;
}

SIM_STREAM_API(cuStreamCopyAttributes, cuStreamCopyAttributes_ptsz,
               (CUstream to_handle, CUstream from_handle), (to_handle, from_handle))
{
    SIM_ENTER(cuStreamCopyAttributes);
    struct sim_stream *to, *from;
    SIM_TRY(sim_stream_resolve(to_handle, per_thread, &to));
    SIM_TRY(sim_stream_resolve(from_handle, per_thread, &from));
    if (to->context != from->context)
        return CUDA_ERROR_INVALID_VALUE;
    to->attributes = from->attributes;
    CUlaunchAttributeValue priority = {.priority = from->priority};
    return set(to, CU_LAUNCH_ATTRIBUTE_PRIORITY, &priority);
}
