/* graph_launch.c -- launching executable graphs: the steps of their plan go into queues, each lane into its own.
 *
 * One lane is the stream of the launch itself; the others are hidden streams, which wait for the stream before they
 * begin, and for which it waits at the end.  A capturing stream takes the whole graph as a child. */
#include "capture.h"
#include "exec.h"

#include <stdlib.h>
#include <string.h>

struct launch {
    struct sim_graph_exec *exec;
    struct sim_stream *stream;
    struct sim_stream *lane[SIM_LANES];
    bool begun[SIM_LANES];
    struct sim_point start;
};

/* The lane that the stream itself takes, SIM_LANES if none suits; hidden streams for the others. */
static CUresult take_lanes(struct launch *l, uint32_t *own)
{
    const struct sim_plan *plan = &l->exec->plan;
    struct sim_context *wanted[SIM_LANES];
    *own = SIM_LANES;
    for (uint32_t i = 0; i < plan->lanes; i++) {
        struct sim_context *ctx = plan->lane[i].context;
        wanted[i] = ctx ? ctx : l->stream->context;
        if (!sim_is(wanted[i], SIM_CONTEXT))
            return CUDA_ERROR_CONTEXT_IS_DESTROYED;
        if (*own == SIM_LANES && wanted[i] == l->stream->context) {
            *own = i;
            l->lane[i] = l->stream;
            wanted[i] = NULL;
        }
    }
    if (plan->lanes == 1 && *own == 0)
        return CUDA_SUCCESS;
    CUresult result = sim_lanes_take(l->stream, wanted, plan->lanes, l->lane);
    for (uint32_t i = 0; result != CUDA_SUCCESS && i < plan->lanes; i++)
        if (!l->lane[i] && wanted[i] == l->stream->context)
            l->lane[i] = l->stream; /* the machine has no more queues: one after the other, then */
        else if (!l->lane[i])
            return result;
    return CUDA_SUCCESS;
}

/* Which bodies of conditional nodes are done; branch 0 is. */
static bool *choose(const struct sim_graph_exec *exec)
{
    const struct sim_plan *plan = &exec->plan;
    bool *chosen = calloc(plan->branches, sizeof(*chosen));
    if (!chosen)
        return NULL;
    chosen[0] = true;
    for (uint32_t i = 1; i < plan->branches; i++) {
        const struct sim_branch *b = &plan->branch[i];
        const struct sim_condition *c = sim_condition_find(b->node->graph, b->node->task.condition.handle);
        uint32_t value = c ? c->value : 0;
        if (b->node->task.condition.kind == 2) /* SWITCH */
            chosen[i] = value == b->body;
        else
            chosen[i] = b->body == 0 ? value != 0 : value == 0;
        chosen[i] &= chosen[b->around];
    }
    return chosen;
}

static CUresult begin_lane(struct launch *l, const struct sim_step *step)
{
    if (l->begun[step->lane])
        return CUDA_SUCCESS;
    l->begun[step->lane] = true;
    return step->waits ? CUDA_SUCCESS : sim_submit_after(l->lane[step->lane], l->start);
}

static CUresult do_step(struct launch *l, uint32_t at, bool chosen)
{
    struct sim_graph_exec *exec = l->exec;
    const struct sim_step *step = &exec->plan.step[at];
    struct sim_stream *lane = l->lane[step->lane];
    if (lane != l->stream)
        SIM_TRY(begin_lane(l, step));
    for (uint32_t i = 0; i < step->waits; i++)
        SIM_TRY(sim_submit_after(lane, exec->done[exec->plan.wait[step->first_wait + i]]));
    if (chosen && !step->marker && !step->node->disabled)
        SIM_TRY(sim_task_submit(step->node->type, &step->node->task, lane));
    if (step->awaited)
        exec->done[at] = sim_stream_now(lane);
    return CUDA_SUCCESS;
}

