/* physical.c -- physical memory: handles to it, what holds it, and when it is given back.
 *
 * It lives until its handle is released and nothing is mapped to it any more, in any process.  Its pages are a part of
 * the space for device memory, or, once it was exported, a file of its own. */
#include "physical.h"
#include "array.h"
#include "ipc.h"
#include "process.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* -------- handles: numbers that say when they are no longer good -------- */

#define INDEX_BITS 24

static struct sim_physical **table;
static uint64_t *uses; /* of each place */
static uint32_t table_size, free_places, *free_place;

static bool grow(void)
{
    uint32_t size = table_size ? 2 * table_size : 64;
    if (size > 1u << INDEX_BITS)
        return false;
    struct sim_physical **more = realloc(table, size * sizeof(*more));
    table = more ? more : table;
    uint64_t *more_uses = realloc(uses, size * sizeof(*more_uses));
    uses = more_uses ? more_uses : uses;
    uint32_t *more_free = realloc(free_place, size * sizeof(*more_free));
    free_place = more_free ? more_free : free_place;
    if (!more || !more_uses || !more_free)
        return false;
    for (uint32_t i = size; i-- > table_size;) {
        table[i] = NULL;
        uses[i] = 0;
        free_place[free_places++] = i;
    }
    table_size = size;
    return true;
}

static uint32_t place_of(CUmemGenericAllocationHandle handle)
{
    return (uint32_t)(handle & ((1u << INDEX_BITS) - 1));
}

struct sim_physical *sim_physical_of(CUmemGenericAllocationHandle handle)
{
    uint32_t place = place_of(handle);
    struct sim_physical *p = place < table_size ? table[place] : NULL;
    return p && p->handle == handle && p->references > 0 ? p : NULL;
}

struct sim_physical *sim_physical_new(CUdevice device, uint64_t bytes, const CUmemAllocationProp *prop)
{
    struct sim_physical *p = free_places > 0 || grow() ? calloc(1, sizeof(*p)) : NULL;
    if (!p)
        return NULL;
    uint32_t place = free_place[--free_places];
    table[place] = p;
    p->handle = ++uses[place] << INDEX_BITS | place;
    p->references = 1;
    p->device = device;
    p->bytes = bytes;
    p->prop = *prop;
    p->fd = -1;
    return p;
}

static void forget(struct sim_physical *p)
{
    uint32_t place = place_of(p->handle);
    table[place] = NULL;
    free_place[free_places++] = place;
    free(p);
}

struct sim_physical *sim_physical_shared(uint32_t share, uint64_t serial)
{
    for (uint32_t i = 0; i < table_size; i++)
        if (table[i] && table[i]->share == share && table[i]->serial == serial)
            return table[i];
    return NULL;
}

bool sim_physical_any_shared(void)
{
    for (uint32_t i = 0; i < table_size; i++)
        if (table[i] && table[i]->share)
            return true;
    return false;
}

void sim_physical_settle(struct sim_physical *p)
{
    if (p->references > 0 || p->mappings > 0)
        return;
    if (p->multicast)
        sim_multicast_end(p);
    else if (p->share) {
        if (!sim_export_end(p))
            return;
    } else {
        sim_space_give((uint64_t)p->backing, p->bytes);
        if (p->device >= 0)
            sim_uncharge(p->device, SIM_MEM_VMM, p->bytes);
    }
    if (p->pinned)
        sim_unpin(p->bytes);
    forget(p);
}

/* -------- for arrays -------- */

CUresult sim_physical_hold(CUmemGenericAllocationHandle handle, CUdevice device, uint64_t end, void **held)
{
    struct sim_physical *p = sim_physical_of(handle);
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
    struct sim_physical *p = held;
    p->mappings--;
    sim_physical_settle(p);
}

/* -------- the API -------- */

