/* turns.c -- keeps a launch waiting until it is its tenant's turn, and says how much of the turn is left. */
#include "hold.h"
#include "lock.h"
#include "turn.h"

#define LOOK_NS       500000ull   /* what others do is seen within this: a thousandth of a core */
#define BEHIND_NS     125000ull   /* and so much later for each that comes before us */
#define BEHIND_MOST   80          /* of them */
#define HANDOVER_NS   100000ull   /* the same, where somebody is about to begin */
#define FORETOLD_NS   500000      /* of work: its end is known well enough to queue behind it */
#define EARLY_NS      100000ull   /* so much before the end of what runs */
#define WANT_NS       1500000ull  /* who waits says so for this long beyond its next look */
#define BEGIN_NS      200000ull   /* the same for who launches, and is soon seen to be busy */
#define GRACE_NS      10000000ull /* and for so long afterwards has a part of the time */
#define SUBSTITUTE_NS 1000000     /* of work, in a place of somebody else, who may want it back */

/* The last good copy of each device's table, and our own account. */
static struct places {
    struct gs_lock lock;
    struct gs_turns turns;
    struct gs_owed owed;
    uint64_t rests_until_ns; /* the end of our place, if what is left of it is others' */
    uint64_t kept_ns; /* out of our turns, since we launched last, by somebody whose work is not through */
    uint64_t kept_seen_ns; /* how far that is added up; 0: it was not so when we looked last */
    uint64_t own_until_ns; /* by the table, of the turn in which something was launched last */
} places[GS_MAX_DEVICES];

/* What the others do. */
struct others {
    uint32_t own;               /* place */
    bool ready[GS_MAX_TENANTS]; /* waits, or runs, and has not left the place to others; ourselves, too */
    bool any;                   /* somebody else is */
    uint64_t busy_until_ns;     /* the last of them... */
    uint64_t left_ns;           /* ...which is so far off, or 0 if we need not wait for it... */
    const uint32_t *through;    /* ...and where it will say that it is through; NULL: nobody is busy */
    uint32_t seen;
    uint64_t all_ns; /* what they and we had so far */
    struct gs_turn_part part;
    bool are_long;                   /* the kernels of all */
    int64_t owed_ns[GS_MAX_TENANTS]; /* if they are; else 0, and the table decides */
};

static uint64_t load(const uint64_t *word)
{
    return __atomic_load_n(word, __ATOMIC_RELAXED);
}

static int64_t in_flight_ns(const struct gs_meter_device *device)
{
    return __atomic_load_n(&device->in_flight_ns, __ATOMIC_RELAXED);
}

static bool in_flight(const struct gs_meter_device *device)
{
    return in_flight_ns(device) > 0;
}

static const struct gs_device_activity *words_of(const struct gs_meter_device *device, uint32_t tenant)
{
    return &device->region->activity[tenant % GS_MAX_TENANTS].device[device->index];
}

/* The lowest bit of the word says that we leave our place to others, for now. */
static void say(const struct gs_meter_device *device, uint64_t until_ns, bool rests)
{
    __atomic_store_n(&device->region->own_activity->device[device->index].waiting_until_ns,
                     (until_ns & ~1ull) | rests, __ATOMIC_RELAXED);
}

static bool renew(const struct gs_limits *limits, uint32_t device, struct gs_turns *turns)
{
    struct gs_turns fresh;

    if (__atomic_load_n(&limits->turns[device].seq, __ATOMIC_RELAXED) == turns->seq ||
        !gs_turns_read(&limits->turns[device], &fresh))
        return false;
    *turns = fresh;
    return true;
}

/* Who looks only now and then, or whose bucket is empty for a moment, still has its part. */
static bool is_active(const struct gs_device_activity *words, uint64_t now_ns)
{
    return load(&words->waiting_until_ns) + GRACE_NS > now_ns || gs_busy_until(words) > now_ns;
}

static void look(const struct gs_meter_device *device, const struct gs_turns *turns, uint64_t now_ns,
                 struct others *others)
{
    const uint32_t tenant = device->region->limits->tenant_index;

