/* hold.c -- what may keep a launch waiting beside its tenant's own bucket on the device: the tenant is paused, somebody
 * of higher priority is busy, it is another one's turn, or the tenant is in debt on another device of its gang. */
#include "hold.h"
#include "lock.h"
#include "turn.h"

#define LOOK_NS       20000000ull /* a change of limits is seen within this */
#define EDGE_NS       500000ull   /* what others do is seen within this: a thousandth of a core */
#define WANT_NS       2000000ull  /* who waits says so for this long, and again at each look */
#define HANDOVER_NS   100000ull   /* the same, where only the end of what runs is waited for */
#define SUBSTITUTE_NS 1000000     /* of work, in a place of somebody else, who may want it back */

static uint64_t load(const uint64_t *word)
{
    return __atomic_load_n(word, __ATOMIC_RELAXED);
}

static struct gs_device_activity *own_words(const struct gs_meter_device *device)
{
    return &device->region->own_activity->device[device->index];
}

static const struct gs_device_activity *words_of(const struct gs_meter_device *device, uint32_t tenant)
{
    return &device->region->activity[tenant % GS_MAX_TENANTS].device[device->index];
}

static uint64_t busy_until(const struct gs_meter_device *device, uint32_t tenant)
{
    return gs_busy_until(words_of(device, tenant));
}

