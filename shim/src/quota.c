/* quota.c -- the reservation: one compare-and-swap over all processes, that survives a kill between any two
 * steps.
 *
 * Slot s makes its change q (its sequence + 1) like this:
 *
 *   WRITE_HELD      held_bytes[q & 1] = what s holds once q has taken effect; the other one stays
 *   WRITE_SEQUENCE  sequence = q
 *   READ_TOTAL      total is (used, last = slot and sequence of the change that made it)
 *     over limit:   GO_BACK  sequence = q - 1, and the number q is free again
 *   HELP            raise applied of last's slot to last's sequence: its change took effect, and the trace
 *                   of that in total is about to go
 *   SWAP            (used, last) becomes (used + change, (s, q)), or READ_TOTAL again
 *
 * The fast path has READ_LAST and READ_USED in READ_TOTAL's place: what it has read may not belong together, so it never
 * refuses, and helps nobody; SWAP fails where it does not.
 *
 * The change takes effect with SWAP.  Whoever finds s dead knows whether q did: total.last is (s, q), or
 * applied is at least q.  So the sum of what slots hold is total.used at all times.
 *
 * A slot is noted as claimed before it can hold anything, and no more (NOTE) only once it has been emptied.
 *
 * tests/shim/test_quota_model.py explores these steps, by these names, with a kill at each. */
#include <string.h>

#include "atomic16.h"
#include "device.h"
#include "lock.h"
#include "quota.h"
#include "region.h"
#include "slot.h"
#include "trace.h"

#define NAME(slot, sequence) ((uint64_t)(slot) << 48 | (sequence))
#define SLOT_OF(name)        ((uint32_t)((name) >> 48))
#define SEQUENCE_OF(name)    ((name) & (((uint64_t)1 << 48) - 1))

/* No device has as much, and sums of less cannot overflow. */
#define ABSURD_BYTES ((uint64_t)1 << 56)

/* This process on a device: its words, found once.  A slot makes one change at a time on a device. */
static struct here {
    struct gs_lock lock;
    uint32_t slot;
    uint64_t name; /* NAME(slot, 0) */
    struct gs_usage *usage;
    struct gs_device_usage *shared;
    const uint64_t *limit;
    struct gs_slot_device *own;   /* NULL until all of the above are there */
    struct gs_slot_device *quick; /* the same, stored last; NULL for ever where each change is written down */
} __attribute__((aligned(64))) here[GS_ROWS];

