/* task_make.c -- from the parameters of a node, or from captured work, to what the node does. */
#include "copy.h"
#include "launch.h"
#include "module.h"
#include "task.h"

#include <string.h>

#define MAX_BATCH  256
#define WAIT_FLAGS (3u | 1u << 30)

static CUresult take_context(CUcontext given, struct sim_context **ctx)
{
    *ctx = given ? given : sim_current_context();
    return sim_is(*ctx, SIM_CONTEXT) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_CONTEXT;
}

CUresult sim_task_of_kernel(const struct sim_kernel_params *p, size_t size, struct sim_task *task)
{
    if (!p)
        return CUDA_ERROR_INVALID_VALUE;
    bool whole = size == sizeof(*p);
    struct sim_context *ctx = whole && p->context ? p->context : sim_current_context();
    CUfunction handle = p->function ? p->function : whole ? (CUfunction)(void *)p->kernel : NULL;
    if (sim_is(handle, SIM_FUNCTION))
        ctx = handle->module->context;
    if (!sim_is(ctx, SIM_CONTEXT))
        return CUDA_ERROR_INVALID_CONTEXT;
    struct sim_function *function = sim_function_resolve(handle, ctx);
    if (!function)
        return CUDA_ERROR_INVALID_HANDLE;
    *task = (struct sim_task){.context = ctx,
                              .work = {.kind = SIM_WORK_KERNEL,
                                       .launch = {.function = function,
                                                  .grid = {p->grid[0], p->grid[1], p->grid[2]},
                                                  .block = {p->block[0], p->block[1], p->block[2]},
                                                  .shared_bytes = p->shared_bytes,
                                                  .params = p->params,
                                                  .extra = p->extra}}};
    return sim_launch_check(ctx, &task->work.launch) ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
}

CUresult sim_task_of_copy(const CUDA_MEMCPY3D *p, CUcontext context, struct sim_task *task)
{
    if (!p || !p->WidthInBytes || !p->Height || !p->Depth)
        return CUDA_ERROR_INVALID_VALUE;
    *task = (struct sim_task){.work = {.kind = SIM_WORK_COPY}, .shape = *p};
    SIM_TRY(take_context(context, &task->context));
    return sim_copy_from_3d(p, &task->work.copy);
}

CUresult sim_task_of_fill(const struct sim_fill_params *p, CUcontext context, struct sim_task *task)
{
    if (!p || !p->width || !p->height ||
        (p->element_bytes != 1 && p->element_bytes != 2 && p->element_bytes != 4) ||
        p->destination % p->element_bytes ||
        (p->height > 1 && (p->pitch % p->element_bytes || p->pitch / p->element_bytes < p->width)))
        return CUDA_ERROR_INVALID_VALUE;
    *task = (struct sim_task){.work = {.kind = SIM_WORK_FILL,
                                       .fill = {.destination = (char *)p->destination,
                                                .width = p->width,
                                                .height = p->height,
                                                .pitch = p->pitch,
                                                .value = p->value,
                                                .element_bytes = p->element_bytes}}};
    SIM_TRY(take_context(context, &task->context));
    return sim_device_range(p->destination, (p->height - 1) * p->pitch + p->width * p->element_bytes);
}

CUresult sim_task_of_host(const struct sim_host_params *p, struct sim_task *task)
{
    if (!p || !p->function)
        return CUDA_ERROR_INVALID_VALUE;
    *task = (struct sim_task){.work = {.kind = SIM_WORK_HOST, .host = {p->function, p->argument}}};
    return CUDA_SUCCESS;
}

CUresult sim_task_of_event(CUevent event, bool record, struct sim_task *task)
{
    if (!sim_is(event, SIM_EVENT))
        return CUDA_ERROR_INVALID_HANDLE;
    *task = (struct sim_task){
        .context = NULL,
        .work = {.kind = record ? SIM_WORK_RECORD : SIM_WORK_WAIT, .event = {.event = event}}};
    return CUDA_SUCCESS;
}

static CUresult check_op(const CUstreamBatchMemOpParams *op)
{
    struct sim_block block;
    bool wait =
        op->operation == CU_STREAM_MEM_OP_WAIT_VALUE_32 || op->operation == CU_STREAM_MEM_OP_WAIT_VALUE_64;
    uint64_t bytes = 4;
    switch (op->operation) {
    case CU_STREAM_MEM_OP_BARRIER:
        return CUDA_SUCCESS;
    case CU_STREAM_MEM_OP_WAIT_VALUE_64:
    case CU_STREAM_MEM_OP_WRITE_VALUE_64:
        bytes = 8;
        break;
    case CU_STREAM_MEM_OP_WAIT_VALUE_32:
    case CU_STREAM_MEM_OP_WRITE_VALUE_32:
        break;
    default:
        return CUDA_ERROR_INVALID_VALUE;
    }
    if (op->value.flags & ~(wait ? WAIT_FLAGS : 1u))
        return CUDA_ERROR_INVALID_VALUE;
    return op->value.address % bytes || !sim_block_find(op->value.address, &block) ? CUDA_ERROR_INVALID_VALUE
                                                                                   : CUDA_SUCCESS;
}

