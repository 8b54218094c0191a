/* plan.c -- in which order a graph's nodes go into queues, and which of them may run beside each other.
 *
 * Nodes are taken breadth first, so that no queue fills while others wait for their first work.  Each goes to the
 * lane whose last step it depends on; else to one of which all steps come before it anyway; else to a new one.  So
 * nodes of different lanes wait only where an edge says so; for what a lane knows to be done it does not wait
 * again.  A linear graph is one lane.  When all lanes are in use, the shortest takes the node. */
#include "exec.h"

#include <stdlib.h>
#include <string.h>

struct maker {
    struct sim_plan *plan;
    uint32_t step_room, wait_room, branch_room;
    uint32_t (*known)[SIM_LANES]; /* by step: of each lane, how many steps are done before it ends */
    uint32_t *place;              /* by step: its number in its lane, from 1 */
};

static void *grow(void *array, uint32_t count, uint32_t *room, size_t size)
{
    if (count < *room)
        return array;
    *room = *room ? 2 * *room : 16;
    return realloc(array, *room * size);
}

/* -------- lanes -------- */

static bool fits(const struct sim_lane *lane, const struct sim_context *ctx)
{
    return !ctx || !lane->context || lane->context == ctx;
}

static uint32_t choose_lane(struct maker *m, const struct sim_context *ctx, const uint32_t *before,
                            uint32_t count, const uint32_t *known)
{
    struct sim_plan *plan = m->plan;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t lane = plan->step[before[i]].lane;
        if (plan->lane[lane].last == before[i] && fits(&plan->lane[lane], ctx))
            return lane;
    }
    for (uint32_t l = 0; l < plan->lanes; l++)
        if (plan->lane[l].steps <= known[l] && fits(&plan->lane[l], ctx))
            return l;
    if (plan->lanes < SIM_LANES)
        return plan->lanes++;
    uint32_t shortest = SIM_LANES;
    for (uint32_t l = 0; l < plan->lanes; l++)
        if (fits(&plan->lane[l], ctx) &&
            (shortest == SIM_LANES || plan->lane[l].steps < plan->lane[shortest].steps))
            shortest = l;
    return shortest;
}

static CUresult note_wait(struct maker *m, struct sim_step *step, uint32_t other)
{
    struct sim_plan *plan = m->plan;
    uint32_t *grown = grow(plan->wait, plan->waits, &m->wait_room, sizeof(*grown));
    if (!grown)
        return CUDA_ERROR_OUT_OF_MEMORY;
    plan->wait = grown;
    plan->wait[plan->waits++] = other;
    plan->step[other].awaited = true;
    step->waits++;
    return CUDA_SUCCESS;
}

/* With the dependencies as steps that are there already. */
static CUresult add_step(struct maker *m, struct sim_step new, struct sim_context *ctx,
                         const uint32_t *before, uint32_t count, uint32_t *index)
{
    struct sim_plan *plan = m->plan;
    uint32_t known[SIM_LANES] = {0}, room = m->step_room, at = plan->steps;
    struct sim_step *steps = grow(plan->step, at, &m->step_room, sizeof(*steps));
    if (!steps)
        return CUDA_ERROR_OUT_OF_MEMORY;
    plan->step = steps;
    if (room != m->step_room) {
        void *all_known = realloc(m->known, m->step_room * sizeof(*m->known));
        if (!all_known)
            return CUDA_ERROR_OUT_OF_MEMORY;
        m->known = all_known;
        uint32_t *places = realloc(m->place, m->step_room * sizeof(*places));
        if (!places)
            return CUDA_ERROR_OUT_OF_MEMORY;
        m->place = places;
    }
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t l = 0; l < plan->lanes; l++)
            if (m->known[before[i]][l] > known[l])
                known[l] = m->known[before[i]][l];
    uint32_t chosen = choose_lane(m, ctx, before, count, known);
    if (chosen == SIM_LANES)
        return CUDA_ERROR_NOT_SUPPORTED; /* more contexts than lanes */
    struct sim_lane *lane = &plan->lane[chosen];
    lane->context = lane->context ? lane->context : ctx;
    new.lane = chosen;
    new.first_wait = plan->waits;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t other = plan->step[before[i]].lane;
        if (other != chosen && lane->known[other] < m->place[before[i]])
            SIM_TRY(note_wait(m, &new, before[i]));
    }
    for (uint32_t l = 0; l < SIM_LANES; l++)
        if (lane->known[l] < known[l])
            lane->known[l] = known[l];
    lane->known[chosen] = ++lane->steps;
    lane->last = at;
    memcpy(m->known[at], lane->known, sizeof(lane->known));
    m->place[at] = lane->steps;
    plan->step[at] = new;
    plan->steps++;
    *index = at;
    return CUDA_SUCCESS;
}

/* -------- graphs -------- */

