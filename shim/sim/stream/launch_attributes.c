/* launch_attributes.c -- what cuLaunchKernelEx is told beside grid and block. */
#include "launch.h"
#include "process.h"

#define PORTABLE_CLUSTER 8u
#define GREATEST_CLUSTER 16u

/* In sim_function.settable, which begins at CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT. */
enum { SET_REQUIRED_CLUSTER = 2, SET_NON_PORTABLE = 5 };

bool sim_function_required_cluster(const struct sim_function *f, uint32_t dim[3])
{
    for (int i = 0; i < 3; i++)
        dim[i] = (uint32_t)f->settable[SET_REQUIRED_CLUSTER + i];
    return dim[0] != 0;
}

uint32_t sim_function_greatest_cluster(const struct sim_function *f)
{
    return f->settable[SET_NON_PORTABLE] ? GREATEST_CLUSTER : PORTABLE_CLUSTER;
}

/* A device without clusters takes those of one block; what it answers to others is assumed. */
CUresult sim_launch_check_cluster(const struct sim_context *ctx, const struct sim_launch *launch)
{
    uint32_t required[3], *cluster = (uint32_t *)launch->cluster, size = 1;
    bool fixed = sim_function_required_cluster(launch->function, required);
    if (!cluster[0])
        cluster = required;
    if (!cluster[0])
        return CUDA_SUCCESS;
    for (int i = 0; i < 3; i++) {
        if (!cluster[i] || launch->grid[i] % cluster[i] || (fixed && cluster[i] != required[i]))
            return CUDA_ERROR_INVALID_CLUSTER_SIZE;
        if (cluster[i] > GREATEST_CLUSTER)
            return CUDA_ERROR_INVALID_CLUSTER_SIZE;
        size *= cluster[i];
    }
    uint32_t most = sim_device_of(ctx->device)->profile.compute_major >= 9
                        ? sim_function_greatest_cluster(launch->function)
                        : 1;
    return size > most ? CUDA_ERROR_INVALID_CLUSTER_SIZE : CUDA_SUCCESS;
}

/* An event that a launch records: one without times, of this process. */
static CUresult take_event(const struct sim_context *ctx, CUevent event, struct sim_event **taken)
{
    if (!sim_is(event, SIM_EVENT))
        return CUDA_ERROR_INVALID_HANDLE;
    if (!(event->flags & CU_EVENT_DISABLE_TIMING) || event->flags & CU_EVENT_INTERPROCESS)
        return CUDA_ERROR_INVALID_VALUE;
    if (event->context != ctx->root)
        return CUDA_ERROR_INVALID_HANDLE;
    *taken = event;
    return CUDA_SUCCESS;
}

CUresult sim_launch_attributes(const struct sim_context *ctx, const CUlaunchConfig *config,
                               struct sim_launch *launch, struct sim_event **ended)
{
    *ended = NULL;
    for (unsigned i = 0; i < config->numAttrs; i++) {
        const CUlaunchAttributeValue *value = &config->attrs[i].value;
        switch ((int)config->attrs[i].id) {
        case CU_LAUNCH_ATTRIBUTE_IGNORE:
        case CU_LAUNCH_ATTRIBUTE_ACCESS_POLICY_WINDOW: /* nothing here depends on these */
        case CU_LAUNCH_ATTRIBUTE_CLUSTER_SCHEDULING_POLICY_PREFERENCE:
        case CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION:
        case CU_LAUNCH_ATTRIBUTE_MEM_SYNC_DOMAIN_MAP:
        case CU_LAUNCH_ATTRIBUTE_MEM_SYNC_DOMAIN:
        case CU_LAUNCH_ATTRIBUTE_PREFERRED_CLUSTER_DIMENSION:
        case CU_LAUNCH_ATTRIBUTE_DEVICE_UPDATABLE_KERNEL_NODE:
        case CU_LAUNCH_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT:
        case CU_LAUNCH_ATTRIBUTE_NVLINK_UTIL_CENTRIC_SCHEDULING:
            break;
        case CU_LAUNCH_ATTRIBUTE_COOPERATIVE:
            launch->cooperative = value->cooperative != 0;
            break;
        case CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION:
            for (int d = 0; d < 3; d++)
                launch->cluster[d] = value->cluster[d];
            if (!launch->cluster[0])
                return CUDA_ERROR_INVALID_CLUSTER_SIZE;
            break;
        case CU_LAUNCH_ATTRIBUTE_PRIORITY:
            launch->priority = sim_stream_priority(value->priority);
            launch->own_priority = 1;
            break;
        case CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_EVENT: /* no kernel triggers it before its end */
            SIM_TRY(take_event(ctx, value->event.event, value->event.at_start ? &launch->begun : ended));
            break;
        case CU_LAUNCH_ATTRIBUTE_LAUNCH_COMPLETION_EVENT:
            SIM_TRY(take_event(ctx, value->event.event, &launch->begun));
            break;
        default:
            return CUDA_ERROR_INVALID_VALUE;
        }
    }
    return CUDA_SUCCESS;
}