CUresult sim_task_of_batch(const struct sim_batch_params *p, struct sim_task *task)
{
    if (!p || !p->count || p->count > MAX_BATCH || !p->op || p->flags)
        return CUDA_ERROR_INVALID_VALUE;
    *task = (struct sim_task){.work = {.kind = SIM_WORK_EMPTY},
                              .batch = {.op = p->op, .count = p->count, .flags = p->flags}};
    SIM_TRY(take_context(p->context, &task->context));
    for (unsigned i = 0; i < p->count; i++)
        SIM_TRY(check_op(&p->op[i]));
    return CUDA_SUCCESS;
}

CUresult sim_task_of_node(const struct sim_node_params *p, struct sim_task *task)
{
    *task = (struct sim_task){.work = {.kind = SIM_WORK_EMPTY}};
    switch (p->type) {
    case SIM_NODE_KERNEL:
        return sim_task_of_kernel(&p->kernel, sizeof(p->kernel), task);
    case SIM_NODE_MEMCPY:
        return p->copy.flags ? CUDA_ERROR_INVALID_VALUE
                             : sim_task_of_copy(&p->copy.copy, p->copy.context, task);
    case SIM_NODE_MEMSET:
        return sim_task_of_fill(&p->fill, p->fill.context, task);
    case SIM_NODE_HOST:
        return sim_task_of_host(&p->host, task);
    case SIM_NODE_EVENT_RECORD:
    case SIM_NODE_WAIT_EVENT:
        return sim_task_of_event(p->event, p->type == SIM_NODE_EVENT_RECORD, task);
    case SIM_NODE_BATCH_MEM_OP:
        return sim_task_of_batch(&p->batch, task);
    case SIM_NODE_EMPTY:
        return CUDA_SUCCESS;
    case SIM_NODE_SIGNAL: /* nothing imports external semaphores here, so there is none to give */
    case SIM_NODE_WAIT:
    case SIM_NODE_MEM_ALLOC: /* cannot be changed; made in node_memory.c */
    case SIM_NODE_MEM_FREE:
    case SIM_NODE_CONDITIONAL:
        return CUDA_ERROR_NOT_SUPPORTED;
    default:
        return CUDA_ERROR_INVALID_VALUE;
    }
}

/* -------- captured work -------- */

static CUDA_MEMCPY3D shape_of(const struct sim_copy *copy)
{
    return (CUDA_MEMCPY3D){
        .srcMemoryType = copy->source_host ? CU_MEMORYTYPE_HOST : CU_MEMORYTYPE_DEVICE,
        .srcHost = copy->source_host ? copy->source : NULL,
        .srcDevice = copy->source_host ? 0 : (CUdeviceptr)copy->source,
        .srcPitch = copy->source_pitch,
        .srcHeight = copy->source_pitch ? copy->source_slice / copy->source_pitch : 0,
        .dstMemoryType = copy->destination_host ? CU_MEMORYTYPE_HOST : CU_MEMORYTYPE_DEVICE,
        .dstHost = copy->destination_host ? copy->destination : NULL,
        .dstDevice = copy->destination_host ? 0 : (CUdeviceptr)copy->destination,
        .dstPitch = copy->destination_pitch,
        .dstHeight = copy->destination_pitch ? copy->destination_slice / copy->destination_pitch : 0,
        .WidthInBytes = copy->width,
        .Height = copy->height,
        .Depth = copy->depth,
    };
}

static CUstreamBatchMemOpParams op_of(const struct sim_work *work)
{
    bool wait = work->kind == SIM_WORK_WAIT_VALUE, wide = work->value.bytes == 8;
    CUstreamBatchMemOpParams op = {0};
    op.value.operation = wait   ? wide ? CU_STREAM_MEM_OP_WAIT_VALUE_64 : CU_STREAM_MEM_OP_WAIT_VALUE_32
                         : wide ? CU_STREAM_MEM_OP_WRITE_VALUE_64
                                : CU_STREAM_MEM_OP_WRITE_VALUE_32;
    op.value.address = work->value.address;
    op.value.value = work->value.value;
    op.value.flags = work->value.flags;
    return op;
}

enum sim_node_type sim_task_of_work(struct sim_stream *stream, const struct sim_work *work,
                                    CUstreamBatchMemOpParams *op, struct sim_task *task)
{
    *task = (struct sim_task){.context = stream->context, .work = *work};
    switch (work->kind) {
    case SIM_WORK_KERNEL: /* executable graphs say whether the node's own priority counts */
        if (!work->launch.own_priority)
            task->work.launch.priority = stream->priority;
        task->work.launch.own_priority = 0;
        return SIM_NODE_KERNEL;
    case SIM_WORK_COPY:
        task->shape = shape_of(&work->copy);
        return SIM_NODE_MEMCPY;
    case SIM_WORK_FILL:
        return SIM_NODE_MEMSET;
    case SIM_WORK_HOST:
        task->context = NULL;
        return SIM_NODE_HOST;
    case SIM_WORK_RECORD:
        return SIM_NODE_EVENT_RECORD;
    case SIM_WORK_WAIT:
        task->context = NULL;
        return SIM_NODE_WAIT_EVENT;
    case SIM_WORK_WRITE_VALUE:
    case SIM_WORK_WAIT_VALUE:
        *op = op_of(work);
        task->work = (struct sim_work){.kind = SIM_WORK_EMPTY};
        task->batch.op = op;
        task->batch.count = 1;
        task->batch.flags = 0;
        return SIM_NODE_BATCH_MEM_OP;
    default:
        return SIM_NODE_EMPTY;
    }
}
