/* graph_api.c -- the calls about whole graphs, and the questions about their nodes. */
#include "task.h"

#include <stdlib.h>

SIM_API(cuGraphCreate, (CUgraph * graph, unsigned flags))
{
    SIM_ENTER(cuGraphCreate);
    if (!graph || flags)
        return CUDA_ERROR_INVALID_VALUE;
    return sim_graph_new(graph);
}

/* Neither what belongs to a node nor what a stream is being captured into. */
SIM_API(cuGraphDestroy, (CUgraph graph))
{
    SIM_ENTER(cuGraphDestroy);
    if (!sim_is(graph, SIM_GRAPH) || graph->parent || graph->captures)
        return CUDA_ERROR_INVALID_VALUE;
    sim_graph_free(graph);
    return CUDA_SUCCESS;
}

SIM_API(cuGraphDestroyNode, (CUgraphNode node))
{
    SIM_ENTER(cuGraphDestroyNode);
    if (!sim_is(node, SIM_GRAPH_NODE) || node->graph->captures)
        return CUDA_ERROR_INVALID_VALUE;
    if (node->graph->memory_nodes)
        return CUDA_ERROR_NOT_SUPPORTED;
    sim_graph_remove(node);
    return CUDA_SUCCESS;
}

SIM_API(cuGraphClone, (CUgraph * clone, CUgraph graph))
{
    SIM_ENTER(cuGraphClone);
    if (!clone || !sim_is(graph, SIM_GRAPH))
        return CUDA_ERROR_INVALID_VALUE;
    if (sim_graph_holds(graph, SIM_MEMORY_NODES | SIM_NODE_BIT(SIM_NODE_CONDITIONAL)))
        return CUDA_ERROR_NOT_SUPPORTED;
    return sim_graph_copy(graph, clone);
}

SIM_API(cuGraphNodeFindInClone, (CUgraphNode * node, CUgraphNode original, CUgraph clone))
{
    SIM_ENTER(cuGraphNodeFindInClone);
    if (!node || !sim_is(original, SIM_GRAPH_NODE) || !sim_is(clone, SIM_GRAPH))
        return CUDA_ERROR_INVALID_VALUE;
    *node = sim_graph_find_copy(clone, original->id);
    return *node ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

SIM_API(cuGraphNodeGetType, (CUgraphNode node, int *type))
{
    SIM_ENTER(cuGraphNodeGetType);
    if (!type || !sim_is(node, SIM_GRAPH_NODE))
        return CUDA_ERROR_INVALID_VALUE;
    *type = (int)node->type;
    return CUDA_SUCCESS;
}

SIM_API(cuGraphNodeGetContainingGraph, (CUgraphNode node, CUgraph *graph))
{
    SIM_ENTER(cuGraphNodeGetContainingGraph);
    if (!graph || !sim_is(node, SIM_GRAPH_NODE))
        return CUDA_ERROR_INVALID_VALUE;
    *graph = node->graph;
    return CUDA_SUCCESS;
}

SIM_API(cuGraphNodeGetLocalId, (CUgraphNode node, unsigned *id))
{
    SIM_ENTER(cuGraphNodeGetLocalId);
    if (!id || !sim_is(node, SIM_GRAPH_NODE))
        return CUDA_ERROR_INVALID_VALUE;
    *id = node->local_id;
    return CUDA_SUCCESS;
}

SIM_API(cuGraphNodeGetToolsId, (CUgraphNode node, unsigned long long *id))
{
    SIM_ENTER(cuGraphNodeGetToolsId);
    if (!id || !sim_is(node, SIM_GRAPH_NODE))
        return CUDA_ERROR_INVALID_VALUE;
    *id = node->id;
    return CUDA_SUCCESS;
}

SIM_API(cuGraphGetId, (CUgraph graph, unsigned *id))
{
    SIM_ENTER(cuGraphGetId);
    if (!id || !sim_is(graph, SIM_GRAPH))
        return CUDA_ERROR_INVALID_VALUE;
    *id = graph->id;
    return CUDA_SUCCESS;
}

/* The usual pair of an array and its length: without an array, how many there are; else as many as fit, and
 * NULL after the last. */
static CUresult give(const struct sim_node_list *list, CUgraphNode *to, size_t *count)
{
    if (!count)
        return CUDA_ERROR_INVALID_VALUE;
    for (size_t i = 0; to && i < *count; i++)
        to[i] = i < list->count ? list->node[i] : NULL;
    if (!to || *count > list->count)
        *count = list->count;
    return CUDA_SUCCESS;
}

SIM_API(cuGraphGetNodes, (CUgraph graph, CUgraphNode *nodes, size_t *count))
{
    SIM_ENTER(cuGraphGetNodes);
    return sim_is(graph, SIM_GRAPH) ? give(&graph->nodes, nodes, count) : CUDA_ERROR_INVALID_VALUE;
}

SIM_API(cuGraphGetRootNodes, (CUgraph graph, CUgraphNode *nodes, size_t *count))
{
    SIM_ENTER(cuGraphGetRootNodes);
    struct sim_node_list roots = {0};
    CUresult result = sim_is(graph, SIM_GRAPH) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
    for (uint32_t i = 0; result == CUDA_SUCCESS && i < graph->nodes.count; i++)
        if (!graph->nodes.node[i]->before.count)
            result = sim_node_list_add(&roots, graph->nodes.node[i], NULL);
    if (result == CUDA_SUCCESS)
        result = give(&roots, nodes, count);
    sim_node_list_free(&roots);
    return result;
}
