/* pool.h -- a pool of stream-ordered memory: segments of memory, cut into slots.
 *
 * A pool is of a device's memory, of pinned host memory (CUDA 12.6 on), or of managed memory that prefers a place or
 * none (13.0 on).  What one that belongs to no device hands out belongs to the device of the stream. */
#ifndef SIM_POOL_H
#define SIM_POOL_H

#include "managed.h"

#define SIM_POOL_BINS 1024

/* A piece of a segment: in use, or freed at a place in a stream and kept for the next of its size. */
struct sim_slot {
    struct sim_segment *segment;
    struct sim_slot *next_of_segment;
    struct sim_slot *next, **link; /* of its bin, while it is free */
    uint64_t address, bytes;
    bool used;
    struct sim_point freed; /* others may use it when that is done; queue 0: at once */
};

struct sim_segment {
    struct sim_pool *pool;
    struct sim_segment *next, **link;
    uint64_t base, bytes, cut; /* cut: given out as slots */
    uint64_t offset;           /* in the pool's file, if it has one */
    uint32_t used_slots;
    struct sim_slot *slots;
    struct sim_managed *managed; /* of a managed pool: where it lies */
};

struct sim_pool {
    uint32_t magic;
    uint32_t is_default;
    CUdevice device; /* -1: none */
    bool on_host;    /* pinned there */
    bool managed;
    bool destroyed; /* goes when its last allocation is freed */
    CUmemPoolProps props;
    int reuse[4]; /* by CU_MEMPOOL_ATTR_REUSE_* */
    uint64_t threshold;
    uint64_t reserved, reserved_high, used, used_high;
    uint64_t allocations;
    uint8_t peer_access[SIM_MAX_DEVICES];
    int fd;        /* its own file, for a pool that can be exported; else -1 */
    bool imported; /* of another process: allocations are imported, none made */
    uint64_t file_end;
    uint32_t share; /* once it was exported */
    uint64_t serial;
    struct sim_pool *next;
    struct sim_segment *segments;
    struct sim_slot *bin[SIM_POOL_BINS];
};

extern pthread_mutex_t sim_pools_lock;

/* With the lock held. */
struct sim_pool *sim_pool_new(const CUmemPoolProps *props);
void sim_pool_close(struct sim_pool *pool);
/* What its pools keep of the device goes back there. */
void sim_pools_give_back(CUdevice device);
/* pool_place.c: what cuMemAllocAsync allocates from there. */
struct sim_pool *sim_pool_current(CUdevice device);
void sim_pool_no_longer_current(const struct sim_pool *pool);
/* pool_share.c: pages of the pool's own file, for a segment; and back.  0: none. */
uint64_t sim_pool_map(struct sim_pool *pool, uint64_t bytes, uint64_t *offset);
void sim_pool_unmap(struct sim_pool *pool, uint64_t base, uint64_t bytes);
/* Its reserved bytes have changed. */
void sim_pool_tell(const struct sim_pool *pool);
/* It goes, and what others know it by. */
void sim_pool_unshare(struct sim_pool *pool);
/* pool_segment.c: a slot for the stream; NULL: there is no memory. */
struct sim_slot *sim_slot_take(struct sim_pool *pool, uint64_t bytes, struct sim_stream *stream);
/* Freed in the order of that stream; NULL: others may use it at once. */
void sim_slot_drop(struct sim_slot *slot, struct sim_stream *stream);
/* Give back segments without used slots until no more than `keep` bytes are reserved. */
void sim_pool_trim(struct sim_pool *pool, uint64_t keep);
/* What was waited for is free for every stream, though none may look for itself. */
void sim_pool_note_done(struct sim_pool *pool);

#endif
