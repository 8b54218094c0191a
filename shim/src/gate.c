/* gate.c -- the slow way through the gate: look, read markers, sleep until the clock or a marker helps. */
#include <errno.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "gate.h"
#include "hold.h"

#define LOOK_NS         20000000ull /* a change of limits is seen within this */
#define DRAIN_MIN_NS    50000ull
#define DRAIN_MAX_NS    500000ull
#define SEARCH_NS       150000ull /* the same while it is looked for how long slices are */
#define ALONE           10        /* times as much may be in flight while no neighbour is busy */
#define UNKNOWN_AT_ONCE 4

#define NO_CAP_NS (INT64_MAX / 2)

static bool is_shared(const struct gs_meter_device *device)
{
    return device->busy > 1 || device->awaited;
}

static int64_t in_flight(const struct gs_meter_device *device)
{
    return __atomic_load_n(&device->in_flight_ns, __ATOMIC_RELAXED);
}

static int64_t in_flight_cap(const struct gs_meter_device *device)
{
    uint64_t cap = __atomic_load_n(&device->line.in_flight_ns, __ATOMIC_RELAXED);

    if (cap == 0 || cap > GS_FOREVER_NS / 4 / ALONE)
        return NO_CAP_NS;
    return (int64_t)(is_shared(device) ? cap : cap * ALONE);
}

int64_t gs_gate_unknown_ns(const struct gs_meter_device *device, bool again)
{
    int64_t cap = in_flight_cap(device);

    int64_t most = cap == NO_CAP_NS ? GS_WINDOW_NS : cap / UNKNOWN_AT_ONCE;
    int64_t usual = __atomic_load_n(&device->usual_ns, __ATOMIC_RELAXED) * 2;

    return again || usual == 0 || usual > most ? most : usual;
}

int64_t gs_gate_window_ns(const struct gs_meter_device *device)
{
    int64_t part = in_flight_cap(device) / 2;
    int64_t window = is_shared(device) ? (int64_t)gs_slices_window_ns(&device->slices) : GS_WINDOW_NS;

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

/* `through` and `seen`: as in struct gs_wish. */
static void sleep_until(uint64_t until_ns, const uint32_t *through, uint32_t seen)
{
    struct timespec until = {.tv_sec = (time_t)(until_ns / 1000000000u),
                             .tv_nsec = (long)(until_ns % 1000000000u)};

    if (through != NULL &&
        (syscall(SYS_futex, through, FUTEX_WAIT_BITSET, seen, &until, NULL, FUTEX_BITSET_MATCH_ANY) == 0 ||
         errno == EAGAIN || errno == ETIMEDOUT || errno == EINTR))
        return;
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL); /* a signal only makes us look early */
}

static bool has_neighbours(const struct gs_meter_device *device)
{
    return __atomic_load_n(&device->region->limits->tenants_bound, __ATOMIC_RELAXED) > 1;
}

/* How long until about half of what is in flight is through; or of what of it remains, where nobody else runs but might,
 * and the device should not run dry before; at the end of a turn all of it. */
static uint64_t drain_ns(const struct gs_meter_device *device)
{
    int64_t in_flight = __atomic_load_n(&device->in_flight_ns, __ATOMIC_RELAXED);
    uint64_t ns = in_flight > 0 ? (uint64_t)in_flight / 2 * device->busy : 0;

    if (device->leaving)
        ns = gs_remaining_ns(device, gs_now()) / 16;
    else if (device->busy <= 1 && has_neighbours(device))
        ns = gs_remaining_ns(device, gs_now()) / 2;
    const uint64_t most = device->searching ? SEARCH_NS : DRAIN_MAX_NS;
    return ns < DRAIN_MIN_NS ? DRAIN_MIN_NS : ns > most ? most : ns;
}

static void note_throttled(struct gs_meter_device *device, uint64_t ns)
{
    const struct gs_region *region = device->region;

    __atomic_add_fetch(&region->own->device[device->index].throttled_ns, ns, __ATOMIC_RELAXED);
    __atomic_add_fetch(&region->own_activity->device[device->index].throttled_ns, ns, __ATOMIC_RELAXED);
}

