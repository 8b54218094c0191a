/* capture.c -- stream capture: work submitted to a capturing stream becomes nodes of a graph.
 *
 * A capture begins in one stream; others join it by waiting for an event that was recorded in it.  Each of its streams
 * remembers the nodes that its next one depends on.  An event recorded in it carries a note of those nodes.  A call
 * that the capture cannot take makes it invalid: it then accepts nothing, and ends without a graph. */
#include "capture.h"

#include <stdlib.h>
#include <string.h>

#define EXTERNAL 1u /* flag of an event's record or wait: a node of its own, no joining */

/* What an event that was recorded in a capture stands for: sim_event.capture, one block. */
struct note {
    unsigned long long id;
    uint32_t count;
    struct sim_graph_node *node[];
};

pthread_mutex_t sim_capture_lock = PTHREAD_MUTEX_INITIALIZER;
static struct sim_capture *captures;
static unsigned long long last_id;
static __thread enum sim_capture_mode thread_mode = SIM_CAPTURE_GLOBAL;

static _Atomic unsigned active; /* how many: most calls need to know no more */

static CUresult invalidate(struct sim_capture *capture, CUresult why)
{
    capture->status = SIM_CAPTURE_INVALIDATED;
    return why;
}

static struct sim_capture *find(unsigned long long id)
{
    for (struct sim_capture *c = captures; c; c = c->next)
        if (c->id == id)
            return c;
    return NULL;
}

static CUresult join(struct sim_capture *capture, struct sim_stream *stream, struct sim_capturing **out)
{
    struct sim_capturing *part = calloc(1, sizeof(*part));
    if (!part)
        return CUDA_ERROR_OUT_OF_MEMORY;
    part->capture = capture;
    part->stream = stream;
    part->next = capture->streams;
    capture->streams = part;
    stream->capture = part;
    *out = part;
    return CUDA_SUCCESS;
}

/* -------- what happens to work -------- */

static CUresult add_node(struct sim_capturing *part, const struct sim_work *work)
{
    struct sim_capture *capture = part->capture;
    struct sim_graph_node *node;
    SIM_TRY(
        sim_graph_add(capture->graph, sim_node_type_of(work), part->before.node, part->before.count, &node));
    node->capture = capture->id;
    SIM_TRY(sim_node_set_work(node, part->stream->context, work));
    part->before.count = 0;
    return sim_node_list_add(&part->before, node);
}

static CUresult note_event(struct sim_capturing *part, struct sim_event *event)
{
    struct note *note = malloc(sizeof(*note) + part->before.count * sizeof(note->node[0]));
    if (!note)
        return CUDA_ERROR_OUT_OF_MEMORY;
    note->id = part->capture->id;
    note->count = part->before.count;
    if (note->count)
        memcpy(note->node, part->before.node, note->count * sizeof(note->node[0]));
    free(event->capture);
    event->capture = note;
    return CUDA_SUCCESS;
}

static CUresult wait_for(struct sim_stream *stream, const struct sim_event *event)
{
    const struct note *note = event->capture;
    struct sim_capturing *part = stream->capture;
    if (!note) /* recorded outside: the capture would depend on what it does not hold */
        return invalidate(part->capture, CUDA_ERROR_STREAM_CAPTURE_ISOLATION);
    struct sim_capture *capture = find(note->id);
    if (!capture)
        return part ? invalidate(part->capture, CUDA_ERROR_STREAM_CAPTURE_ISOLATION)
                    : CUDA_ERROR_CAPTURED_EVENT;
    if (capture->status != SIM_CAPTURE_ACTIVE)
        return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
    if (part && part->capture != capture) {
        invalidate(part->capture, CUDA_SUCCESS);
        return invalidate(capture, CUDA_ERROR_STREAM_CAPTURE_MERGE);
    }
    if (stream == stream->context->legacy)
        return invalidate(capture, CUDA_ERROR_STREAM_CAPTURE_IMPLICIT);
    if (!part)
        SIM_TRY(join(capture, stream, &part));
    for (uint32_t i = 0; i < note->count; i++)
        if (!sim_node_list_has(&part->before, note->node[i]))
            SIM_TRY(sim_node_list_add(&part->before, note->node[i]));
    return CUDA_SUCCESS;
}

static CUresult take(struct sim_stream *stream, const struct sim_work *work)
{
    struct sim_capturing *part = stream->capture;
    if (part && part->capture->status != SIM_CAPTURE_ACTIVE)
        return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
    if (work->kind == SIM_WORK_WAIT && !(work->event.flags & EXTERNAL))
        return wait_for(stream, work->event.event);
    if (work->kind == SIM_WORK_RECORD && !(work->event.flags & EXTERNAL))
        return note_event(part, work->event.event);
    return add_node(part, work);
}

