/* graph.c -- graphs and their nodes: making, copying and unmaking them. */
#include "task.h"

#include <stdlib.h>
#include <string.h>

/* -------- lists of nodes -------- */

CUresult sim_node_list_add(struct sim_node_list *list, struct sim_graph_node *node,
                           const struct sim_graph_edge_data *data)
{
    if (list->count == list->room) {
        uint32_t room = list->room ? 2 * list->room : 4;
        struct sim_graph_node **nodes = realloc(list->node, room * sizeof(*nodes));
        if (!nodes)
            return CUDA_ERROR_OUT_OF_MEMORY;
        list->node = nodes;
        struct sim_graph_edge_data *all = realloc(list->data, room * sizeof(*all));
        if (!all)
            return CUDA_ERROR_OUT_OF_MEMORY;
        list->data = all;
        list->room = room;
    }
    list->data[list->count] = data ? *data : (struct sim_graph_edge_data){0};
    list->node[list->count++] = node;
    return CUDA_SUCCESS;
}

uint32_t sim_node_list_find(const struct sim_node_list *list, const struct sim_graph_node *node)
{
    uint32_t i = 0;
    while (i < list->count && list->node[i] != node)
        i++;
    return i;
}

bool sim_node_list_remove(struct sim_node_list *list, const struct sim_graph_node *node)
{
    uint32_t at = sim_node_list_find(list, node);
    if (at == list->count)
        return false;
    list->count--;
    memmove(&list->node[at], &list->node[at + 1], (list->count - at) * sizeof(*list->node));
    memmove(&list->data[at], &list->data[at + 1], (list->count - at) * sizeof(*list->data));
    return true;
}

void sim_node_list_free(struct sim_node_list *list)
{
    free(list->node);
    free(list->data);
    *list = (struct sim_node_list){0};
}

/* -------- graphs and nodes -------- */

uint64_t sim_graph_walk(void)
{
    static _Atomic uint64_t last;
    return atomic_fetch_add(&last, 1) + 1;
}

uint32_t sim_graph_next_id(void)
{
    static _Atomic uint32_t last;
    return atomic_fetch_add(&last, 1) + 1;
}

CUresult sim_graph_new(struct sim_graph **graph)
{
    *graph = sim_object_new(SIM_GRAPH, sizeof(**graph));
    if (!*graph)
        return CUDA_ERROR_OUT_OF_MEMORY;
    (*graph)->id = sim_graph_next_id();
    return CUDA_SUCCESS;
}

static void free_node(struct sim_graph_node *node)
{
    for (uint32_t i = 0; i < node->inner_count; i++)
        if (node->inner[i])
            sim_graph_free(node->inner[i]);
    free(node->inner);
    sim_task_drop(node->type, &node->task);
    sim_node_list_free(&node->before);
    sim_object_free(node);
}

void sim_brood_leave(struct sim_brood *brood)
{
    if (brood && --brood->holders == 0)
        free(brood);
}

void sim_graph_free(struct sim_graph *graph)
{
    sim_brood_leave(graph->brood);
    for (uint32_t i = 0; i < graph->nodes.count; i++)
        free_node(graph->nodes.node[i]);
    sim_node_list_free(&graph->nodes);
    free(graph->condition);
    sim_graph_drop_references(graph);
    sim_object_free(graph);
}

static bool is_memory(enum sim_node_type type)
{
    return (SIM_NODE_BIT(type) & SIM_MEMORY_NODES) != 0;
}

