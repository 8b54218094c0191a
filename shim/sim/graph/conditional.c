/* conditional.c -- conditional nodes and their handles.
 *
 * A handle's value is the default one with which it was made (0 unless it says that the default is assigned at each
 * launch): kernels do not compute here, so none ever sets another.  An IF or SWITCH node does the body that this
 * value chooses; a WHILE node whose value is not 0 does its body once, since on a GPU its body would end the loop. */
#include "node.h"

#include <stdlib.h>

#define ASSIGN_DEFAULT 1u

struct sim_condition *sim_condition_find(struct sim_graph *graph, CUgraphConditionalHandle handle)
{
    for (; graph; graph = graph->parent ? graph->parent->graph : NULL)
        for (uint32_t i = 0; i < graph->conditions; i++)
            if (graph->condition[i].handle == handle)
                return &graph->condition[i];
    return NULL;
}

SIM_API(cuGraphConditionalHandleCreate,
        (CUgraphConditionalHandle * handle, CUgraph graph, CUcontext context, unsigned value, unsigned flags))
{
    static _Atomic unsigned long long last;
    SIM_ENTER(cuGraphConditionalHandleCreate);
    if (!handle || !sim_is(graph, SIM_GRAPH) || flags & ~ASSIGN_DEFAULT)
        return CUDA_ERROR_INVALID_VALUE;
    context = context ? context : sim_current_context();
    if (!sim_is(context, SIM_CONTEXT))
        return CUDA_ERROR_INVALID_CONTEXT;
    struct sim_condition *grown = realloc(graph->condition, (graph->conditions + 1) * sizeof(*grown));
    if (!grown)
        return CUDA_ERROR_OUT_OF_MEMORY;
    graph->condition = grown;
    *handle = atomic_fetch_add(&last, 1) + 1;
    grown[graph->conditions++] =
        (struct sim_condition){*handle, context, flags & ASSIGN_DEFAULT ? value : 0, flags};
    return CUDA_SUCCESS;
}

/* A handle belongs to one node. */
static bool is_used(const struct sim_graph *graph, CUgraphConditionalHandle handle)
{
    for (uint32_t i = 0; i < graph->nodes.count; i++) {
        const struct sim_graph_node *node = graph->nodes.node[i];
        if (node->type == SIM_NODE_CONDITIONAL && node->task.condition.handle == handle)
            return true;
        for (uint32_t k = 0; k < node->inner_count; k++)
            if (sim_graph_holds(node->inner[k], SIM_NODE_BIT(SIM_NODE_CONDITIONAL)) &&
                is_used(node->inner[k], handle))
                return true;
    }
    return false;
}

static CUresult make_bodies(struct sim_graph_node *node, uint32_t count)
{
    node->inner = calloc(count, sizeof(*node->inner));
    if (!node->inner)
        return CUDA_ERROR_OUT_OF_MEMORY;
    for (; node->inner_count < count; node->inner_count++) {
        SIM_TRY(sim_graph_new(&node->inner[node->inner_count]));
        node->inner[node->inner_count]->parent = node;
    }
    return CUDA_SUCCESS;
}

CUresult sim_add_conditional(SIM_PLACE, struct sim_condition_params *p)
{
    struct sim_graph_node *made;
    if (!node || !sim_is(graph, SIM_GRAPH) || p->kind < SIM_CONDITION_IF || p->kind > SIM_CONDITION_SWITCH ||
        !p->size || (p->kind == SIM_CONDITION_IF && p->size > 2) ||
        (p->kind == SIM_CONDITION_WHILE && p->size > 1))
        return CUDA_ERROR_INVALID_VALUE;
    const struct sim_condition *condition = sim_condition_find(graph, p->handle);
    struct sim_graph *top = graph;
    while (top->parent)
        top = top->parent->graph;
    if (!condition || is_used(top, p->handle) || (p->context && p->context != condition->context))
        return CUDA_ERROR_INVALID_VALUE;
    SIM_TRY(sim_graph_add(graph, SIM_NODE_CONDITIONAL, before, data, count, &made));
    made->task.context = condition->context;
    made->task.condition.handle = p->handle;
    made->task.condition.kind = (uint32_t)p->kind;
    CUresult result = make_bodies(made, p->size);
    if (result) {
        sim_graph_remove(made);
        return result;
    }
    p->bodies = made->inner;
    *node = made;
    return CUDA_SUCCESS;
}

void sim_read_conditional(const struct sim_graph_node *node, struct sim_condition_params *params)
{
    *params = (struct sim_condition_params){.handle = node->task.condition.handle,
                                            .kind = (int)node->task.condition.kind,
                                            .size = node->inner_count,
                                            .bodies = node->inner,
                                            .context = node->task.context};
}