    others->own = GS_NO_PLACE;
    others->are_long = true;
    for (uint32_t i = 0; i < turns->count; i++) {
        const struct gs_device_activity *words = words_of(device, turns->turn[i].tenant_index);
        const uint32_t seen = __atomic_load_n(&words->through, __ATOMIC_ACQUIRE); /* before it says more */
        uint64_t waiting_until = load(&words->waiting_until_ns), busy_until = gs_busy_until(words);
        uint64_t length = gs_turn_length(turns, i);

        others->all_ns += load(&words->gpu_ns);
        others->owed_ns[i] = __atomic_load_n(&words->owed_from_ns, __ATOMIC_RELAXED);
        if (turns->turn[i].tenant_index == tenant) {
            others->own = i;
            others->ready[i] = true;
            others->part.length_ns = length;
            others->part.wanted_ns += length;
            continue;
        }
        others->ready[i] = waiting_until > now_ns ? (waiting_until & 1) == 0 : busy_until > now_ns;
        others->any |= others->ready[i];
        if (is_active(words, now_ns)) {
            others->part.wanted_ns += length;
            others->are_long &= others->owed_ns[i] != 0;
        }
        if (busy_until > others->busy_until_ns)
            others->busy_until_ns = busy_until;
        if (busy_until > now_ns && busy_until == others->busy_until_ns) {
            others->through = &words->through;
            others->seen = seen;
        }
    }
}

/* Since when something is in flight, or nothing any more. */
static uint64_t since_ns(const struct gs_meter_device *device, uint64_t now_ns)
{
    uint64_t through_ns = load(&device->through_ns);

    return now_ns > through_ns ? now_ns - through_ns : 0;
}

/* What we have in flight, or what it has taken if that is more, as far as we have not said so by now. */
static uint64_t untold_ns(const struct gs_meter_device *device, uint64_t now_ns)
{
    const struct gs_meter_context *context = __atomic_load_n(&gs_meter_contexts, __ATOMIC_ACQUIRE);
    uint64_t takes_ns = since_ns(device, now_ns), told_ns = 0;

    if (!in_flight(device))
        return 0;
    if (takes_ns < (uint64_t)in_flight_ns(device))
        takes_ns = (uint64_t)in_flight_ns(device);
    for (; context != NULL; context = context->next)
        told_ns += context->device == device ? load(&context->shown_ns) : 0;
    return takes_ns > told_ns ? takes_ns - told_ns : 0;
}

/* By the clock and the table. */
static uint64_t until_own_end(const struct gs_turns *turns, uint32_t own, uint64_t now_ns)
{
    uint64_t end_ns = turns->turn[own].from_ns + gs_turn_length(turns, own),
             at_ns = now_ns % turns->period_ns;

    return end_ns > at_ns ? end_ns - at_ns : end_ns + turns->period_ns - at_ns;
}

/* Finds what we are owed. */
static void account(const struct gs_meter_device *device, struct places *here, const struct others *others,
                    const struct gs_wish *wish)
{
    const uint64_t left_ns = until_own_end(&here->turns, others->own, wish->now_ns);
    const int64_t due_ns = gs_owed_due(&here->turns, others->own, left_ns);
    const uint64_t waited_ns = in_flight(device) || others->are_long ? 0 : since_ns(device, wish->now_ns);

    gs_owed_look(&here->owed, load(&device->region->own_activity->device[device->index].gpu_ns),
                 others->all_ns, due_ns, &others->part, wish->need_ns, waited_ns);
}

/* Says what we are owed, and finds what all will be when what we have in flight is through. */
static void compare(const struct gs_meter_device *device, const struct places *here, struct others *others,
                    const struct gs_wish *wish, bool is_long)
{
    int64_t *own_word = &device->region->own_activity->device[device->index].owed_from_ns;
    const struct gs_turns *turns = &here->turns;
    const uint64_t untold = untold_ns(device, wish->now_ns);
    const bool is_late = !in_flight(device) &&
                         gs_turn_is_late(turns, &others->part, wish->need_ns, since_ns(device, wish->now_ns));

    others->owed_ns[others->own] = is_long ? gs_owed_say(&here->owed, &others->part, is_late) : 0;
    __atomic_store_n(own_word, others->owed_ns[others->own], __ATOMIC_RELAXED);
    for (uint32_t i = 0; i < turns->count; i++) {
        const struct gs_turn_part part = {gs_turn_length(turns, i), others->part.wanted_ns};
        uint64_t had_ns = load(&words_of(device, turns->turn[i].tenant_index)->gpu_ns);

        had_ns += i == others->own ? untold : 0;
        others->owed_ns[i] =
            others->are_long ? gs_owed_hear(others->owed_ns[i], had_ns, others->all_ns + untold, &part) : 0;
    }
}