/* The nodes breadth first; edges cannot form a circle, as nobody can add one. */
static CUresult order(const struct sim_graph *graph, struct sim_graph_node **out)
{
    uint32_t count = graph->nodes.count, edges = 0, done = 0;
    for (uint32_t i = 0; i < count; i++) {
        graph->nodes.node[i]->index = i;
        edges += graph->nodes.node[i]->before.count;
    }
    uint32_t *first = calloc((size_t)2 * count + edges + 1, sizeof(*first));
    if (!first)
        return CUDA_ERROR_OUT_OF_MEMORY;
    uint32_t *open = first + count + 1, *after = open + count;
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t k = 0; k < graph->nodes.node[i]->before.count; k++)
            first[graph->nodes.node[i]->before.node[k]->index + 1]++;
    for (uint32_t i = 0; i < count; i++)
        first[i + 1] += first[i];
    for (uint32_t i = count; i-- > 0;) { /* from the back, so that those after a node end up in order */
        const struct sim_node_list *before = &graph->nodes.node[i]->before;
        open[i] = before->count;
        for (uint32_t k = 0; k < before->count; k++)
            after[--first[before->node[k]->index + 1]] = i;
    }
    /* Now first[i + 1] is where those after i begin; they end where those after i + 1 begin. */
    for (uint32_t i = 0; i < count; i++)
        if (!open[i])
            out[done++] = graph->nodes.node[i];
    for (uint32_t at = 0; at < done; at++) {
        uint32_t i = out[at]->index, end = i + 1 < count ? first[i + 2] : edges;
        for (uint32_t k = first[i + 1]; k < end; k++)
            if (--open[after[k]] == 0)
                out[done++] = graph->nodes.node[after[k]];
    }
    free(first);
    return CUDA_SUCCESS;
}

static CUresult add_graph(struct maker *m, struct sim_graph *graph, const uint32_t *before, uint32_t count,
                          uint32_t branch, struct sim_node_list *ends);

static CUresult add_branch(struct maker *m, uint32_t around, struct sim_graph_node *node, uint32_t body,
                           uint32_t *branch)
{
    struct sim_plan *plan = m->plan;
    struct sim_branch *grown = grow(plan->branch, plan->branches, &m->branch_room, sizeof(*grown));
    if (!grown)
        return CUDA_ERROR_OUT_OF_MEMORY;
    plan->branch = grown;
    *branch = plan->branches;
    plan->branch[plan->branches++] = (struct sim_branch){around, node, body};
    return CUDA_SUCCESS;
}

/* After a number of nodes, whose index is their (last) step. */
static CUresult add_after(struct maker *m, struct sim_step new, struct sim_context *ctx,
                          const struct sim_node_list *before, const uint32_t *more, uint32_t more_count,
                          uint32_t *index)
{
    uint32_t few[16], count = before->count + more_count;
    uint32_t *steps = count <= 16 ? few : malloc(count * sizeof(*steps));
    if (!steps)
        return CUDA_ERROR_OUT_OF_MEMORY;
    for (uint32_t i = 0; i < before->count; i++)
        steps[i] = before->node[i]->index;
    for (uint32_t i = 0; i < more_count; i++)
        steps[before->count + i] = more[i];
    CUresult result = add_step(m, new, ctx, steps, count, index);
    if (steps != few)
        free(steps);
    return result;
}

/* What is inside a node lies between two markers. */
static CUresult add_inside(struct maker *m, struct sim_graph_node *node, uint32_t begin, uint32_t branch)
{
    struct sim_node_list ends = {0};
    CUresult result = CUDA_SUCCESS;
    for (uint32_t i = 0; result == CUDA_SUCCESS && i < node->inner_count; i++) {
        uint32_t inner = branch;
        if (node->type == SIM_NODE_CONDITIONAL)
            result = add_branch(m, branch, node, i, &inner);
        if (result == CUDA_SUCCESS)
            result = add_graph(m, node->inner[i], &begin, 1, inner, &ends);
    }
    struct sim_step end = {.node = node, .branch = branch, .marker = true};
    if (result == CUDA_SUCCESS)
        result = add_after(m, end, NULL, &ends, &begin, 1, &node->index);
    sim_node_list_free(&ends);
    return result;
}

static CUresult add_nodes(struct maker *m, struct sim_graph_node *const *nodes, uint32_t nodes_count,
                          const uint32_t *before, uint32_t count, uint32_t branch, struct sim_node_list *ends)
{
    uint64_t walk = sim_graph_walk();
    for (uint32_t i = 0; i < nodes_count; i++) {
        struct sim_graph_node *node = nodes[i];
        bool root = node->before.count == 0;
        struct sim_step new = {.node = node, .branch = branch, .marker = node->inner_count != 0};
        for (uint32_t k = 0; k < node->before.count; k++)
            node->before.node[k]->mark = walk; /* not an end */
        SIM_TRY(add_after(m, new, new.marker ? NULL : node->task.context, &node->before, before,
                          root ? count : 0, &node->index));
        if (new.marker)
            SIM_TRY(add_inside(m, node, node->index, branch));
    }
    for (uint32_t i = 0; ends && i < nodes_count; i++)
        if (nodes[i]->mark != walk)
            SIM_TRY(sim_node_list_add(ends, nodes[i], NULL));
    return CUDA_SUCCESS;
}

static CUresult add_graph(struct maker *m, struct sim_graph *graph, const uint32_t *before, uint32_t count,
                          uint32_t branch, struct sim_node_list *ends)
{
    struct sim_graph_node **nodes = malloc((graph->nodes.count + 1) * sizeof(*nodes));
    if (!nodes)
        return CUDA_ERROR_OUT_OF_MEMORY;
    CUresult result = order(graph, nodes);
    if (result == CUDA_SUCCESS)
        result = add_nodes(m, nodes, graph->nodes.count, before, count, branch, ends);
    free(nodes);
    return result;
}

CUresult sim_plan_make(struct sim_graph *graph, struct sim_plan *plan)
{
    uint32_t root;
    struct maker m = {.plan = plan};
    CUresult result = add_branch(&m, 0, NULL, 0, &root);
    if (result == CUDA_SUCCESS)
        result = add_graph(&m, graph, NULL, 0, root, NULL);
    free(m.known);
    free(m.place);
    return result;
}

void sim_plan_free(struct sim_plan *plan)
{
    free(plan->step);
    free(plan->wait);
    free(plan->branch);
}
