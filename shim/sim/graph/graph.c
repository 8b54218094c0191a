/* graph.c -- graphs as their makers see them: nodes, edges, clones. */
#include "graph.h"

#include <stdlib.h>
#include <string.h>

/* -------- lists of nodes -------- */

CUresult sim_node_list_add(struct sim_node_list *list, struct sim_graph_node *node)
{
    if (list->count == list->room) {
        uint32_t room = list->room ? 2 * list->room : 4;
        struct sim_graph_node **grown = realloc(list->node, room * sizeof(*grown));
        if (!grown)
            return CUDA_ERROR_OUT_OF_MEMORY;
        list->node = grown;
        list->room = room;
    }
    list->node[list->count++] = node;
    return CUDA_SUCCESS;
}

bool sim_node_list_remove(struct sim_node_list *list, const struct sim_graph_node *node)
{
    for (uint32_t i = 0; i < list->count; i++)
        if (list->node[i] == node) {
            memmove(&list->node[i], &list->node[i + 1], (--list->count - i) * sizeof(*list->node));
            return true;
        }
    return false;
}

bool sim_node_list_has(const struct sim_node_list *list, const struct sim_graph_node *node)
{
    for (uint32_t i = 0; i < list->count; i++)
        if (list->node[i] == node)
            return true;
    return false;
}

/* -------- graphs and nodes -------- */

uint64_t sim_graph_walk(void)
{
    static _Atomic uint64_t last;
    return atomic_fetch_add(&last, 1) + 1;
}

CUresult sim_graph_new(struct sim_graph **graph)
{
    *graph = sim_object_new(SIM_GRAPH, sizeof(**graph));
    return *graph ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

static void free_node(struct sim_graph_node *node)
{
    if (node->child)
        sim_graph_free(node->child);
    free(node->params);
    free(node->before.node);
    sim_object_free(node);
}

void sim_graph_free(struct sim_graph *graph)
{
    for (uint32_t i = 0; i < graph->nodes.count; i++)
        free_node(graph->nodes.node[i]);
    free(graph->nodes.node);
    sim_object_free(graph);
}

CUresult sim_graph_add(struct sim_graph *graph, enum sim_node_type type, struct sim_graph_node *const *before,
                       size_t count, struct sim_graph_node **out)
{
    if (count && !before)
        return CUDA_ERROR_INVALID_VALUE;
    uint64_t walk = sim_graph_walk();
    for (size_t i = 0; i < count; i++) {
        if (!sim_is(before[i], SIM_GRAPH_NODE) || before[i]->graph != graph || before[i]->mark == walk)
            return CUDA_ERROR_INVALID_VALUE;
        before[i]->mark = walk;
    }
    struct sim_graph_node *node = sim_object_new(SIM_GRAPH_NODE, sizeof(*node));
    if (!node)
        return CUDA_ERROR_OUT_OF_MEMORY;
    node->type = type;
    node->graph = graph;
    node->work.kind = SIM_WORK_EMPTY;
    CUresult result = sim_node_list_add(&graph->nodes, node);
    for (size_t i = 0; result == CUDA_SUCCESS && i < count; i++)
        result = sim_node_list_add(&node->before, before[i]);
    if (result) {
        sim_node_list_remove(&graph->nodes, node);
        free_node(node);
        return result;
    }
    *out = node;
    return CUDA_SUCCESS;
}

void sim_graph_remove(struct sim_graph_node *node)
{
    struct sim_graph *graph = node->graph;
    for (uint32_t i = 0; i < graph->nodes.count; i++)
        sim_node_list_remove(&graph->nodes.node[i]->before, node);
    sim_node_list_remove(&graph->nodes, node);
    free_node(node);
}

static struct sim_graph_node *copy_of(const struct sim_graph *copy, const struct sim_graph_node *original)
{
    for (uint32_t i = 0; i < copy->nodes.count; i++)
        if (copy->nodes.node[i]->original == original)
            return copy->nodes.node[i];
    return NULL;
}

static CUresult fill_copy(const struct sim_graph *graph, struct sim_graph *copy)
{
    for (uint32_t i = 0; i < graph->nodes.count; i++) {
        struct sim_graph_node *from = graph->nodes.node[i], *to;
        SIM_TRY(sim_graph_add(copy, from->type, NULL, 0, &to));
        to->original = from;
        SIM_TRY(sim_node_set_work(to, from->context, &from->work));
        if (from->child) {
            SIM_TRY(sim_graph_copy(from->child, &to->child));
            to->child->owned = true;
        }
    }
    for (uint32_t i = 0; i < graph->nodes.count; i++) {
        const struct sim_node_list *before = &graph->nodes.node[i]->before;
        for (uint32_t k = 0; k < before->count; k++)
            SIM_TRY(sim_node_list_add(&copy->nodes.node[i]->before, copy_of(copy, before->node[k])));
    }
    return CUDA_SUCCESS;
}

CUresult sim_graph_copy(const struct sim_graph *graph, struct sim_graph **out)
{
    struct sim_graph *copy;
    SIM_TRY(sim_graph_new(&copy));
    copy->original = (struct sim_graph *)graph;
    CUresult result = fill_copy(graph, copy);
    if (result)
        sim_graph_free(copy);
    else
        *out = copy;
    return result;
}

/* -------- the API -------- */

SIM_API(cuGraphCreate, (CUgraph * graph, unsigned flags))
{
    SIM_ENTER(cuGraphCreate);
    if (!graph || flags)
        return CUDA_ERROR_INVALID_VALUE;
    return sim_graph_new(graph);
}

SIM_API(cuGraphDestroy, (CUgraph graph))
{
    SIM_ENTER(cuGraphDestroy);
    if (!sim_is(graph, SIM_GRAPH) || graph->owned)
        return CUDA_ERROR_INVALID_VALUE;
    sim_graph_free(graph);
    return CUDA_SUCCESS;
}

SIM_API(cuGraphDestroyNode, (CUgraphNode node))
{
    SIM_ENTER(cuGraphDestroyNode);
    if (!sim_is(node, SIM_GRAPH_NODE))
        return CUDA_ERROR_INVALID_VALUE;
    sim_graph_remove(node);
    return CUDA_SUCCESS;
}

SIM_API(cuGraphClone, (CUgraph * clone, CUgraph graph))
{
    SIM_ENTER(cuGraphClone);
    if (!clone || !sim_is(graph, SIM_GRAPH))
        return CUDA_ERROR_INVALID_VALUE;
    return sim_graph_copy(graph, clone);
}

SIM_API(cuGraphNodeFindInClone, (CUgraphNode * node, CUgraphNode original, CUgraph clone))
{
    SIM_ENTER(cuGraphNodeFindInClone);
    if (!node || !sim_is(original, SIM_GRAPH_NODE) || !sim_is(clone, SIM_GRAPH))
        return CUDA_ERROR_INVALID_VALUE;
    *node = copy_of(clone, original);
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
            result = sim_node_list_add(&roots, graph->nodes.node[i]);
    if (result == CUDA_SUCCESS)
        result = give(&roots, nodes, count);
    free(roots.node);
    return result;
}
