/* pool.c -- stream-ordered memory: reserve segments, deal out slots, keep what is freed for the next of its size.
 *
 * A pool reserves device memory in segments, multiples of 2 MiB; an allocation takes a slot, its bytes rounded up
 * to 512.  A slot freed in a stream can be had again at once in that stream, and in others when the stream has come
 * to the point of the free.  Segments without used slots go back to the device at a synchronisation while more
 * than the release threshold is reserved, by a trim, and when the device has nothing else left. */
#include "pool.h"
#include "ipc.h"
#include "process.h"

#include <stdlib.h>

pthread_mutex_t sim_pools_lock = PTHREAD_MUTEX_INITIALIZER;

static struct sim_pool *pools; /* all that live */
static struct sim_pool *default_pool[SIM_MAX_DEVICES], *current_pool[SIM_MAX_DEVICES];

struct sim_pool *sim_pool_new(CUdevice device, const CUmemPoolProps *props)
{
    struct sim_pool *pool = sim_object_new(SIM_POOL, sizeof(*pool));
    if (!pool)
        return NULL;
    pool->device = device;
    pool->props = *props;
    pool->fd = -1;
    for (int attribute = CU_MEMPOOL_ATTR_REUSE_FOLLOW_EVENT_DEPENDENCIES;
         attribute <= CU_MEMPOOL_ATTR_REUSE_ALLOW_INTERNAL_DEPENDENCIES; attribute++)
        pool->reuse[attribute] = 1;
    pool->next = pools;
    pools = pool;
    return pool;
}

struct sim_pool *sim_pool_default(CUdevice device)
{
    if (!default_pool[device]) {
        CUmemPoolProps props = {.allocType = CU_MEM_ALLOCATION_TYPE_PINNED,
                                .location = {CU_MEM_LOCATION_TYPE_DEVICE, device}};
        default_pool[device] = sim_pool_new(device, &props);
        if (default_pool[device])
            default_pool[device]->is_default = 1;
    }
    return default_pool[device];
}

struct sim_pool *sim_pool_current(CUdevice device)
{
    return current_pool[device] ? current_pool[device] : sim_pool_default(device);
}

void sim_pool_set_current(CUdevice device, struct sim_pool *pool)
{
    current_pool[device] = pool->is_default ? NULL : pool;
}

/* -------- slots -------- */

static unsigned bin_of(uint64_t bytes)
{
    return (unsigned)((bytes / SIM_LINEAR_GRAIN * 0x9e3779b97f4a7c15ull) >> 54);
}

static void keep_slot(struct sim_slot *slot)
{
    struct sim_slot **bin = &slot->segment->pool->bin[bin_of(slot->bytes)];
    slot->next = *bin;
    slot->link = bin;
    if (slot->next)
        slot->next->link = &slot->next;
    *bin = slot;
}

static void unkeep_slot(struct sim_slot *slot)
{
    *slot->link = slot->next;
    if (slot->next)
        slot->next->link = slot->link;
}

static bool is_done(const struct sim_slot *slot)
{
    return slot->freed.queue == 0 || sim_point_passed(slot->freed);
}

/* May the stream have it now, by what the pool allows?  Of events only those count that it waited for itself. */
static bool may_reuse(const struct sim_pool *pool, const struct sim_slot *slot,
                      const struct sim_stream *stream)
{
    if (slot->freed.queue == 0 || slot->freed.serial == stream->serial)
        return true;
    if (pool->reuse[CU_MEMPOOL_ATTR_REUSE_FOLLOW_EVENT_DEPENDENCIES] &&
        sim_stream_follows(stream, slot->freed))
        return true;
    return pool->reuse[CU_MEMPOOL_ATTR_REUSE_ALLOW_OPPORTUNISTIC] && sim_point_passed(slot->freed);
}

static struct sim_slot *find_kept(struct sim_pool *pool, uint64_t bytes, const struct sim_stream *stream)
{
    for (struct sim_slot *slot = pool->bin[bin_of(bytes)]; slot; slot = slot->next)
        if (slot->bytes == bytes && may_reuse(pool, slot, stream))
            return slot;
    return NULL;
}

