/* pool.c -- memory pools are charged for what they have reserved of the device, in use or not.
 *
 * A pool's growth cannot be known before the call.  So an allocation reserves an upper bound, and the pool's charge is
 * never less than what the driver has reserved and what calls still going on may add.  How much of that they have added
 * already nobody can tell: so the charge only falls meanwhile, and becomes what the driver says when there is no such
 * call.  Asking the driver for that figure waits for nothing.
 *
 * Nobody can ask a destroyed pool, whose memory stays until all of it has been freed and all streams have come there.
 * So the driver destroys it only then, and gives what is free back till then whenever it is looked at. */
#include "device.h"
#include "grow.h"
#include "hooks.h"
#include "lock.h"
#include "pool.h"
#include "pool_freed.h"
#include "region.h"
#include "reserve.h"

#define CU_MEMPOOL_ATTR_RELEASE_THRESHOLD    4
#define CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT 5
#define CU_MEMPOOL_ATTR_USED_MEM_CURRENT     7
#define CU_STREAM_CAPTURE_MODE_RELAXED       2

#define FIRST_GRAIN ((uint64_t)2 << 20) /* pools grow by whole pages of the device */
#define MOST_GRAIN  ((uint64_t)1 << 30)

struct pool {
    CUmemoryPool handle; /* NULL: the record is free */
    uint64_t charged;    /* at least what the driver has reserved, and what calls going on may add */
    uint64_t going_on;   /* bounds of allocations between the decision and the driver's answer */
    uint64_t reserved;   /* by the driver, at last sight */
    uint64_t begun;      /* allocations so far */
    uint32_t flights;    /* of them, between the decision and the driver's answer */
    int at_edge;         /* the one that is, is to get what was freed just so */
    int device;
    int destroyed; /* by the program */
    struct gs_freed freed;
};

int gs_pools_in_use;

/* Held from decision to answer by whoever is to get what was freed just so: nobody else may get it instead. */
static struct gs_lock edge;

static struct gs_lock lock;
static struct pool *pools;
static uint32_t count;
static uint32_t room;
static uint64_t grain = FIRST_GRAIN; /* raised when a pool is seen to grow by more */

static struct pool *find(CUmemoryPool handle)
{
    for (uint32_t i = 0; handle && i < count; i++)
        if (pools[i].handle == handle)
            return &pools[i];
    return NULL;
}

/* The pool's record, made where there is none yet.  NULL: no memory for it. */
static struct pool *record_of(CUmemoryPool handle, int device)
{
    struct pool *record = find(handle);
    uint32_t unused = 0;

    if (record)
        return record;
    while (unused < count && (pools[unused].handle || pools[unused].flights))
        unused++;
    if (unused == room && !gs_grow(&pools, &room, sizeof *pools))
        return NULL;
    count += unused == count;
    pools[unused] = (struct pool){.handle = handle, .device = device};
    __atomic_store_n(&gs_pools_in_use, 1, __ATOMIC_RELAXED);
    return &pools[unused];
}

/* Makes the charge what the driver says.  False: the pool has grown past the quota, and is not charged for that. */
static int settle(struct pool *pool)
{
    cuuint64_t reserved = 0;
    uint64_t target;

    if (pool->handle &&
        REAL(cuMemPoolGetAttribute)(pool->handle, CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT, &reserved))
        reserved = pool->charged - pool->going_on;
    if (reserved < pool->reserved)
        gs_freed_forget(&pool->freed); /* given back to the device */
    pool->reserved = reserved;
    target = reserved + pool->going_on;
    if (target < pool->charged && pool->at_edge) /* what is given back just now, it may take again */
        return 1;
    if (target < pool->charged)
        gs_quota_release(pool->device, GS_POOL, pool->charged - target);
    else if (pool->going_on || target == pool->charged)
        return 1;
    else if (!gs_quota_try(pool->device, GS_POOL, target - pool->charged))
        return 0;
    pool->charged = target;
    return 1;
}

