/* pool_rows.h -- where a pool is charged: on the row of what it is of, and, one of managed memory, on that of each device
 * that it may lie on.
 *
 * Which of a managed pool's memory lies where only the driver knows.  So the same is charged on all these rows: what the
 * pool has reserved, until it is empty. */
#ifndef GS_POOL_ROWS_H
#define GS_POOL_ROWS_H

#include "quota.h"

static inline uint32_t gs_row_bit(int row)
{
    return row < 0 ? 0 : 1u << row;
}

/* The lowest of some rows. */
static inline int gs_row_of(uint32_t rows)
{
    return __builtin_ctz(rows);
}

static inline void gs_rows_release(uint32_t rows, uint32_t kind, uint64_t bytes)
{
    for (; rows; rows &= rows - 1)
        gs_quota_release(gs_row_of(rows), kind, bytes);
}

static inline void gs_rows_charge(uint32_t rows, uint32_t kind, uint64_t bytes)
{
    for (; rows; rows &= rows - 1)
        gs_quota_charge(gs_row_of(rows), kind, bytes);
}

/* On all of them or on none.  The rows up to the one without room; 0: there is room. */
static inline uint32_t gs_rows_try(uint32_t rows, uint32_t kind, uint64_t bytes)
{
    for (uint32_t left = rows; left; left &= left - 1)
        if (!gs_quota_try(gs_row_of(left), kind, bytes)) {
            gs_rows_release(rows & ~left, kind, bytes);
            return left;
        }
    return 0;
}

#endif
