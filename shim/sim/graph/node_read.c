/* node_read.c -- reading what nodes do, in the terms of the API. */
#include "node.h"

#include <string.h>

#define ENTER_NODE(name, node, kind, params)                                                                 \
    SIM_ENTER(name);                                                                                         \
    if (!sim_is_node(node, kind) || !(params))                                                               \
    return CUDA_ERROR_INVALID_VALUE

static void read_kernel(const struct sim_graph_node *node, struct sim_kernel_params *params, size_t size)
{
    const struct sim_launch *launch = &node->task.work.launch;
    struct sim_kernel_params all = {
        .function = launch->function,
        .grid = {launch->grid[0], launch->grid[1], launch->grid[2]},
        .block = {launch->block[0], launch->block[1], launch->block[2]},
        .shared_bytes = launch->shared_bytes,
        .params = launch->params,
        .context = node->task.context,
    };
    memcpy(params, &all, size);
}

static struct sim_fill_params read_fill(const struct sim_graph_node *node)
{
    const struct sim_fill *fill = &node->task.work.fill;
    return (struct sim_fill_params){(CUdeviceptr)fill->destination,
                                    fill->pitch,
                                    fill->value,
                                    fill->element_bytes,
                                    fill->width,
                                    fill->height,
                                    node->task.context};
}

static struct sim_batch_params read_batch(const struct sim_graph_node *node)
{
    const struct sim_task *task = &node->task;
    return (struct sim_batch_params){task->context, task->batch.count, task->batch.op, task->batch.flags};
}

SIM_API(cuGraphKernelNodeGetParams, (CUgraphNode node, struct sim_kernel_params *params))
{
    ENTER_NODE(cuGraphKernelNodeGetParams, node, SIM_NODE_KERNEL, params);
    read_kernel(node, params, SIM_KERNEL_PARAMS_V1);
    return CUDA_SUCCESS;
}

SIM_API(cuGraphKernelNodeGetParams_v2, (CUgraphNode node, struct sim_kernel_params *params))
{
    ENTER_NODE(cuGraphKernelNodeGetParams_v2, node, SIM_NODE_KERNEL, params);
    read_kernel(node, params, sizeof(*params));
    return CUDA_SUCCESS;
}

SIM_API(cuGraphMemcpyNodeGetParams, (CUgraphNode node, CUDA_MEMCPY3D *params))
{
    ENTER_NODE(cuGraphMemcpyNodeGetParams, node, SIM_NODE_MEMCPY, params);
    *params = node->task.shape;
    return CUDA_SUCCESS;
}

SIM_API(cuGraphMemsetNodeGetParams, (CUgraphNode node, struct sim_fill_params *params))
{
    ENTER_NODE(cuGraphMemsetNodeGetParams, node, SIM_NODE_MEMSET, params);
    struct sim_fill_params all = read_fill(node);
    memcpy(params, &all, offsetof(struct sim_fill_params, context));
    return CUDA_SUCCESS;
}

SIM_API(cuGraphHostNodeGetParams, (CUgraphNode node, struct sim_host_params *params))
{
    ENTER_NODE(cuGraphHostNodeGetParams, node, SIM_NODE_HOST, params);
    *params = (struct sim_host_params){node->task.work.host.function, node->task.work.host.argument};
    return CUDA_SUCCESS;
}

SIM_API(cuGraphEventRecordNodeGetEvent, (CUgraphNode node, CUevent *event))
{
    ENTER_NODE(cuGraphEventRecordNodeGetEvent, node, SIM_NODE_EVENT_RECORD, event);
    *event = node->task.work.event.event;
    return CUDA_SUCCESS;
}

SIM_API(cuGraphEventWaitNodeGetEvent, (CUgraphNode node, CUevent *event))
{
    ENTER_NODE(cuGraphEventWaitNodeGetEvent, node, SIM_NODE_WAIT_EVENT, event);
    *event = node->task.work.event.event;
    return CUDA_SUCCESS;
}

SIM_API(cuGraphBatchMemOpNodeGetParams, (CUgraphNode node, struct sim_batch_params *params))
{
    ENTER_NODE(cuGraphBatchMemOpNodeGetParams, node, SIM_NODE_BATCH_MEM_OP, params);
    *params = read_batch(node);
    return CUDA_SUCCESS;
}

SIM_API(cuGraphChildGraphNodeGetGraph, (CUgraphNode node, CUgraph *graph))
{
    ENTER_NODE(cuGraphChildGraphNodeGetGraph, node, SIM_NODE_GRAPH, graph);
    *graph = node->inner[0];
    return CUDA_SUCCESS;
}

SIM_API(cuGraphNodeGetParams, (CUgraphNode node, struct sim_node_params *params))
{
    SIM_ENTER(cuGraphNodeGetParams);
    if (!sim_is(node, SIM_GRAPH_NODE) || !params)
        return CUDA_ERROR_INVALID_VALUE;
    struct sim_node_params all = {.type = (int)node->type};
    switch (node->type) {
    case SIM_NODE_KERNEL:
        read_kernel(node, &all.kernel, sizeof(all.kernel));
        break;
    case SIM_NODE_MEMCPY:
        all.copy.context = node->task.context;
        all.copy.copy = node->task.shape;
        break;
    case SIM_NODE_MEMSET:
        all.fill = read_fill(node);
        break;
    case SIM_NODE_HOST:
        all.host = (struct sim_host_params){node->task.work.host.function, node->task.work.host.argument};
        break;
    case SIM_NODE_GRAPH:
        all.child.graph = node->inner[0];
        all.child.moved = node->inner[0]->moved;
        break;
    case SIM_NODE_WAIT_EVENT:
    case SIM_NODE_EVENT_RECORD:
        all.event = node->task.work.event.event;
        break;
    case SIM_NODE_MEM_ALLOC:
        sim_read_alloc(node, &all.alloc);
        break;
    case SIM_NODE_MEM_FREE: {
        struct sim_alloc_params memory;
        sim_read_alloc(node, &memory);
        all.free = memory.address;
        break;
    }
    case SIM_NODE_BATCH_MEM_OP:
        all.batch = read_batch(node);
        break;
    case SIM_NODE_CONDITIONAL:
        sim_read_conditional(node, &all.condition);
        break;
    default:
        break;
    }
    *params = all;
    return CUDA_SUCCESS;
}
