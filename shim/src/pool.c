/* pool.c -- memory pools are charged for what they have reserved of the device, in use or not.
 *
 * A pool's growth cannot be known before the call.  So an allocation reserves an upper bound, and afterwards
 * the pool's charge becomes what the driver says the pool has reserved, plus the bounds of calls still going
 * on.  Asking the driver for that figure waits for nothing. */
#define _GNU_SOURCE /* mremap */
#include <string.h>
#include <sys/mman.h>

#include "device.h"
#include "hooks.h"
#include "lock.h"
#include "pool.h"
#include "region.h"
#include "reserve.h"

#define CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT 5
#define CU_STREAM_CAPTURE_MODE_RELAXED       2

#define FIRST_GRAIN ((uint64_t)2 << 20) /* pools grow by whole pages of the device */
#define MOST_GRAIN  ((uint64_t)1 << 30)

#define FREED_KINDS 8

/* Memory that the program has freed and the pool still has: an allocation of that size in that stream gets
 * it again, and the pool does not grow. */
struct freed {
    CUstream stream; /* GS_ANY_STREAM: all have come to the free */
    uint64_t bytes;
    uint32_t times;
};

struct pool {
    CUmemoryPool handle;  /* NULL: destroyed, or the record is free */
    uint64_t charged;     /* reserved by the driver at last sight, and `going_on` */
    uint64_t going_on;    /* bounds of allocations between the decision and the driver's answer */
    uint64_t allocations; /* alive: a destroyed pool keeps its memory until the last one goes */
    int device;
    uint32_t freed_next;             /* to be forgotten */
    struct freed freed[FREED_KINDS]; /* the latest ones */
};

int gs_pools_in_use;

static struct gs_lock lock;
static struct pool *pools; /* grown by mremap: never the program's malloc */
static uint32_t count;
static uint32_t room;
static uint64_t grain = FIRST_GRAIN; /* raised when a pool is seen to grow by more */

/* The pool's record, made where there is none yet.  NULL: no memory for it. */
static struct pool *record_of(CUmemoryPool handle, int device)
{
    struct pool *unused = NULL;
    uint32_t wanted = room ? 2 * room : GS_PAGE / sizeof *pools;
    void *grown;

    for (uint32_t i = 0; i < count; i++) {
        if (pools[i].handle == handle)
            return &pools[i];
        if (!pools[i].handle && !pools[i].allocations && !pools[i].going_on)
            unused = &pools[i];
    }
    if (!unused && count == room) {
        grown = room ? mremap(pools, room * sizeof *pools, wanted * sizeof *pools, MREMAP_MAYMOVE)
                     : mmap(NULL, wanted * sizeof *pools, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
                            -1, 0);
        if (grown == MAP_FAILED)
            return NULL;
        pools = grown;
        room = wanted;
    }
    if (!unused)
        unused = &pools[count++];
    *unused = (struct pool){.handle = handle, .device = device};
    __atomic_store_n(&gs_pools_in_use, 1, __ATOMIC_RELAXED);
    return unused;
}

static uint64_t ask(CUmemoryPool handle, int attribute, uint64_t otherwise)
{
    cuuint64_t value;

    return REAL(cuMemPoolGetAttribute)(handle, attribute, &value) ? otherwise : value;
}

/* Makes the charge what the driver says.  False: the pool has grown past the quota, which is charged all the
 * same. */
static int reconcile(struct pool *pool)
{
    uint64_t settled = pool->charged - pool->going_on;
    uint64_t target =
        (pool->handle ? ask(pool->handle, CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT, settled) : settled) +
        pool->going_on;
    int within = target <= pool->charged || gs_quota_try(pool->device, GS_POOL, target - pool->charged);

    if (target - pool->going_on < settled)
        memset(pool->freed, 0, sizeof pool->freed); /* given back to the device */
    if (target < pool->charged)
        gs_quota_release(pool->device, GS_POOL, pool->charged - target);
    else if (!within)
        gs_quota_charge(pool->device, GS_POOL, target - pool->charged);
    pool->charged = target;
    return within;
}

void gs_pool_refresh(void)
{
    if (!__atomic_load_n(&gs_pools_in_use, __ATOMIC_RELAXED))
        return;
    gs_lock(&lock);
    for (uint32_t i = 0; i < count; i++)
        if (pools[i].handle)
            reconcile(&pools[i]);
    gs_unlock(&lock);
}

