/* hold.c -- what may keep a launch waiting beside its tenant's own bucket on the device: the tenant is paused, somebody
 * of higher priority is busy, it is another one's turn, or the tenant is in debt on another device of its gang. */
#include "collective.h"
#include "hold.h"

#define LOOK_NS 20000000ull  /* a change of limits is seen within this */
#define GANG_NS 100000000ull /* a device waits for another one's debt at most */
#define EDGE_NS 500000ull    /* what others do is seen within this: a thousandth of a core */

static uint64_t load(const uint64_t *word)
{
    return __atomic_load_n(word, __ATOMIC_RELAXED);
}

/* -------- priority -------- */

static bool yields(const struct gs_meter_device *device, uint64_t now_ns)
{
    const struct gs_region *region = device->region;

    for (uint32_t word = 0; word < GS_MAX_TENANTS / 64; word++)
        for (uint64_t above = load(&region->limits->above[word]); above != 0; above &= above - 1) {
            uint32_t tenant = word * 64 + (uint32_t)__builtin_ctzll(above);

            if (gs_busy_until(&region->activity[tenant % GS_MAX_TENANTS].device[device->index]) > now_ns)
                return true;
        }
    return false;
}

/* -------- the gang -------- */

/* The longest that another device's debt takes.  A debt of no more than can be saved is none: every run of work ends with
 * some, and there would always be some where each device has its own programs. */
static uint64_t debt_elsewhere(const struct gs_meter_device *device, uint64_t now_ns)
{
    const struct gs_region *region = device->region;
    uint64_t longest = 0;

    for (uint32_t row = 0; row < region->limits->device_count && row < GS_MAX_DEVICES; row++) {
        const struct gs_device_limits *limits = &region->limits->device[row];
        uint32_t cap_ppm = __atomic_load_n(&limits->cap_ppm, __ATOMIC_RELAXED);
        struct gs_line line;

        if (row == device->index || cap_ppm == GS_NO_CAP_PPM || !gs_line_read(limits, &line) ||
            gs_collective_runs(row)) /* it may wait for this device, and its debt grows until then */
            continue;
        int64_t available = gs_bucket_look(&region->usage->device[row].spent_ns, &line, now_ns);
        bool owes = available + (int64_t)line.burst_ns <= 0;
        uint64_t wait = owes ? gs_bucket_wait_ns(&line, available) : 0;
        longest = wait > longest ? wait : longest;
    }
    return longest;
}

/* The tenant's devices open and close together.  Not for ever: what runs into debt there may be another process's kernel
 * that waits for what we are about to launch.  Who has waited so long goes on for as long, or it would have one launch each
 * time, and next to nothing of its share. */
static uint64_t gang(struct gs_meter_device *device, const struct gs_wish *wish)
{
    uint64_t wait = debt_elsewhere(device, wish->now_ns);

    if (wait != 0 && wish->now_ns - wish->since_ns > GANG_NS)
        device->apart_until_ns = wish->now_ns + GANG_NS;
    return wish->now_ns < device->apart_until_ns ? 0 : wait < LOOK_NS ? wait : LOOK_NS;
}

uint64_t gs_hold(struct gs_meter_device *device, struct gs_wish *wish)
{
    uint64_t wait;

    if (__atomic_load_n(&device->region->limits->paused, __ATOMIC_RELAXED) != 0)
        return LOOK_NS;
    wait = gang(device, wish);
    if (wait == 0 && yields(device, wish->now_ns))
        wait = EDGE_NS;
    return wait != 0 ? wait : gs_turns_hold(device, wish);
}
