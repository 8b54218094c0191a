/* graph_edges.c -- the order between a graph's nodes, in the spellings with and without edge data. */
#include "graph.h"

#include <stdlib.h>
#include <string.h>

/* Edges of our graphs are plain ones: any port or type but 0 is refused. */
static bool plain(const struct sim_graph_edge_data *data, size_t count)
{
    for (size_t i = 0; data && i < count; i++)
        if (data[i].from_port || data[i].to_port || data[i].type)
            return false;
    return true;
}

static CUresult get_edges(CUgraph graph, CUgraphNode *from, CUgraphNode *to, struct sim_graph_edge_data *data,
                          size_t *count)
{
    if (!sim_is(graph, SIM_GRAPH) || !count || !from != !to)
        return CUDA_ERROR_INVALID_VALUE;
    size_t found = 0;
    for (uint32_t i = 0; i < graph->nodes.count; i++) {
        struct sim_graph_node *node = graph->nodes.node[i];
        for (uint32_t k = 0; k < node->before.count; k++, found++)
            if (from && found < *count) {
                from[found] = node->before.node[k];
                to[found] = node;
            }
    }
    if (from && found > *count)
        return CUDA_ERROR_INVALID_VALUE;
    if (data)
        memset(data, 0, found * sizeof(*data));
    *count = found;
    return CUDA_SUCCESS;
}

SIM_API(cuGraphGetEdges, (CUgraph graph, CUgraphNode *from, CUgraphNode *to, size_t *count))
{
    SIM_ENTER(cuGraphGetEdges);
    return get_edges(graph, from, to, NULL, count);
}

SIM_API(cuGraphGetEdges_v2,
        (CUgraph graph, CUgraphNode *from, CUgraphNode *to, struct sim_graph_edge_data *data, size_t *count))
{
    SIM_ENTER(cuGraphGetEdges_v2);
    return get_edges(graph, from, to, data, count);
}

static CUresult neighbours(CUgraphNode node, bool after, CUgraphNode *to, struct sim_graph_edge_data *data,
                           size_t *count)
{
    if (!sim_is(node, SIM_GRAPH_NODE) || !count)
        return CUDA_ERROR_INVALID_VALUE;
    size_t found = 0;
    const struct sim_node_list *candidates = after ? &node->graph->nodes : &node->before;
    for (uint32_t i = 0; i < candidates->count; i++) {
        if (after && !sim_node_list_has(&candidates->node[i]->before, node))
            continue;
        if (to && found < *count)
            to[found] = candidates->node[i];
        found++;
    }
    for (size_t i = found; to && i < *count; i++)
        to[i] = NULL;
    if (to && data)
        memset(data, 0, (found < *count ? found : *count) * sizeof(*data));
    if (!to || found < *count)
        *count = found;
    return CUDA_SUCCESS;
}

SIM_API(cuGraphNodeGetDependencies, (CUgraphNode node, CUgraphNode *to, size_t *count))
{
    SIM_ENTER(cuGraphNodeGetDependencies);
    return neighbours(node, false, to, NULL, count);
}

SIM_API(cuGraphNodeGetDependencies_v2,
        (CUgraphNode node, CUgraphNode *to, struct sim_graph_edge_data *data, size_t *count))
{
    SIM_ENTER(cuGraphNodeGetDependencies_v2);
    return neighbours(node, false, to, data, count);
}

SIM_API(cuGraphNodeGetDependentNodes, (CUgraphNode node, CUgraphNode *to, size_t *count))
{
    SIM_ENTER(cuGraphNodeGetDependentNodes);
    return neighbours(node, true, to, NULL, count);
}

SIM_API(cuGraphNodeGetDependentNodes_v2,
        (CUgraphNode node, CUgraphNode *to, struct sim_graph_edge_data *data, size_t *count))
{
    SIM_ENTER(cuGraphNodeGetDependentNodes_v2);
    return neighbours(node, true, to, data, count);
}

/* Is there a way from `node` back to `target`? */
static bool reaches(struct sim_graph_node *node, const struct sim_graph_node *target, uint64_t walk)
{
    if (node == target)
        return true;
    if (node->mark == walk)
        return false;
    node->mark = walk;
    for (uint32_t i = 0; i < node->before.count; i++)
        if (reaches(node->before.node[i], target, walk))
            return true;
    return false;
}

static CUresult change_edges(CUgraph graph, const CUgraphNode *from, const CUgraphNode *to,
                             const struct sim_graph_edge_data *data, size_t count, bool add)
{
    if (!sim_is(graph, SIM_GRAPH) || (count && (!from || !to)) || !plain(data, count))
        return CUDA_ERROR_INVALID_VALUE;
    for (size_t i = 0; i < count; i++) {
        if (!sim_is(from[i], SIM_GRAPH_NODE) || !sim_is(to[i], SIM_GRAPH_NODE) || from[i]->graph != graph ||
            to[i]->graph != graph || sim_node_list_has(&to[i]->before, from[i]) == add)
            return CUDA_ERROR_INVALID_VALUE;
        if (add && reaches(from[i], to[i], sim_graph_walk()))
            return CUDA_ERROR_INVALID_VALUE; /* a circle */
    }
    for (size_t i = 0; i < count; i++)
        if (add)
            SIM_TRY(sim_node_list_add(&to[i]->before, from[i]));
        else
            sim_node_list_remove(&to[i]->before, from[i]);
    return CUDA_SUCCESS;
}

SIM_API(cuGraphAddDependencies, (CUgraph graph, const CUgraphNode *from, const CUgraphNode *to, size_t count))
{
    SIM_ENTER(cuGraphAddDependencies);
    return change_edges(graph, from, to, NULL, count, true);
}

SIM_API(cuGraphAddDependencies_v2, (CUgraph graph, const CUgraphNode *from, const CUgraphNode *to,
                                    const struct sim_graph_edge_data *data, size_t count))
{
    SIM_ENTER(cuGraphAddDependencies_v2);
    return change_edges(graph, from, to, data, count, true);
}

SIM_API(cuGraphRemoveDependencies,
        (CUgraph graph, const CUgraphNode *from, const CUgraphNode *to, size_t count))
{
    SIM_ENTER(cuGraphRemoveDependencies);
    return change_edges(graph, from, to, NULL, count, false);
}

SIM_API(cuGraphRemoveDependencies_v2, (CUgraph graph, const CUgraphNode *from, const CUgraphNode *to,
                                       const struct sim_graph_edge_data *data, size_t count))
{
    SIM_ENTER(cuGraphRemoveDependencies_v2);
    return change_edges(graph, from, to, data, count, false);
}
