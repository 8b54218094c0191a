/* node.c -- adding nodes to a graph, and reading and changing their parameters. */
#include "node.h"

#include <string.h>

#define PLACE CUgraphNode *node, CUgraph graph, const CUgraphNode *before, size_t count

static CUresult add(PLACE, struct sim_context *ctx, const struct sim_work *work)
{
    struct sim_graph_node *made;
    if (!node || !sim_is(graph, SIM_GRAPH))
        return CUDA_ERROR_INVALID_VALUE;
    SIM_TRY(sim_graph_add(graph, sim_node_type_of(work), before, count, &made));
    CUresult result = sim_node_set_work(made, ctx, work);
    if (result)
        sim_graph_remove(made);
    else
        *node = made;
    return result;
}

static CUresult add_child(PLACE, CUgraph child)
{
    struct sim_graph_node *made;
    struct sim_graph *copy;
    if (!node || !sim_is(graph, SIM_GRAPH) || !sim_is(child, SIM_GRAPH))
        return CUDA_ERROR_INVALID_VALUE;
    SIM_TRY(sim_graph_copy(child, &copy));
    CUresult result = sim_graph_add(graph, SIM_NODE_GRAPH, before, count, &made);
    if (result) {
        sim_graph_free(copy);
        return result;
    }
    copy->owned = true;
    made->child = copy;
    *node = made;
    return CUDA_SUCCESS;
}

#define ADD(name, params, make)                                                                              \
    SIM_API(name, params)                                                                                    \
    {                                                                                                        \
        SIM_ENTER(name);                                                                                     \
        struct sim_context *ctx = NULL;                                                                      \
        struct sim_work work = {.kind = SIM_WORK_EMPTY};                                                     \
        SIM_TRY(make);                                                                                       \
        return add(node, graph, before, count, ctx, &work);                                                  \
    }

ADD(cuGraphAddKernelNode, (PLACE, const struct sim_kernel_params *params),
    sim_work_of_kernel(params, SIM_KERNEL_PARAMS_V1, &ctx, &work))
ADD(cuGraphAddKernelNode_v2, (PLACE, const struct sim_kernel_params *params),
    sim_work_of_kernel(params, sizeof(*params), &ctx, &work))
ADD(cuGraphAddMemcpyNode, (PLACE, const CUDA_MEMCPY3D *params, CUcontext context),
    sim_work_of_copy(params, context, &ctx, &work))
ADD(cuGraphAddMemsetNode, (PLACE, const struct sim_fill_params *params, CUcontext context),
    sim_work_of_fill(params, context, &ctx, &work))
ADD(cuGraphAddHostNode, (PLACE, const struct sim_host_params *params), sim_work_of_host(params, &work))
ADD(cuGraphAddEventRecordNode, (PLACE, CUevent event), sim_work_of_event(event, true, &ctx, &work))
ADD(cuGraphAddEventWaitNode, (PLACE, CUevent event), sim_work_of_event(event, false, &ctx, &work))
ADD(cuGraphAddEmptyNode, (PLACE), CUDA_SUCCESS)

SIM_API(cuGraphAddChildGraphNode, (PLACE, CUgraph child))
{
    SIM_ENTER(cuGraphAddChildGraphNode);
    return add_child(node, graph, before, count, child);
}

static CUresult add_any(PLACE, const struct sim_node_params *params)
{
    struct sim_context *ctx;
    struct sim_work work;
    if (!params)
        return CUDA_ERROR_INVALID_VALUE;
    if (params->type == SIM_NODE_GRAPH)
        return add_child(node, graph, before, count, params->child.graph);
    SIM_TRY(sim_work_of_node(params, &ctx, &work));
    return add(node, graph, before, count, ctx, &work);
}

SIM_API(cuGraphAddNode, (PLACE, struct sim_node_params *params))
{
    SIM_ENTER(cuGraphAddNode);
    return add_any(node, graph, before, count, params);
}

SIM_API(cuGraphAddNode_v2,
        (CUgraphNode * node, CUgraph graph, const CUgraphNode *before, const struct sim_graph_edge_data *data,
         size_t count, struct sim_node_params *params))
{
    SIM_ENTER(cuGraphAddNode_v2);
    for (size_t i = 0; data && i < count; i++)
        if (data[i].from_port || data[i].to_port || data[i].type)
            return CUDA_ERROR_INVALID_VALUE;
    return add_any(node, graph, before, count, params);
}

/* -------- reading -------- */

#define ENTER_NODE(name, node, kind, params)                                                                 \
    SIM_ENTER(name);                                                                                         \
    if (!sim_is(node, SIM_GRAPH_NODE) || (node)->type != (kind) || !(params))                                \
    return CUDA_ERROR_INVALID_VALUE