/* Whether a launch fits into a turn with so much left by the table; what else may be in flight then. */
static bool fits(const struct gs_meter_device *device, const struct places *here, const struct others *others,
                 int64_t left_ns, struct gs_wish *wish)
{
    int64_t in_flight = in_flight_ns(device);
    int64_t remaining = (int64_t)gs_remaining_ns(device, wish->now_ns);

    if (in_flight < 0)
        in_flight = 0;
    wish->window_ns = gs_owed_window(&here->owed, &others->part, left_ns, in_flight, remaining);
    return in_flight + wish->need_ns / 2 <= wish->window_ns;
}

/* How many come after the holder and before us. */
static uint32_t before_us(const struct gs_turns *turns, const struct others *others, uint32_t holder)
{
    uint32_t count = 0;

    for (uint32_t at = holder + 1 < turns->count ? holder + 1 : 0; at != others->own && count < BEHIND_MOST;
         at = at + 1 < turns->count ? at + 1 : 0)
        count += others->ready[at];
    return count;
}

/* The wait while `holder` is before us, and has what is `left` of the present place.  Who may be next is woken when what
 * runs is through; others see within a while that they have become that. */
static uint64_t wait_behind(const struct gs_meter_device *device, const struct places *here,
                            const struct others *others, uint32_t holder, uint64_t left, struct gs_wish *wish)
{
    const uint32_t before = others->are_long ? 0 : before_us(&here->turns, others, holder);
    uint64_t end_ns = until_own_end(&here->turns, others->own, wish->now_ns);
    uint64_t begin_ns = end_ns > others->part.length_ns ? end_ns - others->part.length_ns : end_ns;
    uint64_t wait_ns = LOOK_NS + BEHIND_NS * before;

    if (before != 0)
        return begin_ns < wait_ns ? begin_ns : wait_ns;
    wish->through = others->through;
    wish->seen = others->seen;
    if (others->through == NULL && !in_flight(device))
        wait_ns = HANDOVER_NS; /* nobody runs: it is about to begin, or leaves its place to us */
    return left < wait_ns ? left : wait_ns;
}

/* In our place: whether the launch may begin.  If what is left of the place is too little for it, or owed to others, they
 * have the rest of it. */
static bool may_begin(const struct gs_meter_device *device, struct places *here, const struct others *others,
                      uint64_t until_ns, struct gs_wish *wish)
{
    here->own_until_ns = until_ns;
    if (here->rests_until_ns == until_ns)
        return false;
    if (fits(device, here, others, (int64_t)(until_ns - wish->now_ns), wish))
        return true;
    here->rests_until_ns = until_ns;
    return false;
}

/* Behind our place: whether what we are owed is enough to go on with. */
static bool may_go_on(const struct gs_meter_device *device, const struct places *here,
                      const struct others *others, struct gs_wish *wish)
{
    uint64_t late_ns = wish->now_ns - here->own_until_ns;

    return here->own_until_ns <= wish->now_ns && late_ns < others->part.length_ns &&
           fits(device, here, others, -(int64_t)late_ns, wish);
}

/* What runs will be through in about so long: who queues behind it looks again and again when that is. */
static uint64_t until_free(uint64_t others_ns, uint64_t early_ns)
{
    if (early_ns == 0 || others_ns / 16 > LOOK_NS)
        return LOOK_NS;
    return others_ns / 16 < EARLY_NS / 2 ? EARLY_NS / 2 : others_ns / 16;
}

/* It goes on from turn to turn: between ours others have theirs, and say what they like of their work. */
static void note_kept(struct places *here, bool is_kept, uint64_t now_ns)
{
    if (is_kept && here->kept_seen_ns != 0) {
        uint64_t ns = now_ns - here->kept_seen_ns;
        here->kept_ns += ns < 2 * LOOK_NS ? ns : 2 * LOOK_NS; /* we may have been stopped */
    }
    here->kept_seen_ns = is_kept ? now_ns : 0;
}

