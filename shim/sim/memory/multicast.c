/* multicast.c -- multicast objects, as far as one device goes: what is written to a mapping of the object is written to
 * the memory that is bound there, which is the same as mapping that memory.  Objects of several devices are not had. */
#define _GNU_SOURCE
#include "physical.h"
#include "process.h"

#include <stdlib.h>
#include <sys/mman.h>

#define RECOMMENDED (512 * SIM_MIB)

#define CU_DEVICE_ATTRIBUTE_MULTICAST_SUPPORTED 132

struct bound {
    struct bound *next;
    uint64_t offset, bytes, memory_offset;
    struct sim_physical *memory;
};

struct sim_multicast {
    CUdevice device; /* -1: none yet */
    struct bound *bound;
};

static bool supports(CUdevice device)
{
    int value = 0;
    return sim_device_attribute(device, CU_DEVICE_ATTRIBUTE_MULTICAST_SUPPORTED, &value) == CUDA_SUCCESS &&
           value;
}

static bool any_supports(void)
{
    for (CUdevice device = 0; device < sim_driver.device_count; device++)
        if (supports(device))
            return true;
    return false;
}

static CUresult check_prop(const CUmulticastObjectProp *prop)
{
    if (!prop || prop->numDevices == 0 || prop->flags || prop->handleTypes & ~15ull)
        return CUDA_ERROR_INVALID_VALUE;
    if (!any_supports() || prop->numDevices > 1 ||
        prop->handleTypes & ~(unsigned long long)CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR)
        return CUDA_ERROR_NOT_SUPPORTED;
    return CUDA_SUCCESS;
}

SIM_API(cuMulticastGetGranularity, (size_t * bytes, const CUmulticastObjectProp *prop, int option))
{
    SIM_ENTER(cuMulticastGetGranularity);
    if (!bytes || option < 0 || option > 1)
        return CUDA_ERROR_INVALID_VALUE;
    SIM_TRY(check_prop(prop));
    *bytes = option ? RECOMMENDED : SIM_PHYSICAL_GRAIN;
    return CUDA_SUCCESS;
}

