/* exec_set.c -- changing single nodes of an executable graph, named by the nodes that it was made of. */
#include "exec.h"
#include "node.h"

/* The node of the executable graph that was made of that one: in the graph itself, or inside. */
static struct sim_graph_node *find_in(struct sim_graph *graph, const struct sim_graph_node *node)
{
    if (graph->original == node->graph->id)
        return sim_graph_find_copy(graph, node->id);
    for (uint32_t i = 0; i < graph->nodes.count; i++) {
        struct sim_graph_node *outer = graph->nodes.node[i], *found = NULL;
        for (uint32_t k = 0; k < outer->inner_count && !found; k++)
            found = find_in(outer->inner[k], node);
        if (found)
            return found;
    }
    return NULL;
}

static CUresult find_node(CUgraphExec exec, CUgraphNode node, struct sim_graph_node **found)
{
    if (!sim_is(exec, SIM_GRAPH_EXEC) || !sim_is(node, SIM_GRAPH_NODE))
        return CUDA_ERROR_INVALID_VALUE;
    *found = find_in(exec->graph, node);
    return *found ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult sim_exec_replace(struct sim_graph_exec *exec, struct sim_graph_node *node,
                          const struct sim_task *task)
{
    struct sim_task with = *task;
    if (node->type == SIM_NODE_KERNEL)
        with.work.launch.own_priority = (exec->flags & SIM_FLAG_NODE_PRIORITY) != 0;
    return sim_task_keep(node->type, &node->task, &with);
}

/* Attributes stay as they are. */
static CUresult change(struct sim_graph_exec *exec, struct sim_graph_node *node, struct sim_task *task)
{
    if (node->type == SIM_NODE_KERNEL)
        sim_task_take_attributes(task, &node->task);
    if (sim_exec_may_change(exec, node->type, &node->task, task) != 0)
        return CUDA_ERROR_INVALID_VALUE;
    return sim_exec_replace(exec, node, task);
}

#define EXEC_SET(name, kind, params, make)                                                                   \
    SIM_API(name, params)                                                                                    \
    {                                                                                                        \
        SIM_ENTER(name);                                                                                     \
        struct sim_task task;                                                                                \
        struct sim_graph_node *own;                                                                          \
        SIM_TRY(find_node(exec, node, &own));                                                                \
        if (own->type != (kind))                                                                             \
            return CUDA_ERROR_INVALID_VALUE;                                                                 \
        SIM_TRY(make);                                                                                       \
        return change(exec, own, &task);                                                                     \
    }

#define TARGET CUgraphExec exec, CUgraphNode node

EXEC_SET(cuGraphExecKernelNodeSetParams, SIM_NODE_KERNEL, (TARGET, const struct sim_kernel_params *params),
         sim_task_of_kernel(params, SIM_KERNEL_PARAMS_V1, &task))
EXEC_SET(cuGraphExecKernelNodeSetParams_v2, SIM_NODE_KERNEL, (TARGET, const struct sim_kernel_params *params),
         sim_task_of_kernel(params, sizeof(*params), &task))
EXEC_SET(cuGraphExecMemcpyNodeSetParams, SIM_NODE_MEMCPY,
         (TARGET, const CUDA_MEMCPY3D *params, CUcontext context), sim_task_of_copy(params, context, &task))
EXEC_SET(cuGraphExecMemsetNodeSetParams, SIM_NODE_MEMSET,
         (TARGET, const struct sim_fill_params *params, CUcontext context),
         sim_task_of_fill(params, context, &task))
EXEC_SET(cuGraphExecHostNodeSetParams, SIM_NODE_HOST, (TARGET, const struct sim_host_params *params),
         sim_task_of_host(params, &task))
EXEC_SET(cuGraphExecEventRecordNodeSetEvent, SIM_NODE_EVENT_RECORD, (TARGET, CUevent event),
         sim_task_of_event(event, true, &task))
EXEC_SET(cuGraphExecEventWaitNodeSetEvent, SIM_NODE_WAIT_EVENT, (TARGET, CUevent event),
         sim_task_of_event(event, false, &task))
EXEC_SET(cuGraphExecBatchMemOpNodeSetParams, SIM_NODE_BATCH_MEM_OP,
         (TARGET, const struct sim_batch_params *params), sim_task_of_batch(params, &task))

SIM_API(cuGraphExecChildGraphNodeSetParams, (TARGET, CUgraph child))
{
    SIM_ENTER(cuGraphExecChildGraphNodeSetParams);
    struct sim_graph_node *own;
    SIM_TRY(find_node(exec, node, &own));
    if (own->type != SIM_NODE_GRAPH || !sim_is(child, SIM_GRAPH))
        return CUDA_ERROR_INVALID_VALUE;
    return sim_exec_update(exec, own->inner[0], child, &(struct sim_update){0}) == CUDA_SUCCESS
               ? CUDA_SUCCESS
               : CUDA_ERROR_INVALID_VALUE;
}

SIM_API(cuGraphExecNodeSetParams, (TARGET, const struct sim_node_params *params))
{
    SIM_ENTER(cuGraphExecNodeSetParams);
    struct sim_task task;
    struct sim_graph_node *own;
    SIM_TRY(find_node(exec, node, &own));
    if (!params || params->type != (int)own->type)
        return CUDA_ERROR_INVALID_VALUE;
    if (own->type == SIM_NODE_GRAPH)
        return cuGraphExecChildGraphNodeSetParams(exec, node, params->child.graph);
    SIM_TRY(sim_task_of_node(params, &task));
    return change(exec, own, &task);
}

SIM_API(cuGraphNodeSetEnabled, (TARGET, unsigned enabled))
{
    SIM_ENTER(cuGraphNodeSetEnabled);
    struct sim_graph_node *own;
    SIM_TRY(find_node(exec, node, &own));
    if (own->type > SIM_NODE_MEMSET)
        return CUDA_ERROR_INVALID_VALUE;
    own->disabled = !enabled;
    return CUDA_SUCCESS;
}

SIM_API(cuGraphNodeGetEnabled, (TARGET, unsigned *enabled))
{
    SIM_ENTER(cuGraphNodeGetEnabled);
    struct sim_graph_node *own;
    SIM_TRY(find_node(exec, node, &own));
    if (!enabled || own->type > SIM_NODE_MEMSET)
        return CUDA_ERROR_INVALID_VALUE;
    *enabled = !own->disabled;
    return CUDA_SUCCESS;
}
