/* node.c -- adding nodes to a graph, and changing what they do. */
#include "module.h"
#include "node.h"

#include <stdlib.h>

CUresult sim_add_task(SIM_PLACE, enum sim_node_type type, const struct sim_task *task)
{
    struct sim_graph_node *made;
    if (!node || !sim_is(graph, SIM_GRAPH))
        return CUDA_ERROR_INVALID_VALUE;
    SIM_TRY(sim_graph_add(graph, type, before, data, count, &made));
    CUresult result = sim_task_keep(type, &made->task, task);
    if (result)
        sim_graph_remove(made);
    else
        *node = made;
    return result;
}

/* Graphs with memory nodes must be moved, not copied; those with conditional ones cannot be children at all. */
static CUresult check_child(CUgraph graph, CUgraph child, bool moved)
{
    if (!sim_is(child, SIM_GRAPH))
        return CUDA_ERROR_INVALID_VALUE;
    if (sim_graph_holds(child, SIM_NODE_BIT(SIM_NODE_CONDITIONAL)) ||
        (!moved && sim_graph_holds(child, SIM_MEMORY_NODES)))
        return CUDA_ERROR_NOT_SUPPORTED;
    for (const struct sim_graph *g = graph; moved && g; g = g->parent ? g->parent->graph : NULL)
        if (g == child)
            return CUDA_ERROR_INVALID_VALUE; /* it would be inside itself */
    return moved && (child->parent || child->captures || sim_graph_has_executables(child))
               ? CUDA_ERROR_INVALID_VALUE
               : CUDA_SUCCESS;
}

CUresult sim_add_child(SIM_PLACE, CUgraph child, bool moved)
{
    struct sim_graph_node *made;
    struct sim_graph *inner = child;
    if (!node || !sim_is(graph, SIM_GRAPH))
        return CUDA_ERROR_INVALID_VALUE;
    SIM_TRY(check_child(graph, child, moved));
    if (!moved)
        SIM_TRY(sim_graph_copy(child, &inner)); /* before it has the node, should it be the graph itself */
    CUresult result = sim_graph_add(graph, SIM_NODE_GRAPH, before, data, count, &made);
    if (!result && !(made->inner = calloc(1, sizeof(*made->inner)))) {
        sim_graph_remove(made);
        result = CUDA_ERROR_OUT_OF_MEMORY;
    }
    if (result) {
        if (!moved)
            sim_graph_free(inner);
        return result;
    }
    inner->parent = made;
    inner->moved = moved;
    made->inner[0] = inner;
    made->inner_count = 1;
    *node = made;
    return CUDA_SUCCESS;
}

#define BEFORE CUgraphNode *node, CUgraph graph, const CUgraphNode *before, size_t count

#define ADD(name, params, type, make)                                                                        \
    SIM_API(name, params)                                                                                    \
    {                                                                                                        \
        SIM_ENTER(name);                                                                                     \
        struct sim_task task = {.work = {.kind = SIM_WORK_EMPTY}};                                           \
        SIM_TRY(make);                                                                                       \
        return sim_add_task(node, graph, before, NULL, count, type, &task);                                  \
    }

ADD(cuGraphAddKernelNode, (BEFORE, const struct sim_kernel_params *params), SIM_NODE_KERNEL,
    sim_task_of_kernel(params, SIM_KERNEL_PARAMS_V1, &task))
ADD(cuGraphAddKernelNode_v2, (BEFORE, const struct sim_kernel_params *params), SIM_NODE_KERNEL,
    sim_task_of_kernel(params, sizeof(*params), &task))
ADD(cuGraphAddMemcpyNode, (BEFORE, const CUDA_MEMCPY3D *params, CUcontext context), SIM_NODE_MEMCPY,
    sim_task_of_copy(params, context, &task))
ADD(cuGraphAddMemsetNode, (BEFORE, const struct sim_fill_params *params, CUcontext context), SIM_NODE_MEMSET,
    sim_task_of_fill(params, context, &task))
ADD(cuGraphAddHostNode, (BEFORE, const struct sim_host_params *params), SIM_NODE_HOST,
    sim_task_of_host(params, &task))
