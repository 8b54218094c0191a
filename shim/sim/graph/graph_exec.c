/* graph_exec.c -- executable graphs: a graph's nodes in a fixed order, to be submitted to a stream again and again.
 *
 * A launch does one node after the other; branches do not run beside each other. */
#include "node.h"

#include <stdlib.h>
#include <string.h>

#define KNOWN_FLAGS        15ull
#define FLAG_UPLOAD        2ull
#define FLAG_DEVICE_LAUNCH 4ull

enum update_result {
    UPDATE_SUCCESS,
    UPDATE_ERROR,
    UPDATE_TOPOLOGY_CHANGED,
    UPDATE_TYPE_CHANGED,
    UPDATE_FUNCTION_CHANGED
};

/* -------- making -------- */

struct build {
    struct sim_graph_exec *exec;
    uint32_t room;
    uint64_t walk;
};

static CUresult add_step(struct build *b, struct sim_graph_node *node)
{
    if (b->exec->count == b->room) {
        b->room = b->room ? 2 * b->room : 16;
        struct sim_graph_step *grown = realloc(b->exec->step, b->room * sizeof(*grown));
        if (!grown)
            return CUDA_ERROR_OUT_OF_MEMORY;
        b->exec->step = grown;
    }
    struct sim_graph_step *step = &b->exec->step[b->exec->count];
    *step = (struct sim_graph_step){.node = node, .context = node->context, .work = node->work};
    if (step->work.kind == SIM_WORK_KERNEL)
        SIM_TRY(sim_launch_keep(&step->work.launch, &step->params));
    b->exec->count++;
    return CUDA_SUCCESS;
}

static CUresult add_graph(struct build *b, const struct sim_graph *graph);

/* What it depends on first.  Edges cannot form a circle: nobody can add one. */
static CUresult add_node(struct build *b, struct sim_graph_node *node)
{
    if (node->mark == b->walk)
        return CUDA_SUCCESS;
    node->mark = b->walk;
    for (uint32_t i = 0; i < node->before.count; i++)
        SIM_TRY(add_node(b, node->before.node[i]));
    return node->child ? add_graph(b, node->child) : add_step(b, node);
}

static CUresult add_graph(struct build *b, const struct sim_graph *graph)
{
    for (uint32_t i = 0; i < graph->nodes.count; i++)
        SIM_TRY(add_node(b, graph->nodes.node[i]));
    return CUDA_SUCCESS;
}

static void free_exec(struct sim_graph_exec *exec)
{
    for (uint32_t i = 0; i < exec->count; i++)
        free(exec->step[i].params);
    free(exec->step);
    sim_object_free(exec);
}

static CUresult instantiate(CUgraphExec *out, CUgraph graph, uint64_t flags)
{
    if (!out || !sim_is(graph, SIM_GRAPH) || flags & ~KNOWN_FLAGS)
        return CUDA_ERROR_INVALID_VALUE;
    if (flags & FLAG_DEVICE_LAUNCH)
        return CUDA_ERROR_NOT_SUPPORTED;
    struct build b = {.exec = sim_object_new(SIM_GRAPH_EXEC, sizeof(*b.exec)), .walk = sim_graph_walk()};
    if (!b.exec)
        return CUDA_ERROR_OUT_OF_MEMORY;
    b.exec->flags = flags;
    CUresult result = add_graph(&b, graph);
    if (result)
        free_exec(b.exec);
    else
        *out = b.exec;
    return result;
}

