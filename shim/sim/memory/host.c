/* host.c -- page-locked host memory: allocated or registered; the device sees it at the same address.
 *
 * Both are locked in whole pages, each for itself, but known by the bytes that were asked for.  They end with their
 * context. */
#include "address.h"
#include "legacy.h"
#include "process.h"

#include <stdlib.h>
#include <sys/mman.h>

#define PAGE           4096ull
#define ALLOC_FLAGS    7u  /* portable, mapped, write-combined */
#define REGISTER_FLAGS 15u /* portable, mapped, I/O memory, read-only */
#define IO_MEMORY      4u
#define READ_ONLY      8u

enum { READ_ONLY_HOST_REGISTER_SUPPORTED = 113 }; /* device attribute */

static bool is_host(const struct sim_block *block)
{
    return block->kind == SIM_BLOCK_HOST || block->kind == SIM_BLOCK_REGISTERED;
}

static CUresult allocate(struct sim_context *ctx, void **address, size_t bytes, unsigned flags)
{
    if (!address || bytes == 0 || (flags & ~ALLOC_FLAGS))
        return CUDA_ERROR_INVALID_VALUE;
    SIM_TRY(sim_capture_unsafe_call());
    size_t size = (bytes + PAGE - 1) & ~(size_t)(PAGE - 1);
    if (size < bytes)
        return CUDA_ERROR_OUT_OF_MEMORY;
    void *p = ctx->api_version == SIM_LEGACY_API_VERSION
                  ? sim_map_low(size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS)
                  : mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == NULL || p == MAP_FAILED)
        return CUDA_ERROR_OUT_OF_MEMORY;
    pthread_mutex_lock(&sim_memory_lock);
    struct sim_block *block = sim_block_new(SIM_BLOCK_HOST, ctx->device, (uint64_t)p, bytes);
    if (block) {
        block->flags = flags;
        block->context = ctx->root;
        block->physical_bytes = size;
    }
    pthread_mutex_unlock(&sim_memory_lock);
    if (!block) {
        munmap(p, size);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    sim_pin(size);
    *address = p;
    return CUDA_SUCCESS;
}

SIM_API(cuMemAllocHost_v2, (void **address, size_t bytes))
{
    SIM_ENTER_CONTEXT(cuMemAllocHost_v2, ctx);
    return allocate(ctx, address, bytes, 0);
}

SIM_API(cuMemHostAlloc, (void **address, size_t bytes, unsigned flags))
{
    SIM_ENTER_CONTEXT(cuMemHostAlloc, ctx);
    return allocate(ctx, address, bytes, flags);
}

void sim_pin(uint64_t bytes)
{
    sim_machine_lock(sim_driver.machine);
    sim_memory_pin(sim_driver.machine, sim_driver.process, bytes);
    sim_machine_unlock(sim_driver.machine);
}

void sim_unpin(uint64_t bytes)
{
    sim_machine_lock(sim_driver.machine);
    sim_memory_unpin(sim_driver.machine, sim_driver.process, bytes);
    sim_machine_unlock(sim_driver.machine);
}

