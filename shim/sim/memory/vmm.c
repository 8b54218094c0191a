/* vmm.c -- virtual memory management: addresses, physical memory and mappings, each with a life of its own.
 *
 * Physical memory lives until its handle is released and its last mapping is gone.  It is a shared anonymous
 * mapping; each cuMemMap is a second mapping of the same pages at the reserved address. */
#define _GNU_SOURCE
#include "address.h"
#include "array.h"
#include "process.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

struct physical {
    uint32_t magic;
    uint32_t references, mappings;
    CUdevice device;
    uint64_t bytes;
    char *backing;
    CUmemAllocationProp prop;
};

struct reservation {
    struct reservation *next;
    uint64_t base, bytes;
};

static struct reservation *reservations; /* under sim_memory_lock, like all of this */

static CUresult check_prop(const CUmemAllocationProp *prop)
{
    if (!prop || prop->type != CU_MEM_ALLOCATION_TYPE_PINNED)
        return CUDA_ERROR_INVALID_VALUE;
    if (prop->location.type != CU_MEM_LOCATION_TYPE_DEVICE || prop->requestedHandleTypes & ~1)
        return CUDA_ERROR_NOT_SUPPORTED;
    return sim_device_valid(prop->location.id) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_DEVICE;
}

SIM_API(cuMemGetAllocationGranularity, (size_t * bytes, const CUmemAllocationProp *prop, int option))
{
    SIM_ENTER(cuMemGetAllocationGranularity);
    if (!bytes || option < 0 || option > CU_MEM_ALLOC_GRANULARITY_RECOMMENDED)
        return CUDA_ERROR_INVALID_VALUE;
    SIM_TRY(check_prop(prop));
    *bytes = SIM_PHYSICAL_GRAIN;
    return CUDA_SUCCESS;
}

/* -------- addresses -------- */

