/* pool.h -- memory pools are charged for what they have reserved, in use or not. */
#ifndef GS_POOL_H
#define GS_POOL_H

#include "driver.h"
#include "ledger.h"

#define CU_MEMPOOL_ATTR_RELEASE_THRESHOLD    4
#define CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT 5
#define CU_MEMPOOL_ATTR_USED_MEM_CURRENT     7

/* All of a stream has been waited for, as cuMemFree does. */
#define GS_ANY_STREAM ((CUstream)-1)

/* Memory of a pool is about to be freed; and the driver has freed it, or has not.  What the pool did with it is asked. */
void gs_pool_freeing(const struct gs_entry *entry);
void gs_pool_freed(const struct gs_entry *entry, CUstream stream, CUresult result);

/* Asks every pool what it has reserved now: before refusing, before telling how much is free, and after the
 * program has waited for its work, when pools shrink.  Never waits for the GPU. */
void gs_pool_refresh(void);

/* Some streams have gone: others may get their handles, and not the memory that was freed in them. */
void gs_pool_streams_gone(void);

/* Makes the device's pools give back what they keep and nobody uses, as the driver does on a full GPU. */
void gs_pool_trim(int device);

/* One allocation, from the decision to the driver's answer. */
struct gs_growth {
    CUmemoryPool pool;
    CUstream stream;
    uint64_t stream_id;
    uint64_t bytes;  /* wanted */
    uint64_t bound;  /* reserved: the most that the pool may grow by */
    uint64_t before; /* what the pool had reserved */
    uint64_t alone;  /* its number, where no other allocation from the pool was going on; or 0 */
    uint32_t record;
    int device;  /* of the pool; where that is of managed memory, of the stream */
    int brings;  /* it is of managed memory */
    int full;    /* the row without room for it */
    int at_edge; /* it is to get what has been freed just so: less than it wants may have been reserved */
};

/* Reserves what the pool may grow by.  False: over the quota. */
int gs_pool_grow(struct gs_growth *growth);

/* What the program gets, given what the driver said. */
CUresult gs_pool_grown(const char *api, const struct gs_growth *growth, CUresult result, CUdeviceptr pointer);

/* True: what is done in the stream now becomes part of a graph.  Where the driver cannot say, nothing can be done there
 * either. */
int gs_is_captured(CUstream stream);

/* What a pool is of: memory that lies in one place, or managed memory, which may be brought to any device. */
struct gs_pool_of {
    int row; /* where all of it may lie.  GS_NO_DEVICE: nothing of it is charged there */
    int managed;
    int usual; /* the driver's own, which is never destroyed */
};

/* What we know of a pool.  False: we have not seen it, and `of` stays. */
int gs_pool_find(CUmemoryPool pool, struct gs_pool_of *of);

/* A pool that the program has come to know. */
void gs_pool_note(CUmemoryPool pool, const struct gs_pool_of *of);

/* Memory of the pool is sent to a device.  False: over the quota there. */
int gs_pool_bring(const struct gs_entry *entry, int device);

/* Destroyed by the program, and kept until it is empty. */
int gs_pool_is_gone(CUmemoryPool pool);
CUresult gs_pool_destroy(CUmemoryPool pool);

void gs_pool_forget(void); /* in a fork's child */

#endif