void gs_pool_trim(int device)
{
    int mode = CU_STREAM_CAPTURE_MODE_RELAXED;

    if (!__atomic_load_n(&gs_pools_in_use, __ATOMIC_RELAXED))
        return;
    REAL(cuThreadExchangeStreamCaptureMode)(&mode);
    gs_lock(&lock);
    for (uint32_t i = 0; i < count; i++)
        if (pools[i].handle && pools[i].device == device && pools[i].charged > pools[i].going_on) {
            REAL(cuMemPoolTrimTo)(pools[i].handle, 0);
            reconcile(&pools[i]);
        }
    gs_unlock(&lock);
    REAL(cuThreadExchangeStreamCaptureMode)(&mode);
}

static void note_freed(struct pool *pool, CUstream stream, uint64_t bytes)
{
    for (int i = 0; i < FREED_KINDS; i++)
        if (pool->freed[i].times && pool->freed[i].bytes == bytes && pool->freed[i].stream == stream) {
            pool->freed[i].times++;
            return;
        }
    pool->freed[pool->freed_next++ % FREED_KINDS] = (struct freed){stream, bytes, 1};
}

static int take_freed(struct pool *pool, CUstream stream, uint64_t bytes)
{
    for (int i = 0; i < FREED_KINDS; i++) {
        struct freed *freed = &pool->freed[i];

        if (freed->times && freed->bytes == bytes &&
            (freed->stream == stream || freed->stream == GS_ANY_STREAM)) {
            freed->times--;
            return 1;
        }
    }
    return 0;
}

void gs_pool_freed(const struct gs_entry *entry, CUstream stream)
{
    struct pool *pool;

    gs_lock(&lock);
    pool = &pools[entry->owner];
    pool->allocations--;
    note_freed(pool, stream, entry->bytes);
    if (pool->handle) {
        reconcile(pool);
    } else if (!pool->allocations) {
        gs_quota_release(pool->device, GS_POOL, pool->charged - pool->going_on);
        pool->charged = pool->going_on;
    }
    gs_unlock(&lock);
}

void gs_pool_forget(void)
{
    lock.word = GS_LOCK_FREE;
    pools = NULL;
    count = room = 0;
    gs_pools_in_use = 0;
}

/* -------- growth -------- */

static uint64_t round_up(uint64_t bytes, uint64_t to)
{
    return bytes > UINT64_MAX - to ? UINT64_MAX : (bytes + to - 1) / to * to;
}

/* Reserves what is left, up to `bytes`. */
static uint64_t reserve_part(int device, uint64_t bytes)
{
    const struct gs_region *region = gs_region();
    uint64_t limit = __atomic_load_n(&region->limits->device[device].memory_limit_bytes, __ATOMIC_RELAXED);
    uint64_t used = gs_quota_used(device);
    uint64_t part = used < limit ? limit - used : 0;

    part = part < bytes ? part : bytes;
    return gs_quota_try(device, GS_POOL, part) ? part : 0;
}

/* False: over the quota, unless the pool has just what is wanted, and so does not grow. */
static int reserve_bound(struct gs_growth *growth, struct pool *pool)
{
    growth->bound = round_up(growth->bytes, __atomic_load_n(&grain, __ATOMIC_RELAXED));
    if (gs_quota_try(growth->device, GS_POOL, growth->bound))
        return 1;
    growth->reuses = take_freed(pool, growth->stream, growth->bytes);
    if (growth->reuses)
        growth->bound = reserve_part(growth->device, growth->bound);
    return growth->reuses;
}