static uint64_t larger(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* -------- priority -------- */

static bool yields(const struct gs_meter_device *device, uint64_t now_ns)
{
    const struct gs_region *region = device->region;

    for (uint32_t word = 0; word < GS_MAX_TENANTS / 64; word++)
        for (uint64_t above = load(&region->limits->above[word]); above != 0; above &= above - 1) {
            uint32_t tenant = word * 64 + (uint32_t)__builtin_ctzll(above);

            if (busy_until(device, tenant) > now_ns)
                return true;
        }
    return false;
}

/* -------- turns -------- */

/* The last good copy of each device's table. */
static struct {
    struct gs_lock lock;
    struct gs_turns turns;
} tables[GS_MAX_DEVICES];

static bool wants(const struct gs_meter_device *device, uint32_t tenant, uint64_t now_ns)
{
    return load(&words_of(device, tenant)->waiting_until_ns) > now_ns || busy_until(device, tenant) > now_ns;
}

static void renew(const struct gs_limits *limits, uint32_t device, struct gs_turns *turns)
{
    struct gs_turns fresh;

    if (__atomic_load_n(&limits->turns[device].seq, __ATOMIC_RELAXED) != turns->seq &&
        gs_turns_read(&limits->turns[device], &fresh))
        *turns = fresh;
}

/* Whether a launch may begin so near to the end of a turn: when half of it fits, so that what ends late makes up for what
 * is not begun, or when all of it is owed; one that fits into no turn, in the first half of one. */
static bool fits(const struct gs_wish *wish, uint64_t since_ns, uint64_t left_ns)
{
    uint64_t need = (uint64_t)wish->need_ns;

    return need / 2 <= left_ns || wish->available_ns >= wish->need_ns ||
           (since_ns <= left_ns && need > since_ns + left_ns);
}

static uint64_t within(uint64_t least, uint64_t wait, uint64_t most)
{
    return wait < least ? least : wait > most ? most : wait;
}

/* The wait for somebody else, who wants no more than what is in flight, or does. */
static uint64_t wait_for(const struct gs_meter_device *device, uint32_t tenant, uint64_t now_ns,
                         uint64_t left)
{
    uint64_t until_ns = busy_until(device, tenant);

    if (load(&words_of(device, tenant)->waiting_until_ns) > now_ns || until_ns <= now_ns)
        return left < EDGE_NS ? left : EDGE_NS;
    return within(HANDOVER_NS, until_ns - now_ns, EDGE_NS);
}

/* Ours is the place of the present time. */
static uint64_t in_own_place(const struct gs_meter_device *device, uint64_t since_ns, uint64_t left,
                             struct gs_wish *wish)
{
    uint64_t in_flight = gs_remaining_ns(device, wish->now_ns);
    uint64_t left_then = left > in_flight ? left - in_flight : 0;

    if (!fits(wish, since_ns + in_flight, left_then)) {
        __atomic_store_n(&own_words(device)->waiting_until_ns, 0, __ATOMIC_RELAXED); /* others may fit */
        return left;
    }
    wish->window_ns = (int64_t)in_flight + wish->need_ns;
    if ((int64_t)left > wish->window_ns)
        wish->window_ns = (int64_t)left;
    return 0;
}

/* How long until it is our turn, and if that is now, how much longer. */
static uint64_t until_turn(const struct gs_meter_device *device, const struct gs_turns *turns,
                           struct gs_wish *wish)
{
    const uint32_t tenant = device->region->limits->tenant_index;
    uint64_t wanted = 0, until_ns, begin_ns, overrun_until = 0; /* somebody else's work is not through */
    uint32_t own = GS_NO_PLACE;

    for (uint32_t i = 0; i < turns->count; i++) {
        uint32_t other = turns->turn[i].tenant_index;

        if (other == tenant) {
            own = i;
            wanted |= (uint64_t)1 << i;
            continue;
        }
        wanted |= (uint64_t)wants(device, other, wish->now_ns) << i;
        overrun_until = larger(overrun_until, busy_until(device, other));
    }
    if (own == GS_NO_PLACE)
        return 0;
    uint32_t place = gs_turn_place(turns, wish->now_ns, &begin_ns, &until_ns);
    uint32_t holder = gs_turn_holder(turns, place, wanted);
    uint64_t left = until_ns - wish->now_ns;

    if (holder != own)
        return wait_for(device, turns->turn[holder].tenant_index, wish->now_ns, left);
    if (overrun_until > wish->now_ns && __atomic_load_n(&device->in_flight_ns, __ATOMIC_RELAXED) <= 0)
        return within(HANDOVER_NS / 2, overrun_until - wish->now_ns, HANDOVER_NS);
    if (place == own)
        return in_own_place(device, wish->now_ns - begin_ns, left, wish);
    wish->window_ns = (int64_t)(left < SUBSTITUTE_NS ? left : SUBSTITUTE_NS);
    return 0;
}

static uint64_t turn(const struct gs_meter_device *device, struct gs_wish *wish)
{
    struct gs_turns *turns = &tables[device->index].turns;
    uint64_t wait;

    if (__builtin_expect(!gs_hold_turns(device), 1))
        return 0;
    __atomic_store_n(&own_words(device)->waiting_until_ns, wish->now_ns + WANT_NS, __ATOMIC_RELAXED);
    gs_lock(&tables[device->index].lock);
    renew(device->region->limits, device->index, turns);
    wait = until_turn(device, turns, wish);
    gs_unlock(&tables[device->index].lock);
    return wait;
}

/* -------- the gang -------- */

/* The longest that another device's debt takes: the tenant's devices open and close together. */
static uint64_t gang(const struct gs_meter_device *device, uint64_t now_ns)
{
    const struct gs_region *region = device->region;
    uint64_t longest = 0;

    for (uint32_t row = 0; row < region->limits->device_count && row < GS_MAX_DEVICES; row++) {
        const struct gs_device_limits *limits = &region->limits->device[row];
        uint32_t cap_ppm = __atomic_load_n(&limits->cap_ppm, __ATOMIC_RELAXED);
        struct gs_line line;

        if (row == device->index || cap_ppm == GS_NO_CAP_PPM || !gs_line_read(limits, &line))
            continue;
        int64_t available = gs_bucket_look(&region->usage->device[row].spent_ns, &line, now_ns);
        uint64_t wait = available > 0 ? 0 : gs_bucket_wait_ns(&line, available);
        longest = wait > longest ? wait : longest;
    }
    return longest < LOOK_NS ? longest : LOOK_NS;
}

uint64_t gs_hold(const struct gs_meter_device *device, struct gs_wish *wish)
{
    uint64_t wait;

    if (__atomic_load_n(&device->region->limits->paused, __ATOMIC_RELAXED) != 0)
        return LOOK_NS;
    wait = gang(device, wish->now_ns);
    if (wait == 0 && yields(device, wish->now_ns))
        wait = EDGE_NS;
    return wait != 0 ? wait : turn(device, wish);
}

void gs_hold_forget(void)
{
    for (int i = 0; i < GS_MAX_DEVICES; i++)
        tables[i].lock.word = GS_LOCK_FREE;
}
