/* pool_grow.c -- what a pool may grow by is reserved before the driver is asked, and settled when it has answered. */
#include "device.h"
#include "hooks.h"
#include "pool_record.h"
#include "region.h"
#include "reserve.h"

#define FIRST_GRAIN ((uint64_t)2 << 20) /* pools grow by whole pages of the device */
#define MOST_GRAIN  ((uint64_t)1 << 30)

/* Held from decision to answer by whoever is to get what was freed just so: nobody else may get it instead. */
static struct gs_lock edge;

static uint64_t grain = FIRST_GRAIN; /* raised when a pool is seen to grow by more */

void gs_pool_grow_forget(void)
{
    edge.word = GS_LOCK_FREE;
}

static uint64_t round_up(uint64_t bytes, uint64_t to)
{
    return bytes > UINT64_MAX - to ? UINT64_MAX : (bytes + to - 1) / to * to;
}

/* Reserves what is left, up to `bytes`. */
static uint64_t reserve_part(const struct gs_pool_record *pool, uint64_t bytes)
{
    const struct gs_region *region = gs_region();

    for (uint32_t left = pool->rows; left; left &= left - 1) {
        int row = gs_row_of(left);
        uint64_t limit = __atomic_load_n(&region->limits->device[row].memory_limit_bytes, __ATOMIC_RELAXED);
        uint64_t used = gs_quota_used(row), part = used < limit ? limit - used : 0;

        bytes = part < bytes ? part : bytes;
    }
    return gs_rows_try(pool->rows, pool->kind, bytes) ? 0 : bytes;
}

/* Some of it may lie there from now on, any of it.  False: over the quota. */
static int bring(struct gs_pool_record *pool, int device)
{
    if (pool->of.row == GS_FOREIGN_DEVICE || device == GS_FOREIGN_DEVICE)
        return 0;
    if (pool->rows & gs_row_bit(device))
        return 1;
    if (!gs_quota_try(device, pool->kind, pool->charged))
        return 0;
    pool->rows |= gs_row_bit(device);
    return 1;
}

int gs_pool_bring(const struct gs_entry *entry, int device)
{
    uint64_t wanted = 0;
    struct gs_pool_record *pool;
    int done = 0;

    for (int asked = 0; !done && asked < 2; asked++) {
        gs_lock(&gs_pool_lock);
        pool = &gs_pool_records[entry->owner];
        done = !pool->of.managed || bring(pool, device);
        wanted = pool->charged;
        gs_unlock(&gs_pool_lock);
        if (!done && !asked && gs_reserve_after_asking(device, GS_MANAGED, wanted))
            gs_quota_release(device, GS_MANAGED, wanted); /* there is room now: once more */
    }
    return done;
}

/* Does the pool still have what was freed just so?  Not if it has given something back since. */
static int has_freed(struct gs_pool_record *pool, const struct gs_growth *growth)
{
    cuuint64_t reserved, used;

    return !pool->flights && gs_freed_find(&pool->freed, growth->stream_id, growth->bytes) &&
           !REAL(cuMemPoolGetAttribute)(pool->handle, CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT, &reserved) &&
           !REAL(cuMemPoolGetAttribute)(pool->handle, CU_MEMPOOL_ATTR_USED_MEM_CURRENT, &used) &&
           reserved >= pool->reserved && reserved >= used && reserved - used >= growth->bytes;
}

/* False: over the quota, unless the pool has just what is wanted, and so does not grow. */
static int reserve_bound(struct gs_growth *growth, struct gs_pool_record *pool)
{
    uint32_t before = pool->rows, full;

    growth->bound = round_up(growth->bytes, __atomic_load_n(&grain, __ATOMIC_RELAXED));
    if (growth->brings && !bring(pool, growth->device))
        return 0;
    full = gs_rows_try(pool->rows, pool->kind, growth->bound);
    if (!full)
        return 1;
    growth->full = gs_row_of(full);
    if (!has_freed(pool, growth)) {
        gs_rows_release(pool->rows & ~before, pool->kind, pool->charged); /* nothing comes there */
        pool->rows = before;
        return 0;
    }
    growth->bound = reserve_part(pool, growth->bound);
    pool->at_edge = growth->at_edge = 1;
    return 1;
}

int gs_pool_grow(struct gs_growth *growth)
{
    const struct gs_pool_of of = {.row = growth->device};
    struct gs_pool_record *pool;
    int done = 0;

    growth->bound = growth->bytes;
    growth->full = growth->device;
    if (growth->device < 0)
        return 0;
    growth->stream_id = gs_stream_id(growth->stream);
    for (int asked = 0; !done && asked < 2; asked++) {
        gs_lock(&edge);
        gs_lock(&gs_pool_lock);
        pool = gs_pool_record_of(growth->pool, &of);
        done = pool && reserve_bound(growth, pool);
        if (done) {
            gs_freed_use(&pool->freed, growth->stream_id, growth->bytes);
            pool->overlapped |= pool->frees != 0;
            growth->record = (uint32_t)(pool - gs_pool_records);
            growth->alone = pool->flights++ ? 0 : pool->begun + 1;
            growth->before = pool->reserved;
            pool->begun++;
            pool->charged += growth->bound;
            pool->going_on += growth->bound;
        }
        gs_unlock(&gs_pool_lock);
        if (!growth->at_edge)
            gs_unlock(&edge);
        if (!done && !asked && gs_reserve_after_asking(growth->full, GS_POOL, growth->bound))
            gs_quota_release(growth->full, GS_POOL, growth->bound); /* there is room now: once more */
    }
    return done;
}

/* Pools grow by more than we thought: from now on we reckon with that. */
static void learn_grain(const struct gs_growth *growth, uint64_t grown)
{
    uint64_t learnt = grain;

    while (learnt < MOST_GRAIN && round_up(growth->bytes, learnt) < grown)
        learnt *= 2;
    __atomic_store_n(&grain, learnt, __ATOMIC_RELAXED);
}

/* False: no memory to note it down.  Of no bytes there may be no address. */
static int note_allocated(const struct gs_growth *growth, CUdeviceptr pointer)
{
    struct gs_entry entry = {
        .bytes = growth->bytes, .owner = growth->record, .device = growth->device, .kind = GS_POOL};
    enum gs_noted noted = GS_NOTED;
    struct gs_entry stale;

    if (pointer)
        noted = gs_ledger_put(pointer, &entry, &stale);
    if (noted == GS_NOTED_OVER)
        gs_entry_release(&stale);
    return noted != GS_NOT_NOTED;
}

CUresult gs_pool_grown(const char *api, const struct gs_growth *growth, CUresult result, CUdeviceptr pointer)
{
    struct gs_pool_record *pool;
    int within;

    gs_lock(&gs_pool_lock);
    pool = &gs_pool_records[growth->record];
    pool->going_on -= growth->bound;
    pool->flights--;
    pool->at_edge = 0;
    within = gs_pool_settle(pool);
    if (growth->alone == pool->begun && pool->reserved > growth->before)
        learn_grain(growth, pool->reserved - growth->before);
    if (!result && (!within || !note_allocated(growth, pointer))) {
        REAL(cuMemFreeAsync)(pointer, growth->stream);
        gs_pool_give_back(pool);
        result = gs_refuse(api, growth->device, growth->bound);
    } else if (!within) {
        gs_pool_reconcile(pool);
    }
    gs_unlock(&gs_pool_lock);
    if (growth->at_edge)
        gs_unlock(&edge);
    return result;
}
