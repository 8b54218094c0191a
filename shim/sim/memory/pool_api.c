/* pool_api.c -- stream-ordered allocation, and what can be said of a pool and asked of it (pool_place.c: which there
 * are). */
#include "graph_memory.h"
#include "ipc.h"
#include "pool.h"
#include "process.h"

/* The stream that is meant.  The legacy one cannot be used while another that waits for it is captured. */
static CUresult resolve(CUstream handle, bool per_thread, struct sim_stream **stream)
{
    SIM_TRY(sim_stream_resolve(handle, per_thread, stream));
    return *stream == (*stream)->context->legacy ? sim_capture_legacy_use((*stream)->context) : CUDA_SUCCESS;
}

/* NVIDIA's own tests of cuda-core allocate no bytes so, in a capture too, and are content with any address: here with none,
 * which may be freed like any other. */
SIM_STREAM_API(cuMemAllocAsync, cuMemAllocAsync_ptsz, (CUdeviceptr * address, size_t bytes, CUstream handle),
               (address, bytes, handle))
{
    SIM_ENTER_CONTEXT(cuMemAllocAsync, ctx);
    struct sim_stream *stream;
    if (!address)
        return CUDA_ERROR_INVALID_VALUE;
    SIM_TRY(resolve(handle, per_thread, &stream));
    if (bytes == 0) {
        *address = 0;
        return CUDA_SUCCESS;
    }
    if (stream->capture)
        return sim_capture_alloc(stream, stream->context->device, bytes, address);
    pthread_mutex_lock(&sim_pools_lock);
    struct sim_pool *pool = sim_pool_current(stream->context->device);
    pthread_mutex_unlock(&sim_pools_lock);
    return pool ? sim_pool_alloc(pool, bytes, stream, address) : CUDA_ERROR_OUT_OF_MEMORY;
}

SIM_STREAM_API(cuMemAllocFromPoolAsync, cuMemAllocFromPoolAsync_ptsz,
               (CUdeviceptr * address, size_t bytes, CUmemoryPool pool, CUstream handle),
               (address, bytes, pool, handle))
{
    SIM_ENTER_CONTEXT(cuMemAllocFromPoolAsync, ctx);
    struct sim_stream *stream;
    if (!address || !sim_is(pool, SIM_POOL) || pool->destroyed || pool->imported)
        return CUDA_ERROR_INVALID_VALUE;
    SIM_TRY(resolve(handle, per_thread, &stream));
    if (bytes == 0) {
        *address = 0;
        return CUDA_SUCCESS;
    }
    if (stream->capture && (pool->managed || pool->on_host))
        return CUDA_ERROR_NOT_SUPPORTED; /* a graph's own memory is a device's */
    if (stream->capture)
        return sim_capture_alloc(stream, pool->device, bytes, address);
    return sim_pool_alloc(pool, bytes, stream, address);
}

/* Linear memory may be freed so too; it goes when the stream has come to this point. */
SIM_STREAM_API(cuMemFreeAsync, cuMemFreeAsync_ptsz, (CUdeviceptr address, CUstream handle), (address, handle))
{
    SIM_ENTER_CONTEXT(cuMemFreeAsync, ctx);
    struct sim_stream *stream;
    struct sim_block block;
    SIM_TRY(resolve(handle, per_thread, &stream));
    if (address == 0)
        return CUDA_SUCCESS;
    if (stream->capture)
        return sim_capture_free(stream, address);
    if (!sim_block_find(address, &block) || block.base != address)
        return CUDA_ERROR_INVALID_VALUE;
    if (block.kind == SIM_BLOCK_GRAPH)
        return sim_graph_memory_free(address, stream);
    if (block.kind == SIM_BLOCK_POOL)
        return sim_pool_free(address, stream);
    if (block.kind != SIM_BLOCK_LINEAR && block.kind != SIM_BLOCK_IMPORTED)
        return CUDA_ERROR_INVALID_VALUE;
    SIM_TRY(sim_stream_synchronize(stream));
    if (block.kind == SIM_BLOCK_IMPORTED)
        return sim_import_close(address, SIM_BLOCK_IMPORTED);
    return sim_device_free(address);
}

/* -------- pools -------- */

SIM_API(cuMemPoolDestroy, (CUmemoryPool pool))
{
    SIM_ENTER(cuMemPoolDestroy);
    if (!sim_is(pool, SIM_POOL) || pool->is_default || pool->destroyed)
        return CUDA_ERROR_INVALID_VALUE;
    pthread_mutex_lock(&sim_pools_lock);
    sim_pool_close(pool);
    pthread_mutex_unlock(&sim_pools_lock);
    return CUDA_SUCCESS;
}

SIM_API(cuMemPoolTrimTo, (CUmemoryPool pool, size_t keep))
{
    SIM_ENTER(cuMemPoolTrimTo);
    if (!sim_is(pool, SIM_POOL) || pool->destroyed)
        return CUDA_ERROR_INVALID_VALUE;
    pthread_mutex_lock(&sim_pools_lock);
    sim_pool_trim(pool, keep);
    pthread_mutex_unlock(&sim_pools_lock);
    return CUDA_SUCCESS;
}

static bool is_reuse(CUmemPool_attribute attribute)
{
    return attribute >= CU_MEMPOOL_ATTR_REUSE_FOLLOW_EVENT_DEPENDENCIES &&
           attribute <= CU_MEMPOOL_ATTR_REUSE_ALLOW_INTERNAL_DEPENDENCIES;
}

