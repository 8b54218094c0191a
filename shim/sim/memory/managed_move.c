/* managed_move.c -- prefetching and discarding managed memory, singly and in batches. */
#include "managed.h"
#include "process.h"

/* -------- locations -------- */

CUmemLocation sim_location_of(CUdevice device)
{
    return device == CU_DEVICE_CPU ? (CUmemLocation){CU_MEM_LOCATION_TYPE_HOST, 0}
                                   : (CUmemLocation){CU_MEM_LOCATION_TYPE_DEVICE, device};
}

CUresult sim_location_check(CUmemLocation *location)
{
    switch (location->type) {
    case CU_MEM_LOCATION_TYPE_DEVICE:
        return sim_device_valid(location->id) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_DEVICE;
    case CU_MEM_LOCATION_TYPE_HOST:
        location->id = 0;
        return CUDA_SUCCESS;
    case CU_MEM_LOCATION_TYPE_HOST_NUMA_CURRENT:
        *location = (CUmemLocation){CU_MEM_LOCATION_TYPE_HOST_NUMA, 0};
        return CUDA_SUCCESS;
    case CU_MEM_LOCATION_TYPE_HOST_NUMA:
        return location->id == 0 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
    default:
        return CUDA_ERROR_INVALID_VALUE;
    }
}

/* -------- one operation -------- */

static CUresult submit(struct sim_stream *stream, uint64_t bytes, bool to_host)
{
    struct sim_work work = {.kind = SIM_WORK_MIGRATE, .migrate = {bytes, to_host}};
    if (bytes == 0)
        return CUDA_SUCCESS;
    sim_transfer_cost(stream->context, &work);
    return sim_submit_now(stream, &work);
}

static CUresult check(CUdeviceptr address, size_t bytes)
{
    struct sim_range range;
    pthread_mutex_lock(&sim_memory_lock);
    CUresult result = sim_managed_range(address, bytes, &range);
    pthread_mutex_unlock(&sim_memory_lock);
    return result;
}

static CUresult place(CUdeviceptr address, size_t bytes, CUmemLocation location, struct sim_moved *moved)
{
    struct sim_range range;
    pthread_mutex_lock(&sim_memory_lock);
    CUresult result = sim_managed_range(address, bytes, &range);
    if (result == CUDA_SUCCESS) {
        if (location.type == CU_MEM_LOCATION_TYPE_DEVICE)
            result = sim_managed_to_device(&range, location.id, moved);
        else
            result = sim_managed_to_host(&range, moved);
        struct sim_span *span = result == CUDA_SUCCESS ? sim_managed_cut(&range) : NULL;
        for (; span && span->from < range.to; span = span->next)
            span->prefetched = location;
        sim_managed_join(range.managed);
    }
    pthread_mutex_unlock(&sim_memory_lock);
    return result;
}

/* What is evicted goes before what comes. */
static CUresult move(struct sim_stream *stream, CUdeviceptr address, size_t bytes, CUmemLocation location)
{
    struct sim_moved moved = {0};
    SIM_TRY(place(address, bytes, location, &moved));
    SIM_TRY(submit(stream, moved.to_host, true));
    return submit(stream, moved.to_device, false);
}

static CUresult prefetch(CUdeviceptr address, size_t bytes, CUmemLocation location, CUstream handle,
                         bool per_thread)
{
    struct sim_stream *stream;
    SIM_TRY(sim_stream_resolve(handle, per_thread, &stream));
    SIM_TRY(check(address, bytes));
    SIM_TRY(sim_location_check(&location));
    if (stream->capture)
        return sim_capture_forbids(stream);
    return move(stream, address, bytes, location);
}

SIM_STREAM_API(cuMemPrefetchAsync, cuMemPrefetchAsync_ptsz,
               (CUdeviceptr address, size_t bytes, CUdevice device, CUstream stream),
               (address, bytes, device, stream))
{
    SIM_ENTER_CONTEXT(cuMemPrefetchAsync, ctx);
    return prefetch(address, bytes, sim_location_of(device), stream, per_thread);
}

SIM_STREAM_API(cuMemPrefetchAsync_v2, cuMemPrefetchAsync_v2_ptsz,
               (CUdeviceptr address, size_t bytes, CUmemLocation location, unsigned flags, CUstream stream),
               (address, bytes, location, flags, stream))
{
    SIM_ENTER_CONTEXT(cuMemPrefetchAsync_v2, ctx);
    if (flags != 0)
        return CUDA_ERROR_INVALID_VALUE;
    return prefetch(address, bytes, location, stream, per_thread);
}

/* -------- batches: checked as a whole before anything happens -------- */

struct batch {
    const CUdeviceptr *address;
    const size_t *bytes;
    size_t count;
    const CUmemLocation *location;
    const size_t *first; /* operation of each location */
    size_t locations;
    bool discard, prefetch;
};