static void read_kernel(CUgraphNode node, struct sim_kernel_params *params, size_t size)
{
    const struct sim_launch *launch = &node->work.launch;
    struct sim_kernel_params all = {
        .function = launch->function,
        .grid = {launch->grid[0], launch->grid[1], launch->grid[2]},
        .block = {launch->block[0], launch->block[1], launch->block[2]},
        .shared_bytes = launch->shared_bytes,
        .params = launch->params,
        .context = node->context,
    };
    memcpy(params, &all, size);
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
    const struct sim_copy *copy = &node->work.copy;
    *params = (CUDA_MEMCPY3D){
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
    return CUDA_SUCCESS;
}

SIM_API(cuGraphMemsetNodeGetParams, (CUgraphNode node, struct sim_fill_params *params))
{
    ENTER_NODE(cuGraphMemsetNodeGetParams, node, SIM_NODE_MEMSET, params);
    const struct sim_fill *fill = &node->work.fill;
    struct sim_fill_params all = {(CUdeviceptr)fill->destination,
                                  fill->pitch,
                                  fill->value,
                                  fill->element_bytes,
                                  fill->width,
                                  fill->height,
                                  NULL};
    memcpy(params, &all, offsetof(struct sim_fill_params, context));
    return CUDA_SUCCESS;
}

SIM_API(cuGraphHostNodeGetParams, (CUgraphNode node, struct sim_host_params *params))
{
    ENTER_NODE(cuGraphHostNodeGetParams, node, SIM_NODE_HOST, params);
    *params = (struct sim_host_params){node->work.host.function, node->work.host.argument};
    return CUDA_SUCCESS;
}

SIM_API(cuGraphEventRecordNodeGetEvent, (CUgraphNode node, CUevent *event))
{
    ENTER_NODE(cuGraphEventRecordNodeGetEvent, node, SIM_NODE_EVENT_RECORD, event);
    *event = node->work.event.event;
    return CUDA_SUCCESS;
}

SIM_API(cuGraphEventWaitNodeGetEvent, (CUgraphNode node, CUevent *event))
{
    ENTER_NODE(cuGraphEventWaitNodeGetEvent, node, SIM_NODE_WAIT_EVENT, event);
    *event = node->work.event.event;
    return CUDA_SUCCESS;
}

SIM_API(cuGraphChildGraphNodeGetGraph, (CUgraphNode node, CUgraph *graph))
{
    ENTER_NODE(cuGraphChildGraphNodeGetGraph, node, SIM_NODE_GRAPH, graph);
    *graph = node->child;
    return CUDA_SUCCESS;
}

/* -------- changing -------- */

#define SET(name, kind, params, make)                                                                        \
    SIM_API(name, params)                                                                                    \
    {                                                                                                        \
        ENTER_NODE(name, node, kind, true);                                                                  \
        struct sim_context *ctx = NULL;                                                                      \
        struct sim_work work;                                                                                \
        SIM_TRY(make);                                                                                       \
        return sim_node_set_work(node, ctx, &work);                                                          \
    }

SET(cuGraphKernelNodeSetParams, SIM_NODE_KERNEL, (CUgraphNode node, const struct sim_kernel_params *params),
    sim_work_of_kernel(params, SIM_KERNEL_PARAMS_V1, &ctx, &work))
SET(cuGraphKernelNodeSetParams_v2, SIM_NODE_KERNEL,
    (CUgraphNode node, const struct sim_kernel_params *params),
    sim_work_of_kernel(params, sizeof(*params), &ctx, &work))
SET(cuGraphMemcpyNodeSetParams, SIM_NODE_MEMCPY, (CUgraphNode node, const CUDA_MEMCPY3D *params),
    sim_work_of_copy(params, node->context, &ctx, &work))
SET(cuGraphMemsetNodeSetParams, SIM_NODE_MEMSET, (CUgraphNode node, const struct sim_fill_params *params),
    sim_work_of_fill(params, node->context, &ctx, &work))
SET(cuGraphHostNodeSetParams, SIM_NODE_HOST, (CUgraphNode node, const struct sim_host_params *params),
    sim_work_of_host(params, &work))
SET(cuGraphEventRecordNodeSetEvent, SIM_NODE_EVENT_RECORD, (CUgraphNode node, CUevent event),
    sim_work_of_event(event, true, &ctx, &work))
SET(cuGraphEventWaitNodeSetEvent, SIM_NODE_WAIT_EVENT, (CUgraphNode node, CUevent event),
    sim_work_of_event(event, false, &ctx, &work))

SIM_API(cuGraphNodeSetParams, (CUgraphNode node, const struct sim_node_params *params))
{
    SIM_ENTER(cuGraphNodeSetParams);
    struct sim_context *ctx;
    struct sim_work work;
    if (!params || !sim_is(node, SIM_GRAPH_NODE) || (int)node->type != params->type)
        return CUDA_ERROR_INVALID_VALUE;
    SIM_TRY(sim_work_of_node(params, &ctx, &work));
    return sim_node_set_work(node, ctx, &work);
}
