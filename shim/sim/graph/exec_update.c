/* exec_update.c -- giving an executable graph the parameters of another graph of the same shape.
 *
 * Nodes are paired from the ends of both graphs backwards along their edges, in the order in which the edges and the
 * ends were made.  Nothing changes unless all of it can. */
#include "exec.h"

#include <string.h>

static bool is_flat(const struct sim_copy *copy)
{
    return copy->height == 1 && copy->depth == 1;
}

static int may_copy(const struct sim_task *from, const struct sim_task *to)
{
    const struct sim_copy *a = &from->work.copy, *b = &to->work.copy;
    bool same = from->shape.srcMemoryType == to->shape.srcMemoryType &&
                from->shape.dstMemoryType == to->shape.dstMemoryType && a->source_host == b->source_host &&
                a->destination_host == b->destination_host && a->height == b->height && a->depth == b->depth;
    if (same && !is_flat(a))
        same = a->width == b->width && a->source_pitch == b->source_pitch &&
               a->destination_pitch == b->destination_pitch;
    return same ? SIM_UPDATE_SUCCESS : SIM_UPDATE_PARAMETERS_CHANGED;
}

static int may_fill(const struct sim_task *from, const struct sim_task *to)
{
    const struct sim_fill *a = &from->work.fill, *b = &to->work.fill;
    bool same = a->height == b->height;
    if (a->height > 1)
        same &= a->width == b->width && a->pitch == b->pitch && a->element_bytes == b->element_bytes;
    return same ? SIM_UPDATE_SUCCESS : SIM_UPDATE_PARAMETERS_CHANGED;
}

static int may_launch(const struct sim_graph_exec *exec, const struct sim_task *from,
                      const struct sim_task *to)
{
    if (from->context != to->context)
        return SIM_UPDATE_UNSUPPORTED_FUNCTION;
    if (!from->work.launch.cooperative != !to->work.launch.cooperative)
        return SIM_UPDATE_ATTRIBUTES_CHANGED;
    if (exec->flags & SIM_FLAG_NODE_PRIORITY && from->work.launch.priority != to->work.launch.priority)
        return SIM_UPDATE_ATTRIBUTES_CHANGED;
    return SIM_UPDATE_SUCCESS;
}

/* Only values and addresses of a batch, and how its waits compare. */
static int may_batch(const struct sim_task *from, const struct sim_task *to)
{
    bool same = from->context == to->context && from->batch.count == to->batch.count;
    for (uint32_t i = 0; same && i < from->batch.count; i++)
        same = from->batch.op[i].operation == to->batch.op[i].operation;
    return same ? SIM_UPDATE_SUCCESS : SIM_UPDATE_PARAMETERS_CHANGED;
}

int sim_exec_may_change(const struct sim_graph_exec *exec, enum sim_node_type type,
                        const struct sim_task *from, const struct sim_task *to)
{
    switch (type) {
    case SIM_NODE_KERNEL:
        return may_launch(exec, from, to);
    case SIM_NODE_MEMCPY:
        return from->context != to->context ? SIM_UPDATE_PARAMETERS_CHANGED : may_copy(from, to);
    case SIM_NODE_MEMSET:
        return from->context != to->context ? SIM_UPDATE_PARAMETERS_CHANGED : may_fill(from, to);
    case SIM_NODE_BATCH_MEM_OP:
        return may_batch(from, to);
    case SIM_NODE_CONDITIONAL:
        return from->condition.kind != to->condition.kind || from->context != to->context
                   ? SIM_UPDATE_PARAMETERS_CHANGED
                   : SIM_UPDATE_SUCCESS;
    case SIM_NODE_MEM_ALLOC:
    case SIM_NODE_MEM_FREE: /* another graph has other addresses */
        return from->memory != to->memory ? SIM_UPDATE_NOT_SUPPORTED : SIM_UPDATE_SUCCESS;
    default:
        return SIM_UPDATE_SUCCESS;
    }
}

static bool fail(struct sim_update *update, int why, CUgraphNode node, CUgraphNode from)
{
    *update = (struct sim_update){why, node, from};
    return false;
}

static bool compare(const struct sim_graph_exec *exec, struct sim_graph *own, struct sim_graph *graph,
                    struct sim_update *update);

static bool compare_node(const struct sim_graph_exec *exec, struct sim_graph_node *own,
                         struct sim_graph_node *node, struct sim_update *update)
{
    if (own->type != node->type)
        return fail(update, SIM_UPDATE_TYPE_CHANGED, node, NULL);
    if (own->before.count != node->before.count)
        return fail(update, SIM_UPDATE_TOPOLOGY_CHANGED, node, NULL);
    int why = sim_exec_may_change(exec, own->type, &own->task, &node->task);
    if (why != SIM_UPDATE_SUCCESS)
        return fail(update, why, node, NULL);
    if (own->inner_count != node->inner_count)
        return fail(update, SIM_UPDATE_PARAMETERS_CHANGED, node, NULL);
    for (uint32_t i = 0; i < own->inner_count; i++)
        if (!compare(exec, own->inner[i], node->inner[i], update))
            return false;
    return true;
}

/* Make them a pair, unless one has another partner. */
static bool pair(struct sim_graph_node *own, struct sim_graph_node *node, struct sim_node_list *open)
{
    if (own->peer || node->peer)
        return own->peer == node && node->peer == own;
    own->peer = node;
    node->peer = own;
    return sim_node_list_add(open, own, NULL) == CUDA_SUCCESS;
}

