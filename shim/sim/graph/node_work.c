/* node_work.c -- from the parameters of a graph node to the work that it does. */
#include "node.h"

#include <stdlib.h>
#include <string.h>

CUresult sim_launch_keep(struct sim_launch *launch, void **out)
{
    const struct sim_function *f = launch->function;
    size_t pointers = f->param_count * sizeof(void *);
    char *block = malloc(pointers + f->param_bytes + 1), *values = block + pointers;
    if (!block)
        return CUDA_ERROR_OUT_OF_MEMORY;
    const char *packed = NULL;
    size_t packed_bytes = 0;
    for (int i = 0; launch->extra && launch->extra[i] != CU_LAUNCH_PARAM_END && i < 8; i += 2) {
        if (launch->extra[i] == CU_LAUNCH_PARAM_BUFFER_POINTER)
            packed = launch->extra[i + 1];
        else if (launch->extra[i] == CU_LAUNCH_PARAM_BUFFER_SIZE)
            packed_bytes = *(size_t *)launch->extra[i + 1];
    }
    memset(values, 0, f->param_bytes);
    for (uint32_t i = 0; i < f->param_count; i++) {
        const struct sim_param *p = &f->param[i];
        if (launch->params && launch->params[i])
            memcpy(values + p->offset, launch->params[i], p->bytes);
        else if (packed && p->offset + p->bytes <= packed_bytes)
            memcpy(values + p->offset, packed + p->offset, p->bytes);
        ((void **)(void *)block)[i] = values + p->offset;
    }
    launch->params = (void **)(void *)block;
    launch->extra = NULL;
    *out = block;
    return CUDA_SUCCESS;
}

enum sim_node_type sim_node_type_of(const struct sim_work *work)
{
    switch (work->kind) {
    case SIM_WORK_KERNEL:
        return SIM_NODE_KERNEL;
    case SIM_WORK_COPY:
        return SIM_NODE_MEMCPY;
    case SIM_WORK_FILL:
        return SIM_NODE_MEMSET;
    case SIM_WORK_HOST:
        return SIM_NODE_HOST;
    case SIM_WORK_RECORD:
        return SIM_NODE_EVENT_RECORD;
    case SIM_WORK_WAIT:
        return SIM_NODE_WAIT_EVENT;
    case SIM_WORK_WRITE_VALUE:
    case SIM_WORK_WAIT_VALUE:
        return SIM_NODE_BATCH_MEM_OP;
    default:
        return SIM_NODE_EMPTY;
    }
}

CUresult sim_node_set_work(struct sim_graph_node *node, struct sim_context *ctx, const struct sim_work *work)
{
    struct sim_work kept = *work;
    void *params = NULL;
    if (kept.kind == SIM_WORK_KERNEL)
        SIM_TRY(sim_launch_keep(&kept.launch, &params));
    if (ctx)
        sim_work_cost(ctx, &kept);
    free(node->params);
    node->params = params;
    node->work = kept;
    node->context = ctx;
    return CUDA_SUCCESS;
}

CUresult sim_work_of_kernel(const struct sim_kernel_params *p, size_t size, struct sim_context **ctx,
                            struct sim_work *work)
{
    if (!p)
        return CUDA_ERROR_INVALID_VALUE;
    bool whole = size == sizeof(*p);
    *ctx = whole && p->context ? p->context : sim_current_context();
    CUfunction handle = p->function ? p->function : whole ? (CUfunction)(void *)p->kernel : NULL;
    if (sim_is(handle, SIM_FUNCTION))
        *ctx = handle->module->context;
    if (!sim_is(*ctx, SIM_CONTEXT))
        return CUDA_ERROR_INVALID_CONTEXT;
    struct sim_function *function = sim_function_resolve(handle, *ctx);
    uint64_t threads = (uint64_t)p->block[0] * p->block[1] * p->block[2];
    uint64_t blocks = (uint64_t)p->grid[0] * p->grid[1] * p->grid[2];
    if (!function)
        return CUDA_ERROR_INVALID_HANDLE;
    if (!threads || !blocks || threads > function->max_threads || (p->params && p->extra) ||
        (function->param_count && !p->params && !p->extra))
        return CUDA_ERROR_INVALID_VALUE;
    *work = (struct sim_work){
        .kind = SIM_WORK_KERNEL,
        .launch = {.function = function,
                   .grid = {p->grid[0], p->grid[1], p->grid[2]},
                   .block = {p->block[0], p->block[1], p->block[2]},
                   .shared_bytes = p->shared_bytes,
                   .params = p->params,
                   .extra = p->extra},
    };
    return CUDA_SUCCESS;
}

static CUresult take_context(CUcontext given, struct sim_context **ctx)
{
    *ctx = given ? given : sim_current_context();
    return sim_is(*ctx, SIM_CONTEXT) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_CONTEXT;
}