ADD(cuGraphAddEventRecordNode, (BEFORE, CUevent event), SIM_NODE_EVENT_RECORD,
    sim_task_of_event(event, true, &task))
ADD(cuGraphAddEventWaitNode, (BEFORE, CUevent event), SIM_NODE_WAIT_EVENT,
    sim_task_of_event(event, false, &task))
ADD(cuGraphAddBatchMemOpNode, (BEFORE, const struct sim_batch_params *params), SIM_NODE_BATCH_MEM_OP,
    sim_task_of_batch(params, &task))
ADD(cuGraphAddEmptyNode, (BEFORE), SIM_NODE_EMPTY, CUDA_SUCCESS)

SIM_API(cuGraphAddChildGraphNode, (BEFORE, CUgraph child))
{
    SIM_ENTER(cuGraphAddChildGraphNode);
    return sim_add_child(node, graph, before, NULL, count, child, false);
}

static CUresult add_any(SIM_PLACE, struct sim_node_params *params)
{
    struct sim_task task;
    if (!params)
        return CUDA_ERROR_INVALID_VALUE;
    switch (params->type) {
    case SIM_NODE_GRAPH:
        if (params->child.moved & ~1)
            return CUDA_ERROR_INVALID_VALUE;
        return sim_add_child(node, graph, before, data, count, params->child.graph, params->child.moved);
    case SIM_NODE_MEM_ALLOC:
        return sim_add_alloc_params(node, graph, before, data, count, &params->alloc);
    case SIM_NODE_MEM_FREE:
        return sim_add_free(node, graph, before, data, count, params->free);
    case SIM_NODE_CONDITIONAL:
        return sim_add_conditional(node, graph, before, data, count, &params->condition);
    default:
        SIM_TRY(sim_task_of_node(params, &task));
        return sim_add_task(node, graph, before, data, count, (enum sim_node_type)params->type, &task);
    }
}

SIM_API(cuGraphAddNode, (BEFORE, struct sim_node_params *params))
{
    SIM_ENTER(cuGraphAddNode);
    return add_any(node, graph, before, NULL, count, params);
}

SIM_API(cuGraphAddNode_v2, (SIM_PLACE, struct sim_node_params *params))
{
    SIM_ENTER(cuGraphAddNode_v2);
    return add_any(node, graph, before, data, count, params);
}

/* CUDA 13.4's form refuses a kernel's context that is not that of its function. */
static CUresult check_context(const struct sim_node_params *params)
{
    if (!params || params->type != SIM_NODE_KERNEL || !params->kernel.context ||
        !sim_is(params->kernel.function, SIM_FUNCTION))
        return CUDA_SUCCESS;
    return params->kernel.function->module->context == params->kernel.context ? CUDA_SUCCESS
                                                                              : CUDA_ERROR_INVALID_CONTEXT;
}

SIM_API(cuGraphAddNode_v3, (SIM_PLACE, struct sim_node_params *params))
{
    SIM_ENTER(cuGraphAddNode_v3);
    SIM_TRY(check_context(params));
    return add_any(node, graph, before, data, count, params);
}

/* -------- changing -------- */

/* Attributes stay as they are. */
static CUresult change(struct sim_graph_node *node, struct sim_task *task)
{
    if (node->type == SIM_NODE_KERNEL)
        sim_task_take_attributes(task, &node->task);
    return sim_task_keep(node->type, &node->task, task);
}

#define SET(name, kind, params, make)                                                                        \
    SIM_API(name, params)                                                                                    \
    {                                                                                                        \
        SIM_ENTER(name);                                                                                     \
        struct sim_task task;                                                                                \
        if (!sim_is_node(node, kind))                                                                        \
            return CUDA_ERROR_INVALID_VALUE;                                                                 \
        SIM_TRY(make);                                                                                       \
        return change(node, &task);                                                                          \
    }

SET(cuGraphKernelNodeSetParams, SIM_NODE_KERNEL, (CUgraphNode node, const struct sim_kernel_params *params),
    sim_task_of_kernel(params, SIM_KERNEL_PARAMS_V1, &task))