static bool on_host(const CUmemLocation *location)
{
    return location->type == CU_MEM_LOCATION_TYPE_HOST || location->type == CU_MEM_LOCATION_TYPE_HOST_NUMA ||
           location->type == CU_MEM_LOCATION_TYPE_HOST_NUMA_CURRENT;
}

/* The simulated host is one NUMA node, number 0, without a fabric. */
static CUresult check_prop(const CUmemAllocationProp *prop)
{
    if (!prop || prop->type != CU_MEM_ALLOCATION_TYPE_PINNED)
        return CUDA_ERROR_INVALID_VALUE;
    if (prop->requestedHandleTypes & ~15)
        return CUDA_ERROR_INVALID_VALUE;
    if (prop->requestedHandleTypes & ~CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR)
        return CUDA_ERROR_NOT_SUPPORTED;
    if (on_host(&prop->location))
        return prop->location.type == CU_MEM_LOCATION_TYPE_HOST_NUMA && prop->location.id != 0
                   ? CUDA_ERROR_INVALID_VALUE
                   : CUDA_SUCCESS;
    if (prop->location.type != CU_MEM_LOCATION_TYPE_DEVICE)
        return CUDA_ERROR_INVALID_VALUE;
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

static CUresult create(CUmemGenericAllocationHandle *handle, size_t bytes, const CUmemAllocationProp *prop,
                       CUdevice device)
{
    if (device >= 0)
        SIM_TRY(sim_charge_or_trim(device, SIM_MEM_VMM, bytes));
    pthread_mutex_lock(&sim_memory_lock);
    char *backing = (char *)sim_space_take(bytes);
    struct sim_physical *p = backing ? sim_physical_new(device, bytes, prop) : NULL;
    if (p) {
        p->backing = backing;
        p->pinned = device < 0;
        *handle = p->handle;
    } else if (backing)
        sim_space_give((uint64_t)backing, bytes);
    pthread_mutex_unlock(&sim_memory_lock);
    if (!p && device >= 0)
        sim_uncharge(device, SIM_MEM_VMM, bytes);
    if (p && device < 0)
        sim_pin(bytes);
    return p ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

SIM_API(cuMemCreate, (CUmemGenericAllocationHandle * handle, size_t bytes, const CUmemAllocationProp *prop,
                      unsigned long long flags))
{
    SIM_ENTER(cuMemCreate);
    if (!handle || bytes == 0 || bytes % SIM_PHYSICAL_GRAIN || flags != 0)
        return CUDA_ERROR_INVALID_VALUE;
    SIM_TRY(check_prop(prop));
    sim_exports_sweep();
    if (bytes > 1ull << 46)
        return CUDA_ERROR_OUT_OF_MEMORY;
    return create(handle, bytes, prop, on_host(&prop->location) ? -1 : prop->location.id);
}

SIM_API(cuMemRelease, (CUmemGenericAllocationHandle handle))
{
    SIM_ENTER(cuMemRelease);
    pthread_mutex_lock(&sim_memory_lock);
    struct sim_physical *p = sim_physical_of(handle);
    if (p) {
        p->references--;
        sim_physical_settle(p);
    }
    pthread_mutex_unlock(&sim_memory_lock);
    sim_exports_sweep();
    return p ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
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
        struct sim_physical *p = block->owner;
        p->references++;
        *handle = p->handle;
    }
    pthread_mutex_unlock(&sim_memory_lock);
    return found ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

SIM_API(cuMemGetAllocationPropertiesFromHandle,
        (CUmemAllocationProp * prop, CUmemGenericAllocationHandle handle))
{
    SIM_ENTER(cuMemGetAllocationPropertiesFromHandle);
    if (!prop)
        return CUDA_ERROR_INVALID_VALUE;
    pthread_mutex_lock(&sim_memory_lock);
    const struct sim_physical *p = sim_physical_of(handle);
    bool found = p && !p->multicast;
    if (found)
        *prop = p->prop;
    pthread_mutex_unlock(&sim_memory_lock);
    return found ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}
