/* lanes.c -- hidden streams, in which the branches of a graph run beside each other.
 *
 * A launch takes those that are idle, or were last used for the same stream: what is still in them is over before the
 * launch begins.  When a process has enough of them, launches share, which may make one wait for another.
 * The streams live as long as their context. */
#include "exec.h"
#include "process.h"

#include <stdlib.h>

#define MOST 128 /* of one process; only then is sharing considered */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static struct hidden {
    struct hidden *next;
    struct sim_stream *stream;
    unsigned long long serial; /* the hidden stream's */
    unsigned long long user;   /* serial of the stream for which it was used last */
    uint64_t taken;            /* number of the launch that took it last */
} * hidden;
static uint32_t hidden_count;

static bool lives(const struct hidden *h)
{
    return sim_is(h->stream, SIM_STREAM) && h->stream->serial == h->serial;
}

static void forget_dead(void)
{
    for (struct hidden **link = &hidden; *link;) {
        struct hidden *h = *link;
        if (lives(h))
            link = &h->next;
        else {
            *link = h->next;
            hidden_count--;
            free(h);
        }
    }
}

static CUresult open_lane(struct sim_context *ctx, int priority, struct hidden **out)
{
    struct hidden *h = calloc(1, sizeof(*h));
    if (!h)
        return CUDA_ERROR_OUT_OF_MEMORY;
    CUresult result =
        sim_stream_open(ctx, CU_STREAM_NON_BLOCKING, priority, SIM_ROLE_NON_BLOCKING, &h->stream);
    if (result) {
        free(h);
        return result;
    }
    h->serial = h->stream->serial;
    h->next = hidden;
    hidden = h;
    hidden_count++;
    *out = h;
    return CUDA_SUCCESS;
}

static bool is_idle(const struct hidden *h)
{
    const struct sim_queue *q = &sim_driver.machine->queue[h->stream->queue];
    return q->head == q->tail;
}

/* With the machine's lock held; NULL: none that fits, or only one that others still use. */
static struct hidden *find(const struct sim_context *ctx, const struct sim_stream *stream, uint64_t launch,
                           struct hidden **shared)
{
    *shared = NULL;
    for (struct hidden *h = hidden; h; h = h->next) {
        if (h->taken == launch || h->stream->context != ctx || h->stream->priority != stream->priority)
            continue;
        if (h->user == stream->serial || is_idle(h))
            return h;
        if (!*shared || h->taken < (*shared)->taken)
            *shared = h;
    }
    return NULL;
}

static CUresult take(struct sim_stream *stream, struct sim_context *ctx, uint64_t launch, struct hidden **out)
{
    struct hidden *shared;
    sim_machine_lock(sim_driver.machine);
    struct hidden *h = find(ctx, stream, launch, &shared);
    sim_machine_unlock(sim_driver.machine);
    CUresult result = CUDA_SUCCESS;
    if (!h && (!shared || hidden_count < MOST))
        result = open_lane(ctx, stream->priority, &h);
    *out = h ? h : shared;
    return *out ? CUDA_SUCCESS : result;
}

CUresult sim_lanes_take(struct sim_stream *stream, struct sim_context *const *context, uint32_t count,
                        struct sim_stream **lane)
{
    static uint64_t launches;
    CUresult result = CUDA_SUCCESS;
    pthread_mutex_lock(&lock);
    forget_dead();
    launches++;
    for (uint32_t i = 0; i < count && result == CUDA_SUCCESS; i++) {
        struct hidden *h;
        if (!context[i])
            continue;
        result = take(stream, context[i], launches, &h);
        if (result)
            break;
        h->taken = launches;
        h->user = stream->serial;
        lane[i] = h->stream;
    }
    pthread_mutex_unlock(&lock);
    return result;
}