/* The nodes on which no other depends are marked. */
static void mark_ends(struct sim_graph *graph, uint64_t walk)
{
    for (uint32_t i = 0; i < graph->nodes.count; i++)
        graph->nodes.node[i]->peer = NULL;
    for (uint32_t i = 0; i < graph->nodes.count; i++)
        graph->nodes.node[i]->mark = walk;
    for (uint32_t i = 0; i < graph->nodes.count; i++)
        for (uint32_t k = 0; k < graph->nodes.node[i]->before.count; k++)
            graph->nodes.node[i]->before.node[k]->mark = 0;
}

static struct sim_graph_node *next_end(const struct sim_graph *graph, uint64_t walk, uint32_t *at)
{
    while (*at < graph->nodes.count && graph->nodes.node[*at]->mark != walk)
        ++*at;
    return *at < graph->nodes.count ? graph->nodes.node[(*at)++] : NULL;
}

static bool pair_ends(struct sim_graph *own, struct sim_graph *graph, struct sim_node_list *open,
                      struct sim_update *update)
{
    uint64_t walk = sim_graph_walk();
    uint32_t a = 0, b = 0;
    mark_ends(own, walk);
    mark_ends(graph, walk);
    for (;;) {
        struct sim_graph_node *mine = next_end(own, walk, &a), *other = next_end(graph, walk, &b);
        if (!mine && !other)
            return true;
        if (!mine || !other)
            return fail(update, SIM_UPDATE_TOPOLOGY_CHANGED, other, NULL);
        if (!pair(mine, other, open))
            return fail(update, SIM_UPDATE_ERROR, NULL, NULL);
    }
}

static bool pair_all(const struct sim_graph_exec *exec, struct sim_node_list *open, struct sim_update *update)
{
    for (uint32_t at = 0; at < open->count; at++) {
        struct sim_graph_node *own = open->node[at], *node = own->peer;
        if (!compare_node(exec, own, node, update))
            return false;
        for (uint32_t i = 0; i < own->before.count; i++) {
            if (memcmp(&own->before.data[i], &node->before.data[i], sizeof(own->before.data[i])) != 0 ||
                !pair(own->before.node[i], node->before.node[i], open))
                return fail(update, SIM_UPDATE_TOPOLOGY_CHANGED, node, node->before.node[i]);
        }
    }
    return true;
}

static bool compare(const struct sim_graph_exec *exec, struct sim_graph *own, struct sim_graph *graph,
                    struct sim_update *update)
{
    struct sim_node_list open = {0};
    if (own->nodes.count != graph->nodes.count || own->conditions != graph->conditions)
        return fail(update, SIM_UPDATE_TOPOLOGY_CHANGED, NULL, NULL);
    bool same = pair_ends(own, graph, &open, update) && pair_all(exec, &open, update);
    sim_node_list_free(&open);
    return same;
}

static CUresult take_over(struct sim_graph_exec *exec, struct sim_graph *own, struct sim_graph *graph)
{
    for (uint32_t i = 0; i < own->conditions; i++) { /* the nodes keep their handles */
        own->condition[i].value = graph->condition[i].value;
        own->condition[i].flags = graph->condition[i].flags;
    }
    for (uint32_t i = 0; i < own->nodes.count; i++) {
        struct sim_graph_node *node = own->nodes.node[i];
        if (node->type == SIM_NODE_GRAPH || node->type == SIM_NODE_CONDITIONAL) {
            for (uint32_t k = 0; k < node->inner_count; k++)
                SIM_TRY(take_over(exec, node->inner[k], node->peer->inner[k]));
        } else
            SIM_TRY(sim_exec_replace(exec, node, &node->peer->task));
    }
    return CUDA_SUCCESS;
}

CUresult sim_exec_update(struct sim_graph_exec *exec, struct sim_graph *own, struct sim_graph *graph,
                         struct sim_update *update)
{
    *update = (struct sim_update){SIM_UPDATE_SUCCESS, NULL, NULL};
    if (!compare(exec, own, graph, update))
        return CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE;
    CUresult result = take_over(exec, own, graph);
    if (result)
        update->result = SIM_UPDATE_ERROR;
    return result;
}

static CUresult update_all(CUgraphExec exec, CUgraph graph, struct sim_update *update)
{
    *update = (struct sim_update){SIM_UPDATE_ERROR, NULL, NULL};
    if (!sim_is(exec, SIM_GRAPH_EXEC) || !sim_is(graph, SIM_GRAPH) || graph->moved)
        return CUDA_ERROR_INVALID_VALUE;
    return sim_exec_update(exec, exec->graph, graph, update);
}

SIM_API(cuGraphExecUpdate, (CUgraphExec exec, CUgraph graph, CUgraphNode *error, int *result))
{
    SIM_ENTER(cuGraphExecUpdate);
    struct sim_update update;
    CUresult code = update_all(exec, graph, &update);
    if (error)
        *error = update.node;
    if (result)
        *result = update.result;
    return code;
}

SIM_API(cuGraphExecUpdate_v2, (CUgraphExec exec, CUgraph graph, struct sim_update *info))
{
    SIM_ENTER(cuGraphExecUpdate_v2);
    struct sim_update update;
    CUresult code = update_all(exec, graph, &update);
    if (info)
        *info = update;
    return code;
}