SIM_API(cuMemAddressReserve,
        (CUdeviceptr * address, size_t bytes, size_t alignment, CUdeviceptr wish, unsigned long long flags))
{
    SIM_ENTER(cuMemAddressReserve);
    if (!address || bytes == 0 || bytes % SIM_PHYSICAL_GRAIN || flags != 0 || (alignment & (alignment - 1)))
        return CUDA_ERROR_INVALID_VALUE;
    if (alignment < SIM_PHYSICAL_GRAIN)
        alignment = SIM_PHYSICAL_GRAIN;
    struct reservation *r = malloc(sizeof(*r));
    char *p =
        mmap((void *)wish, bytes + alignment, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (!r || p == MAP_FAILED) {
        if (p != MAP_FAILED)
            munmap(p, bytes + alignment);
        free(r);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    uint64_t base = ((uint64_t)p + alignment - 1) & ~(alignment - 1), head = base - (uint64_t)p;
    if (head)
        munmap(p, head);
    munmap((void *)(base + bytes), alignment - head);
    pthread_mutex_lock(&sim_memory_lock);
    *r = (struct reservation){reservations, base, bytes};
    reservations = r;
    pthread_mutex_unlock(&sim_memory_lock);
    *address = base;
    return CUDA_SUCCESS;
}

static bool any_mapped(uint64_t base, uint64_t bytes)
{
    const struct sim_block *next = sim_blocks_from(base);
    return sim_blocks_at(base) || (next && next->base < base + bytes);
}

SIM_API(cuMemAddressFree, (CUdeviceptr address, size_t bytes))
{
    SIM_ENTER(cuMemAddressFree);
    CUresult result = CUDA_ERROR_INVALID_VALUE;
    pthread_mutex_lock(&sim_memory_lock);
    struct reservation **link = &reservations;
    while (*link && (*link)->base != address)
        link = &(*link)->next;
    struct reservation *r = *link;
    if (r && r->bytes == bytes && !any_mapped(address, bytes)) {
        *link = r->next;
        free(r);
        munmap((void *)address, bytes);
        result = CUDA_SUCCESS;
    }
    pthread_mutex_unlock(&sim_memory_lock);
    return result;
}

static bool is_reserved(uint64_t base, uint64_t bytes)
{
    for (const struct reservation *r = reservations; r; r = r->next)
        if (base >= r->base && bytes <= r->bytes && base - r->base <= r->bytes - bytes)
            return true;
    return false;
}

/* -------- physical memory -------- */

static struct physical *physical_of(CUmemGenericAllocationHandle handle)
{
    struct physical *p = (struct physical *)handle;
    return sim_is(p, SIM_PHYSICAL) ? p : NULL;
}

SIM_API(cuMemCreate, (CUmemGenericAllocationHandle * handle, size_t bytes, const CUmemAllocationProp *prop,
                      unsigned long long flags))
{
    SIM_ENTER(cuMemCreate);
    if (!handle || bytes == 0 || bytes % SIM_PHYSICAL_GRAIN || flags != 0)
        return CUDA_ERROR_INVALID_VALUE;
    SIM_TRY(check_prop(prop));
    SIM_TRY(sim_charge_or_trim(prop->location.id, SIM_MEM_VMM, bytes));
    char *backing =
        mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    struct physical *p = backing == MAP_FAILED ? NULL : sim_object_new(SIM_PHYSICAL, sizeof(*p));
    if (!p) {
        if (backing != MAP_FAILED)
            munmap(backing, bytes);
        sim_uncharge(prop->location.id, SIM_MEM_VMM, bytes);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    madvise(backing, bytes, MADV_DONTDUMP);
    p->references = 1;
    p->device = prop->location.id;
    p->bytes = bytes;
    p->backing = backing;
    p->prop = *prop;
    *handle = (CUmemGenericAllocationHandle)p;
    return CUDA_SUCCESS;
}

/* With the lock held; gives the memory back when nothing holds it any more. */
static void drop_if_unused(struct physical *p)
{
    if (p->references > 0 || p->mappings > 0)
        return;
    munmap(p->backing, p->bytes);
    sim_uncharge(p->device, SIM_MEM_VMM, p->bytes);
    sim_object_free(p);
}

CUresult sim_physical_hold(CUmemGenericAllocationHandle handle, CUdevice device, uint64_t end, void **held)
{
    struct physical *p = physical_of(handle);
    if (!p)
        return CUDA_ERROR_INVALID_HANDLE;
    if (p->device != device || end > p->bytes || !(p->prop.allocFlags.usage & CU_MEM_CREATE_USAGE_TILE_POOL))
        return CUDA_ERROR_INVALID_VALUE;
    p->mappings++;
    *held = p;
    return CUDA_SUCCESS;
}

void sim_physical_let_go(void *held)
{
    struct physical *p = held;
    p->mappings--;
    drop_if_unused(p);
}

SIM_API(cuMemRelease, (CUmemGenericAllocationHandle handle))
{
    SIM_ENTER(cuMemRelease);
    CUresult result = CUDA_ERROR_INVALID_VALUE;
    pthread_mutex_lock(&sim_memory_lock);
    struct physical *p = physical_of(handle);
    if (p && p->references > 0) {
        p->references--;
        drop_if_unused(p);
        result = CUDA_SUCCESS;
    }
    pthread_mutex_unlock(&sim_memory_lock);
    return result;
}

SIM_API(cuMemRetainAllocationHandle, (CUmemGenericAllocationHandle * handle, void *address))
{
    SIM_ENTER(cuMemRetainAllocationHandle);
    if (!handle)
        return CUDA_ERROR_INVALID_VALUE;
    pthread_mutex_lock(&sim_memory_lock);
    const struct sim_block *block = sim_blocks_at((uint64_t)address);
    bool found = block && block->kind == SIM_BLOCK_VMM;
    if (found) {
        ((struct physical *)block->owner)->references++;
        *handle = (CUmemGenericAllocationHandle)block->owner;
    }
    pthread_mutex_unlock(&sim_memory_lock);
    return found ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

SIM_API(cuMemGetAllocationPropertiesFromHandle,
        (CUmemAllocationProp * prop, CUmemGenericAllocationHandle handle))
{
    SIM_ENTER(cuMemGetAllocationPropertiesFromHandle);
    const struct physical *p = physical_of(handle);
    if (!prop || !p)
        return CUDA_ERROR_INVALID_VALUE;
    *prop = p->prop;
    return CUDA_SUCCESS;
}

/* -------- mappings -------- */

SIM_API(cuMemMap, (CUdeviceptr address, size_t bytes, size_t offset, CUmemGenericAllocationHandle handle,
                   unsigned long long flags))
{
    SIM_ENTER(cuMemMap);
    CUresult result = CUDA_ERROR_INVALID_VALUE;
    pthread_mutex_lock(&sim_memory_lock);
    struct physical *p = physical_of(handle);
    struct sim_block *block = NULL;
    if (p && bytes && bytes % SIM_PHYSICAL_GRAIN == 0 && address % SIM_PHYSICAL_GRAIN == 0 && offset == 0 &&
        bytes <= p->bytes && flags == 0 && is_reserved(address, bytes) && !any_mapped(address, bytes)) {
        result = CUDA_ERROR_OUT_OF_MEMORY;
        /* An old size of 0 asks for a second mapping of the same shared pages. */
        void *at = mremap(p->backing, 0, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, (void *)address);
        if (at != MAP_FAILED) {
            mprotect(at, bytes, PROT_NONE);
            block = sim_block_new(SIM_BLOCK_VMM, p->device, address, bytes);
        }
    }
    if (block) {
        block->owner = p;
        block->physical_bytes = bytes;
        p->mappings++;
        result = CUDA_SUCCESS;
    }
    pthread_mutex_unlock(&sim_memory_lock);
    return result;
}

/* True when whole mappings fill the range exactly. */
static bool covers(uint64_t address, uint64_t bytes)
{
    uint64_t at = address;
    while (at < address + bytes) {
        const struct sim_block *block = sim_blocks_at(at);
        if (!block || block->kind != SIM_BLOCK_VMM || block->base != at)
            return false;
        at += block->bytes;
    }
    return at == address + bytes;
}

SIM_API(cuMemUnmap, (CUdeviceptr address, size_t bytes))
{
    SIM_ENTER(cuMemUnmap);
    struct sim_context *ctx = sim_current_context();
    if (ctx)
        SIM_TRY(sim_context_synchronize(ctx));
    pthread_mutex_lock(&sim_memory_lock);
    bool whole = bytes > 0 && covers(address, bytes);
    for (uint64_t at = address; whole && at < address + bytes;) {
        struct sim_block *block = sim_blocks_at(at);
        struct physical *p = block->owner;
        at += block->bytes;
        mmap((void *)block->base, block->bytes, PROT_NONE,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
        sim_blocks_remove(block);
        free(block);
        p->mappings--;
        drop_if_unused(p);
    }
    pthread_mutex_unlock(&sim_memory_lock);
    return whole ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

SIM_API(cuMemSetAccess, (CUdeviceptr address, size_t bytes, const CUmemAccessDesc *desc, size_t count))
{
    SIM_ENTER(cuMemSetAccess);
    if (!desc || count == 0 || bytes == 0)
        return CUDA_ERROR_INVALID_VALUE;
    for (size_t i = 0; i < count; i++)
        if (desc[i].location.type == CU_MEM_LOCATION_TYPE_DEVICE && !sim_device_valid(desc[i].location.id))
            return CUDA_ERROR_INVALID_DEVICE;
    pthread_mutex_lock(&sim_memory_lock);
    bool whole = covers(address, bytes);
    for (uint64_t at = address; whole && at < address + bytes;) {
        struct sim_block *block = sim_blocks_at(at);
        for (size_t i = 0; i < count; i++) {
            uint32_t bits = 2 * (uint32_t)desc[i].location.id;
            block->access = (block->access & ~(3u << bits)) | (uint32_t)desc[i].flags << bits;
        }
        mprotect((void *)at, block->bytes, block->access ? PROT_READ | PROT_WRITE : PROT_NONE);
        at += block->bytes;
    }
    pthread_mutex_unlock(&sim_memory_lock);
    return whole ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

SIM_API(cuMemGetAccess, (unsigned long long *flags, const CUmemLocation *location, CUdeviceptr address))
{
    SIM_ENTER(cuMemGetAccess);
    struct sim_block block;
    if (!flags || !location || location->type != CU_MEM_LOCATION_TYPE_DEVICE)
        return CUDA_ERROR_INVALID_VALUE;
    if (!sim_device_valid(location->id))
        return CUDA_ERROR_INVALID_DEVICE;
    if (!sim_block_find(address, &block) || block.kind != SIM_BLOCK_VMM)
        return CUDA_ERROR_INVALID_VALUE;
    *flags = block.access >> 2 * location->id & 3;
    return CUDA_SUCCESS;
}