/* The same, limit or not: the driver has it. */
static void reconcile(struct pool *pool)
{
    if (settle(pool))
        return;
    gs_quota_charge(pool->device, GS_POOL, pool->reserved - pool->charged);
    pool->charged = pool->reserved;
}

/* Gives back what nobody uses. */
static void trim(struct pool *pool)
{
    int mode = CU_STREAM_CAPTURE_MODE_RELAXED; /* else it breaks a capture that is going on */

    REAL(cuThreadExchangeStreamCaptureMode)(&mode);
    REAL(cuMemPoolTrimTo)(pool->handle, 0);
    REAL(cuThreadExchangeStreamCaptureMode)(&mode);
    reconcile(pool);
}

/* The driver destroys the pool; without memory there is nothing more to be charged. */
static CUresult destroy(struct pool *pool)
{
    CUresult result = REAL(cuMemPoolDestroy)(pool->handle);

    if (result)
        return result;
    gs_quota_release(pool->device, GS_POOL, pool->charged - pool->going_on);
    pool->charged = pool->going_on;
    pool->handle = NULL;
    return CUDA_SUCCESS;
}

static void look(struct pool *pool)
{
    if (!pool->destroyed) {
        reconcile(pool);
        return;
    }
    trim(pool);
    if (!pool->charged && !pool->flights)
        destroy(pool);
}

void gs_pool_refresh(void)
{
    if (!__atomic_load_n(&gs_pools_in_use, __ATOMIC_RELAXED))
        return;
    gs_lock(&lock);
    for (uint32_t i = 0; i < count; i++)
        if (pools[i].handle)
            look(&pools[i]);
    gs_unlock(&lock);
}

void gs_pool_trim(int device)
{
    if (!__atomic_load_n(&gs_pools_in_use, __ATOMIC_RELAXED))
        return;
    gs_lock(&lock);
    for (uint32_t i = 0; i < count; i++)
        if (pools[i].handle && pools[i].device == device && pools[i].charged > pools[i].going_on)
            trim(&pools[i]);
    gs_unlock(&lock);
}

void gs_pool_freed(const struct gs_entry *entry, CUstream stream)
{
    struct pool *pool;

    gs_lock(&lock);
    pool = &pools[entry->owner];
    gs_freed_note(&pool->freed, stream, entry->bytes);
    if (pool->handle)
        look(pool);
    gs_unlock(&lock);
}

void gs_pool_streams_gone(void)
{
    gs_lock(&lock);
    for (uint32_t i = 0; i < count; i++)
        gs_freed_forget(&pools[i].freed);
    gs_unlock(&lock);
}

