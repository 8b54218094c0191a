/* capture_api.c -- the calls that begin and end a capture. */
#include "capture.h"

#include <stdlib.h>

static unsigned long long last_id;

static void finish(struct sim_capture *capture)
{
    for (struct sim_capturing *part = capture->streams, *next; part; part = next) {
        next = part->next;
        part->stream->capture = NULL;
        sim_node_list_free(&part->before);
        free(part);
    }
    for (struct sim_capture **at = &sim_captures; *at; at = &(*at)->next)
        if (*at == capture) {
            *at = capture->next;
            break;
        }
    if (capture->graph)
        capture->graph->captures--;
    atomic_fetch_sub(&sim_captures_active, 1);
    free(capture);
}

static void give_up(struct sim_capture *capture)
{
    struct sim_graph *own = capture->graph_is_callers ? NULL : capture->graph;
    finish(capture);
    if (own)
        sim_graph_free(own);
}

static CUresult begin(struct sim_stream *stream, struct sim_graph *graph, const CUgraphNode *before,
                      const struct sim_graph_edge_data *data, size_t count, enum sim_capture_mode mode)
{
    if ((unsigned)mode > SIM_CAPTURE_RELAXED || (count && !before))
        return CUDA_ERROR_INVALID_VALUE;
    if (stream == stream->context->legacy)
        return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    if (stream->capture)
        return CUDA_ERROR_ILLEGAL_STATE;
    for (size_t i = 0; i < count; i++)
        if (!sim_is(before[i], SIM_GRAPH_NODE) || before[i]->graph != graph ||
            (data && !sim_edge_valid(before[i], &data[i])))
            return CUDA_ERROR_INVALID_VALUE;
    struct sim_capture *capture = calloc(1, sizeof(*capture));
    struct sim_capturing *part;
    if (!capture)
        return CUDA_ERROR_OUT_OF_MEMORY;
    *capture = (struct sim_capture){.next = sim_captures,
                                    .id = ++last_id,
                                    .mode = mode,
                                    .status = SIM_CAPTURE_ACTIVE,
                                    .thread = pthread_self(),
                                    .origin = stream,
                                    .graph = graph,
                                    .graph_is_callers = graph != NULL};
    sim_captures = capture;
    atomic_fetch_add(&sim_captures_active, 1);
    CUresult result = graph ? CUDA_SUCCESS : sim_graph_new(&capture->graph);
    if (capture->graph)
        capture->graph->captures++;
    if (result == CUDA_SUCCESS)
        result = sim_capture_join(capture, stream, &part);
    for (size_t i = 0; result == CUDA_SUCCESS && i < count; i++)
        result = sim_node_list_add(&part->before, before[i], data ? &data[i] : NULL);
    if (result)
        give_up(capture);
    return result;
}

/* Has all that was captured in other streams come together in the one where it began?  What the program itself did
 * to the graph, or to what a stream depends on, does not count. */
static CUresult check_joined(const struct sim_capture *capture)
{
    uint64_t walk = sim_graph_walk();
    const struct sim_capturing *origin = capture->origin->capture;
    for (uint32_t i = 0; i < origin->before.count; i++)
        SIM_TRY(sim_graph_mark_before(origin->before.node[i], walk));
    for (const struct sim_capturing *part = capture->streams; part; part = part->next)
        for (uint32_t i = 0; i < part->before.count; i++)
            if (part->before.node[i]->mark != walk)
                return CUDA_ERROR_STREAM_CAPTURE_UNJOINED;
    return CUDA_SUCCESS;
}

static CUresult end(struct sim_stream *stream, CUgraph *graph)
{
    struct sim_capturing *part = stream->capture;
    if (!part)
        return CUDA_ERROR_ILLEGAL_STATE;
    struct sim_capture *capture = part->capture;
    if (capture->origin != stream)
        return sim_capture_invalidate(capture, CUDA_ERROR_STREAM_CAPTURE_UNMATCHED);
    if (capture->mode != SIM_CAPTURE_RELAXED && !pthread_equal(capture->thread, pthread_self()))
        return CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD;
    CUresult result =
        capture->status != SIM_CAPTURE_ACTIVE ? CUDA_ERROR_STREAM_CAPTURE_INVALIDATED : check_joined(capture);
    *graph = result ? NULL : capture->graph;
    if (result)
        give_up(capture);
    else
        finish(capture);
    return result;
}