/* Out of the way of who need not. */
static __attribute__((noinline)) void raise_to(uint64_t *word, uint64_t value)
{
    uint64_t seen = __atomic_load_n(word, __ATOMIC_ACQUIRE);

    while (seen < value &&
           !__atomic_compare_exchange_n(word, &seen, value, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
        ;
}

/* The slot's last change that took effect.  Only for who may change the slot: nobody else can hold it still.
 */
static uint64_t effective_sequence(const struct gs_usage *usage, uint32_t slot, uint32_t device)
{
    const struct gs_slot_device *own = &usage->slot[slot].device[device];
    uint64_t sequence = __atomic_load_n(&own->sequence, __ATOMIC_ACQUIRE);
    /* `last` before `applied`: who overwrites the one has raised the other first. */
    uint64_t last = __atomic_load_n(&usage->device[device].total.last, __ATOMIC_ACQUIRE);
    uint64_t applied = __atomic_load_n(&own->applied, __ATOMIC_ACQUIRE);

    return last == NAME(slot, sequence) || applied >= sequence ? sequence : sequence - 1;
}

static inline int is_over(uint64_t used_bytes, uint64_t more, uint64_t limit)
{
    return used_bytes > limit || more > limit - used_bytes;
}

/* From READ_TOTAL on, for a change whose words are written.  False: the total would pass the limit, and nothing
 * has changed. */
static int carry_out(struct gs_usage *usage, uint32_t slot, uint32_t device, uint64_t limit)
{
    struct gs_device_usage *shared = &usage->device[device];
    struct gs_slot_device *own = &usage->slot[slot].device[device];
    uint64_t sequence = own->sequence;
    uint64_t held = own->held_bytes[sequence & 1];
    uint64_t before = own->held_bytes[(sequence - 1) & 1];
    struct gs_total old, new;

    do {
        old = gs_total_read(&shared->total); /* READ_TOTAL */
        if (held > before && is_over(old.used_bytes, held - before, limit)) {
            __atomic_store_n(&own->sequence, sequence - 1, __ATOMIC_RELEASE); /* GO_BACK */
            return 0;
        }
        if (SLOT_OF(old.last) != slot) /* HELP */
            raise_to(&usage->slot[SLOT_OF(old.last) % GS_MAX_SLOTS].device[device].applied,
                     SEQUENCE_OF(old.last));
        new.used_bytes = old.used_bytes + (held - before);
        new.last = NAME(slot, sequence);
    } while (!gs_total_swap(&shared->total, old, new)); /* SWAP */
    raise_to(&shared->peak_bytes, new.used_bytes);
    return 1;
}

/* The slot, whose words on the device are `own`, is about to hold `held`. */
static inline void write_words(struct gs_slot_device *own, uint64_t sequence, uint64_t held)
{
    __atomic_store_n(&own->held_bytes[sequence & 1], held, __ATOMIC_RELEASE); /* WRITE_HELD */
    __atomic_store_n(&own->sequence, sequence, __ATOMIC_RELEASE);             /* WRITE_SEQUENCE */
}

static void tell_ended(const struct gs_usage *usage, uint32_t slot, uint32_t device, uint64_t held)
{
    struct gs_trace_row row = {.row = (int)device, .limit_bytes = GS_NO_LIMIT_BYTES};

    row.used_bytes = gs_total_read(&usage->device[device].total).used_bytes;
    gs_trace_ended(&row, usage->slot[slot].pid, held);
}

void gs_quota_clean_slot(struct gs_usage *usage, uint32_t slot)
{
    for (uint32_t device = 0; device < GS_ROWS; device++) {
        struct gs_slot_device *own = &usage->slot[slot].device[device];
        uint64_t effective = effective_sequence(usage, slot, device);
        uint64_t held = own->held_bytes[effective & 1];

        if (held) {
            write_words(own, effective + 1, 0);
            carry_out(usage, slot, device, GS_NO_LIMIT_BYTES);
            tell_ended(usage, slot, device, held);
        } else {
            __atomic_store_n(&own->sequence, effective, __ATOMIC_RELEASE);
        }
        memset(own->charged_bytes, 0, sizeof own->charged_bytes);
    }
    __atomic_store_n(&usage->slot[slot].pid, 0, __ATOMIC_RELEASE);
}

uint64_t gs_quota_used(int device)
{
    const struct gs_region *region = gs_region_view();

    return region && device >= 0 ? gs_total_read(&region->usage->device[device].total).used_bytes : 0;
}

static void empty(struct gs_usage *usage, uint32_t slot)
{
    gs_quota_clean_slot(usage, slot);
    gs_slot_note_empty(usage, slot); /* last: killed before, this is done again */
}

uint64_t gs_quota_held(const struct gs_usage *usage, uint32_t slot, int device)
{
    const struct gs_slot_device *row = &usage->slot[slot].device[device];
    uint64_t effective, held;

    do { /* while its owner changes it */
        effective = effective_sequence(usage, slot, (uint32_t)device);
        held = __atomic_load_n(&row->held_bytes[effective & 1], __ATOMIC_ACQUIRE);
    } while (effective != effective_sequence(usage, slot, (uint32_t)device));
    return held;
}

void gs_quota_repair(int device)
{
    const struct gs_region *region = gs_region_view();
    uint64_t slots[GS_MAX_SLOTS / 64], any = 0;

    if (!region || device < 0)
        return;
    for (uint32_t i = 0; i < GS_MAX_SLOTS / 64; i++) {
        slots[i] = 0;
        for (uint64_t left = __atomic_load_n(&region->usage->claimed[i], __ATOMIC_ACQUIRE); left;
             left &= left - 1) {
            const struct gs_slot *slot = &region->usage->slot[64 * i + (uint32_t)__builtin_ctzll(left)];
            const struct gs_slot_device *held = &slot->device[device];

            /* A glance at both halves tells who may hold anything; the lock tells who is dead. */
            if (slot != region->own && (__atomic_load_n(&held->held_bytes[0], __ATOMIC_RELAXED) ||
                                        __atomic_load_n(&held->held_bytes[1], __ATOMIC_RELAXED)))
                slots[i] |= left & -left;
        }
        any |= slots[i];
    }
    if (any)
        gs_region_with_dead_slots(slots, empty);
}

/* Threads that race here all find the same.  NULL: no limit was asked for. */
static __attribute__((noinline)) struct here *look_here(int device)
{
    const struct gs_region *region;

    if (__atomic_load_n(&here[device].own, __ATOMIC_ACQUIRE))
        return &here[device];
    region = gs_region();
    if (!region)
        return NULL;
    here[device].slot = region->slot;
    here[device].name = NAME(region->slot, 0);
    here[device].usage = region->usage;
    here[device].shared = &region->usage->device[device];
    here[device].limit = &region->limits->device[device].memory_limit_bytes;
    __atomic_store_n(&here[device].own, &region->own->device[device], __ATOMIC_RELEASE);
    if (!gs_trace_on())
        __atomic_store_n(&here[device].quick, &region->own->device[device], __ATOMIC_RELEASE);
    return &here[device];
}

/* The slot, whose words on the device are `own`, holds more, or less, of a kind. */
static inline void count(struct gs_slot_device *own, uint32_t kind, uint64_t change_bytes)
{
    uint64_t *charged = &own->charged_bytes[kind % GS_CHARGES];

    __atomic_store_n(charged, *charged + change_bytes, __ATOMIC_RELAXED);
}

static __attribute__((noinline, cold)) void tell(const struct here *at, uint32_t kind, uint64_t change_bytes)
{
    struct gs_trace_row row = {.row = (int)(at - here)};

    row.process_bytes = at->own->held_bytes[at->own->sequence & 1];
    row.used_bytes = gs_total_read(&at->shared->total).used_bytes;
    row.limit_bytes = __atomic_load_n(at->limit, __ATOMIC_RELAXED);
    gs_trace_change(&row, kind, (int64_t)change_bytes);
}

/* What change() does when it is not alone: these finish it, and are the last that it calls, so that it need not
 * save a register for them. */
static __attribute__((noinline)) int carry_out_here(struct here *at, uint32_t kind, uint64_t limit)
{
    const struct gs_slot_device *own = at->own;
    uint64_t change_bytes = own->held_bytes[own->sequence & 1] - own->held_bytes[(own->sequence - 1) & 1];
    int done = carry_out(at->usage, at->slot, (uint32_t)(at - here), limit);

    if (!done)
        count(at->own, kind, -change_bytes);
    else if (!__atomic_load_n(&at->quick, __ATOMIC_RELAXED))
        tell(at, kind, change_bytes);
    gs_unlock(&at->lock);
    return done;
}

static __attribute__((noinline)) int wait_and_change(struct here *at, uint32_t kind, uint64_t more,
                                                     uint64_t less, uint64_t limit)
{
    struct gs_slot_device *own = at->own;
    uint64_t before, held;

    gs_lock_wait(&at->lock);
    before = own->held_bytes[own->sequence & 1];
    held = before + more - (less < before ? less : before);
    write_words(own, own->sequence + 1, held);
    count(own, kind, held - before);
    return carry_out_here(at, kind, limit);
}

static __attribute__((noinline)) int wake_after_change(struct gs_lock *lock)
{
    gs_lock_wake(lock);
    return 1;
}

/* Adds to, or takes from, what this process holds. */
static inline __attribute__((always_inline)) int change(struct here *at, uint32_t kind, uint64_t more,
                                                        uint64_t less, uint64_t limit)
{
    struct gs_slot_device *own = at->own;
    uint64_t sequence, before, held;
    struct gs_total old, new;

    if (__builtin_expect(!gs_lock_try(&at->lock), 0))
        return wait_and_change(at, kind, more, less, limit);
    sequence = own->sequence + 1; /* the one before is effective: this lock's last holder left it so */
    before = own->held_bytes[(sequence - 1) & 1];
    held = before + more - (less < before ? less : before);
    write_words(own, sequence, held);
    count(own, kind, held - before);

    /* carry_out() for the most frequent case: nobody to help, room enough, no new peak.  Should the two halves not
     * belong together, the swap fails. */
    old.last = __atomic_load_n(&at->shared->total.last, __ATOMIC_ACQUIRE);
    old.used_bytes = __atomic_load_n(&at->shared->total.used_bytes, __ATOMIC_ACQUIRE);
    new.used_bytes = old.used_bytes + (held - before);
    new.last = at->name | sequence;
    if (__builtin_expect(
            (old.last ^ at->name) >> 48 ||
                (more && (is_over(old.used_bytes, more, limit) ||
                          new.used_bytes > __atomic_load_n(&at->shared->peak_bytes, __ATOMIC_RELAXED))) ||
                !gs_total_swap(&at->shared->total, old, new),
            0))
        return carry_out_here(at, kind, limit);
    if (__builtin_expect(!gs_unlock_try(&at->lock), 0))
        return wake_after_change(&at->lock);
    return 1;
}

/* The first time, and always where each change is written down. */
static __attribute__((noinline)) int try_after_looking(int device, uint32_t kind, uint64_t bytes)
{
    struct here *at = look_here(device);

    if (!at || !bytes)
        return 1;
    return bytes <= ABSURD_BYTES &&
           wait_and_change(at, kind, bytes, 0, __atomic_load_n(at->limit, __ATOMIC_RELAXED));
}

int gs_quota_try(int device, uint32_t kind, uint64_t bytes)
{
    struct here *at;

    if (__builtin_expect(device < 0, 0))
        return device == GS_NO_DEVICE;
    at = &here[device];
    if (__builtin_expect(!__atomic_load_n(&at->quick, __ATOMIC_ACQUIRE), 0))
        return try_after_looking(device, kind, bytes);
    if (!bytes)
        return 1;
    if (bytes > ABSURD_BYTES)
        return 0;
    return change(at, kind, bytes, 0, __atomic_load_n(at->limit, __ATOMIC_RELAXED));
}

/* Whether there would be room if nobody else held anything.  Under the lock, as a change that is being made may be
 * taken back. */
static int fits_alone(int device, uint64_t bytes)
{
    struct here *at = &here[device];
    uint64_t held;

    gs_lock(&at->lock);
    held = at->own->held_bytes[at->own->sequence & 1];
    gs_unlock(&at->lock);
    return !is_over(held, bytes, __atomic_load_n(at->limit, __ATOMIC_RELAXED));
}

int gs_quota_reserve(int device, uint32_t kind, uint64_t bytes)
{
    if (gs_quota_try(device, kind, bytes))
        return 1;
    if (device < 0 || !fits_alone(device, bytes))
        return 0;
    gs_quota_repair(device);
    return gs_quota_try(device, kind, bytes);
}

static __attribute__((noinline)) void release_and_tell(struct here *at, uint32_t kind, uint64_t bytes)
{
    if (__atomic_load_n(&at->own, __ATOMIC_ACQUIRE))
        wait_and_change(at, kind, 0, bytes, GS_NO_LIMIT_BYTES);
}

/* Who has something to release has been here before; a fork's child, which has not, holds nothing. */
void gs_quota_release(int device, uint32_t kind, uint64_t bytes)
{
    if (device < 0 || !bytes)
        return;
    if (__builtin_expect(__atomic_load_n(&here[device].quick, __ATOMIC_ACQUIRE) != NULL, 1))
        change(&here[device], kind, 0, bytes, GS_NO_LIMIT_BYTES);
    else
        release_and_tell(&here[device], kind, bytes);
}

void gs_quota_charge(int device, uint32_t kind, uint64_t bytes)
{
    if (device >= 0 && look_here(device))
        wait_and_change(&here[device], kind, bytes, 0, GS_NO_LIMIT_BYTES);
}

void gs_quota_forget(void)
{
    memset(here, 0, sizeof here);
}