void gs_pool_forget(void)
{
    edge.word = lock.word = GS_LOCK_FREE;
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

/* Does the pool still have what was freed just so? */
static int has_freed(struct pool *pool, const struct gs_growth *growth)
{
    cuuint64_t reserved, used;

    return !pool->flights && gs_freed_find(&pool->freed, growth->stream, growth->bytes) &&
           !REAL(cuMemPoolGetAttribute)(pool->handle, CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT, &reserved) &&
           !REAL(cuMemPoolGetAttribute)(pool->handle, CU_MEMPOOL_ATTR_USED_MEM_CURRENT, &used) &&
           reserved >= used && reserved - used >= growth->bytes;
}

/* False: over the quota, unless the pool has just what is wanted, and so does not grow. */
static int reserve_bound(struct gs_growth *growth, struct pool *pool)
{
    growth->bound = round_up(growth->bytes, __atomic_load_n(&grain, __ATOMIC_RELAXED));
    if (gs_quota_try(growth->device, GS_POOL, growth->bound))
        return 1;
    if (!has_freed(pool, growth))
        return 0;
    growth->bound = reserve_part(growth->device, growth->bound);
    pool->at_edge = growth->at_edge = 1;
    return 1;
}

int gs_pool_grow(struct gs_growth *growth)
{
    struct pool *pool;
    int done = 0;

    growth->bound = growth->bytes;
    if (growth->device < 0)
        return 0;
    for (int asked = 0; !done && asked < 2; asked++) {
        gs_lock(&edge);
        gs_lock(&lock);
        pool = record_of(growth->pool, growth->device);
        done = pool && reserve_bound(growth, pool);
        if (done) {
            gs_freed_use(&pool->freed, growth->stream, growth->bytes);
            growth->record = (uint32_t)(pool - pools);
            growth->alone = pool->flights++ ? 0 : pool->begun + 1;
            growth->before = pool->reserved;
            pool->begun++;
            pool->charged += growth->bound;
            pool->going_on += growth->bound;
        }
        gs_unlock(&lock);
        if (!growth->at_edge)
            gs_unlock(&edge);
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

/* False: no memory to note it down.  Of no bytes there may be no address. */
static int note_allocated(const struct gs_growth *growth, CUdeviceptr pointer)
{
    struct gs_entry entry = {
        .bytes = growth->bytes, .owner = growth->record, .device = growth->device, .kind = GS_POOL};
    enum gs_noted noted = GS_NOTED;
    struct gs_entry stale;

    if (pointer)
        noted = gs_ledger_put(pointer, &entry, &stale);
    if (noted == GS_NOTED_OVER && gs_is_charge(&stale))
        gs_quota_release(stale.device, stale.kind, stale.bytes);
    return noted != GS_NOT_NOTED;
}

CUresult gs_pool_grown(const char *api, const struct gs_growth *growth, CUresult result, CUdeviceptr pointer)
{
    struct pool *pool;
    int within;

    gs_lock(&lock);
    pool = &pools[growth->record];
    pool->going_on -= growth->bound;
    pool->flights--;
    pool->at_edge = 0;
    within = settle(pool);
    if (growth->alone == pool->begun && pool->reserved > growth->before)
        learn_grain(growth, pool->reserved - growth->before);
    if (!result && (!within || !note_allocated(growth, pointer))) {
        REAL(cuMemFreeAsync)(pointer, growth->stream);
        trim(pool);
        result = gs_refuse(api, growth->device, growth->bound);
    } else if (!within) {
        reconcile(pool);
    }
    gs_unlock(&lock);
    if (growth->at_edge)
        gs_unlock(&edge);
    return result;
}

int gs_pool_device(CUmemoryPool handle, int otherwise)
{
    struct pool *pool;

    gs_lock(&lock);
    pool = find(handle);
    otherwise = pool ? pool->device : otherwise;
    gs_unlock(&lock);
    return otherwise;
}

/* -------- the end of a pool, and what is noted of its begin -------- */

void gs_pool_note(CUmemoryPool handle, int device)
{
    struct pool *pool;

    gs_lock(&lock);
    pool = record_of(handle, device);
    if (pool && pool->device != device && !pool->flights) { /* the handle was another pool's before */
        gs_quota_release(pool->device, GS_POOL, pool->charged);
        *pool = (struct pool){.handle = handle, .device = device};
    }
    gs_unlock(&lock);
}

int gs_pool_is_gone(CUmemoryPool handle)
{
    struct pool *pool;
    int gone;

    if (!__atomic_load_n(&gs_pools_in_use, __ATOMIC_RELAXED))
        return 0;
    gs_lock(&lock);
    pool = find(handle);
    gone = pool && pool->destroyed;
    gs_unlock(&lock);
    return gone;
}

CUresult gs_pool_destroy(CUmemoryPool handle)
{
    cuuint64_t none = 0;
    struct pool *pool;
    CUresult result;

    gs_lock(&lock);
    pool = find(handle);
    if (pool && pool->device >= 0)
        trim(pool);
    if (!pool) {
        result = REAL(cuMemPoolDestroy)(handle);
    } else if (pool->device < 0 || !(pool->charged || pool->flights)) {
        result = destroy(pool);
    } else {
        result = REAL(cuMemPoolSetAttribute)(handle, CU_MEMPOOL_ATTR_RELEASE_THRESHOLD, &none);
        pool->destroyed = !result;
    }
    gs_unlock(&lock);
    return result;
}