/* Does another stream of the capture depend on all that this one would go on from? */
static bool others_wait_for(const struct sim_capturing *gone)
{
    uint64_t walk = sim_graph_walk();
    for (const struct sim_capturing *part = gone->capture->streams; part; part = part->next)
        for (uint32_t i = 0; part != gone && i < part->before.count; i++)
            if (sim_graph_mark_before(part->before.node[i], walk) != CUDA_SUCCESS)
                return false;
    for (uint32_t i = 0; i < gone->before.count; i++)
        if (gone->before.node[i]->mark != walk)
            return false;
    return true;
}

/* A capture does not outlive the stream in which it began.  Without another of its streams it can end well only if
 * that one was joined before; NVIDIA's own clients close streams that they have joined. */
void sim_capture_leave(struct sim_stream *stream)
{
    pthread_mutex_lock(&sim_capture_lock);
    struct sim_capturing *part = stream->capture;
    if (part && part->capture->origin == stream) {
        give_up(part->capture);
    } else if (part) {
        struct sim_capturing **at = &part->capture->streams;
        if (!others_wait_for(part))
            sim_capture_invalidate(part->capture, CUDA_SUCCESS);
        while (*at != part)
            at = &(*at)->next;
        *at = part->next;
        sim_node_list_free(&part->before);
        free(part);
        stream->capture = NULL;
    }
    pthread_mutex_unlock(&sim_capture_lock);
}

static CUresult begin_locked(CUstream handle, bool per_thread, CUgraph graph, const CUgraphNode *before,
                             const struct sim_graph_edge_data *data, size_t count, enum sim_capture_mode mode)
{
    struct sim_stream *stream;
    SIM_TRY(sim_stream_resolve(handle, per_thread, &stream));
    pthread_mutex_lock(&sim_capture_lock);
    CUresult result = begin(stream, graph, before, data, count, mode);
    pthread_mutex_unlock(&sim_capture_lock);
    return result;
}

SIM_STREAM_API(cuStreamBeginCapture, cuStreamBeginCapture_ptsz, (CUstream handle), (handle))
{
    SIM_ENTER(cuStreamBeginCapture);
    return begin_locked(handle, per_thread, NULL, NULL, NULL, 0, SIM_CAPTURE_GLOBAL);
}

SIM_STREAM_API(cuStreamBeginCapture_v2, cuStreamBeginCapture_v2_ptsz,
               (CUstream handle, enum sim_capture_mode mode), (handle, mode))
{
    SIM_ENTER(cuStreamBeginCapture_v2);
    return begin_locked(handle, per_thread, NULL, NULL, NULL, 0, mode);
}

SIM_STREAM_API(cuStreamBeginCaptureToGraph, cuStreamBeginCaptureToGraph_ptsz,
               (CUstream handle, CUgraph graph, const CUgraphNode *before,
                const struct sim_graph_edge_data *data, size_t count, enum sim_capture_mode mode),
               (handle, graph, before, data, count, mode))
{
    SIM_ENTER(cuStreamBeginCaptureToGraph);
    if (!sim_is(graph, SIM_GRAPH))
        return CUDA_ERROR_INVALID_VALUE;
    return begin_locked(handle, per_thread, graph, before, data, count, mode);
}

SIM_STREAM_API(cuStreamEndCapture, cuStreamEndCapture_ptsz, (CUstream handle, CUgraph *graph),
               (handle, graph))
{
    SIM_ENTER(cuStreamEndCapture);
    struct sim_stream *stream;
    if (!graph)
        return CUDA_ERROR_INVALID_VALUE;
    SIM_TRY(sim_stream_resolve(handle, per_thread, &stream));
    pthread_mutex_lock(&sim_capture_lock);
    CUresult result = end(stream, graph);
    pthread_mutex_unlock(&sim_capture_lock);
    return result;
}

SIM_API(cuThreadExchangeStreamCaptureMode, (enum sim_capture_mode * mode))
{
    SIM_ENTER(cuThreadExchangeStreamCaptureMode);
    if (!mode || (unsigned)*mode > SIM_CAPTURE_RELAXED)
        return CUDA_ERROR_INVALID_VALUE;
    enum sim_capture_mode before = sim_thread_mode;
    sim_thread_mode = *mode;
    *mode = before;
    return CUDA_SUCCESS;
}