static CUresult instantiate_with_log(CUgraphExec *exec, CUgraph graph, CUgraphNode *error, char *log,
                                     size_t room)
{
    if (error)
        *error = NULL;
    if (log && room)
        *log = 0;
    return instantiate(exec, graph, 0);
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

SIM_API(cuGraphInstantiateWithFlags, (CUgraphExec * exec, CUgraph graph, unsigned long long flags))
{
    SIM_ENTER(cuGraphInstantiateWithFlags);
    return instantiate(exec, graph, flags);
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
    struct sim_stream *stream;
    if (!params)
        return CUDA_ERROR_INVALID_VALUE;
    if (params->flags & FLAG_UPLOAD)
        SIM_TRY(sim_stream_resolve(params->upload_stream, per_thread, &stream));
    CUresult result = instantiate(exec, graph, params->flags);
    params->error = NULL;
    params->result = result != CUDA_SUCCESS;
    return result;
}

SIM_API(cuGraphExecDestroy, (CUgraphExec exec))
{
    SIM_ENTER(cuGraphExecDestroy);
    if (!sim_is(exec, SIM_GRAPH_EXEC))
        return CUDA_ERROR_INVALID_VALUE;
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

/* -------- launching -------- */

SIM_STREAM_API(cuGraphUpload, cuGraphUpload_ptsz, (CUgraphExec exec, CUstream handle), (exec, handle))
{
    SIM_ENTER(cuGraphUpload);
    struct sim_stream *stream;
    if (!sim_is(exec, SIM_GRAPH_EXEC))
        return CUDA_ERROR_INVALID_VALUE;
    SIM_TRY(sim_stream_resolve(handle, per_thread, &stream));
    return stream->capture ? sim_capture_forbids(stream) : CUDA_SUCCESS;
}

SIM_STREAM_API(cuGraphLaunch, cuGraphLaunch_ptsz, (CUgraphExec exec, CUstream handle), (exec, handle))
{
    SIM_ENTER(cuGraphLaunch);
    struct sim_stream *stream;
    if (!sim_is(exec, SIM_GRAPH_EXEC))
        return CUDA_ERROR_INVALID_VALUE;
    SIM_TRY(sim_stream_resolve(handle, per_thread, &stream));
    for (uint32_t i = 0; i < exec->count; i++) {
        struct sim_work work = exec->step[i].work; /* the queue may change its copy */
        if (exec->step[i].disabled)
            continue;
        SIM_TRY(sim_submit(stream, &work)); /* a capturing stream keeps the nodes one by one */
    }
    return CUDA_SUCCESS;
}

/* -------- changing -------- */

static CUresult find_step(CUgraphExec exec, CUgraphNode node, struct sim_graph_step **step)
{
    *step = NULL;
    if (!sim_is(exec, SIM_GRAPH_EXEC) || !sim_is(node, SIM_GRAPH_NODE))
        return CUDA_ERROR_INVALID_VALUE;
    for (uint32_t i = 0; i < exec->count && !*step; i++)
        if (exec->step[i].node == node)
            *step = &exec->step[i];
    return *step ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

static CUresult set_step(struct sim_graph_step *step, struct sim_context *ctx, const struct sim_work *work)
{
    struct sim_work kept = *work;
    void *params = NULL;
    if (kept.kind == SIM_WORK_KERNEL)
        SIM_TRY(sim_launch_keep(&kept.launch, &params));
    if (ctx)
        sim_work_cost(ctx, &kept);
    free(step->params);
    step->params = params;
    step->work = kept;
    step->context = ctx;
    return CUDA_SUCCESS;
}

#define EXEC_SET(name, kind, params, make)                                                                   \
    SIM_API(name, params)                                                                                    \
    {                                                                                                        \
        SIM_ENTER(name);                                                                                     \
        struct sim_context *ctx = NULL;                                                                      \
        struct sim_work work;                                                                                \
        struct sim_graph_step *step;                                                                         \
        SIM_TRY(find_step(exec, node, &step));                                                               \
        if (node->type != (kind))                                                                            \
            return CUDA_ERROR_INVALID_VALUE;                                                                 \
        SIM_TRY(make);                                                                                       \
        return set_step(step, ctx, &work);                                                                   \
    }

#define TARGET CUgraphExec exec, CUgraphNode node

EXEC_SET(cuGraphExecKernelNodeSetParams, SIM_NODE_KERNEL, (TARGET, const struct sim_kernel_params *params),
         sim_work_of_kernel(params, SIM_KERNEL_PARAMS_V1, &ctx, &work))
EXEC_SET(cuGraphExecKernelNodeSetParams_v2, SIM_NODE_KERNEL, (TARGET, const struct sim_kernel_params *params),
         sim_work_of_kernel(params, sizeof(*params), &ctx, &work))
EXEC_SET(cuGraphExecMemcpyNodeSetParams, SIM_NODE_MEMCPY,
         (TARGET, const CUDA_MEMCPY3D *params, CUcontext context),
         sim_work_of_copy(params, context, &ctx, &work))
EXEC_SET(cuGraphExecMemsetNodeSetParams, SIM_NODE_MEMSET,
         (TARGET, const struct sim_fill_params *params, CUcontext context),
         sim_work_of_fill(params, context, &ctx, &work))
EXEC_SET(cuGraphExecHostNodeSetParams, SIM_NODE_HOST, (TARGET, const struct sim_host_params *params),
         sim_work_of_host(params, &work))
EXEC_SET(cuGraphExecEventRecordNodeSetEvent, SIM_NODE_EVENT_RECORD, (TARGET, CUevent event),
         sim_work_of_event(event, true, &ctx, &work))
EXEC_SET(cuGraphExecEventWaitNodeSetEvent, SIM_NODE_WAIT_EVENT, (TARGET, CUevent event),
         sim_work_of_event(event, false, &ctx, &work))
EXEC_SET(cuGraphExecNodeSetParams, (enum sim_node_type)params->type,
         (TARGET, const struct sim_node_params *params), sim_work_of_node(params, &ctx, &work))

SIM_API(cuGraphNodeSetEnabled, (TARGET, unsigned enabled))
{
    SIM_ENTER(cuGraphNodeSetEnabled);
    struct sim_graph_step *step;
    SIM_TRY(find_step(exec, node, &step));
    if (node->type > SIM_NODE_MEMSET)
        return CUDA_ERROR_INVALID_VALUE;
    step->disabled = !enabled;
    return CUDA_SUCCESS;
}

SIM_API(cuGraphNodeGetEnabled, (TARGET, unsigned *enabled))
{
    SIM_ENTER(cuGraphNodeGetEnabled);
    struct sim_graph_step *step;
    SIM_TRY(find_step(exec, node, &step));
    if (!enabled || node->type > SIM_NODE_MEMSET)
        return CUDA_ERROR_INVALID_VALUE;
    *enabled = !step->disabled;
    return CUDA_SUCCESS;
}

/* Takes the works of a graph of the same shape.  The steps keep the nodes that they were made from. */
static CUresult update(CUgraphExec exec, CUgraph graph, enum update_result *why, CUgraphNode *error)
{
    *why = UPDATE_ERROR;
    *error = NULL;
    if (!sim_is(exec, SIM_GRAPH_EXEC) || !sim_is(graph, SIM_GRAPH))
        return CUDA_ERROR_INVALID_VALUE;
    struct build b = {.exec = sim_object_new(SIM_GRAPH_EXEC, sizeof(*b.exec)), .walk = sim_graph_walk()};
    if (!b.exec)
        return CUDA_ERROR_OUT_OF_MEMORY;
    CUresult result = add_graph(&b, graph);
    *why = result ? UPDATE_ERROR : b.exec->count != exec->count ? UPDATE_TOPOLOGY_CHANGED : UPDATE_SUCCESS;
    for (uint32_t i = 0; *why == UPDATE_SUCCESS && i < exec->count; i++)
        if (b.exec->step[i].work.kind != exec->step[i].work.kind) {
            *why = UPDATE_TYPE_CHANGED;
            *error = b.exec->step[i].node;
        }
    for (uint32_t i = 0; *why == UPDATE_SUCCESS && i < exec->count && result == CUDA_SUCCESS; i++)
        result = set_step(&exec->step[i], b.exec->step[i].context, &b.exec->step[i].work);
    free_exec(b.exec);
    return result ? result : *why == UPDATE_SUCCESS ? CUDA_SUCCESS : CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE;
}

SIM_API(cuGraphExecUpdate,
        (CUgraphExec exec, CUgraph graph, CUgraphNode *error_out, enum update_result *result_out))
{
    SIM_ENTER(cuGraphExecUpdate);
    enum update_result why;
    CUgraphNode error;
    CUresult result = update(exec, graph, &why, &error);
    if (error_out)
        *error_out = error;
    if (result_out)
        *result_out = why;
    return result;
}

struct update_info {
    enum update_result result;
    CUgraphNode error, error_from;
};

SIM_API(cuGraphExecUpdate_v2, (CUgraphExec exec, CUgraph graph, struct update_info *info))
{
    SIM_ENTER(cuGraphExecUpdate_v2);
    enum update_result why;
    CUgraphNode error;
    CUresult result = update(exec, graph, &why, &error);
    if (info)
        *info = (struct update_info){why, error, NULL};
    return result;
}
