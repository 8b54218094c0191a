/* pool_segment.c -- what a pool has reserved: segments, cut into slots that are kept for the next of their size.
 *
 * Segments are multiples of 2 MiB.  A slot freed in a stream can be had again at once in that stream, and in others
 * when the stream has come to the point of the free.  A segment costs what its pool is of: device memory, pinned host
 * memory, or managed memory, which lies on the device as far as there is room. */
#include "managed.h"
#include "pool.h"
#include "process.h"

#include <stdlib.h>

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

/* Managed memory is charged where it lies, and is so with its place. */
static CUresult charge(const struct sim_pool *pool, uint64_t bytes)
{
    if (pool->on_host)
        sim_pin(bytes);
    if (pool->on_host || pool->managed)
        return CUDA_SUCCESS;
    if (sim_charge(pool->device, SIM_MEM_POOL, bytes) == CUDA_SUCCESS)
        return CUDA_SUCCESS;
    sim_pools_give_back(pool->device);
    return sim_charge(pool->device, SIM_MEM_POOL, bytes);
}

static void uncharge(const struct sim_pool *pool, uint64_t bytes)
{
    if (pool->on_host)
        sim_unpin(bytes);
    else if (!pool->managed)
        sim_uncharge(pool->device, SIM_MEM_POOL, bytes);
}

/* Where the memory prefers to be it is, as far as there is room; else on the device of whoever asks first. */
static struct sim_managed *place(const struct sim_pool *pool, uint64_t base, uint64_t bytes, CUdevice device)
{
    CUmemLocation wanted = pool->props.location;
    bool on_host = wanted.type != CU_MEM_LOCATION_TYPE_DEVICE && wanted.type != CU_MEM_LOCATION_TYPE_NONE;
    struct sim_managed *managed =
        sim_managed_open(pool->device >= 0 ? pool->device : device, base, bytes, on_host);
    for (struct sim_span *span = managed ? managed->spans : NULL; span; span = span->next)
        span->preferred = wanted;
    return managed;
}

static bool take_space(struct sim_segment *segment, CUdevice device)
{
    struct sim_pool *pool = segment->pool;
    if (pool->fd >= 0) {
        segment->base = sim_pool_map(pool, segment->bytes, &segment->offset);
        return segment->base != 0;
    }
    pthread_mutex_lock(&sim_memory_lock);
    segment->base = sim_space_take(segment->bytes);
    if (segment->base && pool->managed) {
        segment->managed = place(pool, segment->base, segment->bytes, device);
        if (!segment->managed) {
            sim_space_give(segment->base, segment->bytes);
            segment->base = 0;
        }
    }
    pthread_mutex_unlock(&sim_memory_lock);
    return segment->base != 0;
}

static void give_space(const struct sim_segment *segment)
{
    if (segment->pool->fd >= 0) {
        sim_pool_unmap(segment->pool, segment->base, segment->bytes);
        return;
    }
    pthread_mutex_lock(&sim_memory_lock);
    if (segment->managed)
        sim_managed_close(segment->managed);
    sim_space_give(segment->base, segment->bytes);
    pthread_mutex_unlock(&sim_memory_lock);
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
    give_space(segment);
    sim_pool_tell(pool);
    uncharge(pool, segment->bytes);
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

/* In whole pieces; 0 for more than there can be. */
static uint64_t pieces_of(uint64_t bytes)
{
    return (bytes + SIM_PHYSICAL_GRAIN - 1) & ~(SIM_PHYSICAL_GRAIN - 1);
}

static struct sim_segment *new_segment(struct sim_pool *pool, uint64_t bytes, CUdevice device)
{
    uint64_t most = pieces_of(pool->props.maxSize); /* a smaller pool would hold nothing */
    bytes = pieces_of(bytes);
    if (!bytes || (most && (bytes > most || pool->reserved > most - bytes)))
        return NULL;
    struct sim_segment *segment = calloc(1, sizeof(*segment));
    if (!segment || charge(pool, bytes) != CUDA_SUCCESS) {
        free(segment);
        return NULL;
    }
    *segment = (struct sim_segment){.pool = pool, .bytes = bytes, .next = pool->segments};
    if (!take_space(segment, device)) {
        uncharge(pool, bytes);
        free(segment);
        return NULL;
    }
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
static struct sim_segment *find_segment(struct sim_pool *pool, uint64_t bytes, CUdevice device)
{
    struct sim_segment *segment = pool->segments;
    if (segment && segment->bytes - segment->cut >= bytes)
        return segment;
    for (; segment; segment = segment->next)
        if (segment->used_slots == 0 && segment->bytes >= bytes && all_done(segment)) {
            join_slots(segment);
            return segment;
        }
    return new_segment(pool, bytes, device);
}

struct sim_slot *sim_slot_take(struct sim_pool *pool, uint64_t bytes, struct sim_stream *stream)
{
    struct sim_slot *slot = find_kept(pool, bytes, stream);
    struct sim_segment *segment = slot ? NULL : find_segment(pool, bytes, stream->context->device);
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

void sim_slot_drop(struct sim_slot *slot, struct sim_stream *stream)
{
    slot->used = false;
    slot->segment->used_slots--;
    slot->freed = stream ? sim_stream_now(stream) : (struct sim_point){0};
    keep_slot(slot);
}

void sim_pool_note_done(struct sim_pool *pool)
{
    for (struct sim_segment *segment = pool->segments; segment; segment = segment->next)
        for (struct sim_slot *slot = segment->slots; slot; slot = slot->next_of_segment)
            if (!slot->used && is_done(slot))
                slot->freed = (struct sim_point){0};
}