static void wait_for(struct gs_meter_device *device, uint64_t wait, const struct gs_wish *wish)
{
    const int64_t before = in_flight(device);

    if (wait > LOOK_NS)
        wait = LOOK_NS;
    if (gs_meter_settle(device) > 0 && drain_ns(device) < wait)
        wait = drain_ns(device); /* our neighbours want to know when the device is theirs */
    if (gs_hold_turns(device) && in_flight(device) < before)
        return; /* what was decided before it was through may be decided otherwise now */
    sleep_until(wish->now_ns + wait, wish->through, wish->seen);
    note_throttled(device, gs_now() - wish->now_ns);
}

/* No limit's doing: who waits so has all of the device that others leave. */
static void wait_for_room(const struct gs_meter_device *device, uint64_t now_ns, uint64_t wait)
{
    sleep_until(now_ns + wait, NULL, 0);
    __atomic_add_fetch(&device->region->usage->device[device->index].room_waited_ns, gs_now() - now_ns,
                       __ATOMIC_RELAXED);
}

/* In the window, half of it: what ends late makes up for what is not begun. */
static bool fits_window(const struct gs_meter_device *device, int64_t need_ns, int64_t window_ns)
{
    return in_flight(device) + need_ns / 2 <= window_ns;
}

/* Once the cap was reached, half of it must be free. */
static bool fits(const struct gs_meter_device *device, int64_t need_ns, int64_t window_ns, bool was_full)
{
    int64_t cap = in_flight_cap(device);

    return in_flight(device) + need_ns <= (was_full ? cap / 2 : cap) &&
           fits_window(device, need_ns, window_ns);
}

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

int64_t gs_gate_pass(struct gs_meter_device *device, int64_t need_ns, int64_t want_ns)
{
    int64_t window_ns = NO_CAP_NS;
    uint64_t pause = DRAIN_MIN_NS, open_since_ns = 0;
    const bool below = gs_hold_below(device);
    bool full = false;

    while (__atomic_load_n(&device->limits->cap_ppm, __ATOMIC_RELAXED) != GS_NO_CAP_PPM) {
        uint64_t now_ns = gs_now();
        struct gs_line line;
        device->awaited = below || gs_hold_turns(device);
        current_line(device, &line);
        int64_t available = gs_bucket_look(device->spent_ns, &line, now_ns);
        int64_t owing =
            available <= 0 && gs_turns_keep(device, line.rate_ppm, now_ns) ? (int64_t)line.burst_ns : 0;
        device->closed =
            !gs_bucket_open(&line, available + owing, has_neighbours(device) ? 0 : need_ns, device->closed);
        struct gs_wish wish = {now_ns, open_since_ns, need_ns, NO_CAP_NS, NULL, 0};
        if (device->closed) {
            open_since_ns = 0;
            gs_turns_leave(device);
            wait_for(device, gs_bucket_wait_ns(&line, available + owing), &wish);
            continue;
        }
        if (open_since_ns == 0)
            open_since_ns = wish.since_ns = now_ns;
        const int64_t before = in_flight(device);
        uint64_t held_ns = gs_hold(device, &wish);
        window_ns = wish.window_ns;
        device->leaving = held_ns != 0 || need_ns > window_ns; /* nothing goes in beside what runs */
        if (held_ns != 0) {
            wait_for(device, held_ns, &wish);
            continue;
        }
        want_ns = available < want_ns ? available : want_ns;
        /* Two launches may always be in flight, or the device would run dry between long ones; one, where somebody of
         * higher priority would have to wait for both. */
        if (fits(device, need_ns, window_ns, full) ||
            (gs_meter_settle(device) < (below ? 1 : 2) && fits_window(device, need_ns, window_ns)) ||
            fits(device, need_ns, window_ns, full && !below))
            break;
        full = true;
        if (gs_hold_turns(device) && in_flight(device) < before)
            continue; /* it was through in between */
        wait_for_room(device, now_ns, pause);
        pause = pause * 2 < drain_ns(device) ? pause * 2 : drain_ns(device);
    }
    want_ns = least(want_ns, least(in_flight_cap(device), window_ns) - in_flight(device));
    if (want_ns < need_ns)
        want_ns = need_ns;
    if (in_flight(device) <= 0)
        __atomic_store_n(&device->through_ns, gs_now(), __ATOMIC_RELAXED);
    gs_gate_prepay(device, want_ns);
    return want_ns;
}
