/* task.c -- what nodes do: copies of their own of all that a task points to, and its way into a stream. */
#include "task.h"
#include "graph_memory.h"

#include <stdlib.h>
#include <string.h>

/* -------- keeping -------- */

/* Copies of the parameters that the launch points to, into one block that *out owns. */
static CUresult keep_params(struct sim_launch *launch, void **out)
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

static void *duplicate(const void *from, size_t bytes)
{
    void *to = malloc(bytes ? bytes : 1);
    if (to && bytes)
        memcpy(to, from, bytes);
    return to;
}

CUresult sim_task_keep(enum sim_node_type type, struct sim_task *to, const struct sim_task *from)
{
    struct sim_task kept = *from;
    kept.values = NULL;
    if (from->attributes) {
        kept.attributes = duplicate(from->attributes, sizeof(*from->attributes));
        if (!kept.attributes)
            return CUDA_ERROR_OUT_OF_MEMORY;
    }
    CUresult result = CUDA_SUCCESS;
    if (type == SIM_NODE_KERNEL)
        result = keep_params(&kept.work.launch, &kept.values);
    else if (type == SIM_NODE_BATCH_MEM_OP) {
        kept.batch.op = duplicate(from->batch.op, from->batch.count * sizeof(*from->batch.op));
        result = kept.batch.op ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
    } else if (SIM_NODE_BIT(type) & SIM_MEMORY_NODES)
        sim_graph_memory_use(kept.memory);
    if (result) {
        free(kept.attributes);
        return result;
    }
    if (kept.context)
        sim_work_cost(kept.context, &kept.work);
    sim_task_drop(type, to);
    *to = kept;
    return CUDA_SUCCESS;
}

void sim_task_drop(enum sim_node_type type, struct sim_task *task)
{
    free(task->values);
    free(task->attributes);
    if (type == SIM_NODE_BATCH_MEM_OP)
        free(task->batch.op);
    else if ((SIM_NODE_BIT(type) & SIM_MEMORY_NODES) && task->memory)
        sim_graph_memory_leave(task->memory);
    *task = (struct sim_task){.work = {.kind = SIM_WORK_EMPTY}};
}

/* -------- attributes of kernels -------- */

/* Those that graph nodes have; device-updatable nodes are not among them, as no kernel updates any here. */
static bool is_node_attribute(CUlaunchAttributeID id)
{
    switch (id) {
    case CU_LAUNCH_ATTRIBUTE_ACCESS_POLICY_WINDOW:
    case CU_LAUNCH_ATTRIBUTE_COOPERATIVE:
    case CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION:
    case CU_LAUNCH_ATTRIBUTE_CLUSTER_SCHEDULING_POLICY_PREFERENCE:
    case CU_LAUNCH_ATTRIBUTE_PRIORITY:
    case CU_LAUNCH_ATTRIBUTE_MEM_SYNC_DOMAIN_MAP:
    case CU_LAUNCH_ATTRIBUTE_MEM_SYNC_DOMAIN:
    case CU_LAUNCH_ATTRIBUTE_PREFERRED_CLUSTER_DIMENSION:
    case CU_LAUNCH_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT:
    case CU_LAUNCH_ATTRIBUTE_NVLINK_UTIL_CENTRIC_SCHEDULING:
        return true;
    default:
        return false;
    }
}

/* Three are the launch's own. */
CUresult sim_task_set_attribute(struct sim_task *task, CUlaunchAttributeID id,
                                const CUlaunchAttributeValue *value)
{
    struct sim_launch *launch = &task->work.launch;
    if (!is_node_attribute(id))
        return CUDA_ERROR_INVALID_VALUE;
    if (id == CU_LAUNCH_ATTRIBUTE_COOPERATIVE)
        launch->cooperative = value->cooperative != 0;
    else if (id == CU_LAUNCH_ATTRIBUTE_PRIORITY)
        launch->priority = value->priority;
    else if (id == CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION)
        memcpy(launch->cluster, value->cluster, sizeof(launch->cluster));
    else {
        if (!task->attributes && !(task->attributes = calloc(1, sizeof(*task->attributes))))
            return CUDA_ERROR_OUT_OF_MEMORY;
        task->attributes->value[id] = *value;
    }
    return CUDA_SUCCESS;
}

CUresult sim_task_get_attribute(const struct sim_task *task, CUlaunchAttributeID id,
                                CUlaunchAttributeValue *value)
{
    const struct sim_launch *launch = &task->work.launch;
    if (!is_node_attribute(id))
        return CUDA_ERROR_INVALID_VALUE;
    *value = task->attributes ? task->attributes->value[id] : (CUlaunchAttributeValue){.pad = {0}};
    if (id == CU_LAUNCH_ATTRIBUTE_COOPERATIVE)
        value->cooperative = (int)launch->cooperative;
    else if (id == CU_LAUNCH_ATTRIBUTE_PRIORITY)
        value->priority = launch->priority;
    else if (id == CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION)
        memcpy(value->cluster, launch->cluster, sizeof(launch->cluster));
    return CUDA_SUCCESS;
}

void sim_task_take_attributes(struct sim_task *task, const struct sim_task *from)
{
    task->attributes = from->attributes;
    task->work.launch.cooperative = from->work.launch.cooperative;
    task->work.launch.priority = from->work.launch.priority;
    memcpy(task->work.launch.cluster, from->work.launch.cluster, sizeof(from->work.launch.cluster));
}

/* -------- doing -------- */

/* One operation of a batch; false: it is a barrier, and order is kept anyway. */
static bool work_of_op(const CUstreamBatchMemOpParams *op, struct sim_work *work)
{
    int kind = op->operation;
    bool wait = kind == CU_STREAM_MEM_OP_WAIT_VALUE_32 || kind == CU_STREAM_MEM_OP_WAIT_VALUE_64;
    bool wide = kind == CU_STREAM_MEM_OP_WAIT_VALUE_64 || kind == CU_STREAM_MEM_OP_WRITE_VALUE_64;
    *work = (struct sim_work){.kind = wait ? SIM_WORK_WAIT_VALUE : SIM_WORK_WRITE_VALUE,
                              .value = {.address = op->value.address,
                                        .value = wide ? op->value.value : (uint32_t)op->value.value,
                                        .flags = op->value.flags,
                                        .bytes = wide ? 8 : 4}};
    return kind != CU_STREAM_MEM_OP_BARRIER;
}

/* The program may have destroyed the event or unloaded the module since. */
static bool is_whole(const struct sim_work *work)
{
    if (work->kind == SIM_WORK_RECORD || work->kind == SIM_WORK_WAIT)
        return sim_is(work->event.event, SIM_EVENT);
    return work->kind != SIM_WORK_KERNEL || sim_is(work->launch.function, SIM_FUNCTION);
}

CUresult sim_task_submit(enum sim_node_type type, const struct sim_task *task, struct sim_stream *stream)
{
    struct sim_work work;
    if (type != SIM_NODE_BATCH_MEM_OP) {
        if (task->work.kind == SIM_WORK_EMPTY)
            return CUDA_SUCCESS;
        if (!is_whole(&task->work))
            return CUDA_ERROR_INVALID_VALUE;
        work = task->work; /* the queue may change its copy */
        return sim_submit_now(stream, &work);
    }
    for (uint32_t i = 0; i < task->batch.count; i++)
        if (work_of_op(&task->batch.op[i], &work))
            SIM_TRY(sim_submit_now(stream, &work));
    return CUDA_SUCCESS;
}
