/* vmm.c -- virtual memory management: reserved addresses and what is mapped at them.
 *
 * Each cuMemMap is a second mapping of the physical memory's pages at the reserved address. */
#define _GNU_SOURCE
#include "physical.h"
#include "process.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

struct reservation {
    struct reservation *next;
    uint64_t base, bytes;
};

static struct reservation *reservations; /* under sim_memory_lock, like all of this */

/* -------- addresses -------- */

SIM_API(cuMemAddressReserve,
        (CUdeviceptr * address, size_t bytes, size_t alignment, CUdeviceptr wish, unsigned long long flags))
{
    SIM_ENTER(cuMemAddressReserve);
    size_t size;
    if (!address || bytes == 0 || bytes % SIM_PHYSICAL_GRAIN || flags != 0 || (alignment & (alignment - 1)))
        return CUDA_ERROR_INVALID_VALUE;
    if (alignment < SIM_PHYSICAL_GRAIN)
        alignment = SIM_PHYSICAL_GRAIN;
    if (__builtin_add_overflow(bytes, alignment, &size))
        return CUDA_ERROR_OUT_OF_MEMORY;
    struct reservation *r = malloc(sizeof(*r));
    char *p = mmap((void *)wish, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (!r || p == MAP_FAILED) {
        if (p != MAP_FAILED)
            munmap(p, size);
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

bool sim_address_reserved(uint64_t address)
{
    pthread_mutex_lock(&sim_memory_lock);
    bool reserved = is_reserved(address, 1);
    pthread_mutex_unlock(&sim_memory_lock);
    return reserved;
}

/* -------- mappings -------- */

static void leave_place(uint64_t base, uint64_t bytes)
{
    mmap((void *)base, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
}

bool sim_mapping_place(const struct sim_block *block)
{
    const struct sim_physical *p = block->owner;
    if (p->multicast) {
        if (!sim_multicast_place(p, block))
            return false;
        /* An old size of 0 asks for a second mapping of the same shared pages. */
    } else if (mremap(p->backing, 0, block->bytes, MREMAP_MAYMOVE | MREMAP_FIXED, (void *)block->base) ==
               MAP_FAILED)
        return false;
    bool open = block->access || block->flags & SIM_BLOCK_HOST_ACCESS;
    mprotect((void *)block->base, block->bytes, open ? PROT_READ | PROT_WRITE : PROT_NONE);
    return true;
}

void sim_mappings_renew(const struct sim_physical *p)
{
    for (const struct sim_block *b = sim_blocks_next(NULL); b; b = sim_blocks_next(b))
        if (b->kind == SIM_BLOCK_VMM && b->owner == p)
            sim_mapping_place(b);
}

static CUresult map(struct sim_physical *p, uint64_t address, uint64_t bytes, uint64_t offset)
{
    bool fits = bytes && bytes % SIM_PHYSICAL_GRAIN == 0 && address % SIM_PHYSICAL_GRAIN == 0 &&
                offset % SIM_PHYSICAL_GRAIN == 0 && bytes <= p->bytes && offset <= p->bytes - bytes;
    if (!fits || (offset && !p->multicast) || !is_reserved(address, bytes) || any_mapped(address, bytes))
        return CUDA_ERROR_INVALID_VALUE;
    if (p->multicast && !sim_multicast_ready(p))
        return CUDA_ERROR_ILLEGAL_STATE; /* the driver waits until all of its devices are there */
    struct sim_block *block = sim_block_new(SIM_BLOCK_VMM, p->device < 0 ? 0 : p->device, address, bytes);
    if (!block)
        return CUDA_ERROR_OUT_OF_MEMORY;
    block->owner = p;
    block->flags = p->device < 0 && !p->multicast ? SIM_BLOCK_ON_HOST : 0;
    block->physical_bytes = bytes;
    block->offset = offset;
    if (!sim_mapping_place(block)) {
        leave_place(address, bytes);
        sim_blocks_remove(block);
        free(block);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    p->mappings++;
    return CUDA_SUCCESS;
}

SIM_API(cuMemMap, (CUdeviceptr address, size_t bytes, size_t offset, CUmemGenericAllocationHandle handle,
                   unsigned long long flags))
{
    SIM_ENTER(cuMemMap);
    pthread_mutex_lock(&sim_memory_lock);
    struct sim_physical *p = sim_physical_of(handle);
    CUresult result = p && flags == 0 ? map(p, address, bytes, offset) : CUDA_ERROR_INVALID_VALUE;
    pthread_mutex_unlock(&sim_memory_lock);
    return result;
}

/* True when whole mappings fill the range exactly. */
static bool covers(uint64_t address, uint64_t bytes)
{
    uint64_t at = address;
    while (at - address < bytes) {
        const struct sim_block *block = sim_blocks_at(at);
        if (!block || block->kind != SIM_BLOCK_VMM || block->base != at)
            return false;
        at += block->bytes;
    }
    return at - address == bytes;
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
        struct sim_physical *p = block->owner;
        at += block->bytes;
        leave_place(block->base, block->bytes);
        sim_blocks_remove(block);
        free(block);
        p->mappings--;
        sim_physical_settle(p);
    }
    pthread_mutex_unlock(&sim_memory_lock);
    sim_exports_sweep();
    return whole ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

static bool is_host(const CUmemLocation *location)
{
    return location->type == CU_MEM_LOCATION_TYPE_HOST || location->type == CU_MEM_LOCATION_TYPE_HOST_NUMA;
}

static CUresult check_access(const CUmemAccessDesc *desc)
{
    if (desc->flags != CU_MEM_ACCESS_FLAGS_PROT_NONE && desc->flags != CU_MEM_ACCESS_FLAGS_PROT_READ &&
        desc->flags != CU_MEM_ACCESS_FLAGS_PROT_READWRITE)
        return CUDA_ERROR_INVALID_VALUE;
    if (is_host(&desc->location))
        return CUDA_SUCCESS;
    if (desc->location.type != CU_MEM_LOCATION_TYPE_DEVICE)
        return CUDA_ERROR_INVALID_VALUE;
    return sim_device_valid(desc->location.id) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_DEVICE;
}

static void set_access(struct sim_block *block, const CUmemAccessDesc *desc)
{
    if (is_host(&desc->location)) {
        block->flags =
            desc->flags ? block->flags | SIM_BLOCK_HOST_ACCESS : block->flags & ~SIM_BLOCK_HOST_ACCESS;
        return;
    }
    uint32_t bits = 2 * (uint32_t)desc->location.id;
    block->access = (block->access & ~(3u << bits)) | (uint32_t)desc->flags << bits;
}

SIM_API(cuMemSetAccess, (CUdeviceptr address, size_t bytes, const CUmemAccessDesc *desc, size_t count))
{
    SIM_ENTER(cuMemSetAccess);
    bool host = false;
    if (!desc || count == 0 || bytes == 0)
        return CUDA_ERROR_INVALID_VALUE;
    for (size_t i = 0; i < count; i++) {
        SIM_TRY(check_access(&desc[i]));
        host |= is_host(&desc[i].location);
    }
    pthread_mutex_lock(&sim_memory_lock);
    bool whole = covers(address, bytes), device_memory = false;
    for (uint64_t at = address; whole && at < address + bytes;) {
        const struct sim_block *block = sim_blocks_at(at);
        device_memory |= ((struct sim_physical *)block->owner)->device >= 0;
        at += block->bytes;
    }
    bool may = whole && !(host && device_memory); /* the host cannot reach what lies on a card */
    for (uint64_t at = address; may && at < address + bytes;) {
        struct sim_block *block = sim_blocks_at(at);
        for (size_t i = 0; i < count; i++)
            set_access(block, &desc[i]);
        bool open = block->access || block->flags & SIM_BLOCK_HOST_ACCESS;
        mprotect((void *)at, block->bytes, open ? PROT_READ | PROT_WRITE : PROT_NONE);
        at += block->bytes;
    }
    pthread_mutex_unlock(&sim_memory_lock);
    if (whole && !may)
        return CUDA_ERROR_NOT_SUPPORTED;
    return whole ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

SIM_API(cuMemGetAccess, (unsigned long long *flags, const CUmemLocation *location, CUdeviceptr address))
{
    SIM_ENTER(cuMemGetAccess);
    struct sim_block block;
    if (!flags || !location)
        return CUDA_ERROR_INVALID_VALUE;
    if (!is_host(location) && location->type != CU_MEM_LOCATION_TYPE_DEVICE)
        return CUDA_ERROR_INVALID_VALUE;
    if (!is_host(location) && !sim_device_valid(location->id))
        return CUDA_ERROR_INVALID_DEVICE;
    if (!sim_block_find(address, &block) || block.kind != SIM_BLOCK_VMM)
        return CUDA_ERROR_INVALID_VALUE;
    if (is_host(location))
        *flags = block.flags & SIM_BLOCK_HOST_ACCESS ? CU_MEM_ACCESS_FLAGS_PROT_READWRITE : 0;
    else
        *flags = block.access >> 2 * location->id & 3;
    return CUDA_SUCCESS;
}