static CUresult check_batch(const struct batch *b)
{
    if (!b->address || !b->bytes || b->count == 0)
        return CUDA_ERROR_INVALID_VALUE;
    for (size_t i = 0; i < b->count; i++)
        SIM_TRY(check(b->address[i], b->bytes[i]));
    if (!b->prefetch)
        return CUDA_SUCCESS;
    if (!b->location || !b->first || b->locations == 0 || b->locations > b->count || b->first[0] != 0 ||
        b->first[b->locations - 1] >= b->count)
        return CUDA_ERROR_INVALID_VALUE;
    for (size_t i = 0; i < b->locations; i++) {
        CUmemLocation location = b->location[i];
        SIM_TRY(sim_location_check(&location));
        if (i > 0 && b->first[i] <= b->first[i - 1])
            return CUDA_ERROR_INVALID_VALUE;
    }
    return CUDA_SUCCESS;
}

static CUresult discard(CUdeviceptr address, size_t bytes)
{
    struct sim_range range;
    pthread_mutex_lock(&sim_memory_lock);
    CUresult result = sim_managed_range(address, bytes, &range);
    if (result == CUDA_SUCCESS) {
        struct sim_span *span = sim_managed_cut(&range);
        result = span ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
        for (; span && span->from < range.to; span = span->next)
            span->discarded = true;
        sim_managed_join(range.managed);
    }
    pthread_mutex_unlock(&sim_memory_lock);
    return result;
}

static CUresult run_batch(const struct batch *b, unsigned long long flags, CUstream handle, bool per_thread)
{
    struct sim_stream *stream;
    if (flags != 0 || handle == CU_STREAM_LEGACY || (handle == NULL && !per_thread))
        return CUDA_ERROR_INVALID_VALUE;
    SIM_TRY(sim_stream_resolve(handle, per_thread, &stream));
    SIM_TRY(check_batch(b));
    if (stream->capture)
        return sim_capture_forbids(stream);
    for (size_t i = 0; b->discard && i < b->count; i++)
        SIM_TRY(discard(b->address[i], b->bytes[i]));
    for (size_t i = 0, l = 0; b->prefetch && i < b->count; i++) {
        l += l + 1 < b->locations && b->first[l + 1] == i;
        CUmemLocation location = b->location[l];
        SIM_TRY(sim_location_check(&location));
        SIM_TRY(move(stream, b->address[i], b->bytes[i], location));
    }
    return CUDA_SUCCESS;
}

SIM_STREAM_API(cuMemPrefetchBatchAsync, cuMemPrefetchBatchAsync_ptsz,
               (CUdeviceptr * address, size_t *bytes, size_t count, CUmemLocation *location, size_t *first,
                size_t locations, unsigned long long flags, CUstream stream),
               (address, bytes, count, location, first, locations, flags, stream))
{
    SIM_ENTER_CONTEXT(cuMemPrefetchBatchAsync, ctx);
    const struct batch batch = {address, bytes, count, location, first, locations, false, true};
    return run_batch(&batch, flags, stream, per_thread);
}

SIM_STREAM_API(cuMemDiscardBatchAsync, cuMemDiscardBatchAsync_ptsz,
               (CUdeviceptr * address, size_t *bytes, size_t count, unsigned long long flags,
                CUstream stream),
               (address, bytes, count, flags, stream))
{
    SIM_ENTER_CONTEXT(cuMemDiscardBatchAsync, ctx);
    const struct batch batch = {address, bytes, count, NULL, NULL, 0, true, false};
    return run_batch(&batch, flags, stream, per_thread);
}

SIM_STREAM_API(cuMemDiscardAndPrefetchBatchAsync, cuMemDiscardAndPrefetchBatchAsync_ptsz,
               (CUdeviceptr * address, size_t *bytes, size_t count, CUmemLocation *location, size_t *first,
                size_t locations, unsigned long long flags, CUstream stream),
               (address, bytes, count, location, first, locations, flags, stream))
{
    SIM_ENTER_CONTEXT(cuMemDiscardAndPrefetchBatchAsync, ctx);
    const struct batch batch = {address, bytes, count, location, first, locations, true, true};
    return run_batch(&batch, flags, stream, per_thread);
}

/* -------- streams -------- */

/* Which stream may use the memory matters only on devices without concurrent access, of which there are none here. */
SIM_STREAM_API(cuStreamAttachMemAsync, cuStreamAttachMemAsync_ptsz,
               (CUstream handle, CUdeviceptr address, size_t bytes, unsigned flags),
               (handle, address, bytes, flags))
{
    SIM_ENTER_CONTEXT(cuStreamAttachMemAsync, ctx);
    struct sim_stream *stream;
    struct sim_block block;
    SIM_TRY(sim_stream_resolve(handle, per_thread, &stream));
    if (flags != CU_MEM_ATTACH_GLOBAL && flags != CU_MEM_ATTACH_HOST && flags != CU_MEM_ATTACH_SINGLE)
        return CUDA_ERROR_INVALID_VALUE;
    if (flags == CU_MEM_ATTACH_SINGLE && stream == stream->context->legacy)
        return CUDA_ERROR_INVALID_VALUE;
    if (!sim_block_find(address, &block) || block.kind != SIM_BLOCK_MANAGED || block.base != address ||
        (bytes != 0 && bytes != block.bytes))
        return CUDA_ERROR_INVALID_VALUE;
    if (stream->capture)
        return sim_capture_forbids(stream);
    struct sim_work work = {.kind = SIM_WORK_EMPTY};
    return sim_submit_now(stream, &work);
}