/* Take the block that starts there out of the index; CUDA_ERROR_INVALID_VALUE when there is none of that kind. */
static CUresult take(const void *address, enum sim_block_kind kind, uint64_t *pinned_bytes)
{
    pthread_mutex_lock(&sim_memory_lock);
    struct sim_block *block = sim_blocks_at((uint64_t)address);
    bool found = block && block->base == (uint64_t)address && block->kind == kind;
    if (found) {
        *pinned_bytes = block->physical_bytes;
        sim_blocks_remove(block);
        free(block);
    }
    pthread_mutex_unlock(&sim_memory_lock);
    return found ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

SIM_API(cuMemFreeHost, (void *address))
{
    SIM_ENTER_CONTEXT(cuMemFreeHost, ctx);
    uint64_t bytes;
    SIM_TRY(sim_capture_unsafe_call());
    SIM_TRY(sim_context_synchronize(ctx));
    SIM_TRY(take(address, SIM_BLOCK_HOST, &bytes));
    munmap(address, bytes);
    sim_unpin(bytes);
    return CUDA_SUCCESS;
}

/* The pages that the range lies in. */
static uint64_t pages_of(uint64_t base, uint64_t bytes, uint64_t *first)
{
    *first = base & ~(PAGE - 1);
    return ((base + bytes + PAGE - 1) & ~(PAGE - 1)) - *first;
}

/* Is there memory in every page of the range? */
static bool is_mapped(uint64_t base, uint64_t bytes)
{
    uint64_t first, length = pages_of(base, bytes, &first);
    return msync((void *)first, length, MS_ASYNC) == 0;
}

static CUresult check_register(const struct sim_context *ctx, uint64_t base, size_t bytes, unsigned flags)
{
    int read_only = 0;
    if (!base || bytes == 0 || (flags & ~REGISTER_FLAGS) || base + bytes < bytes)
        return CUDA_ERROR_INVALID_VALUE;
    sim_device_attribute(ctx->device, READ_ONLY_HOST_REGISTER_SUPPORTED, &read_only);
    if ((flags & READ_ONLY) && !read_only)
        return CUDA_ERROR_NOT_SUPPORTED;
    /* There is no memory of other devices in the simulated machine. */
    return (flags & IO_MEMORY) || !is_mapped(base, bytes) ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
}

SIM_API(cuMemHostRegister_v2, (void *address, size_t bytes, unsigned flags))
{
    SIM_ENTER_CONTEXT(cuMemHostRegister_v2, ctx);
    uint64_t base = (uint64_t)address, first;
    SIM_TRY(check_register(ctx, base, bytes, flags));
    SIM_TRY(sim_capture_unsafe_call());
    CUresult result;
    pthread_mutex_lock(&sim_memory_lock);
    const struct sim_block *there = sim_blocks_at(base), *next = sim_blocks_from(base);
    if (!there && next && next->base < base + bytes)
        there = next;
    if (there) {
        result = is_host(there) ? CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED : CUDA_ERROR_INVALID_VALUE;
    } else {
        struct sim_block *block = sim_block_new(SIM_BLOCK_REGISTERED, ctx->device, base, bytes);
        result = block ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
        if (block) {
            block->flags = flags;
            block->context = ctx->root;
            block->physical_bytes = pages_of(base, bytes, &first);
            sim_pin(block->physical_bytes);
        }
    }
    pthread_mutex_unlock(&sim_memory_lock);
    return result;
}

SIM_API(cuMemHostUnregister, (void *address))
{
    SIM_ENTER_CONTEXT(cuMemHostUnregister, ctx);
    uint64_t bytes;
    if (!address)
        return CUDA_ERROR_INVALID_VALUE;
    SIM_TRY(sim_capture_unsafe_call());
    SIM_TRY(sim_context_synchronize(ctx));
    if (take(address, SIM_BLOCK_REGISTERED, &bytes) != CUDA_SUCCESS)
        return CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED;
    sim_unpin(bytes);
    return CUDA_SUCCESS;
}

void sim_host_memory_forget(struct sim_context *ctx)
{
    pthread_mutex_lock(&sim_memory_lock);
    for (struct sim_block *b = sim_blocks_next(NULL), *next; b; b = next) {
        next = sim_blocks_next(b);
        if (is_host(b) && b->context == ctx) {
            if (b->kind == SIM_BLOCK_HOST)
                munmap((void *)b->base, b->physical_bytes);
            sim_unpin(b->physical_bytes);
            sim_blocks_remove(b);
            free(b);
        }
    }
    pthread_mutex_unlock(&sim_memory_lock);
}

static bool find_host(const void *address, struct sim_block *block)
{
    return sim_block_find((uint64_t)address, block) && is_host(block);
}

SIM_API(cuMemHostGetDevicePointer_v2, (CUdeviceptr * device, void *address, unsigned flags))
{
    SIM_ENTER_CONTEXT(cuMemHostGetDevicePointer_v2, ctx);
    struct sim_block block;
    if (!device || flags != 0 || !find_host(address, &block))
        return CUDA_ERROR_INVALID_VALUE;
    *device = (CUdeviceptr)address;
    return CUDA_SUCCESS;
}

SIM_API(cuMemHostGetFlags, (unsigned *flags, void *address))
{
    SIM_ENTER_CONTEXT(cuMemHostGetFlags, ctx);
    struct sim_block block;
    if (!flags || !find_host(address, &block) || block.kind != SIM_BLOCK_HOST)
        return CUDA_ERROR_INVALID_VALUE;
    *flags = block.flags | 2; /* under unified addressing all of it is mapped */
    return CUDA_SUCCESS;
}
