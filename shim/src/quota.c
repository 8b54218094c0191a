/* quota.c -- the reservation: one compare-and-swap over all processes, that survives a kill between any two
 * steps.
 *
 * Slot s makes its change q (its sequence + 1) like this:
 *
 *   WRITE_HELD      held_bytes[q & 1] = what s holds once q has taken effect; the other one stays
 *   WRITE_SEQUENCE  sequence = q
 *   READ_TOTAL      total is (used, last = slot and sequence of the change that made it)
 *     over limit:   GO_BACK  sequence = q - 1, and the number q is free again
 *   HELP            raise applied of last's slot to last's sequence: its change took effect, and the trace of
 * that in total is about to go SWAP            (used, last) becomes (used + change, (s, q)), or READ_TOTAL
 * again
 *
 * The change takes effect with SWAP.  Whoever finds s dead knows whether q did: total.last is (s, q), or
 * applied is at least q.  So the sum of what slots hold is total.used at all times.
 *
 * tests/shim/test_quota_model.py explores these steps, by these names, with a kill at each. */
#include <string.h>

#include "atomic16.h"
#include "device.h"
#include "lock.h"
#include "quota.h"
#include "region.h"

#define NAME(slot, sequence) ((uint64_t)(slot) << 48 | (sequence))
#define SLOT_OF(name)        ((uint32_t)((name) >> 48))
#define SEQUENCE_OF(name)    ((name) & (((uint64_t)1 << 48) - 1))
/* A slot makes one change at a time on a device. */
static struct gs_lock locks[GS_MAX_DEVICES];

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

static inline int is_over(uint64_t used_bytes, uint64_t before, uint64_t held, uint64_t limit)
{
    return held > before && (used_bytes > limit || held - before > limit - used_bytes);
}

/* From READ_TOTAL on, for a change whose words are written.  Out of the way of who runs alone. */
static __attribute__((noinline)) int carry_out(struct gs_usage *usage, uint32_t slot, uint32_t device,
                                               uint64_t limit)
{
    struct gs_device_usage *shared = &usage->device[device];
    struct gs_slot_device *own = &usage->slot[slot].device[device];
    uint64_t sequence = own->sequence;
    uint64_t held = own->held_bytes[sequence & 1];
    uint64_t before = own->held_bytes[(sequence - 1) & 1];
    struct gs_total old, new;

    do {
        old = gs_total_read(&shared->total); /* READ_TOTAL */
        if (is_over(old.used_bytes, before, held, limit)) {
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

/* The slot, whose words on the device are `own`, holds `held` from now on, where it held `before`.  False:
 * the total would pass the limit, and nothing has changed. */
static inline __attribute__((always_inline)) int change(struct gs_usage *usage, struct gs_slot_device *own,
                                                        uint32_t slot, uint32_t device, uint64_t sequence,
                                                        uint64_t before, uint64_t held, uint64_t limit)
{
    struct gs_device_usage *shared = &usage->device[device];
    struct gs_total old, new;

    __atomic_store_n(&own->held_bytes[sequence & 1], held, __ATOMIC_RELEASE); /* WRITE_HELD */
    __atomic_store_n(&own->sequence, sequence, __ATOMIC_RELEASE);             /* WRITE_SEQUENCE */

    /* What carry_out does, for the most frequent case: nobody to help, room enough, no new peak. */
    old = gs_total_read(&shared->total);
    new.used_bytes = old.used_bytes + (held - before);
    new.last = NAME(slot, sequence);
    if (__builtin_expect(SLOT_OF(old.last) == slot && !is_over(old.used_bytes, before, held, limit) &&
                             new.used_bytes <= __atomic_load_n(&shared->peak_bytes, __ATOMIC_RELAXED) &&
                             gs_total_swap(&shared->total, old, new),
                         1))
        return 1;
    return carry_out(usage, slot, device, limit);
}

void gs_quota_clean_slot(struct gs_usage *usage, uint32_t slot)
{
    for (uint32_t device = 0; device < GS_MAX_DEVICES; device++) {
        struct gs_slot_device *own = &usage->slot[slot].device[device];
        uint64_t effective = effective_sequence(usage, slot, device);
        uint64_t held = own->held_bytes[effective & 1];

        if (held)
            change(usage, own, slot, device, effective + 1, held, 0, GS_NO_LIMIT_BYTES);
        else
            __atomic_store_n(&own->sequence, effective, __ATOMIC_RELEASE);
    }
    __atomic_store_n(&usage->slot[slot].pid, 0, __ATOMIC_RELEASE);
}

uint64_t gs_quota_used(int device)
{
    const struct gs_region *region = gs_region_view();

    return region && device >= 0 ? gs_total_read(&region->usage->device[device].total).used_bytes : 0;
}

void gs_quota_repair(int device)
{
    const struct gs_region *region = gs_region_view();

    if (!region || device < 0)
        return;
    for (uint32_t slot = 0; slot < GS_MAX_SLOTS; slot++) {
        const struct gs_slot_device *held = &region->usage->slot[slot].device[device];

        /* A glance at both halves tells who may hold anything; the lock tells who is dead. */
        if (&region->usage->slot[slot] != region->own &&
            (__atomic_load_n(&held->held_bytes[0], __ATOMIC_RELAXED) ||
             __atomic_load_n(&held->held_bytes[1], __ATOMIC_RELAXED)))
            gs_region_with_dead_slot(slot, gs_quota_clean_slot);
    }
}

/* Adds to, or takes from, what this process holds. */
static inline __attribute__((always_inline)) int change_own(const struct gs_region *region, int device,
                                                            uint64_t more, uint64_t less, uint64_t limit)
{
    struct gs_slot_device *own = &region->own->device[device];
    uint64_t sequence, held;
    int done = 0;

    gs_lock(&locks[device]);
    sequence = own->sequence; /* effective: this lock's last holder left it so */
    held = own->held_bytes[sequence & 1];
    if (more <= UINT64_MAX - held)
        done = change(region->usage, own, region->slot, (uint32_t)device, sequence + 1, held,
                      held + more - (less < held ? less : held), limit);
    gs_unlock(&locks[device]);
    return done;
}

int gs_quota_try(int device, uint64_t bytes)
{
    const struct gs_region *region = gs_region();
    const uint64_t *limit;

    if (!region || device == GS_NO_DEVICE || !bytes)
        return 1;
    if (device < 0)
        return 0;
    limit = &region->limits->device[device].memory_limit_bytes;
    return change_own(region, device, bytes, 0, __atomic_load_n(limit, __ATOMIC_RELAXED));
}

int gs_quota_reserve(int device, uint64_t bytes)
{
    if (gs_quota_try(device, bytes))
        return 1;
    gs_quota_repair(device);
    return gs_quota_try(device, bytes);
}

void gs_quota_count_refusal(int device)
{
    const struct gs_region *region = gs_region();

    if (region && device >= 0)
        __atomic_fetch_add(&region->own->device[device].denied, 1, __ATOMIC_RELAXED);
}

void gs_quota_release(int device, uint64_t bytes)
{
    const struct gs_region *region = gs_region();

    if (region && device >= 0 && bytes)
        change_own(region, device, 0, bytes, GS_NO_LIMIT_BYTES);
}

void gs_quota_charge(int device, uint64_t bytes)
{
    const struct gs_region *region = gs_region();

    if (region && device >= 0)
        change_own(region, device, bytes, 0, GS_NO_LIMIT_BYTES);
}

void gs_quota_forget_locks(void)
{
    memset(locks, 0, sizeof locks);
}
