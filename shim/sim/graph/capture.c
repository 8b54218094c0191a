/* capture.c -- stream capture: work submitted to a capturing stream becomes nodes of a graph.
 *
 * A capture begins in one stream; others join it by waiting for an event that was recorded in it.  Each of its streams
 * remembers the nodes that its next one depends on.  An event recorded in it carries a note of those nodes.  A call
 * that the capture cannot take makes it invalid: it then accepts nothing, and ends without a graph. */
#include "capture.h"
#include "node.h"

#include <stdlib.h>
#include <string.h>

#define EXTERNAL 1u /* flag of an event's record or wait: a node of its own, no joining */

/* What an event that was recorded in a capture stands for: sim_event.capture, one block. */
struct note {
    unsigned long long id;
    uint32_t count;
    struct before {
        struct sim_graph_node *node;
        struct sim_graph_edge_data data;
    } before[];
};

pthread_mutex_t sim_capture_lock = PTHREAD_MUTEX_INITIALIZER;
struct sim_capture *sim_captures;
__thread enum sim_capture_mode sim_thread_mode = SIM_CAPTURE_GLOBAL;
_Atomic unsigned sim_captures_active;

CUresult sim_capture_invalidate(struct sim_capture *capture, CUresult why)
{
    capture->status = SIM_CAPTURE_INVALIDATED;
    return why;
}

static struct sim_capture *find(unsigned long long id)
{
    for (struct sim_capture *c = sim_captures; c; c = c->next)
        if (c->id == id)
            return c;
    return NULL;
}

CUresult sim_capture_join(struct sim_capture *capture, struct sim_stream *stream, struct sim_capturing **out)
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

/* From here on the stream's next node depends on this one alone. */
static CUresult continue_after(struct sim_capturing *part, struct sim_graph_node *node)
{
    part->before.count = 0;
    return sim_node_list_add(&part->before, node, NULL);
}

#define NEXT(part) (part)->capture->graph, (part)->before.node, (part)->before.data, (part)->before.count

static CUresult add_node(struct sim_capturing *part, const struct sim_work *work)
{
    struct sim_task task;
    struct sim_graph_node *node;
    CUstreamBatchMemOpParams op;
    enum sim_node_type type = sim_task_of_work(part->stream, work, &op, &task);
    SIM_TRY(sim_add_task(&node, NEXT(part), type, &task));
    return continue_after(part, node);
}

/* A part that may still grow. */
static CUresult enter(struct sim_stream *stream, struct sim_capturing **part)
{
    *part = stream->capture;
    if (!*part)
        return CUDA_ERROR_ILLEGAL_STATE;
    return (*part)->capture->status == SIM_CAPTURE_ACTIVE ? CUDA_SUCCESS
                                                          : CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
}

