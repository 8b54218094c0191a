/* gate.c -- the slow way through the gate: look, read markers, sleep until the clock or a marker helps. */
#include <time.h>

#include "gate.h"

#define LOOK_NS      20000000ull /* a change of limits is seen within this */
#define DRAIN_MIN_NS 50000ull
#define DRAIN_MAX_NS 2000000ull

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
    device->line_seq = line->seq;
    device->in_flight_cap_ns = line->in_flight_ns != 0 ? (int64_t)line->in_flight_ns : INT64_MAX;
    __atomic_store_n(&device->line_taken, false, __ATOMIC_RELEASE);
}

int64_t gs_gate_look(struct gs_meter_device *device, struct gs_line *line, uint64_t now_ns)
{
    current_line(device, line);
    int64_t available = gs_bucket_look(device->spent_ns, line, now_ns);
    bool open = gs_bucket_open(line, available, device->closed);
    int64_t window = device->busy > 1 ? GS_SHARED_WINDOW_NS : GS_WINDOW_NS;

    device->closed = !open;
    __atomic_store_n(&device->open_until_ns, open ? gs_line_at(line, now_ns) : INT64_MIN, __ATOMIC_RELAXED);
    device->window_ns = window < device->in_flight_cap_ns / 4 ? window : device->in_flight_cap_ns / 4;
    return available;
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

static bool has_room(const struct gs_meter_device *device, int64_t cost_ns, bool was_full)
{
    int64_t in_flight = __atomic_load_n(&device->in_flight_ns, __ATOMIC_RELAXED);
    int64_t cap = device->in_flight_cap_ns;

    return in_flight + cost_ns <= (was_full ? cap / 2 : cap);
}

void gs_gate_pass(struct gs_meter_device *device, int64_t cost_ns)
{
    bool full = false;

    while (__atomic_load_n(&device->limits->cap_ppm, __ATOMIC_RELAXED) != GS_NO_CAP_PPM) {
        uint64_t now_ns = gs_now();
        struct gs_line line;
        int64_t available = gs_gate_look(device, &line, now_ns);
        if (device->closed) {
            wait_for_allowance(device, &line, available, now_ns);
            continue;
        }
        /* Two launches may always be in flight, or the device would run dry between long ones. */
        if (has_room(device, cost_ns, full) || gs_meter_settle(device) < 2 || has_room(device, cost_ns, full))
            break;
        full = true;
        sleep_until(now_ns + drain_ns(device));
    }
    gs_gate_prepay(device, cost_ns);
}