CUresult sim_capture_work(struct sim_stream *stream, const struct sim_work *work)
{
    pthread_mutex_lock(&sim_capture_lock);
    CUresult result = take(stream, work);
    pthread_mutex_unlock(&sim_capture_lock);
    return result;
}

CUresult sim_capture_forbids(struct sim_stream *stream)
{
    pthread_mutex_lock(&sim_capture_lock);
    struct sim_capturing *part = stream->capture;
    CUresult result = CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    if (part)
        invalidate(part->capture, result);
    pthread_mutex_unlock(&sim_capture_lock);
    return result;
}

/* Does the calling thread's mode, and that of the capture, forbid what may be unsafe? */
static bool prohibits(const struct sim_capture *capture)
{
    if (thread_mode == SIM_CAPTURE_RELAXED || capture->mode == SIM_CAPTURE_RELAXED ||
        capture->status != SIM_CAPTURE_ACTIVE)
        return false;
    return pthread_equal(capture->thread, pthread_self()) ||
           (thread_mode == SIM_CAPTURE_GLOBAL && capture->mode == SIM_CAPTURE_GLOBAL);
}

CUresult sim_capture_unsafe_call(void)
{
    if (__builtin_expect(atomic_load_explicit(&active, memory_order_relaxed) == 0, 1))
        return CUDA_SUCCESS;
    CUresult result = CUDA_SUCCESS;
    pthread_mutex_lock(&sim_capture_lock);
    for (struct sim_capture *c = captures; c; c = c->next)
        if (prohibits(c))
            result = invalidate(c, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    pthread_mutex_unlock(&sim_capture_lock);
    return result;
}

static struct sim_capture *blocking_capture(const struct sim_context *ctx)
{
    for (struct sim_capture *c = captures; c; c = c->next)
        for (struct sim_capturing *part = c->streams; part; part = part->next)
            if (part->stream->context == ctx && !(part->stream->flags & CU_STREAM_NON_BLOCKING))
                return c;
    return NULL;
}

bool sim_capture_in(const struct sim_context *ctx)
{
    pthread_mutex_lock(&sim_capture_lock);
    bool found = blocking_capture(ctx) != NULL;
    pthread_mutex_unlock(&sim_capture_lock);
    return found;
}

CUresult sim_capture_legacy_use(const struct sim_context *ctx)
{
    if (__builtin_expect(atomic_load_explicit(&active, memory_order_relaxed) == 0, 1))
        return CUDA_SUCCESS;
    pthread_mutex_lock(&sim_capture_lock);
    struct sim_capture *capture = blocking_capture(ctx);
    CUresult result = capture ? invalidate(capture, CUDA_ERROR_STREAM_CAPTURE_IMPLICIT) : CUDA_SUCCESS;
    pthread_mutex_unlock(&sim_capture_lock);
    return result;
}

/* -------- beginning and ending -------- */

static void finish(struct sim_capture *capture)
{
    for (struct sim_capturing *part = capture->streams, *next; part; part = next) {
        next = part->next;
        part->stream->capture = NULL;
        free(part->before.node);
        free(part);
    }
    for (struct sim_capture **at = &captures; *at; at = &(*at)->next)
        if (*at == capture) {
            *at = capture->next;
            break;
        }
    atomic_fetch_sub(&active, 1);
    free(capture);
}

static void give_up(struct sim_capture *capture)
{
    if (capture->graph && !capture->graph_is_callers)
        sim_graph_free(capture->graph);
    finish(capture);
}

static CUresult begin(struct sim_stream *stream, struct sim_graph *graph, CUgraphNode const *before,
                      size_t count, enum sim_capture_mode mode)
{
    if ((unsigned)mode > SIM_CAPTURE_RELAXED || (count && !before))
        return CUDA_ERROR_INVALID_VALUE;
    if (stream == stream->context->legacy)
        return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    if (stream->capture)
        return CUDA_ERROR_ILLEGAL_STATE;
    for (size_t i = 0; i < count; i++)
        if (!sim_is(before[i], SIM_GRAPH_NODE) || before[i]->graph != graph)
            return CUDA_ERROR_INVALID_VALUE;
    struct sim_capture *capture = calloc(1, sizeof(*capture));
    struct sim_capturing *part;
    if (!capture)
        return CUDA_ERROR_OUT_OF_MEMORY;
    *capture = (struct sim_capture){.next = captures,
                                    .id = ++last_id,
                                    .mode = mode,
                                    .status = SIM_CAPTURE_ACTIVE,
                                    .thread = pthread_self(),
                                    .origin = stream,
                                    .graph = graph,
                                    .graph_is_callers = graph != NULL};
    captures = capture;
    atomic_fetch_add(&active, 1);
    CUresult result = graph ? CUDA_SUCCESS : sim_graph_new(&capture->graph);
    if (result == CUDA_SUCCESS)
        result = join(capture, stream, &part);
    for (size_t i = 0; result == CUDA_SUCCESS && i < count; i++)
        result = sim_node_list_add(&part->before, before[i]);
    if (result)
        give_up(capture);
    return result;
}

static void mark_all_before(struct sim_graph_node *node, uint64_t walk)
{
    if (node->mark == walk)
        return;
    node->mark = walk;
    for (uint32_t i = 0; i < node->before.count; i++)
        mark_all_before(node->before.node[i], walk);
}

/* Has all that was captured come together again in the stream where it began? */
static bool is_joined(const struct sim_capture *capture)
{
    uint64_t walk = sim_graph_walk();
    const struct sim_capturing *part = capture->origin->capture;
    for (uint32_t i = 0; i < part->before.count; i++)
        mark_all_before(part->before.node[i], walk);
    for (uint32_t i = 0; i < capture->graph->nodes.count; i++) {
        const struct sim_graph_node *node = capture->graph->nodes.node[i];
        if (node->capture == capture->id && node->mark != walk)
            return false;
    }
    return true;
}

static CUresult end(struct sim_stream *stream, CUgraph *graph)
{
    struct sim_capturing *part = stream->capture;
    if (!part)
        return CUDA_ERROR_ILLEGAL_STATE;
    struct sim_capture *capture = part->capture;
    if (capture->origin != stream)
        return invalidate(capture, CUDA_ERROR_STREAM_CAPTURE_UNMATCHED);
    if (capture->mode != SIM_CAPTURE_RELAXED && !pthread_equal(capture->thread, pthread_self()))
        return CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD;
    CUresult result = capture->status != SIM_CAPTURE_ACTIVE ? CUDA_ERROR_STREAM_CAPTURE_INVALIDATED
                      : is_joined(capture)                  ? CUDA_SUCCESS
                                                            : CUDA_ERROR_STREAM_CAPTURE_UNJOINED;
    *graph = result ? NULL : capture->graph;
    if (result)
        give_up(capture);
    else
        finish(capture);
    return result;
}

/* A capture does not outlive the stream in which it began; without another of its streams it can only end in vain. */
void sim_capture_leave(struct sim_stream *stream)
{
    pthread_mutex_lock(&sim_capture_lock);
    struct sim_capturing *part = stream->capture;
    if (part && part->capture->origin == stream) {
        give_up(part->capture);
    } else if (part) {
        struct sim_capturing **at = &part->capture->streams;
        while (*at != part)
            at = &(*at)->next;
        *at = part->next;
        invalidate(part->capture, CUDA_SUCCESS);
        free(part->before.node);
        free(part);
        stream->capture = NULL;
    }
    pthread_mutex_unlock(&sim_capture_lock);
}

static CUresult begin_locked(CUstream handle, bool per_thread, CUgraph graph, CUgraphNode const *before,
                             size_t count, enum sim_capture_mode mode)
{
    struct sim_stream *stream;
    SIM_TRY(sim_stream_resolve(handle, per_thread, &stream));
    pthread_mutex_lock(&sim_capture_lock);
    CUresult result = begin(stream, graph, before, count, mode);
    pthread_mutex_unlock(&sim_capture_lock);
    return result;
}

SIM_STREAM_API(cuStreamBeginCapture, cuStreamBeginCapture_ptsz, (CUstream handle), (handle))
{
    SIM_ENTER(cuStreamBeginCapture);
    return begin_locked(handle, per_thread, NULL, NULL, 0, SIM_CAPTURE_GLOBAL);
}

SIM_STREAM_API(cuStreamBeginCapture_v2, cuStreamBeginCapture_v2_ptsz,
               (CUstream handle, enum sim_capture_mode mode), (handle, mode))
{
    SIM_ENTER(cuStreamBeginCapture_v2);
    return begin_locked(handle, per_thread, NULL, NULL, 0, mode);
}

SIM_STREAM_API(cuStreamBeginCaptureToGraph, cuStreamBeginCaptureToGraph_ptsz,
               (CUstream handle, CUgraph graph, const CUgraphNode *before,
                const struct sim_graph_edge_data *data, size_t count, enum sim_capture_mode mode),
               (handle, graph, before, data, count, mode))
{
    SIM_ENTER(cuStreamBeginCaptureToGraph);
    if (!sim_is(graph, SIM_GRAPH))
        return CUDA_ERROR_INVALID_VALUE;
    return begin_locked(handle, per_thread, graph, before, count, mode);
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
    enum sim_capture_mode before = thread_mode;
    thread_mode = *mode;
    *mode = before;
    return CUDA_SUCCESS;
}
