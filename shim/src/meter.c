/* meter.c -- windows: markers are set into streams, read when they are through, and what lies between is charged. */
#include <time.h>

#include "gate.h"
#include "meter.h"

#define NOTHING_PART 64 /* of a window: less of it was decoded wrongly, and nobody should reckon with that */
#define ANCHOR_NS    500000000 /* beyond this, times since the anchor lose precision */

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

/* -------- measuring -------- */

/* Event times are milliseconds in 32-bit floats. */
static bool elapsed(CUevent from, CUevent to, int64_t *elapsed_ns)
{
    float ms = 0;

    if (from == NULL || to == NULL || REAL(cuEventElapsedTime)(&ms, from, to) != CUDA_SUCCESS)
        return false;
    *elapsed_ns = ms > 0 ? (int64_t)((double)ms * 1e6 + 0.5) : 0;
    return true;
}

/* Where a stream's start marker lies on its context's GPU clock. */
static int64_t place_start(struct gs_meter_context *context, struct gs_stream *stream)
{
    int64_t since_anchor = 0;

    if (stream->start_at_ns == GS_NOT_PLACED) {
        elapsed(context->anchor, stream->start, &since_anchor);
        stream->start_at_ns = context->anchor_at_ns + since_anchor;
    }
    return stream->start_at_ns;
}

/* A GPU time on the host's clock.  Markers are read late, never early: the least difference is the true one. */
static uint64_t on_host(struct gs_meter_context *context, int64_t at_ns, uint64_t now_ns)
{
    int64_t offset = (int64_t)now_ns - at_ns;

    if (context->anchor == NULL || offset < context->host_offset_ns)
        context->host_offset_ns = offset;
    else
        context->host_offset_ns += (offset - context->host_offset_ns) / 4096;
    return (uint64_t)(at_ns + context->host_offset_ns);
}

static void usual_learn(struct gs_meter_device *device, uint64_t ns)
{
    int64_t usual_ns = __atomic_load_n(&device->usual_ns, __ATOMIC_RELAXED), new_ns = (int64_t)ns + 1;

    new_ns = usual_ns == 0 ? new_ns : usual_ns + (new_ns - usual_ns) / 8;
    __atomic_store_n(&device->usual_ns, new_ns, __ATOMIC_RELAXED);
}

/* A stream that ran dry begins a new session.  Those who mostly have short ones, and never an interruption, are light. */
static void note_session(struct gs_meter_context *context, struct gs_stream *stream,
                         const struct gs_window *window, const struct gs_own *own, uint32_t busy_milli)
{
    struct gs_device_activity *words = &context->device->region->own_activity->device[context->device->index];
    bool begins = !window->contiguous, shared = busy_milli > GS_MILLI + 50;

    if (begins) {
        bool light = stream->session_whole && stream->session_ns < context->device->slices.slice_ns;
        if (light && context->lightness < GS_LIGHT_MOST)
            context->lightness++;
        else if (!light)
            context->lightness = context->lightness > 4 ? context->lightness - 4 : 0;
        stream->session_ns = 0;
        stream->session_whole = true;
    }
    stream->session_ns += own->ns;
    stream->session_whole &= own->rounds == 0;
    if (!shared && !gs_is_light(context))
        return;
    uint64_t switches = own->rounds + (shared && begins ? gs_is_light(context) ? 2 : 1 : 0);
    __atomic_add_fetch(&words->switch_ns, switches * GS_SWITCH_NS, __ATOMIC_RELAXED);
    if (gs_is_light(context))
        __atomic_add_fetch(&words->light_ns, own->ns + (begins ? 2 * GS_SWITCH_NS : 0), __ATOMIC_RELAXED);
}

/* Less what light neighbours took of a window.  What they said while nothing of ours ran was not ours to begin with. */
static uint64_t without_lights(struct gs_meter_context *context, const struct gs_window *window,
                               uint64_t elapsed_ns)
{
    if (window->contiguous)
        context->lights_left_ns += context->lights_ns - context->lights_seen_ns;
    context->lights_seen_ns = context->lights_ns;
    return gs_take_lights(&context->lights_left_ns, elapsed_ns);
}

