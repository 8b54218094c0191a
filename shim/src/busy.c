/* busy.c -- who is busy on a device: our own word, a lease that ends by the clock, and a look at everybody else's.
 *
 * The word says until when what we have in flight should keep the device busy.  It is renewed at markers, and by the
 * helper thread while a host thread waits inside the driver for a long kernel.  A process that dies, or stops, is
 * idle for its neighbours as soon as its lease is over. */
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "hold.h"

#define LEASE_NS       10000000ull
#define LEASE_FLOOR_NS 2000000ull
#define MOMENT_NS      50000ull  /* a guess is no promise */
#define LINGER_NS      300000ull /* a turn is kept while the host does something in between */
#define FORETOLD_NS    500000    /* launches that take less end about when they should */
#define TICK_NS        5000000ull
#define IDLE_TICKS     20 /* before the helper sleeps for good */

static struct gs_device_activity *own_words(const struct gs_meter_device *device)
{
    return &device->region->own_activity->device[device->index];
}

static uint64_t *own_lane(const struct gs_meter_device *device)
{
    return &own_words(device)->lane_busy_until_ns[device->region->slot % GS_MAX_LANES];
}

static uint64_t load(const uint64_t *word)
{
    return __atomic_load_n(word, __ATOMIC_RELAXED);
}