static CUresult take_graph(struct sim_stream *stream, struct sim_graph *graph)
{
    struct sim_capturing *part;
    struct sim_graph_node *node;
    SIM_TRY(enter(stream, &part));
    CUresult result = sim_add_child(&node, NEXT(part), graph, false);
    if (result == CUDA_ERROR_NOT_SUPPORTED) /* what cannot be a child cannot be captured */
        return sim_capture_invalidate(part->capture, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    return result ? result : continue_after(part, node);
}

CUresult sim_capture_graph(struct sim_stream *stream, struct sim_graph *graph)
{
    pthread_mutex_lock(&sim_capture_lock);
    CUresult result = take_graph(stream, graph);
    pthread_mutex_unlock(&sim_capture_lock);
    return result;
}

static CUresult take_alloc(struct sim_stream *stream, CUdevice device, uint64_t bytes, CUdeviceptr *address)
{
    struct sim_capturing *part;
    struct sim_graph_node *node;
    SIM_TRY(enter(stream, &part));
    SIM_TRY(sim_add_alloc(&node, NEXT(part), device, bytes, address));
    return continue_after(part, node);
}

CUresult sim_capture_alloc(struct sim_stream *stream, CUdevice device, uint64_t bytes, CUdeviceptr *address)
{
    pthread_mutex_lock(&sim_capture_lock);
    CUresult result = take_alloc(stream, device, bytes, address);
    pthread_mutex_unlock(&sim_capture_lock);
    return result;
}

/* Only what a graph has allocated: other memory cannot be freed by one. */
static CUresult take_free(struct sim_stream *stream, CUdeviceptr address)
{
    struct sim_capturing *part;
    struct sim_graph_node *node;
    SIM_TRY(enter(stream, &part));
    SIM_TRY(sim_add_free(&node, NEXT(part), address));
    return continue_after(part, node);
}

CUresult sim_capture_free(struct sim_stream *stream, CUdeviceptr address)
{
    pthread_mutex_lock(&sim_capture_lock);
    CUresult result = take_free(stream, address);
    pthread_mutex_unlock(&sim_capture_lock);
    return result;
}

static CUresult note_event(struct sim_capturing *part, struct sim_event *event)
{
    struct note *note = malloc(sizeof(*note) + part->before.count * sizeof(note->before[0]));
    if (!note)
        return CUDA_ERROR_OUT_OF_MEMORY;
    note->id = part->capture->id;
    note->count = part->before.count;
    for (uint32_t i = 0; i < note->count; i++)
        note->before[i] = (struct before){part->before.node[i], part->before.data[i]};
    free(event->capture);
    event->capture = note;
    return CUDA_SUCCESS;
}

void sim_capture_event_forget(struct sim_event *event)
{
    if (!event->capture)
        return;
    pthread_mutex_lock(&sim_capture_lock);
    free(event->capture);
    event->capture = NULL;
    pthread_mutex_unlock(&sim_capture_lock);
}

CUresult sim_capture_event_use(struct sim_event *event)
{
    pthread_mutex_lock(&sim_capture_lock);
    const struct note *note = event->capture;
    struct sim_capture *capture = note ? find(note->id) : NULL;
    if (capture)
        sim_capture_invalidate(capture, CUDA_SUCCESS);
    pthread_mutex_unlock(&sim_capture_lock);
    return CUDA_ERROR_CAPTURED_EVENT;
}

static CUresult wait_for(struct sim_stream *stream, const struct sim_event *event)
{
    const struct note *note = event->capture;
    struct sim_capturing *part = stream->capture;
    if (!note) /* recorded outside: the capture would depend on what it does not hold */
        return sim_capture_invalidate(part->capture, CUDA_ERROR_STREAM_CAPTURE_ISOLATION);
    struct sim_capture *capture = find(note->id);
    if (!capture)
        return part ? sim_capture_invalidate(part->capture, CUDA_ERROR_STREAM_CAPTURE_ISOLATION)
                    : CUDA_ERROR_CAPTURED_EVENT;
    if (capture->status != SIM_CAPTURE_ACTIVE)
        return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
    if (part && part->capture != capture) {
        sim_capture_invalidate(part->capture, CUDA_SUCCESS);
        return sim_capture_invalidate(capture, CUDA_ERROR_STREAM_CAPTURE_MERGE);
    }
    if (stream == stream->context->legacy)
        return sim_capture_invalidate(capture, CUDA_ERROR_STREAM_CAPTURE_IMPLICIT);
    if (!part)
        SIM_TRY(sim_capture_join(capture, stream, &part));
    for (uint32_t i = 0; i < note->count; i++)
        if (sim_node_list_find(&part->before, note->before[i].node) == part->before.count)
            SIM_TRY(sim_node_list_add(&part->before, note->before[i].node, &note->before[i].data));
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

/* Another thread may have ended the capture, or recorded the event elsewhere, since the caller looked. */
bool sim_capture_work(struct sim_stream *stream, const struct sim_work *work, CUresult *result)
{
    pthread_mutex_lock(&sim_capture_lock);
    bool captured = stream->capture || (work->kind == SIM_WORK_WAIT && work->event.event->capture);
    if (captured)
        *result = take(stream, work);
    pthread_mutex_unlock(&sim_capture_lock);
    return captured;
}

CUresult sim_capture_forbids(struct sim_stream *stream)
{
    pthread_mutex_lock(&sim_capture_lock);
    struct sim_capturing *part = stream->capture;
    CUresult result = CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    if (part)
        sim_capture_invalidate(part->capture, result);
    pthread_mutex_unlock(&sim_capture_lock);
    return result;
}

/* Does the calling thread's mode, and that of the capture, forbid what may be unsafe? */
static bool prohibits(const struct sim_capture *capture)
{
    if (sim_thread_mode == SIM_CAPTURE_RELAXED || capture->mode == SIM_CAPTURE_RELAXED ||
        capture->status != SIM_CAPTURE_ACTIVE)
        return false;
    return pthread_equal(capture->thread, pthread_self()) ||
           (sim_thread_mode == SIM_CAPTURE_GLOBAL && capture->mode == SIM_CAPTURE_GLOBAL);
}

CUresult sim_capture_unsafe_call(void)
{
    if (__builtin_expect(atomic_load_explicit(&sim_captures_active, memory_order_relaxed) == 0, 1))
        return CUDA_SUCCESS;
    CUresult result = CUDA_SUCCESS;
    pthread_mutex_lock(&sim_capture_lock);
    for (struct sim_capture *c = sim_captures; c; c = c->next)
        if (prohibits(c))
            result = sim_capture_invalidate(c, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    pthread_mutex_unlock(&sim_capture_lock);
    return result;
}

static struct sim_capture *blocking_capture(const struct sim_context *ctx)
{
    for (struct sim_capture *c = sim_captures; c; c = c->next)
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
    if (__builtin_expect(atomic_load_explicit(&sim_captures_active, memory_order_relaxed) == 0, 1))
        return CUDA_SUCCESS;
    pthread_mutex_lock(&sim_capture_lock);
    struct sim_capture *capture = blocking_capture(ctx);
    CUresult result =
        capture ? sim_capture_invalidate(capture, CUDA_ERROR_STREAM_CAPTURE_IMPLICIT) : CUDA_SUCCESS;
    pthread_mutex_unlock(&sim_capture_lock);
    return result;
}
