/* import.c -- memory of other processes that is mapped here: blocks whose pages are another's file. */
#include "address.h"
#include "ipc.h"
#include "process.h"

#include <stdlib.h>
#include <sys/mman.h>

#define PAGE 4096ull

static struct import {
    struct import *next;
    uint64_t map, map_bytes;
    struct sim_block *block;
    uint32_t share, users;
} * imports; /* under sim_memory_lock */

CUresult sim_import_open(enum sim_block_kind kind, struct sim_context *ctx, CUdevice device, int fd,
                         uint64_t offset, uint64_t bytes, uint32_t share, void *owner, CUdeviceptr *address)
{
    uint64_t skip = offset & (PAGE - 1), size = (skip + bytes + PAGE - 1) & ~(PAGE - 1);
    struct import *import = malloc(sizeof(*import));
    void *p =
        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, (off_t)(offset - skip));
    struct sim_block *block = NULL;
    if (import && p != MAP_FAILED) {
        madvise(p, size, MADV_DONTDUMP);
        pthread_mutex_lock(&sim_memory_lock);
        block = sim_block_new(kind, device, (uint64_t)p + skip, bytes);
        if (block) {
            block->context = ctx;
            block->owner = owner;
            *import = (struct import){imports, (uint64_t)p, size, block, share, 1};
            imports = import;
            *address = block->base;
        }
        pthread_mutex_unlock(&sim_memory_lock);
    }
    if (block)
        return CUDA_SUCCESS;
    if (p != MAP_FAILED)
        munmap(p, size);
    free(import);
    return CUDA_ERROR_OUT_OF_MEMORY;
}

/* With the lock held. */
static void end(struct import **link)
{
    struct import *import = *link;
    *link = import->next;
    sim_blocks_remove(import->block);
    free(import->block);
    munmap((void *)import->map, import->map_bytes);
    if (import->share)
        sim_share_let_go(import->share);
    free(import);
}

CUresult sim_import_close(CUdeviceptr address, enum sim_block_kind kind)
{
    pthread_mutex_lock(&sim_memory_lock);
    struct import **link = &imports;
    while (*link && ((*link)->block->base != address || (*link)->block->kind != kind))
        link = &(*link)->next;
    bool found = *link != NULL;
    if (found && --(*link)->users == 0)
        end(link);
    pthread_mutex_unlock(&sim_memory_lock);
    return found ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

bool sim_import_again(uint32_t share, struct sim_context **ctx, CUdeviceptr *address)
{
    pthread_mutex_lock(&sim_memory_lock);
    struct import *import = imports;
    while (import && (import->share != share || import->block->kind != SIM_BLOCK_IPC))
        import = import->next;
    if (import && (*ctx == NULL || *ctx == import->block->context)) {
        import->users++;
        *address = import->block->base;
    }
    if (import)
        *ctx = import->block->context;
    pthread_mutex_unlock(&sim_memory_lock);
    return import != NULL;
}

static void forget(const struct sim_context *ctx, CUdevice device)
{
    pthread_mutex_lock(&sim_memory_lock);
    for (struct import **link = &imports; *link;) {
        const struct sim_block *block = (*link)->block;
        if (block->context == ctx && (ctx || block->device == device))
            end(link);
        else
            link = &(*link)->next;
    }
    pthread_mutex_unlock(&sim_memory_lock);
}

void sim_imports_forget(struct sim_context *ctx)
{
    forget(ctx, ctx->device);
}

void sim_imports_forget_pools(CUdevice device)
{
    forget(NULL, device);
}
