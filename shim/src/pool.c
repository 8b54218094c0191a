/* pool.c -- memory pools are charged for what they have reserved, in use or not.
 *
 * A pool's growth cannot be known before the call.  So an allocation reserves an upper bound, and the pool's charge is
 * never less than what the driver has reserved and what calls still going on may add.  How much of that they have added
 * already nobody can tell: so the charge only falls meanwhile, and becomes what the driver says when there is no such
 * call.  Asking the driver for that figure waits for nothing.
 *
 * Nobody can ask a destroyed pool, whose memory stays until all of it has been freed and all streams have come there.
 * So the driver destroys it only then, and gives what is free back till then whenever it is looked at. */
#include "grow.h"
#include "hooks.h"
#include "pool_record.h"

#define CU_STREAM_CAPTURE_MODE_RELAXED 2

int gs_pools_in_use;

struct gs_lock gs_pool_lock;
struct gs_pool_record *gs_pool_records;
uint32_t gs_pool_record_count;
static uint32_t room;

static struct gs_pool_record *find(CUmemoryPool handle)
{
    for (uint32_t i = 0; handle && i < gs_pool_record_count; i++)
        if (gs_pool_records[i].handle == handle)
            return &gs_pool_records[i];
    return NULL;
}

static struct gs_pool_record empty(CUmemoryPool handle, const struct gs_pool_of *of)
{
    return (struct gs_pool_record){
        .handle = handle, .of = *of, .rows = gs_row_bit(of->row), .kind = of->managed ? GS_MANAGED : GS_POOL};
}

struct gs_pool_record *gs_pool_record_of(CUmemoryPool handle, const struct gs_pool_of *of)
{
    struct gs_pool_record *record = find(handle);
    uint32_t unused = 0;

    if (record)
        return record;
    while (
        unused < gs_pool_record_count &&
        (gs_pool_records[unused].handle || gs_pool_records[unused].flights || gs_pool_records[unused].frees))
        unused++;
    if (unused == room && !gs_grow(&gs_pool_records, &room, sizeof *gs_pool_records))
        return NULL;
    gs_pool_record_count += unused == gs_pool_record_count;
    gs_pool_records[unused] = empty(handle, of);
    __atomic_store_n(&gs_pools_in_use, 1, __ATOMIC_RELAXED);
    return &gs_pool_records[unused];
}

int gs_pool_settle(struct gs_pool_record *pool)
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
        gs_rows_release(pool->rows, pool->kind, pool->charged - target);
    else if (pool->going_on || target == pool->charged)
        return 1;
    else if (gs_rows_try(pool->rows, pool->kind, target - pool->charged))
        return 0;
    pool->charged = target;
    if (!target && !pool->flights) /* it lies nowhere */
        pool->rows = gs_row_bit(pool->of.row);
    return 1;
}

void gs_pool_reconcile(struct gs_pool_record *pool)
{
    if (gs_pool_settle(pool))
        return;
    gs_rows_charge(pool->rows, pool->kind, pool->reserved - pool->charged);
    pool->charged = pool->reserved;
}

void gs_pool_give_back(struct gs_pool_record *pool)
{
    int mode = CU_STREAM_CAPTURE_MODE_RELAXED; /* else it breaks a capture that is going on */

    REAL(cuThreadExchangeStreamCaptureMode)(&mode);
    REAL(cuMemPoolTrimTo)(pool->handle, 0);
    REAL(cuThreadExchangeStreamCaptureMode)(&mode);
    gs_pool_reconcile(pool);
}

/* The driver destroys the pool; without memory there is nothing more to be charged. */
static CUresult destroy(struct gs_pool_record *pool)
{
    CUresult result = REAL(cuMemPoolDestroy)(pool->handle);

    if (result)
        return result;
    gs_rows_release(pool->rows, pool->kind, pool->charged - pool->going_on);
    pool->charged = pool->going_on;
    pool->handle = NULL;
    return CUDA_SUCCESS;
}

static void look(struct gs_pool_record *pool)
{
    if (!pool->destroyed) {
        gs_pool_reconcile(pool);
        return;
    }
    gs_pool_give_back(pool);
    if (!pool->charged && !pool->flights)
        destroy(pool);
}

void gs_pool_refresh(void)
{
    if (!__atomic_load_n(&gs_pools_in_use, __ATOMIC_RELAXED))
        return;
    gs_lock(&gs_pool_lock);
    for (uint32_t i = 0; i < gs_pool_record_count; i++)
        if (gs_pool_records[i].handle)
            look(&gs_pool_records[i]);
    gs_unlock(&gs_pool_lock);
}

