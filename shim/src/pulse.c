/* pulse.c -- how long a round of time slices is, told by events in a stream of their own.
 *
 * The GPU stamps an event of ours only while our context runs.  So one that has waited was stamped just when a slice of
 * ours began, and from one such moment to the next is a round.  Kernels' own markers tell less: those of kernels that
 * take the same time again and again are always at the same few places of a slice. */
#include "hold.h"

#define PROMPT_NS 100000u      /* an event that waited for less may not have waited at all */
#define GAP_NS    300000u      /* in more than that without an event on its way a round may have gone by */
#define PAUSE_NS  50000000u    /* between two rounds that are looked at, once their length is known */
#define IN_VAIN   8192u        /* events, after which a length that was not found is no more looked for */
#define LATER_NS  60000000000u /* but then again */

static CUstream make_stream(CUcontext context)
{
    CUstream stream = NULL;
    CUcontext popped;

    if (REAL(cuCtxPushCurrent_v2)(context) != CUDA_SUCCESS)
        return NULL;
    if (REAL(cuStreamCreate)(&stream, CU_STREAM_NON_BLOCKING) != CUDA_SUCCESS)
        stream = NULL;
    REAL(cuCtxPopCurrent_v2)(&popped);
    return stream;
}

static void send(struct gs_meter_context *context, uint64_t now_ns)
{
    struct gs_pulse *pulse = &context->pulse;

    if (pulse->stream == NULL)
        pulse->stream = make_stream(context->handle);
    CUevent event = pulse->stream != NULL ? gs_event_take(context) : NULL;
    if (event != NULL && REAL(cuEventRecord)(event, pulse->stream) != CUDA_SUCCESS) {
        gs_event_give(context, event);
        event = NULL;
    }
    pulse->event = event;
    pulse->sent_ns = now_ns;
    if (event == NULL || (++pulse->sent % IN_VAIN == 0 && context->device->slices.found_ns == 0))
        pulse->pause_until_ns = now_ns + LATER_NS;
}

/* One was stamped at that time of the GPU's, after others without a gap. */
static void note(struct gs_meter_context *context, int64_t at_ns)
{
    struct gs_pulse *pulse = &context->pulse;
    uint64_t since_ns = (uint64_t)(at_ns - pulse->begun_at_ns);

    pulse->stamped_ns = (uint64_t)(at_ns + context->host_offset_ns);
    if (pulse->stamped_ns < pulse->sent_ns + PROMPT_NS) {
        pulse->ours_ns = since_ns;
        return;
    }
    if (pulse->begun) {
        gs_slices_round(&context->device->slices, since_ns, pulse->contexts, pulse->ours_ns);
        if (context->device->slices.found_ns != 0)
            pulse->pause_until_ns = pulse->stamped_ns + PAUSE_NS;
    }
    pulse->begun = true;
    pulse->begun_at_ns = at_ns;
    pulse->ours_ns = 0;
}

static bool has_work(const struct gs_meter_context *context)
{
    const struct gs_stream *stream = context->streams;

    while (stream != NULL && stream->head == stream->tail)
        stream = stream->next;
    return stream != NULL;
}

/* More than what runs is queued in one of its streams, and waits for nothing else.  Else the context may have run dry when
 * the event is reached: it would take the device from others, and give a turn away that its next kernel needs. */
static bool has_more(const struct gs_meter_context *context)
{
    const struct gs_stream *stream = context->streams;

    while (stream != NULL &&
           (stream->tail - stream->head < 2 || stream->window[(stream->tail - 1) % GS_WINDOWS].start != NULL))
        stream = stream->next;
    return stream != NULL;
}

void gs_pulse(struct gs_meter_context *context, uint64_t now_ns)
{
    struct gs_pulse *pulse = &context->pulse;
    const struct gs_look *look = &context->history.look[(context->history.count - 1) % GS_HISTORY];
    struct gs_meter_device *device = context->device;
    const bool shared = look->light == 0 && look->busy > 1 && has_work(context) && !gs_hold_turns(device);
    const uint32_t contexts = shared ? look->busy : 0;
    int64_t since_ns;

    if (!shared || contexts != pulse->contexts)
        pulse->begun = false;
    pulse->contexts = contexts;
    if (pulse->event != NULL) {
        CUresult result = REAL(cuEventQuery)(pulse->event);
        if (result == CUDA_ERROR_NOT_READY)
            return;
        if (result == CUDA_SUCCESS && shared && gs_elapsed(context->anchor, pulse->event, &since_ns))
            note(context, context->anchor_at_ns + since_ns);
        gs_event_give(context, pulse->event);
        pulse->event = NULL;
    }
    const bool paused = now_ns < pulse->pause_until_ns;
    device->searching = shared && !paused && device->slices.found_ns == 0;
    if (!shared || paused || context->anchor == NULL || !has_more(context))
        return;
    if (now_ns > pulse->stamped_ns + GAP_NS)
        pulse->begun = false;
    send(context, now_ns);
}
