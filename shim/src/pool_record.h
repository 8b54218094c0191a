/* pool_record.h -- what is known of each pool: for what makes pools grow, and what makes them shrink. */
#ifndef GS_POOL_RECORD_H
#define GS_POOL_RECORD_H

#include "lock.h"
#include "pool.h"
#include "pool_freed.h"
#include "pool_rows.h"

struct gs_pool_record {
    CUmemoryPool handle; /* NULL: the record is free */
    uint64_t charged;    /* at least what the driver has reserved, and what calls going on may add */
    uint64_t going_on;   /* bounds of allocations between the decision and the driver's answer */
    uint64_t reserved;   /* by the driver, at last sight */
    uint64_t begun;      /* allocations so far */
    uint32_t flights;    /* of them, between the decision and the driver's answer */
    uint32_t frees;      /* between their begin and the driver's answer */
    int overlapped;      /* one of them and an allocation went on at the same time */
    int at_edge;         /* the allocation that goes on is to get what was freed just so */
    struct gs_pool_of of;
    uint32_t rows; /* where it is charged */
    uint32_t kind; /* what for */
    int destroyed; /* by the program */
    struct gs_freed freed;
};

/* All of them, under the lock. */
extern struct gs_pool_record *gs_pool_records;
extern uint32_t gs_pool_record_count;
extern struct gs_lock gs_pool_lock;

/* The rest is for whoever holds it. */

/* The pool's record, made where there is none yet.  NULL: no memory for it. */
struct gs_pool_record *gs_pool_record_of(CUmemoryPool handle, const struct gs_pool_of *of);

/* Makes the charge what the driver says.  False: the pool has grown past the quota, and is not charged for that. */
int gs_pool_settle(struct gs_pool_record *pool);

/* The same, limit or not: the driver has it. */
void gs_pool_reconcile(struct gs_pool_record *pool);

/* Gives back what nobody uses. */
void gs_pool_give_back(struct gs_pool_record *pool);

void gs_pool_grow_forget(void); /* in a fork's child */

#endif
