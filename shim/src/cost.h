/* cost.h -- what a launch is expected to take, learnt per function, grid, block and shared memory.
 *
 * Used for the prepayment and for the cap on work in flight only; what is charged in the end is measured.  A fixed
 * table, shared by all threads without a lock: a torn or overwritten entry costs one wrong guess, trued up later. */
#ifndef GS_COST_H
#define GS_COST_H

#include <stdbool.h>
#include <stdint.h>

#define GS_COST_BITS    10
#define GS_COSTS        (1u << GS_COST_BITS)
#define GS_SAMPLE_EVERY 32u /* windows whose first launch is measured on its own */
#define GS_SAMPLE_GAPPY 4u  /* where windows say little, because the stream runs dry in them */

/* One kind of work.  A graph has its handle for a function, and no grid. */
struct gs_work {
    const void *function;
    uint32_t grid_x, grid_y, grid_z;
    uint32_t block_x, block_y, block_z;
    uint32_t shared_bytes;
};

struct gs_cost {
    const void *known; /* the function once it has been measured, else NULL */
    uint64_t mean_ns;  /* 0: not measured yet */
    struct gs_work work;
    uint32_t countdown; /* windows that begin with it, to the next one for it alone */
} __attribute__((aligned(64)));

extern struct gs_cost gs_costs[GS_COSTS] __attribute__((visibility("hidden")));

static inline struct gs_cost *gs_cost_place(const void *function, uint32_t grid_x)
{
    uint32_t mixed = ((uint32_t)(uintptr_t)function + grid_x) * 0x9e3779b1u;

    return &gs_costs[mixed >> (32 - GS_COST_BITS)]; /* the high bits of a product are the mixed ones */
}

/* In this order, or the compiler compares neighbours together, for which it stores the arguments first. */
static inline bool gs_cost_is(const struct gs_cost *cost, const struct gs_work *work)
{
    return cost->work.grid_x == work->grid_x && cost->work.block_x == work->block_x &&
           cost->work.shared_bytes == work->shared_bytes && cost->work.grid_z == work->grid_z &&
           cost->work.block_z == work->block_z && cost->work.grid_y == work->grid_y &&
           cost->work.block_y == work->block_y;
}

/* The entry of a kind of work; one not seen before, or not lately, takes the place of another. */
static inline struct gs_cost *gs_cost_of(const struct gs_work *work)
{
    struct gs_cost *cost = gs_cost_place(work->function, work->grid_x);

    if (cost->work.function == work->function && gs_cost_is(cost, work))
        return cost;
    cost->known = NULL;
    cost->mean_ns = 0;
    cost->countdown = 0;
    cost->work = *work;
    return cost;
}

/* A window that began with this work took `own_ns`, where `learnt_ns` was expected.  Alone in it, the work is known by
 * that; else it takes its part of the surprise, and windows of its own put right what others caused.  While others run,
 * what is far below the mean tells that the mean holds interruptions. */
static inline void gs_cost_learn(struct gs_cost *cost, uint32_t launches, uint64_t learnt_ns, uint64_t own_ns,
                                 bool shared)
{
    uint64_t mean_ns = cost->mean_ns;

    if (launches > 1 && mean_ns != 0 && learnt_ns != 0) {
        uint64_t seen_ns = own_ns < 2 * learnt_ns ? own_ns : 2 * learnt_ns;
        if (own_ns > seen_ns)
            cost->countdown = 0; /* a great surprise: measure it alone */
        mean_ns = mean_ns - mean_ns / 8 + (uint64_t)((unsigned __int128)mean_ns * seen_ns / learnt_ns) / 8;
    } else if (launches == 1) {
        if (shared && own_ns + own_ns / 2 < mean_ns)
            mean_ns -= (mean_ns - own_ns) / 4;
        else
            mean_ns = own_ns / 4 > mean_ns ? own_ns : mean_ns - mean_ns / 8 + own_ns / 8;
    }
    cost->mean_ns = mean_ns == 0 ? 1 : mean_ns;
    __atomic_store_n(&cost->known, cost->work.function, __ATOMIC_RELEASE);
}

#endif