static void publish(struct gs_meter_device *device, uint64_t until_ns)
{
    struct gs_device_activity *own = own_words(device);
    uint64_t *highest = &own->busy_until_ns, seen = load(highest);
    uint64_t bit = (uint64_t)1 << device->region->slot % GS_MAX_LANES;

    if ((load(&own->lanes) & bit) == 0)
        __atomic_fetch_or(&own->lanes, bit, __ATOMIC_RELAXED);
    __atomic_store_n(own_lane(device), until_ns, __ATOMIC_RELAXED);
    while (seen < until_ns &&
           !__atomic_compare_exchange_n(highest, &seen, until_ns, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
        ;
}

uint64_t gs_busy_until(const struct gs_device_activity *words)
{
    uint64_t lanes = load(&words->lanes) & (((uint64_t)1 << GS_MAX_LANES) - 1);
    uint64_t until_ns = 0;

    for (; lanes != 0; lanes &= lanes - 1) {
        uint64_t lane_ns = load(&words->lane_busy_until_ns[__builtin_ctzll(lanes)]);
        until_ns = lane_ns > until_ns ? lane_ns : until_ns;
    }
    return until_ns;
}

/* How many lanes are busy, but for one, and how many of these are light. */
static uint32_t busy_lanes(const struct gs_device_activity *words, const uint64_t *except, uint64_t now_ns,
                           uint32_t *light)
{
    uint64_t lanes = load(&words->lanes) & (((uint64_t)1 << GS_MAX_LANES) - 1);
    uint32_t busy = 0;

    if (load(&words->busy_until_ns) <= now_ns)
        return 0;
    for (; lanes != 0; lanes &= lanes - 1) {
        const uint64_t *lane = &words->lane_busy_until_ns[__builtin_ctzll(lanes)];
        uint64_t until_ns = load(lane);
        if (lane == except || until_ns <= now_ns)
            continue;
        busy++;
        *light += until_ns & 1;
    }
    return busy;
}

static bool is_busy(const struct gs_meter_context *context)
{
    const struct gs_stream *stream = __atomic_load_n(&context->streams, __ATOMIC_ACQUIRE);

    while (stream != NULL && stream->head == stream->tail &&
           __atomic_load_n(&stream->launches_most, __ATOMIC_RELAXED) == 0)
        stream = stream->next;
    return stream != NULL;
}

/* Our other contexts on the device, which take turns with this one just as neighbours do. */
static uint32_t own_others(const struct gs_meter_context *except)
{
    const struct gs_meter_context *context = __atomic_load_n(&gs_meter_contexts, __ATOMIC_ACQUIRE);
    uint32_t busy = 0;

    for (; context != NULL; context = context->next)
        busy += context != except && context->device == except->device && context->handle != NULL &&
                is_busy(context);
    return busy;
}

/* In turns the next one waits for the end of this: then it is as good a guess as there is.  Behind work whose end cannot be
 * foretold nobody should queue before it is through. */
static uint64_t lease_ns(const struct gs_meter_device *device, uint64_t now_ns)
{
    bool foretold = __atomic_load_n(&device->usual_ns, __ATOMIC_RELAXED) < FORETOLD_NS;
    int64_t prepaid = __atomic_load_n(&device->in_flight_ns, __ATOMIC_RELAXED);
    uint64_t in_flight = prepaid > 0 ? (uint64_t)prepaid : 0;
    uint64_t lease = LEASE_FLOOR_NS + 2 * in_flight * device->busy;

    if (gs_hold_turns(device))
        lease = gs_remaining_ns(device, now_ns) + (device->leaving && foretold ? MOMENT_NS : LINGER_NS);
    else if (gs_hold_above(device)) /* they wait for it, and each moment longer is lost */
        lease = LINGER_NS + in_flight * device->busy;
    return lease < LEASE_NS ? lease : LEASE_NS;
}

void gs_busy_look(struct gs_meter_context *context, uint64_t now_ns)
{
    struct gs_meter_device *device = context->device;
    const struct gs_region *region = device->region;
    uint32_t tenants = __atomic_load_n(&region->limits->tenants_bound, __ATOMIC_RELAXED);
    uint32_t busy = 1 + own_others(context);
    const uint64_t *own = own_lane(device);
    uint64_t others_ns = 0, lights_ns = 0, switch_ns = 0;
    struct gs_slices_said slices = {0};
    uint32_t light = 0;

    for (uint32_t i = 0; i < tenants && i < GS_MAX_TENANTS; i++) {
        const struct gs_device_activity *words = &region->activity[i].device[device->index];
        busy += busy_lanes(words, own, now_ns, &light);
        others_ns += load(&words->gpu_ns);
        switch_ns += load(&words->switch_ns);
        gs_slices_hear(&slices, load(&words->slice_ns));
        if (words != own_words(device))
            lights_ns += load(&words->light_ns);
    }
    if (device->slices.found_ns != 0)
        __atomic_store_n(&own_words(device)->slice_ns, device->slices.found_ns, __ATOMIC_RELAXED);
    if (slices.count != 0 && device->slices.found_ns == 0)
        gs_slices_adopt(&device->slices, slices.sum_ns / slices.count);
    uint64_t slice_ns = device->slices.slice_ns;
    bool is_long = __atomic_load_n(&device->usual_ns, __ATOMIC_RELAXED) > (int64_t)slice_ns;
    gs_loss_look(&device->loss, now_ns, switch_ns, is_long ? slice_ns : 0);
    context->lights_ns = lights_ns;
    /* The tenant's other processes are others, too. */
    uint64_t own_ns = load(&region->own->device[device->index].gpu_ns);
    others_ns = others_ns > own_ns ? others_ns - own_ns : 0;
    device->busy = busy;
    gs_history_add(&context->history, now_ns, busy - light, light, others_ns);

    publish(device, ((now_ns + lease_ns(device, now_ns)) & ~(uint64_t)1) | gs_is_light(context));
}

void gs_busy_drop(struct gs_meter_device *device)
{
    uint32_t *through = &own_words(device)->through;

    if (__atomic_exchange_n(own_lane(device), 0, __ATOMIC_RELAXED) == 0 || !gs_hold_turns(device))
        return;
    __atomic_add_fetch(through, 1, __ATOMIC_SEQ_CST);
    syscall(SYS_futex, through, FUTEX_WAKE, INT32_MAX, NULL, NULL, 0);
}

/* -------- the helper thread: at most one per process, started when something metered first has to wait -------- */

static struct {
    uint32_t asleep;  /* futex: 1 while the helper waits for somebody to wait */
    uint32_t running; /* 1 once started in this process */
    uint32_t waiting; /* host threads, over all devices */
    struct gs_meter_device *device[GS_MAX_DEVICES];
} helper;

static void tick(void)
{
    uint64_t now_ns = gs_now();

    for (int i = 0; i < GS_MAX_DEVICES; i++) {
        struct gs_meter_device *device = __atomic_load_n(&helper.device[i], __ATOMIC_ACQUIRE);
        if (device != NULL && __atomic_load_n(&device->waiting, __ATOMIC_RELAXED) > 0 &&
            __atomic_load_n(&device->in_flight_ns, __ATOMIC_RELAXED) > 0) {
            gs_running_tick(device, now_ns);
            publish(device, ((now_ns + LEASE_NS) & ~(uint64_t)1) | (load(own_lane(device)) & 1));
        }
    }
}

static void *help(void *unused)
{
    const struct timespec interval = {.tv_nsec = TICK_NS};
    int idle = 0;

    for (;;) {
        idle = __atomic_load_n(&helper.waiting, __ATOMIC_RELAXED) > 0 ? 0 : idle + 1;
        if (idle < IDLE_TICKS) {
            clock_nanosleep(CLOCK_MONOTONIC, 0, &interval, NULL);
            tick();
            continue;
        }
        __atomic_store_n(&helper.asleep, 1, __ATOMIC_SEQ_CST);
        if (__atomic_load_n(&helper.waiting, __ATOMIC_SEQ_CST) == 0)
            syscall(SYS_futex, &helper.asleep, FUTEX_WAIT_PRIVATE, 1, NULL, NULL, 0);
        __atomic_store_n(&helper.asleep, 0, __ATOMIC_RELAXED);
        idle = 0;
    }
    return unused;
}

void gs_busy_forget(void)
{
    for (int i = 0; i < GS_MAX_DEVICES; i++)
        helper.device[i] = NULL;
    helper.asleep = helper.running = helper.waiting = 0;
}

static void start_helper(void)
{
    sigset_t all, before;
    pthread_t thread;

    if (__atomic_exchange_n(&helper.running, 1, __ATOMIC_ACQ_REL) != 0)
        return;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    if (pthread_create(&thread, NULL, help, NULL) == 0)
        pthread_detach(thread);
    else
        __atomic_store_n(&helper.running, 0, __ATOMIC_RELEASE);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

void gs_busy_wait_begin(struct gs_meter_device *device)
{
    __atomic_add_fetch(&device->waiting, 1, __ATOMIC_RELAXED);
    __atomic_add_fetch(&helper.waiting, 1, __ATOMIC_SEQ_CST);
    __atomic_store_n(&helper.device[device->index], device, __ATOMIC_RELEASE);
    if (__atomic_load_n(&helper.running, __ATOMIC_RELAXED) == 0)
        start_helper();
    else if (__atomic_load_n(&helper.asleep, __ATOMIC_SEQ_CST) != 0) {
        __atomic_store_n(&helper.asleep, 0, __ATOMIC_RELAXED);
        syscall(SYS_futex, &helper.asleep, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
    }
}

void gs_busy_wait_end(struct gs_meter_device *device)
{
    __atomic_sub_fetch(&device->waiting, 1, __ATOMIC_RELAXED);
    __atomic_sub_fetch(&helper.waiting, 1, __ATOMIC_RELAXED);
}