/* One side of a copy: where it begins, and whether the host has it.  Arrays have no place in graphs here. */
static CUresult take_side(CUmemorytype type, const void *host, CUdeviceptr device, size_t offset,
                          const char **at, uint8_t *is_host)
{
    struct sim_block block;
    if (type == CU_MEMORYTYPE_ARRAY)
        return CUDA_ERROR_NOT_SUPPORTED;
    if (type < CU_MEMORYTYPE_HOST || type > CU_MEMORYTYPE_UNIFIED)
        return CUDA_ERROR_INVALID_VALUE;
    *at = (type == CU_MEMORYTYPE_HOST ? (const char *)host : (const char *)(uintptr_t)device) + offset;
    *is_host = type == CU_MEMORYTYPE_HOST;
    if (type == CU_MEMORYTYPE_UNIFIED)
        *is_host = !sim_block_find((uintptr_t)*at, &block) || block.kind == SIM_BLOCK_HOST ||
                   block.kind == SIM_BLOCK_REGISTERED;
    return CUDA_SUCCESS;
}

CUresult sim_work_of_copy(const CUDA_MEMCPY3D *p, CUcontext context, struct sim_context **ctx,
                          struct sim_work *work)
{
    if (!p || !p->WidthInBytes || !p->Height || !p->Depth)
        return CUDA_ERROR_INVALID_VALUE;
    SIM_TRY(take_context(context, ctx));
    size_t source_pitch = p->srcPitch ? p->srcPitch : p->srcXInBytes + p->WidthInBytes;
    size_t destination_pitch = p->dstPitch ? p->dstPitch : p->dstXInBytes + p->WidthInBytes;
    size_t source_height = p->srcHeight ? p->srcHeight : p->srcY + p->Height;
    size_t destination_height = p->dstHeight ? p->dstHeight : p->dstY + p->Height;
    struct sim_copy copy = {
        .width = p->WidthInBytes,
        .height = p->Height,
        .depth = p->Depth,
        .source_pitch = source_pitch,
        .source_slice = source_pitch * source_height,
        .destination_pitch = destination_pitch,
        .destination_slice = destination_pitch * destination_height,
    };
    const char *destination;
    SIM_TRY(take_side(p->srcMemoryType, p->srcHost, p->srcDevice,
                      p->srcXInBytes + source_pitch * (p->srcY + source_height * p->srcZ), &copy.source,
                      &copy.source_host));
    SIM_TRY(take_side(p->dstMemoryType, p->dstHost, p->dstDevice,
                      p->dstXInBytes + destination_pitch * (p->dstY + destination_height * p->dstZ),
                      &destination, &copy.destination_host));
    copy.destination = (char *)destination;
    *work = (struct sim_work){.kind = SIM_WORK_COPY, .copy = copy};
    return CUDA_SUCCESS;
}

CUresult sim_work_of_fill(const struct sim_fill_params *p, CUcontext context, struct sim_context **ctx,
                          struct sim_work *work)
{
    if (!p || !p->width || !p->height ||
        (p->element_bytes != 1 && p->element_bytes != 2 && p->element_bytes != 4) ||
        p->destination % p->element_bytes)
        return CUDA_ERROR_INVALID_VALUE;
    SIM_TRY(take_context(context, ctx));
    *work = (struct sim_work){
        .kind = SIM_WORK_FILL,
        .fill = {.destination = (char *)p->destination,
                 .width = p->width,
                 .height = p->height,
                 .pitch = p->height > 1 ? p->pitch : p->width * p->element_bytes,
                 .value = p->value,
                 .element_bytes = p->element_bytes},
    };
    return CUDA_SUCCESS;
}

CUresult sim_work_of_host(const struct sim_host_params *p, struct sim_work *work)
{
    if (!p || !p->function)
        return CUDA_ERROR_INVALID_VALUE;
    *work = (struct sim_work){.kind = SIM_WORK_HOST, .host = {p->function, p->argument}};
    return CUDA_SUCCESS;
}

CUresult sim_work_of_event(CUevent event, bool record, struct sim_context **ctx, struct sim_work *work)
{
    if (!sim_is(event, SIM_EVENT))
        return CUDA_ERROR_INVALID_HANDLE;
    *ctx = event->context;
    *work = (struct sim_work){.kind = record ? SIM_WORK_RECORD : SIM_WORK_WAIT, .event = {.event = event}};
    return CUDA_SUCCESS;
}

CUresult sim_work_of_node(const struct sim_node_params *p, struct sim_context **ctx, struct sim_work *work)
{
    *ctx = NULL;
    *work = (struct sim_work){.kind = SIM_WORK_EMPTY};
    switch (p->type) {
    case SIM_NODE_KERNEL:
        return sim_work_of_kernel(&p->kernel, sizeof(p->kernel), ctx, work);
    case SIM_NODE_MEMCPY:
        return sim_work_of_copy(&p->copy.copy, p->copy.context, ctx, work);
    case SIM_NODE_MEMSET:
        return sim_work_of_fill(&p->fill, p->fill.context, ctx, work);
    case SIM_NODE_HOST:
        return sim_work_of_host(&p->host, work);
    case SIM_NODE_EVENT_RECORD:
    case SIM_NODE_WAIT_EVENT:
        return sim_work_of_event(p->event, p->type == SIM_NODE_EVENT_RECORD, ctx, work);
    case SIM_NODE_EMPTY:
        return CUDA_SUCCESS;
    default:
        return p->type >= 0 && p->type <= 13 ? CUDA_ERROR_NOT_SUPPORTED : CUDA_ERROR_INVALID_VALUE;
    }
}
