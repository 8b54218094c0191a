/* park.c -- device memory of a checkpointed process: its pages move to another place of the host's memory and back.
 *
 * What lies at the device addresses meanwhile cannot be read.  Physical memory of the virtual memory management has
 * a place in host memory anyway: there the mappings are closed. */
#define _GNU_SOURCE
#include "address.h"
#include "checkpoint.h"
#include "physical.h"

#include <stdlib.h>
#include <sys/mman.h>

#define PAGE 4096ull

#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif

static struct run {
    uint64_t base, bytes;
    void *place; /* NULL: not moved */
} * runs;
static size_t run_count;

static bool is_data(const struct sim_block *block)
{
    return block->kind == SIM_BLOCK_LINEAR || block->kind == SIM_BLOCK_MODULE ||
           (block->kind == SIM_BLOCK_POOL && !sim_block_is_host_pools(block));
}

CUresult sim_memory_parkable(void)
{
    pthread_mutex_lock(&sim_memory_lock);
    bool parkable = !sim_physical_any_shared();
    for (struct sim_block *b = sim_blocks_next(NULL); b && parkable; b = sim_blocks_next(b))
        parkable = !sim_block_is_managed(b) && b->kind != SIM_BLOCK_IPC && b->kind != SIM_BLOCK_IMPORTED &&
                   !b->share; /* others see it meanwhile */
    pthread_mutex_unlock(&sim_memory_lock);
    return parkable ? CUDA_SUCCESS : CUDA_ERROR_NOT_SUPPORTED;
}

/* Whole pages: blocks that share one are one run.  Only device memory lies between blocks. */
static bool add_run(uint64_t base, uint64_t bytes)
{
    uint64_t first = base & ~(PAGE - 1), end = (base + bytes + PAGE - 1) & ~(PAGE - 1);
    struct run *last = run_count ? &runs[run_count - 1] : NULL;
    if (last && first <= last->base + last->bytes) {
        if (end > last->base + last->bytes)
            last->bytes = end - last->base;
        return true;
    }
    if ((run_count & (run_count - 1)) == 0) { /* room for the next power of two */
        struct run *grown = realloc(runs, (run_count ? 2 * run_count : 1) * sizeof(*grown));
        if (!grown)
            return false;
        runs = grown;
    }
    runs[run_count++] = (struct run){first, end - first, NULL};
    return true;
}

/* Pages that were never touched stay so: nothing is copied, nothing committed. */
static bool move_away(struct run *run)
{
    /* Where to is only a wish, but some C libraries pass on whatever lies in its place when it is left out. */
    void *place = mremap((void *)run->base, run->bytes, run->bytes, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL);
    if (place == MAP_FAILED)
        return false;
    run->place = place;
    return mprotect((void *)run->base, run->bytes, PROT_NONE) == 0;
}

static bool move_back(struct run *run)
{
    void *to = (void *)run->base;
    if (run->place &&
        mremap(run->place, run->bytes, run->bytes, MREMAP_MAYMOVE | MREMAP_FIXED, to) == MAP_FAILED)
        return false;
    run->place = NULL;
    return true;
}

static void close_mappings(bool close)
{
    for (struct sim_block *b = sim_blocks_next(NULL); b; b = sim_blocks_next(b))
        if (b->kind == SIM_BLOCK_VMM)
            mprotect((void *)b->base, b->bytes, !close && b->access ? PROT_READ | PROT_WRITE : PROT_NONE);
}

bool sim_memory_park(void)
{
    bool done = true;
    run_count = 0;
    pthread_mutex_lock(&sim_memory_lock);
    for (struct sim_block *b = sim_blocks_next(NULL); b && done; b = sim_blocks_next(b))
        if (is_data(b))
            done = add_run(b->base, b->bytes);
    for (size_t i = 0; i < run_count && done; i++)
        done = move_away(&runs[i]);
    if (done)
        close_mappings(true);
    pthread_mutex_unlock(&sim_memory_lock);
    if (!done)
        sim_memory_unpark();
    return done;
}

bool sim_memory_unpark(void)
{
    bool done = true;
    pthread_mutex_lock(&sim_memory_lock);
    for (size_t i = 0; i < run_count; i++)
        done &= move_back(&runs[i]);
    close_mappings(false);
    pthread_mutex_unlock(&sim_memory_lock);
    return done;
}