SET(cuGraphKernelNodeSetParams_v2, SIM_NODE_KERNEL,
    (CUgraphNode node, const struct sim_kernel_params *params),
    sim_task_of_kernel(params, sizeof(*params), &task))
SET(cuGraphMemcpyNodeSetParams, SIM_NODE_MEMCPY, (CUgraphNode node, const CUDA_MEMCPY3D *params),
    sim_task_of_copy(params, node->task.context, &task))
SET(cuGraphMemsetNodeSetParams, SIM_NODE_MEMSET, (CUgraphNode node, const struct sim_fill_params *params),
    sim_task_of_fill(params, node->task.context, &task))
SET(cuGraphHostNodeSetParams, SIM_NODE_HOST, (CUgraphNode node, const struct sim_host_params *params),
    sim_task_of_host(params, &task))
SET(cuGraphEventRecordNodeSetEvent, SIM_NODE_EVENT_RECORD, (CUgraphNode node, CUevent event),
    sim_task_of_event(event, true, &task))
SET(cuGraphEventWaitNodeSetEvent, SIM_NODE_WAIT_EVENT, (CUgraphNode node, CUevent event),
    sim_task_of_event(event, false, &task))
SET(cuGraphBatchMemOpNodeSetParams, SIM_NODE_BATCH_MEM_OP,
    (CUgraphNode node, const struct sim_batch_params *params), sim_task_of_batch(params, &task))

static CUresult set_any(CUgraphNode node, const struct sim_node_params *params)
{
    struct sim_task task;
    if (!params || !sim_is(node, SIM_GRAPH_NODE) || (int)node->type != params->type)
        return CUDA_ERROR_INVALID_VALUE;
    if (node->type == SIM_NODE_GRAPH)
        return CUDA_ERROR_NOT_SUPPORTED; /* its graph is changed through its handle */
    SIM_TRY(sim_task_of_node(params, &task));
    return change(node, &task);
}

SIM_API(cuGraphNodeSetParams, (CUgraphNode node, const struct sim_node_params *params))
{
    SIM_ENTER(cuGraphNodeSetParams);
    return set_any(node, params);
}

SIM_API(cuGraphNodeSetParams_v2, (CUgraphNode node, const struct sim_node_params *params))
{
    SIM_ENTER(cuGraphNodeSetParams_v2);
    SIM_TRY(check_context(params));
    return set_any(node, params);
}

/* -------- attributes of kernel nodes -------- */

SIM_API(cuGraphKernelNodeSetAttribute,
        (CUgraphNode node, CUlaunchAttributeID id, const CUlaunchAttributeValue *value))
{
    SIM_ENTER(cuGraphKernelNodeSetAttribute);
    if (!sim_is_node(node, SIM_NODE_KERNEL))
        return CUDA_ERROR_INVALID_HANDLE;
    return value ? sim_task_set_attribute(&node->task, id, value) : CUDA_ERROR_INVALID_VALUE;
}

SIM_API(cuGraphKernelNodeGetAttribute,
        (CUgraphNode node, CUlaunchAttributeID id, CUlaunchAttributeValue *value))
{
    SIM_ENTER(cuGraphKernelNodeGetAttribute);
    if (!sim_is_node(node, SIM_NODE_KERNEL))
        return CUDA_ERROR_INVALID_HANDLE;
    return value ? sim_task_get_attribute(&node->task, id, value) : CUDA_ERROR_INVALID_VALUE;
}

SIM_API(cuGraphKernelNodeCopyAttributes, (CUgraphNode to, CUgraphNode from))
{
    SIM_ENTER(cuGraphKernelNodeCopyAttributes);
    if (!sim_is_node(to, SIM_NODE_KERNEL) || !sim_is_node(from, SIM_NODE_KERNEL) ||
        to->task.context != from->task.context)
        return CUDA_ERROR_INVALID_VALUE;
    struct sim_task task = to->task;
    sim_task_take_attributes(&task, &from->task);
    return sim_task_keep(SIM_NODE_KERNEL, &to->task, &task);
}
