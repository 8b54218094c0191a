/* pool.h -- a pool of stream-ordered memory: segments of physical memory, cut into slots. */
#ifndef SIM_POOL_H
#define SIM_POOL_H

#include "address.h"

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
};

struct sim_pool {
    uint32_t magic;
    uint32_t is_default;
    CUdevice device;
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
struct sim_pool *sim_pool_new(CUdevice device, const CUmemPoolProps *props);
struct sim_pool *sim_pool_default(CUdevice device);
struct sim_pool *sim_pool_current(CUdevice device);
void sim_pool_set_current(CUdevice device, struct sim_pool *pool);
void sim_pool_close(struct sim_pool *pool);
/* pool_share.c: pages of the pool's own file, for a segment; and back.  0: none. */
uint64_t sim_pool_map(struct sim_pool *pool, uint64_t bytes, uint64_t *offset);
void sim_pool_unmap(struct sim_pool *pool, uint64_t base, uint64_t bytes);
/* Its reserved bytes have changed. */
void sim_pool_tell(const struct sim_pool *pool);
/* It goes, and what others know it by. */
void sim_pool_unshare(struct sim_pool *pool);
/* Give back segments without used slots until no more than `keep` bytes are reserved. */
void sim_pool_trim(struct sim_pool *pool, uint64_t keep);

#endif
