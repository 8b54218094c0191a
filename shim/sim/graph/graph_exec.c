/* graph_exec.c -- making and unmaking executable graphs. */
#include "exec.h"

#include <stdlib.h>

/* CUgraphInstantiateResult */
enum instantiate_result {
    INSTANTIATE_SUCCESS,
    INSTANTIATE_ERROR,
    INSTANTIATE_STRUCTURE,
    INSTANTIATE_OPERATION,
    INSTANTIATE_CONTEXTS,
    INSTANTIATE_HANDLE_UNUSED
};

struct verdict {
    enum instantiate_result why;
    CUgraphNode node;
};

#define DEVICE_NODES                                                                                         \
    (SIM_NODE_BIT(SIM_NODE_KERNEL) | SIM_NODE_BIT(SIM_NODE_MEMCPY) | SIM_NODE_BIT(SIM_NODE_MEMSET) |         \
     SIM_NODE_BIT(SIM_NODE_GRAPH))
#define BODY_NODES (DEVICE_NODES | SIM_NODE_BIT(SIM_NODE_EMPTY) | SIM_NODE_BIT(SIM_NODE_CONDITIONAL))

static bool is_array_copy(const struct sim_graph_node *node)
{
    return node->type == SIM_NODE_MEMCPY && (node->task.shape.srcMemoryType == CU_MEMORYTYPE_ARRAY ||
                                             node->task.shape.dstMemoryType == CU_MEMORYTYPE_ARRAY);
}

/* All nodes of those types and of one context, which *ctx remembers. */
static bool check_nodes(struct sim_graph *graph, unsigned types, bool arrays, struct sim_context **ctx,
                        struct verdict *verdict)
{
    for (uint32_t i = 0; i < graph->nodes.count; i++) {
        struct sim_graph_node *node = graph->nodes.node[i];
        *verdict = (struct verdict){INSTANTIATE_OPERATION, node};
        if (!(SIM_NODE_BIT(node->type) & types) || (!arrays && is_array_copy(node)))
            return false;
        verdict->why = INSTANTIATE_CONTEXTS;
        if (node->task.context && *ctx && node->task.context != *ctx)
            return false;
        *ctx = *ctx ? *ctx : node->task.context;
        for (uint32_t k = 0; k < node->inner_count; k++)
            if (!check_nodes(node->inner[k], types, arrays, ctx, verdict))
                return false;
    }
    *verdict = (struct verdict){INSTANTIATE_SUCCESS, NULL};
    return true;
}

static bool check_bodies(struct sim_graph *graph, struct verdict *verdict)
{
    for (uint32_t i = 0; i < graph->nodes.count; i++) {
        struct sim_graph_node *node = graph->nodes.node[i];
        struct sim_context *ctx = node->task.context;
        for (uint32_t k = 0; node->type == SIM_NODE_CONDITIONAL && k < node->inner_count; k++)
            if (!check_nodes(node->inner[k], BODY_NODES, true, &ctx, verdict))
                return false;
    }
    return true;
}

static bool uses_handle(const struct sim_graph *graph, CUgraphConditionalHandle handle)
{
    for (uint32_t i = 0; i < graph->nodes.count; i++) {
        const struct sim_graph_node *node = graph->nodes.node[i];
        if (node->type == SIM_NODE_CONDITIONAL && node->task.condition.handle == handle)
            return true;
        for (uint32_t k = 0; k < node->inner_count; k++)
            if (uses_handle(node->inner[k], handle))
                return true;
    }
    return false;
}

static bool check(struct sim_graph *graph, uint64_t flags, struct verdict *verdict)
{
    struct sim_context *ctx = NULL;
    if (flags & SIM_FLAG_DEVICE_LAUNCH) {
        if (!check_nodes(graph, DEVICE_NODES, false, &ctx, verdict))
            return false;
        *verdict = (struct verdict){INSTANTIATE_STRUCTURE, NULL};
        if (!sim_graph_holds(graph, DEVICE_NODES & ~SIM_NODE_BIT(SIM_NODE_GRAPH)))
            return false;
    }
    if (!check_bodies(graph, verdict))
        return false;
    *verdict = (struct verdict){INSTANTIATE_HANDLE_UNUSED, NULL};
    for (uint32_t i = 0; i < graph->conditions; i++)
        if (!uses_handle(graph, graph->condition[i].handle))
            return false;
    *verdict = (struct verdict){INSTANTIATE_SUCCESS, NULL};
    return true;
}

