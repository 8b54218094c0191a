/* copy_rate.c -- the limit on what a tenant copies between host and device: a bucket of bytes for each direction.
 *
 * Copies of all the tenant's processes queue up: each has the bytes that were asked for before it, and goes as soon as
 * the limit has allowed those, however large it is itself; so over any time longer than its own, the rate holds.  What
 * is allowed grows at the rate that the controller gives now, so that a new rate counts from the next look on, and is
 * ahead of the queue by no more than a burst.  Nobody has to give up its place: who dies waiting has had its bytes. */
#include <time.h>

#include "atomic16.h"
#include "copy.h"

#define LOOK_NS     20000000ull      /* a change of limits is seen within this */
#define BURST_PARTS 100              /* of what the rate gives in a second */
#define MOST_BYTES  (1ull << 46)     /* that one copy is charged: more is no copy */
#define LONGEST_NS  3600000000000ull /* of which one look takes account */
#define UNIT        1000             /* bytes a second that are 1 ppm of a line: it has ns, we have bytes */

struct bucket {
    struct gs_total *allowed;
    uint64_t *queued;
    uint64_t *waited_ns;
    const uint64_t *bytes_per_s;
};

/* By how much what is allowed is ahead of `place`, as a line: bytes where bucket.h has nanoseconds. */
static struct gs_line line_of(struct gs_total seen, uint64_t place, uint64_t bytes_per_s, uint64_t now_ns)
{
    uint64_t rate = bytes_per_s / UNIT, oldest_ns = now_ns > LONGEST_NS ? now_ns - LONGEST_NS : 0;
    struct gs_line line = {
        .t0_ns = seen.last > oldest_ns ? seen.last : oldest_ns,
        .allowance_ns = (int64_t)(seen.used_bytes - place),
        .burst_ns = bytes_per_s / BURST_PARTS,
        .resume_ns = 1,
        .rate_ppm = rate > UINT32_MAX ? UINT32_MAX
                    : rate == 0       ? 1
                                      : (uint32_t)rate,
    };

    line.guarantee_ppm = line.rate_ppm;
    return line;
}

/* 0: whoever has this place may go.  Else how long to wait before asking again. */
static uint64_t ask(const struct bucket *bucket, uint64_t place, uint64_t bytes_per_s, uint64_t now_ns)
{
    for (;;) {
        struct gs_total seen = gs_total_read(bucket->allowed);
        struct gs_line line = line_of(seen, place, bytes_per_s, now_ns);
        int64_t available = gs_line_at(&line, now_ns);
        int64_t queued = (int64_t)(__atomic_load_n(bucket->queued, __ATOMIC_RELAXED) - place);
        if (available > queued + (int64_t)line.burst_ns)
            available = queued + (int64_t)line.burst_ns;
        struct gs_total next = {place + (uint64_t)available, now_ns > seen.last ? now_ns : seen.last};
        if (gs_total_swap(bucket->allowed, seen, next))
            return available > 0 ? 0 : gs_bucket_wait_ns(&line, available);
    }
}

static void wait_until(uint64_t until_ns)
{
    struct timespec until = {.tv_sec = (time_t)(until_ns / 1000000000u),
                             .tv_nsec = (long)(until_ns % 1000000000u)};

    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL); /* a signal only makes us look early */
}

/* False: there is no limit, or none any more. */
static bool pass(const struct bucket *bucket, uint64_t bytes)
{
    uint64_t rate = __atomic_load_n(bucket->bytes_per_s, __ATOMIC_RELAXED);

    if (rate == 0)
        return false;
    uint64_t place = __atomic_fetch_add(bucket->queued, bytes, __ATOMIC_RELAXED);
    while (rate != 0) {
        uint64_t now_ns = gs_now(), wait_ns = ask(bucket, place, rate, now_ns);
        if (wait_ns == 0)
            return true;
        wait_until(now_ns + (wait_ns < LOOK_NS ? wait_ns : LOOK_NS));
        __atomic_fetch_add(bucket->waited_ns, gs_now() - now_ns, __ATOMIC_RELAXED);
        rate = __atomic_load_n(bucket->bytes_per_s, __ATOMIC_RELAXED);
    }
    return false;
}

static bool is_limited(const struct gs_device_limits *limits)
{
    return (__atomic_load_n(&limits->copy_bytes_per_s[0], __ATOMIC_RELAXED) |
            __atomic_load_n(&limits->copy_bytes_per_s[1], __ATOMIC_RELAXED)) != 0;
}

struct gs_copy_charge gs_copy_pass(const struct gs_copy *copy)
{
    struct gs_copy_charge charge = {.usage = NULL};
    const struct gs_meter_context *context = gs_meter_current();

    /* A limit is the same on all devices of a tenant. */
    if (context == NULL || !is_limited(context->device->limits))
        return charge;
    if (__atomic_load_n(&gs_captures, __ATOMIC_RELAXED) != 0 && gs_meter_capturing(copy->stream))
        return charge;
    const struct gs_stream *stream = gs_stream_find(copy->stream);
    const struct gs_meter_device *device = stream != NULL ? stream->device : context->device;
    struct gs_device_usage *usage = &device->region->usage->device[device->index];
    for (uint32_t way = 0; way < GS_DIRECTIONS; way++) {
        struct bucket bucket = {&usage->copy_allowed[way], &usage->copy_queued_bytes[way],
                                &usage->copy_waited_ns[way], &device->limits->copy_bytes_per_s[way]};
        uint64_t bytes = copy->bus_bytes[way] < MOST_BYTES ? copy->bus_bytes[way] : MOST_BYTES;
        if (bytes == 0 || !pass(&bucket, bytes))
            continue;
        charge.usage = usage;
        charge.bytes[way] = bytes;
        __atomic_fetch_add(&usage->copied_bytes[way], bytes, __ATOMIC_RELAXED);
    }
    return charge;
}

void gs_copy_refund(const struct gs_copy_charge *charge)
{
    for (uint32_t way = 0; way < GS_DIRECTIONS; way++) {
        struct gs_total *allowed = &charge->usage->copy_allowed[way], seen, next;
        uint64_t bytes = charge->bytes[way];
        if (bytes == 0)
            continue;
        do { /* not off the queue: others have their places behind it */
            seen = gs_total_read(allowed);
            next = (struct gs_total){seen.used_bytes + bytes, seen.last};
        } while (!gs_total_swap(allowed, seen, next));
        __atomic_fetch_sub(&charge->usage->copied_bytes[way], bytes, __ATOMIC_RELAXED);
    }
}