void gs_pool_trim(int device)
{
    if (!__atomic_load_n(&gs_pools_in_use, __ATOMIC_RELAXED))
        return;
    gs_lock(&gs_pool_lock);
    for (uint32_t i = 0; i < gs_pool_record_count; i++)
        if (gs_pool_records[i].handle && gs_pool_records[i].rows & gs_row_bit(device) &&
            gs_pool_records[i].charged > gs_pool_records[i].going_on)
            gs_pool_give_back(&gs_pool_records[i]);
    gs_unlock(&gs_pool_lock);
}

void gs_pool_freeing(const struct gs_entry *entry)
{
    struct gs_pool_record *pool;

    gs_lock(&gs_pool_lock);
    pool = &gs_pool_records[entry->owner];
    pool->frees++;
    pool->overlapped |= pool->flights != 0;
    gs_unlock(&gs_pool_lock);
}

void gs_pool_freed(const struct gs_entry *entry, CUstream stream, CUresult result)
{
    uint64_t id = result || stream == GS_ANY_STREAM ? GS_NO_STREAM_ID : gs_stream_id(stream);
    struct gs_pool_record *pool;

    gs_lock(&gs_pool_lock);
    pool = &gs_pool_records[entry->owner];
    if (pool->overlapped)
        gs_freed_forget(&pool->freed);
    else if (!result)
        gs_freed_note(&pool->freed, id, entry->bytes);
    if (!--pool->frees)
        pool->overlapped = 0;
    if (!result && pool->handle)
        look(pool);
    gs_unlock(&gs_pool_lock);
}

void gs_pool_streams_gone(void)
{
    gs_lock(&gs_pool_lock);
    for (uint32_t i = 0; i < gs_pool_record_count; i++)
        gs_freed_forget(&gs_pool_records[i].freed);
    gs_unlock(&gs_pool_lock);
}

void gs_pool_forget(void)
{
    gs_pool_grow_forget();
    gs_pool_lock.word = GS_LOCK_FREE;
    gs_pool_records = NULL;
    gs_pool_record_count = room = 0;
    gs_pools_in_use = 0;
}

int gs_pool_find(CUmemoryPool handle, struct gs_pool_of *of)
{
    const struct gs_pool_record *pool;

    if (!__atomic_load_n(&gs_pools_in_use, __ATOMIC_RELAXED))
        return 0;
    gs_lock(&gs_pool_lock);
    pool = find(handle);
    if (pool)
        *of = pool->of;
    gs_unlock(&gs_pool_lock);
    return pool != NULL;
}

/* -------- the end of a pool, and what is noted of its begin -------- */

void gs_pool_note(CUmemoryPool handle, const struct gs_pool_of *of)
{
    struct gs_pool_record *pool;

    gs_lock(&gs_pool_lock);
    pool = gs_pool_record_of(handle, of);
    if (pool && (pool->of.row != of->row || pool->of.managed != of->managed) && !pool->flights &&
        !pool->frees) { /* the handle was another pool's before */
        gs_rows_release(pool->rows, pool->kind, pool->charged);
        *pool = empty(handle, of);
    }
    gs_unlock(&gs_pool_lock);
}

int gs_pool_is_gone(CUmemoryPool handle)
{
    struct gs_pool_record *pool;
    int gone;

    if (!__atomic_load_n(&gs_pools_in_use, __ATOMIC_RELAXED))
        return 0;
    gs_lock(&gs_pool_lock);
    pool = find(handle);
    gone = pool && pool->destroyed;
    gs_unlock(&gs_pool_lock);
    return gone;
}

CUresult gs_pool_destroy(CUmemoryPool handle)
{
    cuuint64_t none = 0;
    struct gs_pool_record *pool;
    CUresult result;

    gs_lock(&gs_pool_lock);
    pool = find(handle);
    if (pool && pool->rows)
        gs_pool_give_back(pool);
    if (!pool) {
        result = REAL(cuMemPoolDestroy)(handle);
    } else if (!pool->rows || !(pool->charged || pool->flights)) {
        result = destroy(pool);
    } else {
        result = REAL(cuMemPoolSetAttribute)(handle, CU_MEMPOOL_ATTR_RELEASE_THRESHOLD, &none);
        pool->destroyed = !result;
    }
    gs_unlock(&gs_pool_lock);
    return result;
}