SIM_API(cuMulticastCreate, (CUmemGenericAllocationHandle * handle, const CUmulticastObjectProp *prop))
{
    SIM_ENTER(cuMulticastCreate);
    if (!handle)
        return CUDA_ERROR_INVALID_VALUE;
    SIM_TRY(check_prop(prop));
    if (prop->size == 0 || prop->size % SIM_PHYSICAL_GRAIN)
        return CUDA_ERROR_INVALID_VALUE;
    CUmemAllocationProp none = {.requestedHandleTypes = (int)prop->handleTypes};
    struct sim_multicast *multicast = calloc(1, sizeof(*multicast));
    pthread_mutex_lock(&sim_memory_lock);
    struct sim_physical *p = multicast ? sim_physical_new(-1, prop->size, &none) : NULL;
    if (p) {
        multicast->device = -1;
        p->multicast = multicast;
        *handle = p->handle;
    } else
        free(multicast);
    pthread_mutex_unlock(&sim_memory_lock);
    return p ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

/* With the lock held. */
static struct sim_physical *object_of(CUmemGenericAllocationHandle handle)
{
    struct sim_physical *p = sim_physical_of(handle);
    return p && p->multicast ? p : NULL;
}

SIM_API(cuMulticastAddDevice, (CUmemGenericAllocationHandle handle, CUdevice device))
{
    SIM_ENTER(cuMulticastAddDevice);
    if (!sim_device_valid(device))
        return CUDA_ERROR_INVALID_DEVICE;
    if (!supports(device))
        return CUDA_ERROR_NOT_SUPPORTED;
    pthread_mutex_lock(&sim_memory_lock);
    struct sim_physical *p = object_of(handle);
    bool free_place = p && p->multicast->device < 0;
    if (free_place)
        p->multicast->device = device;
    pthread_mutex_unlock(&sim_memory_lock);
    return free_place ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

/* -------- binding -------- */

static bool is_free(const struct sim_multicast *multicast, uint64_t offset, uint64_t bytes)
{
    for (const struct bound *b = multicast->bound; b; b = b->next)
        if (offset < b->offset + b->bytes && b->offset < offset + bytes)
            return false;
    return true;
}

/* With the lock held.  `device`: as the newer calls name it; -1: that of the memory. */
static CUresult bind(struct sim_physical *object, CUdevice device, uint64_t offset,
                     struct sim_physical *memory, uint64_t memory_offset, uint64_t bytes)
{
    if (!object || !memory || memory->multicast || bytes == 0 ||
        (offset | memory_offset | bytes) % SIM_PHYSICAL_GRAIN || bytes > object->bytes ||
        offset > object->bytes - bytes || bytes > memory->bytes || memory_offset > memory->bytes - bytes)
        return CUDA_ERROR_INVALID_VALUE;
    if (object->prop.requestedHandleTypes && !memory->prop.requestedHandleTypes)
        return CUDA_ERROR_INVALID_VALUE; /* what can be shared binds only what can */
    /* Before its device is there the driver waits for it; nobody else could add it here. */
    if (memory->device < 0 || memory->device != object->multicast->device ||
        (device >= 0 && device != memory->device))
        return CUDA_ERROR_INVALID_DEVICE;
    if (!is_free(object->multicast, offset, bytes))
        return CUDA_ERROR_INVALID_VALUE;
    struct bound *b = malloc(sizeof(*b));
    if (!b)
        return CUDA_ERROR_OUT_OF_MEMORY;
    *b = (struct bound){object->multicast->bound, offset, bytes, memory_offset, memory};
    object->multicast->bound = b;
    memory->mappings++;
    sim_mappings_renew(object);
    return CUDA_SUCCESS;
}

static CUresult bind_memory(CUmemGenericAllocationHandle handle, CUdevice device, uint64_t offset,
                            CUmemGenericAllocationHandle memory, uint64_t memory_offset, uint64_t bytes)
{
    sim_effects_pause();
    pthread_mutex_lock(&sim_memory_lock);
    CUresult result = bind(object_of(handle), device, offset, sim_physical_of(memory), memory_offset, bytes);
    pthread_mutex_unlock(&sim_memory_lock);
    sim_effects_resume();
    return result;
}

static CUresult bind_address(CUmemGenericAllocationHandle handle, CUdevice device, uint64_t offset,
                             CUdeviceptr address, uint64_t bytes)
{
    sim_effects_pause();
    pthread_mutex_lock(&sim_memory_lock);
    const struct sim_block *block = sim_blocks_at(address);
    CUresult result = CUDA_ERROR_INVALID_VALUE;
    if (block && block->kind == SIM_BLOCK_VMM && bytes <= block->base + block->bytes - address)
        result = bind(object_of(handle), device, offset, block->owner, address - block->base, bytes);
    else if (block && block->kind == SIM_BLOCK_POOL)
        result = CUDA_ERROR_NOT_SUPPORTED;
    pthread_mutex_unlock(&sim_memory_lock);
    sim_effects_resume();
    return result;
}

SIM_API(cuMulticastBindMem,
        (CUmemGenericAllocationHandle handle, size_t offset, CUmemGenericAllocationHandle memory,
         size_t memory_offset, size_t bytes, unsigned long long flags))
{
    SIM_ENTER(cuMulticastBindMem);
    return flags ? CUDA_ERROR_INVALID_VALUE : bind_memory(handle, -1, offset, memory, memory_offset, bytes);
}

SIM_API(cuMulticastBindMem_v2,
        (CUmemGenericAllocationHandle handle, CUdevice device, size_t offset,
         CUmemGenericAllocationHandle memory, size_t memory_offset, size_t bytes, unsigned long long flags))
{
    SIM_ENTER(cuMulticastBindMem_v2);
    if (!sim_device_valid(device))
        return CUDA_ERROR_INVALID_DEVICE;
    return flags ? CUDA_ERROR_INVALID_VALUE
                 : bind_memory(handle, device, offset, memory, memory_offset, bytes);
}

SIM_API(cuMulticastBindAddr, (CUmemGenericAllocationHandle handle, size_t offset, CUdeviceptr address,
                              size_t bytes, unsigned long long flags))
{
    SIM_ENTER(cuMulticastBindAddr);
    return flags ? CUDA_ERROR_INVALID_VALUE : bind_address(handle, -1, offset, address, bytes);
}

SIM_API(cuMulticastBindAddr_v2, (CUmemGenericAllocationHandle handle, CUdevice device, size_t offset,
                                 CUdeviceptr address, size_t bytes, unsigned long long flags))
{
    SIM_ENTER(cuMulticastBindAddr_v2);
    if (!sim_device_valid(device))
        return CUDA_ERROR_INVALID_DEVICE;
    return flags ? CUDA_ERROR_INVALID_VALUE : bind_address(handle, device, offset, address, bytes);
}

static void unbind(struct bound **link)
{
    struct bound *b = *link;
    struct sim_physical *memory = b->memory;
    *link = b->next;
    free(b);
    memory->mappings--;
    sim_physical_settle(memory);
}

SIM_API(cuMulticastUnbind,
        (CUmemGenericAllocationHandle handle, CUdevice device, size_t offset, size_t bytes))
{
    SIM_ENTER(cuMulticastUnbind);
    if (!sim_device_valid(device))
        return CUDA_ERROR_INVALID_DEVICE;
    CUresult result = CUDA_ERROR_INVALID_VALUE;
    sim_effects_pause();
    pthread_mutex_lock(&sim_memory_lock);
    struct sim_physical *p = object_of(handle);
    for (struct bound **link = p ? &p->multicast->bound : NULL; link && *link; link = &(*link)->next)
        if (p->multicast->device == device && (*link)->offset == offset && (*link)->bytes == bytes) {
            unbind(link);
            sim_mappings_renew(p);
            result = CUDA_SUCCESS;
            break;
        }
    pthread_mutex_unlock(&sim_memory_lock);
    sim_effects_resume();
    return result;
}

/* -------- mapping -------- */

bool sim_multicast_ready(const struct sim_physical *p)
{
    return p->multicast->device >= 0;
}

/* What is bound to nothing takes what is written, and forgets it when something is bound. */
bool sim_multicast_place(const struct sim_physical *p, const struct sim_block *block)
{
    uint64_t from = block->offset, to = block->offset + block->bytes;
    void *at = mmap((void *)block->base, block->bytes, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
    bool placed = at != MAP_FAILED;
    for (const struct bound *b = p->multicast->bound; b && placed; b = b->next) {
        uint64_t first = b->offset > from ? b->offset : from;
        uint64_t last = b->offset + b->bytes < to ? b->offset + b->bytes : to;
        if (first < last)
            placed =
                mremap(b->memory->backing + b->memory_offset + (first - b->offset), 0, last - first,
                       MREMAP_MAYMOVE | MREMAP_FIXED, (void *)(block->base + (first - from))) != MAP_FAILED;
    }
    return placed;
}

void sim_multicast_end(struct sim_physical *p)
{
    while (p->multicast->bound)
        unbind(&p->multicast->bound);
    free(p->multicast);
}
