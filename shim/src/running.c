/* running.c -- what work is charged: by the clock while it runs for longer than it has prepaid, and in the end what its
 * markers say.
 *
 * So a tenant whose kernel runs for seconds, or for ever, cannot use the device for nothing meanwhile from another
 * stream or process, and its neighbours see its time pass. */
#include "meter.h"

#define PIECE_NS 20000000u

/* The tenant's words for everybody: they only grow.  What was published ahead of a measurement, and the measurement
 * did not bear out, is taken off what comes next. */
static void publish(struct gs_meter_device *device, uint64_t own_ns)
{
    const struct gs_region *region = device->region;
    int64_t ahead_ns = __atomic_load_n(&device->ahead_ns, __ATOMIC_RELAXED);

    if (ahead_ns > 0) {
        int64_t less_ns = ahead_ns < (int64_t)own_ns ? ahead_ns : (int64_t)own_ns;
        __atomic_sub_fetch(&device->ahead_ns, less_ns, __ATOMIC_RELAXED);
        own_ns -= (uint64_t)less_ns;
    }
    __atomic_add_fetch(&region->own_activity->device[device->index].gpu_ns, own_ns, __ATOMIC_RELAXED);
    __atomic_add_fetch(&region->own->device[device->index].gpu_ns, own_ns, __ATOMIC_RELAXED);
}

void gs_charge(struct gs_meter_context *context, struct gs_meter_device *device, uint64_t learnt_ns,
               uint64_t own_ns, uint32_t launches)
{
    uint64_t clock_ns = 0;

    if (context != NULL && context->shown_ns != 0) {
        clock_ns = context->running_ns;
        __atomic_add_fetch(&device->ahead_ns, (int64_t)context->shown_ns, __ATOMIC_RELAXED);
        context->running_ns = context->shown_ns = 0;
    }
    uint64_t cost_ns = own_ns + gs_loss_on_top(&device->loss, own_ns);
    __atomic_add_fetch(device->spent_ns, (int64_t)(cost_ns - learnt_ns - clock_ns), __ATOMIC_RELAXED);
    __atomic_sub_fetch(&device->in_flight_ns, (int64_t)learnt_ns, __ATOMIC_RELAXED);
    __atomic_add_fetch(&device->region->own->device[device->index].launches, launches, __ATOMIC_RELAXED);
    publish(device, own_ns);
}

/* What the oldest window of a stream, which is not through, has used so far.  Beside others it is added up piece by piece,
 * each long enough for them to have published what they had meanwhile; alone it is what the clock says, if the driver has
 * just said that it is not through, and it did not wait for anything else. */
static uint64_t used(const struct gs_meter_context *context, struct gs_stream *stream, uint64_t now_ns,
                     bool asked)
{
    const struct gs_window *window = &stream->window[stream->head % GS_WINDOWS];
    uint64_t since_ns = window->closed_ns > stream->through_ns ? window->closed_ns : stream->through_ns;

    if (stream->seen_ns < since_ns) {
        stream->seen_ns = since_ns;
        stream->used_ns = 0;
    }
    uint64_t ns = now_ns > stream->seen_ns ? now_ns - stream->seen_ns : 0;
    if (ns < PIECE_NS && (!asked || window->start != NULL))
        return stream->used_ns;
    struct gs_busy busy = gs_history_busy(&context->history, stream->seen_ns, now_ns);
    if (ns >= PIECE_NS || busy.milli == GS_MILLI) {
        stream->used_ns +=
            gs_running_own_ns(ns, busy.others_ns + gs_loss_of(&context->device->loss, ns), busy.milli);
        stream->seen_ns = now_ns;
    }
    return stream->used_ns;
}

/* The context's streams run at the same time: the longest counts. */
void gs_running_charge(struct gs_meter_context *context, uint64_t now_ns, bool asked)
{
    uint64_t used_ns = 0, beyond_ns = 0;

    for (struct gs_stream *stream = context->streams; stream != NULL; stream = stream->next) {
        if (stream->head == stream->tail)
            continue;
        uint64_t ns = used(context, stream, now_ns, asked);
        uint64_t learnt_ns = stream->window[stream->head % GS_WINDOWS].learnt_ns;
        used_ns = ns > used_ns ? ns : used_ns;
        beyond_ns = ns > learnt_ns + beyond_ns ? ns - learnt_ns : beyond_ns;
    }
    if (used_ns > context->shown_ns) {
        publish(context->device, used_ns - context->shown_ns);
        context->shown_ns = used_ns;
    }
    if (beyond_ns > context->running_ns) {
        __atomic_add_fetch(context->device->spent_ns, (int64_t)(beyond_ns - context->running_ns),
                           __ATOMIC_RELAXED);
        context->running_ns = beyond_ns;
    }
}

void gs_running_tick(struct gs_meter_device *device, uint64_t now_ns)
{
    struct gs_meter_context *context = __atomic_load_n(&gs_meter_contexts, __ATOMIC_ACQUIRE);

    for (; context != NULL; context = context->next) {
        if (context->handle == NULL || context->device != device ||
            __atomic_exchange_n(&context->taken, true, __ATOMIC_ACQUIRE))
            continue;
        gs_busy_look(context, now_ns);
        gs_running_charge(context, now_ns, false);
        __atomic_store_n(&context->taken, false, __ATOMIC_RELEASE);
    }
}