/* Rather than refuse: one that another stream is still to come to, for which this one then waits. */
static struct sim_slot *wait_for_kept(struct sim_pool *pool, uint64_t bytes, struct sim_stream *stream)
{
    if (!pool->reuse[CU_MEMPOOL_ATTR_REUSE_ALLOW_INTERNAL_DEPENDENCIES])
        return NULL;
    for (struct sim_slot *slot = pool->bin[bin_of(bytes)]; slot; slot = slot->next)
        if (slot->bytes == bytes)
            return sim_submit_after(stream, slot->freed) == CUDA_SUCCESS ? slot : NULL;
    return NULL;
}

static struct sim_slot *cut_slot(struct sim_segment *segment, uint64_t bytes)
{
    struct sim_slot *slot = calloc(1, sizeof(*slot));
    if (!slot)
        return NULL;
    slot->segment = segment;
    slot->address = segment->base + segment->cut;
    slot->bytes = bytes;
    slot->next_of_segment = segment->slots;
    segment->slots = slot;
    segment->cut += bytes;
    return slot;
}

/* -------- segments -------- */

static bool all_done(const struct sim_segment *segment)
{
    for (const struct sim_slot *slot = segment->slots; slot; slot = slot->next_of_segment)
        if (slot->used || !is_done(slot))
            return false;
    return true;
}

/* The segment is one uncut piece again. */
static void join_slots(struct sim_segment *segment)
{
    struct sim_slot *slot;
    while ((slot = segment->slots)) {
        segment->slots = slot->next_of_segment;
        unkeep_slot(slot);
        free(slot);
    }
    segment->cut = 0;
}

static void release_segment(struct sim_segment *segment)
{
    struct sim_pool *pool = segment->pool;
    sim_effects_run(); /* what is done on the device may still have to be carried out here */
    join_slots(segment);
    *segment->link = segment->next;
    if (segment->next)
        segment->next->link = segment->link;
    pool->reserved -= segment->bytes;
    if (pool->fd >= 0)
        sim_pool_unmap(pool, segment->base, segment->bytes);
    else {
        pthread_mutex_lock(&sim_memory_lock);
        sim_space_give(segment->base, segment->bytes);
        pthread_mutex_unlock(&sim_memory_lock);
    }
    sim_pool_tell(pool);
    sim_uncharge(pool->device, SIM_MEM_POOL, segment->bytes);
    free(segment);
}

void sim_pool_trim(struct sim_pool *pool, uint64_t keep)
{
    for (struct sim_segment *segment = pool->segments, *next; segment && pool->reserved > keep;
         segment = next) {
        next = segment->next;
        if (segment->used_slots == 0 && all_done(segment))
            release_segment(segment);
    }
}

static void trim_all(CUdevice device)
{
    for (struct sim_pool *pool = pools; pool; pool = pool->next)
        if (pool->device == device)
            sim_pool_trim(pool, 0);
}

/* In whole pieces; 0 for more than there can be. */
static uint64_t pieces_of(uint64_t bytes)
{
    return (bytes + SIM_PHYSICAL_GRAIN - 1) & ~(SIM_PHYSICAL_GRAIN - 1);
}

static struct sim_segment *new_segment(struct sim_pool *pool, uint64_t bytes)
{
    uint64_t most = pieces_of(pool->props.maxSize); /* a smaller pool would hold nothing */
    bytes = pieces_of(bytes);
    if (!bytes || (most && (bytes > most || pool->reserved > most - bytes)))
        return NULL;
    if (sim_charge(pool->device, SIM_MEM_POOL, bytes) != CUDA_SUCCESS) {
        trim_all(pool->device);
        if (sim_charge(pool->device, SIM_MEM_POOL, bytes) != CUDA_SUCCESS)
            return NULL;
    }
    struct sim_segment *segment = calloc(1, sizeof(*segment));
    uint64_t base = 0, offset = 0;
    if (segment && pool->fd >= 0)
        base = sim_pool_map(pool, bytes, &offset);
    else if (segment) {
        pthread_mutex_lock(&sim_memory_lock);
        base = sim_space_take(bytes);
        pthread_mutex_unlock(&sim_memory_lock);
    }
    if (!base) {
        free(segment);
        sim_uncharge(pool->device, SIM_MEM_POOL, bytes);
        return NULL;
    }
    *segment = (struct sim_segment){
        .pool = pool, .base = base, .bytes = bytes, .offset = offset, .next = pool->segments};
    segment->link = &pool->segments;
    if (segment->next)
        segment->next->link = &segment->next;
    pool->segments = segment;
    pool->reserved += bytes;
    if (pool->reserved > pool->reserved_high)
        pool->reserved_high = pool->reserved;
    sim_pool_tell(pool);
    return segment;
}