/* Where the others are kept; NULL: there is none such. */
static uint64_t *size_of(struct sim_pool *pool, CUmemPool_attribute attribute)
{
    switch (attribute) {
    case CU_MEMPOOL_ATTR_RELEASE_THRESHOLD:
        return &pool->threshold;
    case CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT:
        return &pool->reserved;
    case CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH:
        return &pool->reserved_high;
    case CU_MEMPOOL_ATTR_USED_MEM_CURRENT:
        return &pool->used;
    case CU_MEMPOOL_ATTR_USED_MEM_HIGH:
        return &pool->used_high;
    default:
        return NULL;
    }
}

/* The two marks can only be reset. */
static CUresult set_size(struct sim_pool *pool, CUmemPool_attribute attribute, uint64_t value)
{
    bool is_mark =
        attribute == CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH || attribute == CU_MEMPOOL_ATTR_USED_MEM_HIGH;
    if (attribute != CU_MEMPOOL_ATTR_RELEASE_THRESHOLD && (!is_mark || value != 0))
        return CUDA_ERROR_INVALID_VALUE;
    if (is_mark)
        value = attribute == CU_MEMPOOL_ATTR_USED_MEM_HIGH ? pool->used : pool->reserved;
    *size_of(pool, attribute) = value;
    return CUDA_SUCCESS;
}

SIM_API(cuMemPoolSetAttribute, (CUmemoryPool pool, CUmemPool_attribute attribute, void *value))
{
    SIM_ENTER(cuMemPoolSetAttribute);
    if (!sim_is(pool, SIM_POOL) || pool->destroyed || !value)
        return CUDA_ERROR_INVALID_VALUE;
    CUresult result = CUDA_SUCCESS;
    pthread_mutex_lock(&sim_pools_lock);
    if (is_reuse(attribute))
        pool->reuse[attribute] = *(int *)value != 0;
    else if (size_of(pool, attribute))
        result = set_size(pool, attribute, *(uint64_t *)value);
    else
        result = CUDA_ERROR_INVALID_VALUE;
    pthread_mutex_unlock(&sim_pools_lock);
    return result;
}

SIM_API(cuMemPoolGetAttribute, (CUmemoryPool pool, CUmemPool_attribute attribute, void *value))
{
    SIM_ENTER(cuMemPoolGetAttribute);
    if (!sim_is(pool, SIM_POOL) || pool->destroyed || !value)
        return CUDA_ERROR_INVALID_VALUE;
    CUresult result = CUDA_SUCCESS;
    pthread_mutex_lock(&sim_pools_lock);
    if (is_reuse(attribute))
        *(int *)value = pool->reuse[attribute];
    else if (size_of(pool, attribute))
        *(uint64_t *)value = *size_of(pool, attribute);
    else
        result = CUDA_ERROR_INVALID_VALUE;
    pthread_mutex_unlock(&sim_pools_lock);
    return result;
}

SIM_API(cuMemPoolSetAccess, (CUmemoryPool pool, const CUmemAccessDesc *map, size_t count))
{
    SIM_ENTER(cuMemPoolSetAccess);
    if (!sim_is(pool, SIM_POOL) || pool->destroyed || !map || !count)
        return CUDA_ERROR_INVALID_VALUE;
    for (size_t i = 0; i < count; i++) {
        if (map[i].location.type != CU_MEM_LOCATION_TYPE_DEVICE || !sim_device_valid(map[i].location.id))
            return CUDA_ERROR_INVALID_DEVICE;
        if (map[i].flags != CU_MEM_ACCESS_FLAGS_PROT_NONE && map[i].flags != CU_MEM_ACCESS_FLAGS_PROT_READ &&
            map[i].flags != CU_MEM_ACCESS_FLAGS_PROT_READWRITE)
            return CUDA_ERROR_INVALID_VALUE;
        if (map[i].location.id == pool->device && map[i].flags != CU_MEM_ACCESS_FLAGS_PROT_READWRITE)
            return CUDA_ERROR_INVALID_VALUE; /* a pool is never closed to its own device */
    }
    for (size_t i = 0; i < count; i++)
        pool->peer_access[map[i].location.id] = (uint8_t)map[i].flags;
    return CUDA_SUCCESS;
}

/* The host has managed and pinned memory of its own accord; devices have the first, too. */
SIM_API(cuMemPoolGetAccess, (int *flags, CUmemoryPool pool, CUmemLocation *location))
{
    SIM_ENTER(cuMemPoolGetAccess);
    if (!flags || !sim_is(pool, SIM_POOL) || pool->destroyed || !location)
        return CUDA_ERROR_INVALID_VALUE;
    bool of_host =
        location->type == CU_MEM_LOCATION_TYPE_HOST || location->type == CU_MEM_LOCATION_TYPE_HOST_NUMA;
    bool on_device = location->type == CU_MEM_LOCATION_TYPE_DEVICE && sim_device_valid(location->id);
    if (!on_device && !(of_host && (pool->managed || pool->on_host)))
        return CUDA_ERROR_INVALID_DEVICE;
    *flags = of_host || pool->managed || location->id == pool->device ? CU_MEM_ACCESS_FLAGS_PROT_READWRITE
                                                                      : pool->peer_access[location->id];
    return CUDA_SUCCESS;
}