static CUresult do_steps(struct launch *l, const bool *chosen)
{
    const struct sim_plan *plan = &l->exec->plan;
    uint32_t own;
    SIM_TRY(take_lanes(l, &own));
    if (plan->lanes > 1 || own == SIM_LANES) { /* what bars the stream bars the others too */
        struct sim_work marker = {.kind = SIM_WORK_EMPTY};
        SIM_TRY(sim_submit_now(l->stream, &marker));
        l->start = sim_stream_now(l->stream);
    }
    for (uint32_t i = 0; i < plan->steps; i++)
        SIM_TRY(do_step(l, i, chosen[plan->step[i].branch]));
    for (uint32_t i = 0; i < plan->lanes; i++)
        if (i != own && (own == SIM_LANES || plan->lane[own].known[i] < plan->lane[i].steps))
            SIM_TRY(sim_submit_after(l->stream, sim_stream_now(l->lane[i])));
    return CUDA_SUCCESS;
}

struct sim_point sim_exec_end(const struct sim_graph_exec *exec)
{
    if (exec->launched && sim_is(exec->stream, SIM_STREAM) && exec->stream->serial == exec->serial)
        return sim_stream_now(exec->stream);
    return (struct sim_point){0};
}

/* Launches of one executable graph are done one after the other, in whichever streams. */
static CUresult launch_now(struct sim_graph_exec *exec, struct sim_stream *stream)
{
    struct launch l = {.exec = exec, .stream = stream};
    uint64_t passing[SIM_MAX_DEVICES] = {0};
    const bool always = true;
    bool *chosen = exec->plan.branches > 1 ? choose(exec) : (bool *)&always;
    if (!chosen)
        return CUDA_ERROR_OUT_OF_MEMORY;
    struct sim_point before = {0};
    if (exec->launched && exec->serial != stream->serial)
        before = sim_exec_end(exec);
    CUresult result = before.queue ? sim_submit_after(stream, before) : CUDA_SUCCESS;
    if (result == CUDA_SUCCESS && exec->need.count)
        result = sim_graph_need_begin(&exec->need, stream, exec->flags & SIM_FLAG_AUTO_FREE, false, passing);
    if (result == CUDA_SUCCESS) {
        exec->stream = stream;
        exec->serial = stream->serial;
        exec->launched = true;
        result = do_steps(&l, chosen);
        if (exec->need.count)
            sim_graph_need_end(&exec->need, stream, false, passing);
    }
    if (chosen != &always)
        free(chosen);
    return result;
}

SIM_STREAM_API(cuGraphLaunch, cuGraphLaunch_ptsz, (CUgraphExec exec, CUstream handle), (exec, handle))
{
    SIM_ENTER(cuGraphLaunch);
    struct sim_stream *stream;
    if (!sim_is(exec, SIM_GRAPH_EXEC))
        return CUDA_ERROR_INVALID_VALUE;
    SIM_TRY(sim_stream_resolve(handle, per_thread, &stream));
    if (stream->capture)
        return sim_capture_graph(stream, exec->graph);
    SIM_TRY(sim_context_error(stream->context));
    if (stream == stream->context->legacy)
        SIM_TRY(sim_capture_legacy_use(stream->context));
    pthread_mutex_lock(&exec->lock);
    CUresult result = launch_now(exec, stream);
    pthread_mutex_unlock(&exec->lock);
    return result;
}

CUresult sim_exec_upload(struct sim_graph_exec *exec, struct sim_stream *stream)
{
    uint64_t passing[SIM_MAX_DEVICES] = {0};
    if (!exec->need.count)
        return CUDA_SUCCESS;
    pthread_mutex_lock(&exec->lock);
    CUresult result = sim_graph_need_begin(&exec->need, stream, false, true, passing);
    if (result == CUDA_SUCCESS)
        sim_graph_need_end(&exec->need, stream, true, passing);
    pthread_mutex_unlock(&exec->lock);
    return result;
}

/* Takes no time on the device. */
SIM_STREAM_API(cuGraphUpload, cuGraphUpload_ptsz, (CUgraphExec exec, CUstream handle), (exec, handle))
{
    SIM_ENTER(cuGraphUpload);
    struct sim_stream *stream;
    if (!sim_is(exec, SIM_GRAPH_EXEC))
        return CUDA_ERROR_INVALID_VALUE;
    SIM_TRY(sim_stream_resolve(handle, per_thread, &stream));
    return stream->capture ? sim_capture_forbids(stream) : sim_exec_upload(exec, stream);
}
