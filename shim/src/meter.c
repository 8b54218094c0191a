/* meter.c -- windows: markers are set into streams, read when they are through, and what lies between is charged.
 * How much of it was ours measure.c says. */
#include <time.h>

#include "gate.h"
#include "meter.h"

#define ANCHOR_NS 500000000 /* beyond this, times since the anchor lose precision */

uint32_t gs_captures;
struct gs_cost gs_costs[GS_COSTS];

uint64_t gs_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

bool gs_meter_capturing(CUstream handle)
{
    CUstreamCaptureStatus status = CU_STREAM_CAPTURE_STATUS_NONE;

    /* An error is the legacy stream while another one is captured: as good as captured. */
    return REAL(cuStreamIsCapturing)(handle, &status) != CUDA_SUCCESS ||
           status != CU_STREAM_CAPTURE_STATUS_NONE;
}

void gs_meter_capture_begins(void)
{
    struct gs_meter_context *context = __atomic_load_n(&gs_meter_contexts, __ATOMIC_ACQUIRE);

    __atomic_add_fetch(&gs_captures, 1, __ATOMIC_SEQ_CST);
    for (; context != NULL; context = context->next)
        for (struct gs_stream *stream = context->streams; stream != NULL; stream = stream->next)
            __atomic_fetch_add(&stream->margin_ns,
                               __atomic_exchange_n(&stream->credit_ns, 0, __ATOMIC_RELAXED),
                               __ATOMIC_RELAXED);
}

/* -------- one thread at a time -------- */

/* Event calls would invalidate a capture that another thread has begun in global mode, unless this thread says
 * that it knows what it does. */
static bool enter(struct gs_meter_context *context, int *mode)
{
    if (__atomic_exchange_n(&context->taken, true, __ATOMIC_ACQUIRE))
        return false;
    *mode = CU_STREAM_CAPTURE_MODE_RELAXED;
    REAL(cuThreadExchangeStreamCaptureMode)(mode);
    return true;
}

static void leave(struct gs_meter_context *context, int *mode)
{
    REAL(cuThreadExchangeStreamCaptureMode)(mode);
    __atomic_store_n(&context->taken, false, __ATOMIC_RELEASE);
}

/* -------- reading -------- */

/* The start marker has served: now and then it becomes the new anchor. */
static void retire_start(struct gs_meter_context *context, struct gs_stream *stream, CUevent next,
                         int64_t at_ns)
{
    if (stream->start != NULL && stream->start_at_ns != GS_NOT_PLACED &&
        (context->anchor == NULL || stream->start_at_ns - context->anchor_at_ns > ANCHOR_NS)) {
        gs_event_give(context, context->anchor);
        context->anchor = stream->start;
        context->anchor_at_ns = stream->start_at_ns;
    } else {
        gs_event_give(context, stream->start);
    }
    stream->start = next;
    stream->start_at_ns = at_ns;
}

static bool is_open(const struct gs_stream *stream)
{
    return __atomic_load_n(&stream->launches_most, __ATOMIC_RELAXED) != 0;
}

static void harvest(struct gs_meter_context *context, struct gs_stream *stream, uint64_t now_ns)
{
    for (; stream->head != stream->tail; stream->head++) {
        struct gs_window *window = &stream->window[stream->head % GS_WINDOWS];
        int64_t elapsed_ns, end_at_ns = GS_NOT_PLACED;
        CUresult result = REAL(cuEventQuery)(window->end);

        if (result == CUDA_ERROR_NOT_READY)
            return;
        if (window->start != NULL)
            retire_start(context, stream, window->start, GS_NOT_PLACED);
        uint64_t own = window->learnt_ns; /* a failed context, or no start marker: what was prepaid stands */
        if (result == CUDA_SUCCESS && gs_elapsed(stream->start, window->end, &elapsed_ns)) {
            own = gs_measure(context, stream, window, elapsed_ns, now_ns);
            end_at_ns = stream->start_at_ns + elapsed_ns;
        }
        gs_charge(context, stream->device, window->learnt_ns, own, window->launches);
        stream->seen_ns = 0; /* by the clock, nothing yet of the next one */
        retire_start(context, stream, window->end, end_at_ns);
    }
    if (!is_open(stream))
        stream->idle = true;
}

/* -------- markers -------- */

static bool may_mark(const struct gs_stream *stream)
{
    bool is_default = stream->handle == CU_STREAM_LEGACY || stream->handle == CU_STREAM_PER_THREAD;

    if (stream->handle == NULL || (stream->owner != NULL && stream->owner != &gs_thread) ||
        (is_default && gs_meter_current() != stream->context)) /* here, the handle means another one */
        return false;
    return __atomic_load_n(&gs_captures, __ATOMIC_RELAXED) == 0 || !gs_meter_capturing(stream->handle);
}

static CUevent record(struct gs_meter_context *context, const struct gs_stream *stream)
{
    CUevent event = gs_event_take(context);

    if (event != NULL && REAL(cuEventRecord)(event, stream->handle) != CUDA_SUCCESS) {
        gs_event_give(context, event);
        return NULL;
    }
    return event;
}

static uint32_t take_launches(struct gs_stream *stream)
{
    int32_t most = __atomic_exchange_n(&stream->launches_most, 0, __ATOMIC_RELAXED);

    return (uint32_t)(most - __atomic_exchange_n(&stream->launches_left, 0, __ATOMIC_RELAXED));
}

/* Gives back what the open window has prepaid and not used; returns what it used. */
static uint64_t take_used(struct gs_stream *stream)
{
    int64_t granted = __atomic_exchange_n(&stream->granted_ns, 0, __ATOMIC_RELAXED);
    int64_t left = __atomic_exchange_n(&stream->credit_ns, 0, __ATOMIC_RELAXED) +
                   __atomic_exchange_n(&stream->margin_ns, 0, __ATOMIC_RELAXED);

    gs_gate_refund(stream->device, left);
    return (uint64_t)(granted - left);
}