/* -------- making -------- */

/* Its nodes' work is done with their own priority. */
static void own_priorities(struct sim_graph *graph)
{
    for (uint32_t i = 0; i < graph->nodes.count; i++) {
        struct sim_graph_node *node = graph->nodes.node[i];
        if (node->type == SIM_NODE_KERNEL)
            node->task.work.launch.own_priority = 1;
        for (uint32_t k = 0; k < node->inner_count; k++)
            own_priorities(node->inner[k]);
    }
}

static CUresult fill_exec(struct sim_graph_exec *exec, struct sim_graph *graph)
{
    SIM_TRY(sim_graph_copy(graph, &exec->graph));
    if (exec->flags & SIM_FLAG_NODE_PRIORITY)
        own_priorities(exec->graph);
    SIM_TRY(sim_graph_need_of(exec->graph, &exec->need));
    SIM_TRY(sim_plan_make(exec->graph, &exec->plan));
    if (exec->plan.waits && !(exec->done = calloc(exec->plan.steps, sizeof(*exec->done))))
        return CUDA_ERROR_OUT_OF_MEMORY;
    if (!graph->brood && !(graph->brood = calloc(1, sizeof(*graph->brood))))
        return CUDA_ERROR_OUT_OF_MEMORY;
    exec->brood = graph->brood;
    exec->brood->holders += exec->brood->holders ? 1 : 2; /* the first brings the graph along */
    exec->brood->executables++;
    return CUDA_SUCCESS;
}

static void leave_source(struct sim_graph_exec *exec)
{
    if (exec->brood)
        exec->brood->executables--;
    sim_brood_leave(exec->brood);
    exec->brood = NULL;
}

static void free_exec(struct sim_graph_exec *exec)
{
    leave_source(exec);
    if (exec->graph)
        sim_graph_free(exec->graph);
    sim_plan_free(&exec->plan);
    free(exec->need.use);
    free(exec->done);
    sim_object_free(exec);
}

static CUresult instantiate(CUgraphExec *out, CUgraph graph, uint64_t flags, struct verdict *verdict)
{
    *verdict = (struct verdict){INSTANTIATE_ERROR, NULL};
    if (!out || !sim_is(graph, SIM_GRAPH) || graph->moved ||
        (graph->parent && graph->parent->type == SIM_NODE_CONDITIONAL))
        return CUDA_ERROR_INVALID_VALUE;
    if (flags & SIM_FLAG_DEVICE_LAUNCH && flags & SIM_FLAG_AUTO_FREE)
        return CUDA_ERROR_INVALID_VALUE;
    if (sim_graph_has_executables(graph) &&
        sim_graph_holds(graph, SIM_MEMORY_NODES | SIM_NODE_BIT(SIM_NODE_CONDITIONAL)))
        return CUDA_ERROR_NOT_SUPPORTED;
    if (!check(graph, flags, verdict))
        return verdict->why == INSTANTIATE_OPERATION ? CUDA_ERROR_NOT_SUPPORTED : CUDA_ERROR_INVALID_VALUE;
    verdict->why = INSTANTIATE_ERROR;
    struct sim_graph_exec *exec = sim_object_new(SIM_GRAPH_EXEC, sizeof(*exec));
    if (!exec)
        return CUDA_ERROR_OUT_OF_MEMORY;
    exec->id = sim_graph_next_id();
    exec->flags = flags;
    pthread_mutex_init(&exec->lock, NULL);
    CUresult result = fill_exec(exec, graph);
    if (result) {
        free_exec(exec);
        return result;
    }
    verdict->why = INSTANTIATE_SUCCESS;
    *out = exec;
    return CUDA_SUCCESS;
}

static CUresult instantiate_with_log(CUgraphExec *exec, CUgraph graph, CUgraphNode *error, char *log,
                                     size_t room)
{
    struct verdict verdict;
    if (log && room)
        *log = 0;
    CUresult result = instantiate(exec, graph, 0, &verdict);
    if (error)
        *error = verdict.node;
    return result;
}

SIM_API(cuGraphInstantiate, (CUgraphExec * exec, CUgraph graph, CUgraphNode *error, char *log, size_t room))
{
    SIM_ENTER(cuGraphInstantiate);
    return instantiate_with_log(exec, graph, error, log, room);
}