/* One with that much room: the newest, else one that is wholly free, else a new one. */
static struct sim_segment *find_segment(struct sim_pool *pool, uint64_t bytes)
{
    struct sim_segment *segment = pool->segments;
    if (segment && segment->bytes - segment->cut >= bytes)
        return segment;
    for (; segment; segment = segment->next)
        if (segment->used_slots == 0 && segment->bytes >= bytes && all_done(segment)) {
            join_slots(segment);
            return segment;
        }
    return new_segment(pool, bytes);
}

static struct sim_slot *take_slot(struct sim_pool *pool, uint64_t bytes, struct sim_stream *stream)
{
    struct sim_slot *slot = find_kept(pool, bytes, stream);
    struct sim_segment *segment = slot ? NULL : find_segment(pool, bytes);
    if (!slot && !segment)
        slot = wait_for_kept(pool, bytes, stream);
    if (slot)
        unkeep_slot(slot);
    else
        slot = segment ? cut_slot(segment, bytes) : NULL;
    if (slot) {
        slot->used = true;
        slot->segment->used_slots++;
    }
    return slot;
}

static void drop_slot(struct sim_slot *slot, struct sim_stream *stream)
{
    slot->used = false;
    slot->segment->used_slots--;
    slot->freed = stream ? sim_stream_now(stream) : (struct sim_point){0};
    keep_slot(slot);
}

/* -------- allocations -------- */

CUresult sim_pool_alloc(struct sim_pool *pool, uint64_t bytes, struct sim_stream *stream,
                        CUdeviceptr *address)
{
    uint64_t rounded = (bytes + SIM_LINEAR_GRAIN - 1) & ~(SIM_LINEAR_GRAIN - 1);
    if (rounded < bytes)
        return CUDA_ERROR_OUT_OF_MEMORY;
    pthread_mutex_lock(&sim_pools_lock);
    struct sim_slot *slot = take_slot(pool, rounded, stream);
    struct sim_block *block = NULL;
    if (slot) {
        pthread_mutex_lock(&sim_memory_lock);
        block = sim_block_new(SIM_BLOCK_POOL, pool->device, slot->address, bytes);
        if (block) {
            block->owner = slot;
            block->physical_bytes = rounded;
        }
        pthread_mutex_unlock(&sim_memory_lock);
    }
    if (block) {
        pool->allocations++;
        pool->used += rounded;
        if (pool->used > pool->used_high)
            pool->used_high = pool->used;
        *address = slot->address;
    } else if (slot)
        drop_slot(slot, NULL);
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
    for (int d = 0; d < SIM_MAX_DEVICES; d++)
        if (current_pool[d] == pool)
            current_pool[d] = NULL;
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
        drop_slot(slot, stream);
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

/* What was waited for is free for every stream, though none may look for itself. */
static void note_done(struct sim_pool *pool)
{
    for (struct sim_segment *segment = pool->segments; segment; segment = segment->next)
        for (struct sim_slot *slot = segment->slots; slot; slot = slot->next_of_segment)
            if (!slot->used && is_done(slot))
                slot->freed = (struct sim_point){0};
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
            note_done(pool);
    }
    pthread_mutex_unlock(&sim_pools_lock);
}

void sim_pools_trim(CUdevice device)
{
    pthread_mutex_lock(&sim_pools_lock);
    trim_all(device);
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
}
