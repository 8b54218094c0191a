/* ledger.c -- a sharded hash table: open addressing, linear probing, deletion by shifting back.
 *
 * Its memory comes from mmap, as the program's malloc may itself be waiting for what we do here. */
#include <string.h>
#include <sys/mman.h>

#include "ledger.h"
#include "lock.h"

#define SHARD_BITS  6 /* the hash's top bits choose the shard, the next ones the place in it */
#define SHARDS      (1 << SHARD_BITS)
#define FIRST_SLOTS 128

struct slot {
    uint64_t handle; /* 0: empty */
    struct gs_entry entry;
};

struct shard {
    struct gs_lock lock;
    struct slot *slots;
    uint64_t mask; /* slots - 1; their number is a power of two */
    uint64_t used;
    int shift; /* 64 less the bits of a place */
} __attribute__((aligned(64)));

static struct shard shards[SHARDS];

/* The golden ratio spreads aligned addresses over the top bits. */
static uint64_t hash_of(uint64_t handle)
{
    return handle * 0x9e3779b97f4a7c15ull;
}

static uint64_t home_of(const struct shard *shard, uint64_t hash)
{
    return hash << SHARD_BITS >> shard->shift;
}

static struct shard *lock_shard(uint64_t hash)
{
    struct shard *shard = &shards[hash >> (64 - SHARD_BITS)];

    gs_lock(&shard->lock);
    return shard;
}

/* Where the handle of that hash is, or where it would go. */
static uint64_t place_of(const struct shard *shard, uint64_t handle, uint64_t hash)
{
    uint64_t at = home_of(shard, hash);

    while (shard->slots[at].handle && shard->slots[at].handle != handle)
        at = (at + 1) & shard->mask;
    return at;
}

static __attribute__((noinline)) int grow(struct shard *shard)
{
    uint64_t count = shard->slots ? 2 * (shard->mask + 1) : FIRST_SLOTS;
    struct shard old = *shard;
    void *slots =
        mmap(NULL, count * sizeof(struct slot), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (slots == MAP_FAILED)
        return 0;
    shard->slots = slots;
    shard->mask = count - 1;
    shard->shift = 64 - __builtin_ctzll(count);
    for (uint64_t i = 0; old.slots && i <= old.mask; i++)
        if (old.slots[i].handle)
            shard->slots[place_of(shard, old.slots[i].handle, hash_of(old.slots[i].handle))] = old.slots[i];
    if (old.slots)
        munmap(old.slots, (old.mask + 1) * sizeof(struct slot));
    return 1;
}

/* Closes the hole at `hole`: whatever was pushed past it by a collision moves back. */
static __attribute__((noinline)) uint64_t shift_back(struct shard *shard, uint64_t hole)
{
    for (uint64_t next = (hole + 1) & shard->mask; shard->slots[next].handle;
         next = (next + 1) & shard->mask) {
        uint64_t home = home_of(shard, hash_of(shard->slots[next].handle));

        if (((next - home) & shard->mask) >= ((next - hole) & shard->mask)) {
            shard->slots[hole] = shard->slots[next];
            hole = next;
        }
    }
    return hole;
}

static inline void erase(struct shard *shard, uint64_t at)
{
    if (__builtin_expect(shard->slots[(at + 1) & shard->mask].handle != 0, 0))
        at = shift_back(shard, at);
    shard->slots[at].handle = 0;
    shard->used--;
}

enum gs_noted gs_ledger_put(uint64_t handle, const struct gs_entry *entry, struct gs_entry *stale)
{
    const uint64_t hash = hash_of(handle);
    struct shard *shard = lock_shard(hash);
    enum gs_noted noted = GS_NOTED;
    struct slot *slot;

    if (2 * shard->used >= shard->mask && !grow(shard)) {
        gs_unlock(&shard->lock);
        return GS_NOT_NOTED;
    }
    slot = &shard->slots[place_of(shard, handle, hash)];
    if (slot->handle) {
        *stale = slot->entry;
        noted = GS_NOTED_OVER;
    } else {
        slot->handle = handle;
        shard->used++;
    }
    slot->entry = *entry;
    gs_unlock(&shard->lock);
    return noted;
}

static inline __attribute__((always_inline)) int look_up(uint64_t handle, struct gs_entry *entry, int take)
{
    const uint64_t hash = hash_of(handle);
    struct shard *shard = lock_shard(hash);
    int found = 0;

    if (__builtin_expect(handle && shard->slots, 1)) {
        uint64_t at = place_of(shard, handle, hash);
        const struct slot *slot = &shard->slots[at];

        if (slot->handle) {
            found = 1;
            *entry = slot->entry;
            if (take)
                erase(shard, at);
        }
    }
    gs_unlock(&shard->lock);
    return found;
}

int gs_ledger_take(uint64_t handle, struct gs_entry *entry)
{
    return look_up(handle, entry, 1);
}

int gs_ledger_find(uint64_t handle, struct gs_entry *entry)
{
    return look_up(handle, entry, 0);
}

void gs_ledger_take_owned(uint64_t owner, void (*each)(uint64_t handle, const struct gs_entry *entry))
{
    for (int i = 0; i < SHARDS; i++) {
        struct shard *shard = &shards[i];
        uint64_t at = 0;

        gs_lock(&shard->lock);
        while (shard->slots && at <= shard->mask) {
            struct slot slot = shard->slots[at];

            if (slot.handle && slot.entry.owner == owner) {
                erase(shard, at); /* may bring another one here: look again */
                each(slot.handle, &slot.entry);
            } else {
                at++;
            }
        }
        gs_unlock(&shard->lock);
    }
}

int gs_ledger_find_owned(uint64_t owner, uint32_t kind, uint64_t *handle)
{
    int found = 0;

    for (int i = 0; i < SHARDS && !found; i++) {
        struct shard *shard = &shards[i];

        gs_lock(&shard->lock);
        for (uint64_t at = 0; shard->slots && at <= shard->mask && !found; at++) {
            const struct slot *slot = &shard->slots[at];

            found = slot->handle && slot->entry.owner == owner && slot->entry.kind == kind;
            if (found)
                *handle = slot->handle;
        }
        gs_unlock(&shard->lock);
    }
    return found;
}

void gs_ledger_hand_on(uint64_t from, uint64_t to)
{
    for (int i = 0; i < SHARDS; i++) {
        struct shard *shard = &shards[i];

        gs_lock(&shard->lock);
        for (uint64_t at = 0; shard->slots && at <= shard->mask; at++)
            if (shard->slots[at].handle && shard->slots[at].entry.owner == from)
                shard->slots[at].entry.owner = to;
        gs_unlock(&shard->lock);
    }
}

/* The old tables stay: another thread of the parent may have been changing one. */
void gs_ledger_forget(void)
{
    memset(shards, 0, sizeof shards);
}