SIM_API(cuGraphInstantiate_v2,
        (CUgraphExec * exec, CUgraph graph, CUgraphNode *error, char *log, size_t room))
{
    SIM_ENTER(cuGraphInstantiate_v2);
    return instantiate_with_log(exec, graph, error, log, room);
}

/* UPLOAD needs a stream, which only the form with parameters names. */
SIM_API(cuGraphInstantiateWithFlags, (CUgraphExec * exec, CUgraph graph, unsigned long long flags))
{
    struct verdict verdict;
    SIM_ENTER(cuGraphInstantiateWithFlags);
    if (flags & ~(SIM_FLAG_AUTO_FREE | SIM_FLAG_DEVICE_LAUNCH | SIM_FLAG_NODE_PRIORITY))
        return CUDA_ERROR_INVALID_VALUE;
    return instantiate(exec, graph, flags, &verdict);
}

struct instantiate_params {
    uint64_t flags;
    CUstream upload_stream;
    CUgraphNode error;
    int result;
};

SIM_STREAM_API(cuGraphInstantiateWithParams, cuGraphInstantiateWithParams_ptsz,
               (CUgraphExec * exec, CUgraph graph, struct instantiate_params *params), (exec, graph, params))
{
    SIM_ENTER(cuGraphInstantiateWithParams);
    struct sim_stream *stream = NULL;
    struct verdict verdict = {INSTANTIATE_ERROR, NULL};
    if (!params)
        return CUDA_ERROR_INVALID_VALUE;
    CUresult result = params->flags & ~15ull ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
    if (result == CUDA_SUCCESS && params->flags & SIM_FLAG_UPLOAD)
        result = sim_stream_resolve(params->upload_stream, per_thread, &stream);
    if (result == CUDA_SUCCESS)
        result = instantiate(exec, graph, params->flags, &verdict);
    if (result == CUDA_SUCCESS && stream && (result = sim_exec_upload(*exec, stream))) {
        free_exec(*exec);
        verdict.why = INSTANTIATE_ERROR;
    }
    params->error = verdict.node;
    params->result = verdict.why;
    return result;
}

/* -------- unmaking -------- */

static void free_later(void *p)
{
    struct sim_graph_exec *exec = p;
    exec->magic = SIM_GRAPH_EXEC;
    free_exec(exec);
}

/* While a launch goes on, what its user objects guard is in use: they are released behind it. */
SIM_API(cuGraphExecDestroy, (CUgraphExec exec))
{
    SIM_ENTER(cuGraphExecDestroy);
    if (!sim_is(exec, SIM_GRAPH_EXEC))
        return CUDA_ERROR_INVALID_VALUE;
    leave_source(exec);
    struct sim_point end = exec->graph->references ? sim_exec_end(exec) : (struct sim_point){0};
    struct sim_stream *lane = NULL;
    if (end.queue && !sim_point_passed(end)) {
        struct sim_context *ctx = exec->stream->context;
        struct sim_work work = {.kind = SIM_WORK_HOST, .host = {free_later, exec}};
        exec->magic = SIM_DEAD;
        if (sim_lanes_take(exec->stream, &ctx, 1, &lane) == CUDA_SUCCESS &&
            sim_submit_after(lane, end) == CUDA_SUCCESS && sim_submit_now(lane, &work) == CUDA_SUCCESS)
            return CUDA_SUCCESS;
        exec->magic = SIM_GRAPH_EXEC;
    }
    free_exec(exec);
    return CUDA_SUCCESS;
}

SIM_API(cuGraphExecGetFlags, (CUgraphExec exec, uint64_t *flags))
{
    SIM_ENTER(cuGraphExecGetFlags);
    if (!sim_is(exec, SIM_GRAPH_EXEC) || !flags)
        return CUDA_ERROR_INVALID_VALUE;
    *flags = exec->flags;
    return CUDA_SUCCESS;
}

SIM_API(cuGraphExecGetId, (CUgraphExec exec, unsigned *id))
{
    SIM_ENTER(cuGraphExecGetId);
    if (!sim_is(exec, SIM_GRAPH_EXEC) || !id)
        return CUDA_ERROR_INVALID_VALUE;
    *id = exec->id;
    return CUDA_SUCCESS;
}
