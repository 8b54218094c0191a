/* pool.c -- stream-ordered memory: all pools, and what is allocated from them.
 *
 * An allocation takes a slot of one of the pool's segments (pool_segment.c), its bytes rounded up to 512.  Segments
 * without used slots go back at a synchronisation while more than the release threshold is reserved, by a trim, and
 * when the device has nothing else left. */
#include "pool.h"
#include "ipc.h"
#include "process.h"

#include <stdlib.h>

pthread_mutex_t sim_pools_lock = PTHREAD_MUTEX_INITIALIZER;

static struct sim_pool *pools; /* all that live */
struct sim_pool *sim_pool_new(const CUmemPoolProps *props)
{
    struct sim_pool *pool = sim_object_new(SIM_POOL, sizeof(*pool));
    if (!pool)
        return NULL;
    bool on_device = props->location.type == CU_MEM_LOCATION_TYPE_DEVICE;
    pool->device = on_device ? props->location.id : -1;
    pool->managed = props->allocType == CU_MEM_ALLOCATION_TYPE_MANAGED;
    pool->on_host = !pool->managed && !on_device;
    pool->props = *props;
    pool->fd = -1;
    for (int attribute = CU_MEMPOOL_ATTR_REUSE_FOLLOW_EVENT_DEPENDENCIES;
         attribute <= CU_MEMPOOL_ATTR_REUSE_ALLOW_INTERNAL_DEPENDENCIES; attribute++)
        pool->reuse[attribute] = 1;
    pool->next = pools;
    pools = pool;
    return pool;
}

void sim_pools_give_back(CUdevice device)
{
    for (struct sim_pool *pool = pools; pool; pool = pool->next)
        if (pool->device == device)
            sim_pool_trim(pool, 0);
}

/* -------- allocations -------- */

/* Advice about what was there before is no advice about this, in the pages that it has for itself. */
static bool renew(const struct sim_slot *slot)
{
    struct sim_managed *managed = slot->segment->managed;
    uint64_t from = slot->address - managed->base, to = from + slot->bytes;
    struct sim_range own = {managed, (from + SIM_MANAGED_PAGE - 1) & ~(SIM_MANAGED_PAGE - 1),
                            to & ~(SIM_MANAGED_PAGE - 1)};
    return own.from >= own.to || sim_managed_renew(&own, slot->segment->pool->props.location);
}

static struct sim_block *new_block(const struct sim_pool *pool, struct sim_slot *slot, uint64_t bytes,
                                   const struct sim_stream *stream)
{
    CUdevice device = pool->device >= 0 ? pool->device : stream->context->device;
    if (pool->managed && !renew(slot))
        return NULL;
    struct sim_block *block = sim_block_new(SIM_BLOCK_POOL, device, slot->address, bytes);
    if (block) {
        block->owner = slot;
        block->physical_bytes = slot->bytes;
        block->flags = (pool->on_host ? SIM_BLOCK_ON_HOST : 0) | (pool->managed ? SIM_BLOCK_MIGRATES : 0);
    }
    return block;
}

CUresult sim_pool_alloc(struct sim_pool *pool, uint64_t bytes, struct sim_stream *stream,
                        CUdeviceptr *address)
{
    uint64_t rounded = (bytes + SIM_LINEAR_GRAIN - 1) & ~(SIM_LINEAR_GRAIN - 1);
    if (rounded < bytes)
        return CUDA_ERROR_OUT_OF_MEMORY;
    pthread_mutex_lock(&sim_pools_lock);
    struct sim_slot *slot = sim_slot_take(pool, rounded, stream);
    struct sim_block *block = NULL;
    if (slot) {
        pthread_mutex_lock(&sim_memory_lock);
        block = new_block(pool, slot, bytes, stream);
        pthread_mutex_unlock(&sim_memory_lock);
    }
    if (block) {
        pool->allocations++;
        pool->used += rounded;
        if (pool->used > pool->used_high)
            pool->used_high = pool->used;
        *address = slot->address;
    } else if (slot)
        sim_slot_drop(slot, NULL);
    pthread_mutex_unlock(&sim_pools_lock);
    return block ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

static void unlink_pool(struct sim_pool *pool)
{
    struct sim_pool **link = &pools;
    while (*link != pool)
        link = &(*link)->next;
    *link = pool->next;
    sim_pool_unshare(pool);
    sim_object_free(pool);
}

void sim_pool_close(struct sim_pool *pool)
{
    sim_pool_no_longer_current(pool);
    pool->destroyed = true;
    sim_pool_trim(pool, 0);
    if (pool->allocations == 0 && !pool->segments)
        unlink_pool(pool);
}

CUresult sim_pool_free(CUdeviceptr address, struct sim_stream *stream)
{
    pthread_mutex_lock(&sim_pools_lock);
    pthread_mutex_lock(&sim_memory_lock);
    struct sim_block *block = sim_blocks_at(address);
    struct sim_slot *slot = NULL;
    if (block && block->base == address && block->kind == SIM_BLOCK_POOL) {
        slot = block->owner;
        sim_blocks_remove(block);
        free(block);
    }
    pthread_mutex_unlock(&sim_memory_lock);
    if (slot) {
        struct sim_pool *pool = slot->segment->pool;
        pool->used -= slot->bytes;
        pool->allocations--;
        sim_slot_drop(slot, stream);
        if (pool->destroyed)
            sim_pool_close(pool);
    }
    pthread_mutex_unlock(&sim_pools_lock);
    return slot ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

struct sim_pool *sim_pool_of(const struct sim_block *block)
{
    return ((const struct sim_slot *)block->owner)->segment->pool;
}

CUresult sim_pool_free_now(CUdeviceptr address)
{
    CUresult result = sim_pool_free(address, NULL);
    if (result == CUDA_SUCCESS)
        sim_pools_settle();
    return result;
}

/* Everything beyond the thresholds goes back; what was destroyed goes altogether. */
void sim_pools_settle(void)
{
    pthread_mutex_lock(&sim_pools_lock);
    for (struct sim_pool *pool = pools, *next; pool; pool = next) {
        next = pool->next;
        if (pool->destroyed)
            sim_pool_close(pool);
        else if (pool->reserved > pool->threshold)
            sim_pool_trim(pool, pool->threshold);
        if (sim_is(pool, SIM_POOL) && !pool->reuse[CU_MEMPOOL_ATTR_REUSE_ALLOW_OPPORTUNISTIC])
            sim_pool_note_done(pool);
    }
    pthread_mutex_unlock(&sim_pools_lock);
}

void sim_pools_trim(CUdevice device)
{
    pthread_mutex_lock(&sim_pools_lock);
    sim_pools_give_back(device);
    pthread_mutex_unlock(&sim_pools_lock);
}

/* The last context of the device is gone, and its allocations with it. */
void sim_pools_forget(CUdevice device)
{
    for (;;) {
        uint64_t address = 0;
        pthread_mutex_lock(&sim_memory_lock);
        for (struct sim_block *b = sim_blocks_next(NULL); b && !address; b = sim_blocks_next(b))
            if (b->kind == SIM_BLOCK_POOL && b->device == device)
                address = b->base;
        pthread_mutex_unlock(&sim_memory_lock);
        if (!address)
            break;
        sim_pool_free(address, NULL);
    }
    sim_imports_forget_pools(device);
    sim_pools_trim(device);
    sim_pools_trim(-1);
}