CUresult sim_graph_add(struct sim_graph *graph, enum sim_node_type type, struct sim_graph_node *const *before,
                       const struct sim_graph_edge_data *data, size_t count, struct sim_graph_node **out)
{
    static _Atomic unsigned long long last_id;
    if (count && !before)
        return CUDA_ERROR_INVALID_VALUE;
    uint64_t walk = sim_graph_walk();
    for (size_t i = 0; i < count; i++) {
        if (!sim_is(before[i], SIM_GRAPH_NODE) || before[i]->graph != graph || before[i]->mark == walk)
            return CUDA_ERROR_INVALID_VALUE;
        if (data && !sim_edge_valid(before[i], &data[i]))
            return CUDA_ERROR_INVALID_VALUE;
        before[i]->mark = walk;
    }
    struct sim_graph_node *node = sim_object_new(SIM_GRAPH_NODE, sizeof(*node));
    if (!node)
        return CUDA_ERROR_OUT_OF_MEMORY;
    node->type = type;
    node->graph = graph;
    node->task.work.kind = SIM_WORK_EMPTY;
    node->id = atomic_fetch_add(&last_id, 1) + 1;
    CUresult result = sim_node_list_add(&graph->nodes, node, NULL);
    for (size_t i = 0; result == CUDA_SUCCESS && i < count; i++)
        result = sim_node_list_add(&node->before, before[i], data ? &data[i] : NULL);
    if (result) {
        sim_node_list_remove(&graph->nodes, node);
        free_node(node);
        return result;
    }
    node->local_id = graph->next_local_id++;
    graph->memory_nodes += is_memory(type);
    *out = node;
    return CUDA_SUCCESS;
}

void sim_graph_remove(struct sim_graph_node *node)
{
    struct sim_graph *graph = node->graph;
    for (uint32_t i = 0; i < graph->nodes.count; i++)
        sim_node_list_remove(&graph->nodes.node[i]->before, node);
    sim_node_list_remove(&graph->nodes, node);
    graph->memory_nodes -= is_memory(node->type);
    free_node(node);
}

bool sim_graph_holds(const struct sim_graph *graph, unsigned types)
{
    for (uint32_t i = 0; i < graph->nodes.count; i++) {
        const struct sim_graph_node *node = graph->nodes.node[i];
        if (SIM_NODE_BIT(node->type) & types)
            return true;
        for (uint32_t k = 0; k < node->inner_count; k++)
            if (sim_graph_holds(node->inner[k], types))
                return true;
    }
    return false;
}

struct sim_graph_node *sim_graph_find_copy(const struct sim_graph *copy, unsigned long long original)
{
    for (uint32_t i = 0; i < copy->nodes.count; i++)
        if (copy->nodes.node[i]->original == original)
            return copy->nodes.node[i];
    return NULL;
}

/* -------- copies -------- */

static CUresult copy_inner(const struct sim_graph_node *from, struct sim_graph_node *to)
{
    to->inner = calloc(from->inner_count, sizeof(*to->inner));
    if (!to->inner)
        return CUDA_ERROR_OUT_OF_MEMORY;
    to->inner_count = from->inner_count;
    for (uint32_t i = 0; i < from->inner_count; i++) {
        SIM_TRY(sim_graph_copy(from->inner[i], &to->inner[i]));
        to->inner[i]->parent = to;
    }
    return CUDA_SUCCESS;
}

static CUresult fill_copy(struct sim_graph *graph, struct sim_graph *copy)
{
    if (graph->conditions) {
        copy->condition = malloc(graph->conditions * sizeof(*copy->condition));
        if (!copy->condition)
            return CUDA_ERROR_OUT_OF_MEMORY;
        memcpy(copy->condition, graph->condition, graph->conditions * sizeof(*copy->condition));
        copy->conditions = graph->conditions;
    }
    for (uint32_t i = 0; i < graph->nodes.count; i++) {
        struct sim_graph_node *from = graph->nodes.node[i], *to;
        SIM_TRY(sim_graph_add(copy, from->type, NULL, NULL, 0, &to));
        from->peer = to;
        to->original = from->id;
        to->disabled = from->disabled;
        SIM_TRY(sim_task_keep(from->type, &to->task, &from->task));
        if (from->inner_count)
            SIM_TRY(copy_inner(from, to));
    }
    for (uint32_t i = 0; i < graph->nodes.count; i++) {
        const struct sim_node_list *before = &graph->nodes.node[i]->before;
        for (uint32_t k = 0; k < before->count; k++)
            SIM_TRY(sim_node_list_add(&copy->nodes.node[i]->before, before->node[k]->peer, &before->data[k]));
    }
    return sim_graph_share_references(graph, copy);
}

CUresult sim_graph_copy(struct sim_graph *graph, struct sim_graph **out)
{
    struct sim_graph *copy;
    SIM_TRY(sim_graph_new(&copy));
    copy->original = graph->id;
    CUresult result = fill_copy(graph, copy);
    if (result)
        sim_graph_free(copy);
    else
        *out = copy;
    return result;
}