static void close_window(struct gs_meter_context *context, struct gs_stream *stream, uint64_t now_ns)
{
    if (!is_open(stream) || stream->tail - stream->head == GS_WINDOWS || !may_mark(stream))
        return;
    uint32_t launches = take_launches(stream);
    uint64_t learnt_ns = take_used(stream);
    if (stream->head == stream->tail)
        context->pulse.begun = false; /* it may have run dry */
    CUevent end = record(context, stream);
    if (end == NULL) {
        gs_charge(NULL, stream->device, learnt_ns, learnt_ns, launches);
        return;
    }
    stream->window[stream->tail % GS_WINDOWS] = (struct gs_window){
        .start = stream->own_start,
        .end = end,
        .learnt_ns = learnt_ns,
        .opened_ns = stream->marked_ns,
        .closed_ns = now_ns,
        .cost = stream->open_cost,
        .launches = launches,
        .contiguous = stream->head != stream->tail,
    };
    stream->own_start = NULL;
    stream->marked_ns = now_ns;
    stream->tail++;
}

void gs_meter_mark(struct gs_stream *stream)
{
    struct gs_meter_context *context = stream->context;
    int mode;

    if (!enter(context, &mode))
        return;
    uint64_t now_ns = gs_now();
    gs_busy_look(context, now_ns);
    harvest(context, stream, now_ns);
    gs_running_charge(context, now_ns, false);
    gs_pulse(context, now_ns);
    close_window(context, stream, now_ns);
    leave(context, &mode);
}

void gs_meter_cancel(struct gs_stream *stream)
{
    if (__atomic_load_n(&stream->launches_left, __ATOMIC_RELAXED) !=
        __atomic_load_n(&stream->launches_most, __ATOMIC_RELAXED))
        return;
    take_launches(stream);
    take_used(stream);
    stream->idle = stream->head == stream->tail;
}

void gs_meter_apart(struct gs_stream *stream)
{
    if (!is_open(stream) && stream->head == stream->tail) {
        stream->idle = true;
        return;
    }
    gs_meter_mark(stream);
    stream->apart = !is_open(stream);
}

void gs_meter_begin(struct gs_stream *stream, bool alone)
{
    struct gs_meter_context *context = stream->context;
    int mode;

    if (!enter(context, &mode))
        return;
    uint64_t now_ns = gs_now();
    harvest(context, stream, now_ns);
    if (alone)
        close_window(context, stream, now_ns);
    bool first = stream->head == stream->tail;
    if ((first || stream->apart) && !is_open(stream) && may_mark(stream)) {
        gs_busy_look(context, now_ns);
        CUevent start = record(context, stream);
        gs_event_give(context, stream->own_start);
        stream->own_start = first ? NULL : start;
        if (first)
            retire_start(context, stream, start, GS_NOT_PLACED);
        stream->marked_ns = now_ns;
        stream->idle = stream->apart = false;
    }
    leave(context, &mode);
}

uint32_t gs_meter_settle(struct gs_meter_device *device)
{
    struct gs_meter_context *context = __atomic_load_n(&gs_meter_contexts, __ATOMIC_ACQUIRE);
    uint32_t in_flight = 0;

    for (; context != NULL; context = context->next) {
        int mode;
        if (context->handle == NULL || context->device != device)
            continue;
        if (!enter(context, &mode)) {
            in_flight += 2; /* somebody else is at it: enough to wait for */
            continue;
        }
        uint64_t now_ns = gs_now();
        for (struct gs_stream *stream = context->streams; stream != NULL; stream = stream->next) {
            harvest(context, stream, now_ns);
            close_window(context, stream, now_ns);
            for (uint32_t i = stream->head; i != stream->tail; i++)
                in_flight += stream->window[i % GS_WINDOWS].launches;
        }
        if (in_flight > 0)
            gs_busy_look(context, now_ns);
        gs_running_charge(context, now_ns, true);
        gs_pulse(context, now_ns);
        leave(context, &mode);
    }
    if (in_flight == 0)
        gs_busy_drop(device);
    return in_flight;
}

void gs_meter_give_up(struct gs_stream *stream)
{
    uint32_t launches = take_launches(stream);
    uint64_t learnt_ns = take_used(stream);

    gs_charge(NULL, stream->device, learnt_ns, learnt_ns, launches);
}

void gs_meter_all_done(struct gs_meter_context *context)
{
    int mode;

    gs_meter_settle(context->device);
    if (!enter(context, &mode))
        return;
    /* Nobody can set a marker into another thread's default stream. */
    for (struct gs_stream *stream = context->streams; stream != NULL; stream = stream->next)
        if (stream->owner != NULL && stream->owner != &gs_thread)
            gs_meter_give_up(stream);
    leave(context, &mode);
}

void gs_meter_abandon(struct gs_meter_context *context)
{
    for (struct gs_stream *stream = context->streams; stream != NULL; stream = stream->next) {
        gs_meter_give_up(stream);
        for (; stream->head != stream->tail; stream->head++) {
            const struct gs_window *window = &stream->window[stream->head % GS_WINDOWS];
            gs_charge(NULL, stream->device, window->learnt_ns, window->learnt_ns, window->launches);
        }
        stream->handle = NULL;
        stream->start = stream->own_start = NULL;
    }
    context->spare_count = 0; /* the driver destroys the events with the context */
    context->anchor = NULL;
    context->pulse = (struct gs_pulse){0};
    context->running_ns = context->shown_ns =
        0; /* what ran until now was charged by the clock, and that stands */
    context->charged.count = 0;
    context->history.count = 0;
}