/* How long until it is our turn, and if that is now, how much longer. */
static uint64_t until_turn(const struct gs_meter_device *device, struct places *here, struct others *others,
                           struct gs_wish *wish)
{
    const uint64_t now_ns = wish->now_ns, early_ns = wish->need_ns < FORETOLD_NS ? EARLY_NS : 0;
    const bool running = in_flight(device);
    uint64_t begin_ns, until_ns;
    const uint32_t place = gs_turn_place(&here->turns, now_ns, &begin_ns, &until_ns);
    const uint64_t left = until_ns - now_ns;
    others->left_ns =
        others->busy_until_ns > now_ns + early_ns ? others->busy_until_ns - now_ns - early_ns : 0;
    /* What never ends may wait for a peer on another device, whose turn is ours there. */
    const bool is_kept = others->left_ns != 0 && !running;
    const bool is_free = !is_kept || here->kept_ns > here->turns.period_ns;
    bool rests = false;
    uint64_t wait;

    if (others->are_long) {
        wish->window_ns = in_flight_ns(device) + wish->need_ns;
    } else if (place == others->own && is_free) {
        rests = !may_begin(device, here, others, until_ns, wish);
        if (!rests)
            return 0;
    } else if (place == others->own) {
        rests = here->rests_until_ns == until_ns;
    } else if (running && others->busy_until_ns <= now_ns && may_go_on(device, here, others, wish)) {
        return 0;
    }
    others->ready[others->own] = !rests || !others->any;
    uint32_t holder = gs_turn_holder(&here->turns, place, others->ready, others->owed_ns);
    note_kept(here, is_kept && holder == others->own, now_ns);
    if (holder != others->own) {
        wait = wait_behind(device, here, others, holder, left, wish);
    } else {
        if (!others->are_long)
            wish->window_ns = running || wish->need_ns < SUBSTITUTE_NS ? SUBSTITUTE_NS : wish->need_ns;
        wish->through = others->through;
        wish->seen = others->seen;
        wait = is_free ? 0 : until_free(others->left_ns, early_ns);
    }
    if (wait != 0)
        say(device, now_ns + wait + WANT_NS, rests);
    return wait;
}

uint64_t gs_turns_hold(const struct gs_meter_device *device, struct gs_wish *wish)
{
    struct places *here = &places[device->index];
    const struct gs_device_activity *own = &device->region->own_activity->device[device->index];
    uint64_t wait = 0;

    if (__builtin_expect(!gs_hold_turns(device), 1))
        return 0;
    struct others others = {0}; /* some kilobytes: not for who takes no turns */
    gs_lock(&here->lock);
    if (renew(device->region->limits, device->index, &here->turns) || !is_active(own, wish->now_ns))
        here->owed.known = false;
    look(device, &here->turns, wish->now_ns, &others);
    if (others.own != GS_NO_PLACE) {
        const bool is_long =
            gs_turn_is_long(&here->turns, __atomic_load_n(&device->usual_ns, __ATOMIC_RELAXED));
        others.are_long &= is_long;
        account(device, here, &others, wish);
        compare(device, here, &others, wish, is_long);
        wait = until_turn(device, here, &others, wish);
    }
    if (wait == 0) {
        if (others.left_ns == 0)
            here->kept_ns = 0;
        here->kept_seen_ns = 0;
        say(device, wish->now_ns + BEGIN_NS, false);
    }
    gs_unlock(&here->lock);
    return wait;
}

void gs_turns_leave(const struct gs_meter_device *device)
{
    if (gs_hold_turns(device))
        say(device, 0, false);
}

bool gs_turns_keep(const struct gs_meter_device *device, uint32_t rate_ppm, uint64_t now_ns)
{
    struct places *here = &places[device->index];

    if (!gs_hold_turns(device))
        return false;
    struct others others = {0};
    gs_lock(&here->lock);
    look(device, &here->turns, now_ns, &others);
    gs_unlock(&here->lock);
    return others.own != GS_NO_PLACE && gs_turn_keeps(&others.part, rate_ppm);
}

void gs_hold_forget(void)
{
    for (int i = 0; i < GS_MAX_DEVICES; i++) {
        places[i].lock.word = GS_LOCK_FREE;
        places[i].owed.known = false;
    }
}
