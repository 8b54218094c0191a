/* gate.c -- the slow way through the gate: look, read markers, sleep until the clock or a marker helps. */
#include <time.h>

#include "gate.h"

#define LOOK_NS         20000000ull /* a change of limits is seen within this */
#define DRAIN_MIN_NS    50000ull
#define DRAIN_MAX_NS    2000000ull
#define ALONE           10 /* times as much may be in flight while no neighbour is busy */
#define UNKNOWN_AT_ONCE 4

#define NO_CAP_NS (INT64_MAX / 2)

static int64_t in_flight_cap(const struct gs_meter_device *device)
{
    uint64_t cap = __atomic_load_n(&device->line.in_flight_ns, __ATOMIC_RELAXED);

    if (cap == 0 || cap > GS_FOREVER_NS / 4 / ALONE)
        return NO_CAP_NS;
    return (int64_t)(device->busy > 1 ? cap : cap * ALONE);
}

int64_t gs_gate_unknown_ns(const struct gs_meter_device *device)
{
    int64_t cap = in_flight_cap(device);

    int64_t most = cap == NO_CAP_NS ? GS_WINDOW_NS : cap / UNKNOWN_AT_ONCE;
    int64_t usual = __atomic_load_n(&device->usual_ns, __ATOMIC_RELAXED) * 2;

    return usual == 0 || usual > most ? most : usual;
}

int64_t gs_gate_window_ns(const struct gs_meter_device *device)
{
    int64_t part = in_flight_cap(device) / 2, window = device->busy > 1 ? GS_SHARED_WINDOW_NS : GS_WINDOW_NS;

    return window < part ? window : part;
}

/* The controller's line; while it is being written, or if its writer died in the middle, the last good one. */
static void current_line(struct gs_meter_device *device, struct gs_line *line)
{
    if (!gs_line_read(device->limits, line)) {
        *line = device->line;
        return;
    }
    if (line->seq == device->line.seq || __atomic_exchange_n(&device->line_taken, true, __ATOMIC_ACQUIRE))
        return;
    device->line = *line;
    __atomic_store_n(&device->line_taken, false, __ATOMIC_RELEASE);
}

static void sleep_until(uint64_t until_ns)
{
    struct timespec until = {.tv_sec = (time_t)(until_ns / 1000000000u),
                             .tv_nsec = (long)(until_ns % 1000000000u)};

    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL); /* a signal only makes us look early */
}

/* How long until about half of what is in flight is through. */
static uint64_t drain_ns(const struct gs_meter_device *device)
{
    int64_t in_flight = __atomic_load_n(&device->in_flight_ns, __ATOMIC_RELAXED);
    uint64_t ns = in_flight > 0 ? (uint64_t)in_flight / 2 * device->busy : 0;

    return ns < DRAIN_MIN_NS ? DRAIN_MIN_NS : ns > DRAIN_MAX_NS ? DRAIN_MAX_NS : ns;
}

static void note_throttled(struct gs_meter_device *device, uint64_t ns)
{
    const struct gs_region *region = device->region;

    __atomic_add_fetch(&region->own->device[device->index].throttled_ns, ns, __ATOMIC_RELAXED);
    __atomic_add_fetch(&region->own_activity->device[device->index].throttled_ns, ns, __ATOMIC_RELAXED);
}

static void wait_for_allowance(struct gs_meter_device *device, const struct gs_line *line,
                               int64_t available_ns, uint64_t now_ns)
{
    uint64_t wait = gs_bucket_wait_ns(line, available_ns);

    if (wait > LOOK_NS)
        wait = LOOK_NS;
    if (gs_meter_settle(device) > 0 && drain_ns(device) < wait)
        wait = drain_ns(device); /* our neighbours want to know when the device is theirs */
    sleep_until(now_ns + wait);
    note_throttled(device, gs_now() - now_ns);
}

static int64_t room(const struct gs_meter_device *device, bool was_full)
{
    int64_t cap = in_flight_cap(device);

    return (was_full ? cap / 2 : cap) - __atomic_load_n(&device->in_flight_ns, __ATOMIC_RELAXED);
}

int64_t gs_gate_pass(struct gs_meter_device *device, int64_t need_ns, int64_t want_ns)
{
    uint64_t pause = DRAIN_MIN_NS;
    bool full = false;

    while (__atomic_load_n(&device->limits->cap_ppm, __ATOMIC_RELAXED) != GS_NO_CAP_PPM) {
        uint64_t now_ns = gs_now();
        struct gs_line line;
        current_line(device, &line);
        int64_t available = gs_bucket_look(device->spent_ns, &line, now_ns);
        device->closed = !gs_bucket_open(&line, available, device->closed);
        if (device->closed) {
            wait_for_allowance(device, &line, available, now_ns);
            continue;
        }
        want_ns = available < want_ns ? available : want_ns;
        /* Two launches may always be in flight, or the device would run dry between long ones. */
        if (room(device, full) >= need_ns || gs_meter_settle(device) < 2 || room(device, full) >= need_ns)
            break;
        full = true;
        sleep_until(now_ns + pause);
        pause = pause * 2 < drain_ns(device) ? pause * 2 : drain_ns(device);
    }
    if (want_ns > room(device, false))
        want_ns = room(device, false);
    if (want_ns < need_ns)
        want_ns = need_ns;
    gs_gate_prepay(device, want_ns);
    return want_ns;
}
