/* pointer.c -- what the driver says about an address. */
#include "physical.h"
#include "pool.h"
#include "process.h"

#include <string.h>

static bool is_host(const struct sim_block *block)
{
    return block->kind == SIM_BLOCK_HOST || block->kind == SIM_BLOCK_REGISTERED ||
           sim_block_is_host_pools(block) ||
           (block->kind == SIM_BLOCK_VMM && block->flags & SIM_BLOCK_ON_HOST);
}

/* Bits of CUmemAllocationHandleType by which it may be exported. */
static unsigned long long handle_types(const struct sim_block *b)
{
    if (b->kind == SIM_BLOCK_VMM)
        return (unsigned long long)((const struct sim_physical *)b->owner)->prop.requestedHandleTypes;
    if (b->kind == SIM_BLOCK_POOL)
        return (unsigned long long)sim_pool_of(b)->props.handleTypes;
    return 0;
}

/* How the device that it lies on may use it. */
static int access_flags(const struct sim_block *b)
{
    if (b->kind == SIM_BLOCK_VMM)
        return (int)(b->access >> 2 * b->device & 3);
    return CU_MEM_ACCESS_FLAGS_PROT_READWRITE;
}

static CUmemoryPool pool_of(const struct sim_block *b)
{
    if (b->kind == SIM_BLOCK_POOL)
        return sim_pool_of(b);
    return b->kind == SIM_BLOCK_IMPORTED ? b->owner : NULL;
}

static CUresult get(void *data, CUpointer_attribute attribute, CUdeviceptr address, const struct sim_block *b)
{
    switch (attribute) {
    case CU_POINTER_ATTRIBUTE_CONTEXT: /* of stream-ordered and mapped memory: none */
        *(CUcontext *)data = b->context;
        return b->context ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
    case CU_POINTER_ATTRIBUTE_MEMORY_TYPE:
        *(unsigned *)data = is_host(b) ? CU_MEMORYTYPE_HOST : CU_MEMORYTYPE_DEVICE;
        return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_DEVICE_POINTER:
        *(CUdeviceptr *)data = address;
        return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_HOST_POINTER:
        if (!is_host(b) && !sim_block_is_managed(b))
            return CUDA_ERROR_INVALID_VALUE;
        *(void **)data = (void *)address;
        return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_SYNC_MEMOPS:
        *(unsigned *)data = (b->flags & SIM_BLOCK_SYNC_MEMOPS) != 0;
        return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_BUFFER_ID:
    case CU_POINTER_ATTRIBUTE_MEMORY_BLOCK_ID:
        *(unsigned long long *)data = b->id;
        return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_IS_MANAGED:
        *(unsigned *)data = sim_block_is_managed(b);
        return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL:
        *(int *)data = b->device;
        return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_IS_LEGACY_CUDA_IPC_CAPABLE:
        *(unsigned *)data = b->kind == SIM_BLOCK_LINEAR;
        return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_RANGE_START_ADDR:
    case CU_POINTER_ATTRIBUTE_MAPPING_BASE_ADDR:
        *(CUdeviceptr *)data = b->base;
        return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_RANGE_SIZE:
    case CU_POINTER_ATTRIBUTE_MAPPING_SIZE:
        *(size_t *)data = b->bytes;
        return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_MAPPED:
        *(unsigned *)data = 1;
        return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_ALLOWED_HANDLE_TYPES:
        *(unsigned long long *)data = handle_types(b);
        return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_IS_GPU_DIRECT_RDMA_CAPABLE:
    case CU_POINTER_ATTRIBUTE_IS_HW_DECOMPRESS_CAPABLE:
        *(unsigned *)data = 0;
        return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_ACCESS_FLAGS:
        *(int *)data = access_flags(b);
        return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_MEMPOOL_HANDLE:
        *(CUmemoryPool *)data = pool_of(b);
        return CUDA_SUCCESS;
    default:
        return CUDA_ERROR_INVALID_VALUE;
    }
}

SIM_API(cuPointerGetAttribute, (void *data, CUpointer_attribute attribute, CUdeviceptr address))
{
    SIM_ENTER(cuPointerGetAttribute);
    struct sim_block block;
    if (!data)
        return CUDA_ERROR_INVALID_VALUE;
    if (!sim_block_find(address, &block))
        return CUDA_ERROR_INVALID_VALUE;
    return get(data, attribute, address, &block);
}

static size_t attribute_size(CUpointer_attribute attribute)
{
    switch (attribute) {
    case CU_POINTER_ATTRIBUTE_MEMORY_TYPE:
    case CU_POINTER_ATTRIBUTE_SYNC_MEMOPS:
    case CU_POINTER_ATTRIBUTE_IS_MANAGED:
    case CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL:
    case CU_POINTER_ATTRIBUTE_IS_LEGACY_CUDA_IPC_CAPABLE:
    case CU_POINTER_ATTRIBUTE_MAPPED:
    case CU_POINTER_ATTRIBUTE_IS_GPU_DIRECT_RDMA_CAPABLE:
    case CU_POINTER_ATTRIBUTE_ACCESS_FLAGS:
    case CU_POINTER_ATTRIBUTE_IS_HW_DECOMPRESS_CAPABLE:
        return sizeof(int);
    default:
        return sizeof(void *);
    }
}

/* The plural form answers for any address: what does not apply is 0, and the ordinal of no device is -2. */
SIM_API(cuPointerGetAttributes,
        (unsigned count, CUpointer_attribute *attributes, void **data, CUdeviceptr address))
{
    SIM_ENTER(cuPointerGetAttributes);
    struct sim_block block;
    if (!attributes || !data || count == 0)
        return CUDA_ERROR_INVALID_VALUE;
    for (unsigned i = 0; i < count; i++)
        if (!data[i])
            return CUDA_ERROR_INVALID_VALUE;
    bool found = sim_block_find(address, &block);
    for (unsigned i = 0; i < count; i++) {
        if (found && get(data[i], attributes[i], address, &block) == CUDA_SUCCESS)
            continue;
        memset(data[i], 0, attribute_size(attributes[i]));
        if (attributes[i] == CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL)
            *(int *)data[i] = -2;
    }
    return CUDA_SUCCESS;
}

/* Copies that the driver does not wait for of itself are so few here that the mark is only kept. */
SIM_API(cuPointerSetAttribute, (const void *value, CUpointer_attribute attribute, CUdeviceptr address))
{
    SIM_ENTER(cuPointerSetAttribute);
    if (!value || attribute != CU_POINTER_ATTRIBUTE_SYNC_MEMOPS)
        return CUDA_ERROR_INVALID_VALUE;
    pthread_mutex_lock(&sim_memory_lock);
    struct sim_block *block = sim_blocks_at(address);
    bool found = block && !is_host(block);
    if (found)
        block->flags = *(const unsigned *)value ? block->flags | SIM_BLOCK_SYNC_MEMOPS
                                                : block->flags & ~SIM_BLOCK_SYNC_MEMOPS;
    pthread_mutex_unlock(&sim_memory_lock);
    return found ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}