int gs_pool_grow(struct gs_growth *growth)
{
    struct pool *pool;
    int done = 0;

    if (growth->device < 0)
        return 0;
    for (int asked = 0; !done && asked < 2; asked++) {
        gs_lock(&lock);
        pool = record_of(growth->pool, growth->device);
        done = pool && reserve_bound(growth, pool);
        if (done) {
            growth->record = (uint32_t)(pool - pools);
            growth->before = pool->charged - pool->going_on;
            pool->charged += growth->bound;
            pool->going_on += growth->bound;
        }
        gs_unlock(&lock);
        if (!done && !asked && gs_reserve_after_asking(growth->device, GS_POOL, growth->bound))
            gs_quota_release(growth->device, GS_POOL, growth->bound); /* there is room now: once more */
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

CUresult gs_pool_grown(const char *api, const struct gs_growth *growth, CUresult result, CUdeviceptr pointer)
{
    struct gs_entry entry = {
        .bytes = growth->bytes, .owner = growth->record, .device = growth->device, .kind = GS_POOL};
    enum gs_noted noted = GS_NOT_NOTED;
    struct gs_entry stale;
    struct pool *pool;
    int within;

    gs_lock(&lock);
    pool = &pools[growth->record];
    pool->going_on -= growth->bound;
    within = reconcile(pool);
    if (!pool->going_on && pool->charged > growth->before)
        learn_grain(growth, pool->charged - growth->before);
    if (!result && within)
        noted = gs_ledger_put(pointer, &entry, &stale);
    if (noted == GS_NOTED_OVER && gs_is_charge(&stale))
        gs_quota_release(stale.device, stale.kind, stale.bytes);
    if (noted != GS_NOT_NOTED) {
        pool->allocations++;
        if (!growth->reuses)
            take_freed(pool, growth->stream, growth->bytes); /* which it may have got */
    } else if (!result) {
        REAL(cuMemFreeAsync)(pointer, growth->stream);
        REAL(cuMemPoolTrimTo)(pool->handle, 0);
        reconcile(pool);
        result = gs_refuse(api, growth->device, growth->bytes);
    }
    gs_unlock(&lock);
    return result;
}

int gs_pool_device(CUmemoryPool handle, int otherwise)
{
    int device = otherwise;

    gs_lock(&lock);
    for (uint32_t i = 0; i < count; i++)
        if (pools[i].handle == handle)
            device = pools[i].device;
    gs_unlock(&lock);
    return device;
}

/* -------- pools themselves -------- */

/* Whose memory a pool hands out: a device's, or pinned memory of the host, which costs no device anything. */
static void note(CUmemoryPool handle, const CUmemLocation *location, int type)
{
    int device = gs_row_of_location(location);

    if (device == GS_HOST_ROW && type != CU_MEM_ALLOCATION_TYPE_PINNED)
        device = GS_NO_DEVICE;
    gs_lock(&lock);
    record_of(handle, device);
    gs_unlock(&lock);
}

GSHARE_HOOK(cuMemPoolCreate, (CUmemoryPool * pool, const CUmemPoolProps *poolProps))
{
    CUresult result = REAL(cuMemPoolCreate)(pool, poolProps);

    if (!result && gs_region())
        note(*pool, &poolProps->location, poolProps->allocType);
    return result;
}

GSHARE_HOOK(cuMemGetMemPool, (CUmemoryPool * pool, CUmemLocation *location, int type))
{
    CUresult result = REAL(cuMemGetMemPool)(pool, location, type);

    if (!result && gs_region())
        note(*pool, location, type);
    return result;
}

GSHARE_HOOK(cuMemGetDefaultMemPool, (CUmemoryPool * pool, CUmemLocation *location, int type))
{
    CUresult result = REAL(cuMemGetDefaultMemPool)(pool, location, type);

    if (!result && gs_region())
        note(*pool, location, type);
    return result;
}

/* Its owner pays for it, and nothing is allocated from it here. */
GSHARE_HOOK(cuMemPoolImportFromShareableHandle,
            (CUmemoryPool * pool_out, void *handle, int handleType, unsigned long long flags))
{
    const CUmemLocation elsewhere = {0};
    CUresult result = REAL(cuMemPoolImportFromShareableHandle)(pool_out, handle, handleType, flags);

    if (!result && gs_region())
        note(*pool_out, &elsewhere, 0);
    return result;
}

/* Its memory lives until its last allocation has gone; till then nobody can ask it any more. */
GSHARE_HOOK(cuMemPoolDestroy, (CUmemoryPool pool))
{
    CUresult result;

    if (!gs_region())
        return REAL(cuMemPoolDestroy)(pool);
    gs_lock(&lock);
    result = REAL(cuMemPoolDestroy)(pool);
    for (uint32_t i = 0; !result && i < count; i++) {
        if (pools[i].handle != pool)
            continue;
        pools[i].handle = NULL;
        if (!pools[i].allocations) {
            gs_quota_release(pools[i].device, GS_POOL, pools[i].charged - pools[i].going_on);
            pools[i].charged = pools[i].going_on;
        }
    }
    gs_unlock(&lock);
    return result;
}

GSHARE_HOOK(cuMemPoolTrimTo, (CUmemoryPool pool, size_t minBytesToKeep))
{
    CUresult result = REAL(cuMemPoolTrimTo)(pool, minBytesToKeep);

    gs_pool_refresh();
    return result;
}

GSHARE_HOOK(cuMemPoolSetAttribute, (CUmemoryPool pool, int attr, void *value))
{
    CUresult result = REAL(cuMemPoolSetAttribute)(pool, attr, value);

    gs_pool_refresh();
    return result;
}
