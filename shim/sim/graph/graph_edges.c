/* graph_edges.c -- the order between a graph's nodes, in the spellings with and without edge data.
 *
 * A programmatic edge is kept and shown, and orders like any other: the driver promises no overlap either. */
#include "graph.h"

#include <stdlib.h>
#include <string.h>

#define PORT_PROGRAMMATIC 1
#define PORT_LAUNCH_ORDER 2
#define TYPE_PROGRAMMATIC 1

static bool is_plain(const struct sim_graph_edge_data *data)
{
    return !data->from_port && !data->to_port && !data->type;
}

bool sim_edge_valid(const struct sim_graph_node *from, const struct sim_graph_edge_data *data)
{
    static const unsigned char zero[sizeof(data->reserved)];
    if (data->to_port || memcmp(data->reserved, zero, sizeof(zero)) != 0)
        return false;
    if (is_plain(data))
        return true;
    if (from->type != SIM_NODE_KERNEL || data->from_port > PORT_LAUNCH_ORDER ||
        data->type > TYPE_PROGRAMMATIC)
        return false;
    return data->type == TYPE_PROGRAMMATIC ? data->from_port != 0 : data->from_port != PORT_PROGRAMMATIC;
}

bool sim_edges_plain(const struct sim_node_list *list)
{
    for (uint32_t i = 0; i < list->count; i++)
        if (!is_plain(&list->data[i]))
            return false;
    return true;
}

static CUresult get_edges(CUgraph graph, CUgraphNode *from, CUgraphNode *to, struct sim_graph_edge_data *data,
                          size_t *count)
{
    if (!sim_is(graph, SIM_GRAPH) || !count || !from != !to || (data && !from))
        return CUDA_ERROR_INVALID_VALUE;
    size_t found = 0;
    for (uint32_t i = 0; i < graph->nodes.count; i++) {
        struct sim_graph_node *node = graph->nodes.node[i];
        if (from && !data && !sim_edges_plain(&node->before))
            return CUDA_ERROR_LOSSY_QUERY;
        for (uint32_t k = 0; k < node->before.count; k++, found++)
            if (from && found < *count) {
                from[found] = node->before.node[k];
                to[found] = node;
                if (data)
                    data[found] = node->before.data[k];
            }
    }
    for (size_t i = found; from && i < *count; i++)
        from[i] = to[i] = NULL;
    if (!from || found < *count)
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
    if (!sim_is(node, SIM_GRAPH_NODE) || !count || (data && !to))
        return CUDA_ERROR_INVALID_VALUE;
    size_t found = 0;
    const struct sim_node_list *candidates = after ? &node->graph->nodes : &node->before;
    for (uint32_t i = 0; i < candidates->count; i++) {
        struct sim_graph_node *other = candidates->node[i];
        const struct sim_node_list *list = after ? &other->before : candidates;
        uint32_t at = after ? sim_node_list_find(list, node) : i;
        if (at == list->count)
            continue;
        if (to && !data && !is_plain(&list->data[at]))
            return CUDA_ERROR_LOSSY_QUERY;
        if (to && found < *count) {
            to[found] = other;
            if (data)
                data[found] = list->data[at];
        }
        found++;
    }
    for (size_t i = found; to && i < *count; i++)
        to[i] = NULL;
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

CUresult sim_graph_mark_before(struct sim_graph_node *node, uint64_t walk)
{
    struct sim_node_list open = {0};
    CUresult result = CUDA_SUCCESS;
    if (node->mark != walk) {
        node->mark = walk;
        result = sim_node_list_add(&open, node, NULL);
    }
    while (open.count && result == CUDA_SUCCESS) {
        const struct sim_node_list *before = &open.node[--open.count]->before;
        for (uint32_t i = 0; i < before->count && result == CUDA_SUCCESS; i++)
            if (before->node[i]->mark != walk) {
                before->node[i]->mark = walk;
                result = sim_node_list_add(&open, before->node[i], NULL);
            }
    }
    sim_node_list_free(&open);
    return result;
}

static CUresult add_edge(CUgraphNode from, CUgraphNode to, const struct sim_graph_edge_data *data)
{
    uint64_t walk = sim_graph_walk();
    if (sim_node_list_find(&to->before, from) < to->before.count || (data && !sim_edge_valid(from, data)))
        return CUDA_ERROR_INVALID_VALUE;
    SIM_TRY(sim_graph_mark_before(from, walk));
    if (to->mark == walk)
        return CUDA_ERROR_INVALID_VALUE; /* a circle */
    return sim_node_list_add(&to->before, from, data);
}

static CUresult remove_edge(CUgraphNode from, CUgraphNode to, const struct sim_graph_edge_data *data)
{
    static const struct sim_graph_edge_data plain;
    uint32_t at = sim_node_list_find(&to->before, from);
    if (at == to->before.count || memcmp(data ? data : &plain, &to->before.data[at], sizeof(plain)) != 0)
        return CUDA_ERROR_INVALID_VALUE;
    sim_node_list_remove(&to->before, from);
    return CUDA_SUCCESS;
}

/* All or nothing: what was changed before an error is taken back. */
static CUresult change_edges(CUgraph graph, const CUgraphNode *from, const CUgraphNode *to,
                             const struct sim_graph_edge_data *data, size_t count, bool add)
{
    if (!sim_is(graph, SIM_GRAPH) || (count && (!from || !to)))
        return CUDA_ERROR_INVALID_VALUE;
    if (!add && graph->memory_nodes)
        return CUDA_ERROR_NOT_SUPPORTED;
    for (size_t i = 0; i < count; i++)
        if (!sim_is(from[i], SIM_GRAPH_NODE) || !sim_is(to[i], SIM_GRAPH_NODE) || from[i]->graph != graph ||
            to[i]->graph != graph)
            return CUDA_ERROR_INVALID_VALUE;
    for (size_t i = 0; i < count; i++) {
        const struct sim_graph_edge_data *with = data ? &data[i] : NULL;
        CUresult result = add ? add_edge(from[i], to[i], with) : remove_edge(from[i], to[i], with);
        if (result == CUDA_SUCCESS)
            continue;
        while (i-- > 0)
            if (add)
                sim_node_list_remove(&to[i]->before, from[i]);
            else
                sim_node_list_add(&to[i]->before, from[i], data ? &data[i] : NULL);
        return result;
    }
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
