/* cost.h -- what a launch is expected to take, learnt per function, grid, block and shared memory.
 *
 * Used for the prepayment and for the cap on work in flight only; what is charged in the end is measured.  A fixed
 * table, shared by all threads without a lock: a torn or overwritten entry costs one wrong guess, trued up later. */
#ifndef GS_COST_H
#define GS_COST_H

#include <stdint.h>

#define GS_COSTS        1024u /* as many as gs_cost_place makes */
#define GS_SAMPLE_EVERY 16u   /* windows whose first launch is measured on its own */
#define GS_SAMPLE_GAPPY 2u    /* where windows say little, because the stream runs dry in them */

struct gs_cost {
    uint64_t known_key; /* the same as key once it has been measured */
    uint64_t mean_ns;   /* 0: not measured yet */
    uint64_t key;
    uint32_t countdown; /* windows that begin with it, to the next one for it alone */
} __attribute__((aligned(32)));

static inline uint64_t gs_cost_key(const void *function, uint32_t grid_x, uint32_t grid_y, uint32_t grid_z,
                                   uint32_t block_x, uint32_t block_y, uint32_t block_z, uint32_t shared)
{
    uint32_t shape = grid_x * 0x9e3779b1u + grid_y * 0x85ebca77u + grid_z * 0xc2b2ae3du +
                     block_x * 0x27d4eb2fu + block_y * 0x165667b1u + block_z * 0x7feb352du +
                     shared * 0x846ca68bu;

    return (uint64_t)(uintptr_t)function + ((uint64_t)shape << 24);
}

static inline uint32_t gs_cost_place(uint64_t key)
{
    return (uint32_t)(key * 0x9e3779b97f4a7c15ull >> 54); /* the high bits of a product are the mixed ones */
}

static inline uint64_t gs_cost_load(const uint64_t *word)
{
    return __atomic_load_n(word, __ATOMIC_RELAXED);
}

/* A launch that took `own_ns`. */
static inline void gs_cost_learn(struct gs_cost *cost, uint64_t own_ns)
{
    uint64_t mean = gs_cost_load(&cost->mean_ns);

    mean = mean == 0 ? own_ns : mean - mean / 8 + own_ns / 8;
    __atomic_store_n(&cost->mean_ns, mean == 0 ? 1 : mean, __ATOMIC_RELAXED);
    __atomic_store_n(&cost->known_key, gs_cost_load(&cost->key), __ATOMIC_RELAXED);
}

#endif
