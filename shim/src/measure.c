/* measure.c -- how much of a closed window was our own: charge.h's rules on what its markers and the neighbours show,
 * and what is learnt from it. */
#include "meter.h"

#define GUESSES 16 /* windows of less than a slice are not interrupted so many times in a row */
#define LIGHTS_MOST_NS                                                                                       \
    10000000 /* that light neighbours, of less than a slice each, can have had: they may say anything */
#define NOTHING_PART 64 /* of a window: less of it was decoded wrongly, and nobody should reckon with that */

bool gs_elapsed(CUevent from, CUevent to, int64_t *elapsed_ns)
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
        gs_elapsed(context->anchor, stream->start, &since_anchor);
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

/* A context that ran dry, in all of its streams, begins a new session.  Those who mostly have short ones, and never an
 * interruption, are light.  `own`: less what was counted in other streams. */
static void note_session(struct gs_meter_context *context, const struct gs_own *own, bool begins,
                         uint32_t busy_milli)
{
    struct gs_device_activity *words = &context->device->region->own_activity->device[context->device->index];
    bool shared = busy_milli > GS_MILLI + 50;

    if (begins) {
        bool light = context->session_whole && context->session_ns < context->device->slices.slice_ns;
        if (light && context->lightness < GS_LIGHT_MOST)
            context->lightness++;
        else if (!light)
            context->lightness = context->lightness > 4 ? context->lightness - 4 : 0;
        context->session_ns = 0;
        context->session_whole = true;
    }
    context->session_ns += own->ns;
    context->session_whole &= own->rounds == 0;
    if (!shared && !gs_is_light(context))
        return;
    uint64_t switches = own->rounds + (shared && begins ? gs_is_light(context) ? 2 : 1 : 0);
    __atomic_add_fetch(&words->switch_ns, switches * GS_SWITCH_NS, __ATOMIC_RELAXED);
    if (gs_is_light(context))
        __atomic_add_fetch(&words->light_ns, own->ns + (begins ? 2 * GS_SWITCH_NS : 0), __ATOMIC_RELAXED);
}

/* Less what light neighbours took of a window that ended at `end_ns`.  Of what they have said since the one before only a
 * part was in this one, where nothing of ours ran in between: as much as of the time that they were busy, and no more than
 * our kernels are not known to take. */
static uint64_t without_lights(struct gs_meter_context *context, const struct gs_window *window,
                               uint64_t light_ns, uint64_t end_ns, uint64_t elapsed_ns)
{
    uint64_t said =
        context->lights_ns > context->lights_seen_ns ? context->lights_ns - context->lights_seen_ns : 0;
    uint64_t beyond = elapsed_ns > window->learnt_ns ? elapsed_ns - window->learnt_ns : 0;

    if (!window->contiguous) {
        uint64_t since = gs_history_busy(&context->history, context->lights_seen_at_ns, end_ns).light_ns;

        said = since > light_ns ? (uint64_t)((unsigned __int128)said * light_ns / since) : said;
        said = said < light_ns ? said : light_ns;
        said = said < beyond ? said : beyond;
    }
    said += context->lights_left_ns;
    context->lights_left_ns = said < LIGHTS_MOST_NS ? said : LIGHTS_MOST_NS;
    context->lights_seen_ns = context->lights_ns;
    context->lights_seen_at_ns = end_ns;
    return gs_take_lights(&context->lights_left_ns, elapsed_ns);
}

/* What its kernels are reckoned to take from now on, and how long the next window may be. */
static void learn(struct gs_stream *stream, const struct gs_window *window, const struct gs_seen *seen,
                  const struct gs_own *found, uint64_t elapsed_ns)
{
    const struct gs_slices *slices = &stream->device->slices;
    uint64_t own = found->ns, submit_ns = window->closed_ns - window->opened_ns;
    bool guessed = found->guessed;

    stream->guesses = guessed ? stream->guesses + 1 : 0;
    if (stream->guesses > GUESSES) { /* what is known is wrong: it has become more */
        stream->guesses = 0;
        guessed = false;
        own = seen->elapsed_ns;
    } else if (!slices->known && found->rounds != 0) { /* slices that were taken for too long */
        uint64_t least = seen->elapsed_ns * GS_MILLI / 2 / seen->busy_milli;
        own = own < least ? least : own;
    }
    stream->gappy = !window->contiguous && submit_ns > own / 8 && own > window->learnt_ns + own / 8;
    if (!stream->gappy && !guessed && own > elapsed_ns / NOTHING_PART)
        gs_cost_learn(window->cost, window->launches, window->learnt_ns, own,
                      seen->busy_milli > GS_MILLI + 50);
}

uint64_t gs_measure(struct gs_meter_context *context, struct gs_stream *stream,
                    const struct gs_window *window, int64_t elapsed_ns, uint64_t now_ns)
{
    int64_t from = place_start(context, stream), to = from + elapsed_ns;
    uint64_t whole = (uint64_t)elapsed_ns, end = on_host(context, to, now_ns);
    struct gs_slices *slices = &stream->device->slices;

    stream->through_ns = end;
    __atomic_store_n(&stream->device->through_ns, end, __ATOMIC_RELAXED);
    bool begins = !window->contiguous && !gs_union_touches(&context->charged, from, to);
    uint64_t fresh = gs_union_add(&context->charged, from, to);
    struct gs_busy busy = gs_history_busy(&context->history, end - whole, end);
    struct gs_seen seen = {
        .elapsed_ns = without_lights(context, window, busy.light_ns, end, whole),
        .learnt_ns = window->learnt_ns,
        .launch_ns = (uint64_t)__atomic_load_n(&stream->device->usual_ns, __ATOMIC_RELAXED),
        .busy_milli = busy.milli,
        .alone_ns = busy.alone_ns,
        .part_ns = busy.part_ns,
    };
    struct gs_own own = {.ns = 0};
    if (!window->contiguous)
        stream->phase = gs_phase_new();
    if (window->start != NULL) {
        own.ns = gs_own_behind_copy_ns(slices, &seen);
        stream->phase = (struct gs_phase){0};
    } else
        own = gs_own(slices, &seen, &stream->phase);
    learn(stream, window, &seen, &own, whole);
    const uint64_t could = own.ns;
    if (!window->contiguous)
        own.ns = gs_without_gaps(own.ns, window->closed_ns - window->opened_ns, window->learnt_ns);
    if (window->launches > 0)
        usual_learn(stream->device, own.ns / window->launches);
    if (own.ns > 2 * window->learnt_ns)
        stream->trust = GS_FIRST_TRUST;
    else if (stream->trust < GS_MOST_TRUST)
        stream->trust *= 2;
    own.ns = gs_union_charge(&context->charged, from, to, fresh, could, own.ns);
    if (fresh < whole)
        own.rounds = (own.rounds * fresh + whole / 2) / whole;
    note_session(context, &own, begins, seen.busy_milli);
    return own.ns;
}