#define GUESSES 16 /* windows of less than a slice are not interrupted so many times in a row */

/* Our own part of a window between its start marker and its end marker. */
static uint64_t measure(struct gs_meter_context *context, struct gs_stream *stream, struct gs_window *window,
                        int64_t elapsed_ns, uint64_t now_ns)
{
    int64_t from = place_start(context, stream), to = from + elapsed_ns;
    uint64_t end = on_host(context, to, now_ns), others_ns = 0;
    struct gs_slices *slices = &stream->device->slices;

    stream->through_ns = end;
    __atomic_store_n(&stream->device->through_ns, end, __ATOMIC_RELAXED);
    uint64_t fresh = gs_union_add(&context->charged, from, to);
    uint32_t busy = gs_history_busy(&context->history, end - (uint64_t)elapsed_ns, end, &others_ns);
    struct gs_seen seen = {
        .elapsed_ns = without_lights(context, window, (uint64_t)elapsed_ns),
        .learnt_ns = window->learnt_ns,
        .busy_milli = busy,
    };
    struct gs_own found = {.ns = 0};
    if (!window->contiguous)
        stream->phase = (struct gs_phase){.begun = true};
    if (window->start != NULL)
        found.ns = gs_own_behind_copy_ns(slices, &seen);
    else
        found = gs_own(slices, &seen, &stream->phase);
    uint64_t own = found.ns, submit_ns = window->closed_ns - window->opened_ns;

    stream->guesses = found.guessed ? stream->guesses + 1 : 0;
    if (stream->guesses > GUESSES) { /* what is known is wrong: it has become more */
        stream->guesses = 0;
        found.guessed = false;
        own = seen.elapsed_ns;
    } else if (!slices->known && found.rounds != 0 && own < seen.elapsed_ns * GS_MILLI / 2 / busy) {
        own = seen.elapsed_ns * GS_MILLI / 2 / busy; /* slices that were taken for too long */
    }
    stream->gappy = !window->contiguous && submit_ns > own / 8 && own > window->learnt_ns + own / 8;
    if (!stream->gappy && !found.guessed && own > (uint64_t)elapsed_ns / NOTHING_PART)
        gs_cost_learn(window->cost, window->launches, window->learnt_ns, own, busy > GS_MILLI + 50);
    own = found.ns;
    if (!window->contiguous)
        own = gs_without_gaps(own, submit_ns, window->learnt_ns);
    found.ns = own;
    note_session(context, stream, window, &found, busy);
    if (window->launches > 0)
        usual_learn(stream->device, own / window->launches);
    if (own > 2 * window->learnt_ns)
        stream->trust = GS_FIRST_TRUST;
    else if (stream->trust < GS_MOST_TRUST)
        stream->trust *= 2;
    return fresh < (uint64_t)elapsed_ns ? (uint64_t)((unsigned __int128)own * fresh / (uint64_t)elapsed_ns)
                                        : own;
}

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
        if (result == CUDA_SUCCESS && elapsed(stream->start, window->end, &elapsed_ns)) {
            own = measure(context, stream, window, elapsed_ns, now_ns);
            end_at_ns = stream->start_at_ns + elapsed_ns;
        }
        gs_charge(context, stream->device, window->learnt_ns, own, window->launches);
        retire_start(context, stream, window->end, end_at_ns);
    }
    if (!is_open(stream))
        stream->idle = true;
}

/* -------- markers -------- */

static bool may_mark(const struct gs_stream *stream)
{
    if (stream->handle == NULL || (stream->owner != NULL && stream->owner != &gs_thread))
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
    gs_running_charge(context, now_ns);
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
        gs_running_charge(context, now_ns);
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
    context->running_ns = context->shown_ns =
        0; /* what ran until now was charged by the clock, and that stands */
    context->charged.count = 0;
    context->history.count = 0;
}
