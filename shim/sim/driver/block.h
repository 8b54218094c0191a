/* block.h -- memory as the driver deals it out: blocks by address (memory.c). */
#ifndef SIM_BLOCK_H
#define SIM_BLOCK_H

#include "memory_types.h"

#include <stdbool.h>

struct sim_context;

enum sim_block_kind {
    SIM_BLOCK_LINEAR,
    SIM_BLOCK_MANAGED,
    SIM_BLOCK_POOL,
    SIM_BLOCK_VMM,
    SIM_BLOCK_HOST,
    SIM_BLOCK_REGISTERED,
    SIM_BLOCK_MODULE,
    SIM_BLOCK_GRAPH,   /* a graph's own allocation (graph_memory.c) */
    SIM_BLOCK_IPC,     /* another process's, by cuIpcOpenMemHandle (import.c) */
    SIM_BLOCK_IMPORTED /* the same, by other ways: cuMemFree ends it */
};

/* In the flags of blocks of some kinds, and of any. */
#define SIM_BLOCK_HOST_ACCESS 1u     /* VMM: the host may use it */
#define SIM_BLOCK_ON_HOST     2u     /* VMM, POOL, IMPORTED: it lies there */
#define SIM_BLOCK_MIGRATES    4u     /* POOL: managed memory */
#define SIM_BLOCK_SYNC_MEMOPS 0x100u /* cuPointerSetAttribute */

struct sim_block {
    uint64_t base, bytes; /* bytes as asked for */
    uint64_t physical_bytes;
    enum sim_block_kind kind;
    CUdevice device;
    unsigned flags;
    uint32_t access; /* VMM: two bits for each device */
    uint32_t share;  /* what others may map it by, in machine->share[]; 0: not exported */
    unsigned long long id;
    struct sim_context *context;
    uint64_t offset;                /* VMM: of a mapping, in its multicast object */
    void *owner;                    /* the pool, the VMM handle */
    struct sim_block *left, *right; /* the tree of all blocks by address */
    uint32_t weight;
};

static inline bool sim_block_is_managed(const struct sim_block *block)
{
    return block->kind == SIM_BLOCK_MANAGED ||
           (block->kind == SIM_BLOCK_POOL && block->flags & SIM_BLOCK_MIGRATES);
}

/* Of a pool of pinned host memory. */
static inline bool sim_block_is_host_pools(const struct sim_block *block)
{
    return (block->kind == SIM_BLOCK_POOL || block->kind == SIM_BLOCK_IMPORTED) &&
           block->flags & SIM_BLOCK_ON_HOST;
}

/* Zeroed device memory, charged; `kind` says to what. Module globals use SIM_BLOCK_MODULE. */
CUresult sim_device_alloc(struct sim_context *ctx, enum sim_block_kind kind, uint64_t bytes,
                          CUdeviceptr *address);
CUresult sim_device_free(CUdeviceptr address);
/* A copy of the block that contains the address. */
bool sim_block_find(uint64_t address, struct sim_block *found);

#endif
