/* cost.h -- what a launch is expected to take, learnt per function, grid, block and shared memory.
 *
 * Used for the prepayment and for the cap on work in flight only; what is charged in the end is measured.  A fixed
 * table, shared by all threads without a lock: a torn or overwritten entry costs one wrong guess, trued up later. */
#ifndef GS_COST_H
#define GS_COST_H

#include <stdint.h>

#define GS_COSTS           1024u   /* a power of two */
#define GS_UNKNOWN_COST_NS 200000u /* the guess for work never seen before */
#define GS_SAMPLE_EVERY    64u     /* launches that are measured one by one */
#define GS_SAMPLE_GAPPY    8u      /* where windows say little, because the stream runs dry in them */

struct gs_cost {
    uint64_t key;
    uint64_t mean_ns;   /* 0: not measured yet */
    uint32_t countdown; /* to the next launch that is measured on its own; 0: the next one */
};

static inline uint64_t gs_cost_key(const void *function, uint32_t grid_x, uint32_t grid_y, uint32_t grid_z,
                                   uint32_t block_x, uint32_t block_y, uint32_t block_z, uint32_t shared)
{
    uint64_t grid = (uint64_t)grid_x | (uint64_t)grid_y << 32;
    uint64_t block =
        (uint64_t)block_x | (uint64_t)block_y << 11 | (uint64_t)block_z << 22 | (uint64_t)shared << 32;
    uint64_t key = (uint64_t)(uintptr_t)function ^ grid * 0x9e3779b97f4a7c15ull;

    key ^= key >> 32;
    key = (key ^ block ^ (uint64_t)grid_z << 48) * 0xd6e8feb86659fd93ull;
    return key ^ key >> 29;
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
}

#endif
