/* host.c -- page-locked host memory: allocated or registered; the device sees it at the same address. */
#include "address.h"
#include "process.h"

#include <stdlib.h>
#include <sys/mman.h>

#define PAGE           4096ull
#define ALLOC_FLAGS    7u  /* portable, mapped, write-combined */
#define REGISTER_FLAGS 15u /* portable, mapped, I/O memory, read-only */

static CUresult allocate(struct sim_context *ctx, void **address, size_t bytes, unsigned flags)
{
    if (!address || bytes == 0 || (flags & ~ALLOC_FLAGS))
        return CUDA_ERROR_INVALID_VALUE;
    size_t size = (bytes + PAGE - 1) & ~(size_t)(PAGE - 1);
    if (size < bytes)
        return CUDA_ERROR_OUT_OF_MEMORY;
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return CUDA_ERROR_OUT_OF_MEMORY;
    pthread_mutex_lock(&sim_memory_lock);
    struct sim_block *block = sim_block_new(SIM_BLOCK_HOST, ctx->device, (uint64_t)p, bytes);
    if (block) {
        block->flags = flags;
        block->context = ctx;
    }
    pthread_mutex_unlock(&sim_memory_lock);
    if (!block) {
        munmap(p, size);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
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

/* Take the block that starts there out of the index; CUDA_ERROR_INVALID_VALUE when there is none of that kind. */
static CUresult take(const void *address, enum sim_block_kind kind, uint64_t *bytes)
{
    pthread_mutex_lock(&sim_memory_lock);
    struct sim_block *block = sim_blocks_at((uint64_t)address);
    bool found = block && block->base == (uint64_t)address && block->kind == kind;
    if (found) {
        *bytes = block->bytes;
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
    SIM_TRY(sim_context_synchronize(ctx));
    SIM_TRY(take(address, SIM_BLOCK_HOST, &bytes));
    munmap(address, (bytes + PAGE - 1) & ~(PAGE - 1));
    return CUDA_SUCCESS;
}

SIM_API(cuMemHostRegister_v2, (void *address, size_t bytes, unsigned flags))
{
    SIM_ENTER_CONTEXT(cuMemHostRegister_v2, ctx);
    if (!address || bytes == 0 || (flags & ~REGISTER_FLAGS) || (uint64_t)address + bytes < bytes)
        return CUDA_ERROR_INVALID_VALUE;
    CUresult result = CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED;
    pthread_mutex_lock(&sim_memory_lock);
    uint64_t base = (uint64_t)address;
    const struct sim_block *next = sim_blocks_from(base);
    if (!sim_blocks_at(base) && (!next || next->base >= base + bytes)) {
        struct sim_block *block = sim_block_new(SIM_BLOCK_REGISTERED, ctx->device, base, bytes);
        result = block ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
        if (block) {
            block->flags = flags;
            block->context = ctx;
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
    SIM_TRY(sim_context_synchronize(ctx));
    CUresult result = take(address, SIM_BLOCK_REGISTERED, &bytes);
    return result == CUDA_ERROR_INVALID_VALUE ? CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED : result;
}

static bool find_host(const void *address, struct sim_block *block)
{
    return sim_block_find((uint64_t)address, block) &&
           (block->kind == SIM_BLOCK_HOST || block->kind == SIM_BLOCK_REGISTERED);
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
