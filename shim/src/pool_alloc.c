/* pool_alloc.c -- stream-ordered allocation, from the current pool and from a given one. */
#include "device.h"
#include "hooks.h"
#include "pool.h"
#include "region.h"
#include "reserve.h"

#define POOL_GRAIN 512ull

/* How the driver deals memory of pools out; nobody tells what it does where none is asked for. */
static uint64_t rounded(uint64_t bytes)
{
    if (!bytes)
        return POOL_GRAIN;
    return bytes > UINT64_MAX - POOL_GRAIN ? UINT64_MAX : (bytes + POOL_GRAIN - 1) / POOL_GRAIN * POOL_GRAIN;
}

/* The device of the stream, which need not be the current one. */
static int device_of_stream(CUstream stream, CUdevice *ordinal)
{
    CUcontext current = NULL, context = NULL;
    CUresult result;

    REAL(cuCtxGetCurrent)(&current);
    if (stream && stream != CU_STREAM_LEGACY && stream != CU_STREAM_PER_THREAD)
        REAL(cuStreamGetCtx)(stream, &context);
    if (!context || context == current)
        return !REAL(cuCtxGetDevice)(ordinal);
    if (REAL(cuCtxPushCurrent_v2)(context))
        return 0;
    result = REAL(cuCtxGetDevice)(ordinal);
    REAL(cuCtxPopCurrent_v2)(&current);
    return !result;
}

int gs_is_captured(CUstream stream)
{
    CUstreamCaptureStatus status = CU_STREAM_CAPTURE_STATUS_NONE;

    return !REAL(cuStreamIsCapturing)(stream, &status) && status != CU_STREAM_CAPTURE_STATUS_NONE;
}

/* False: nothing of this is ours to decide (what graphs allocate is charged at their launch), the driver is just
 * asked. */
static int from_current_pool(struct gs_growth *growth, const CUdeviceptr *pointer, size_t bytes,
                             CUstream stream)
{
    CUdevice ordinal;

    *growth = (struct gs_growth){.bytes = rounded(bytes), .stream = stream, .device = GS_NO_DEVICE};
    if (!gs_region() || !pointer || gs_is_captured(stream) || !device_of_stream(stream, &ordinal) ||
        REAL(cuDeviceGetMemPool)(&growth->pool, ordinal))
        return 0;
    growth->device = gs_device_index(ordinal);
    return growth->device != GS_NO_DEVICE;
}

/* Where nothing can be allocated, however much room there is, the driver's own answer. */
static CUresult refuse(const char *api, const struct gs_growth *growth)
{
    CUstreamCaptureStatus status;
    CUdevice ordinal;
    CUresult result = REAL(cuCtxGetDevice)(&ordinal);

    if (!result)
        result = REAL(cuStreamIsCapturing)(growth->stream, &status);
    switch (result) {
    case CUDA_ERROR_INVALID_CONTEXT:
    case CUDA_ERROR_CONTEXT_IS_DESTROYED:
    case CUDA_ERROR_INVALID_HANDLE:
    case CUDA_ERROR_STREAM_CAPTURE_IMPLICIT:
        return result;
    default:
        return gs_refuse(api, growth->full, growth->bound);
    }
}

/* Then nothing comes of it, and nobody could be asked what has. */
static int is_no_pool(CUmemoryPool pool)
{
    cuuint64_t threshold;

    return REAL(cuMemPoolGetAttribute)(pool, CU_MEMPOOL_ATTR_RELEASE_THRESHOLD, &threshold) ==
           CUDA_ERROR_INVALID_VALUE;
}

/* Of a pool that nobody has told us of: then it is a device's own, of whichever device, and not of the current one. */
static int device_of_pool(CUmemoryPool pool)
{
    CUmemoryPool usual;

    for (CUdevice i = 0; i < GS_MOST_ORDINALS && !REAL(cuDeviceGetDefaultMemPool)(&usual, i); i++)
        if (usual == pool)
            return gs_device_index(i);
    return gs_current_device();
}

static int from_pool(struct gs_growth *growth, const CUdeviceptr *pointer, size_t bytes, CUmemoryPool pool,
                     CUstream stream)
{
    struct gs_pool_of of;
    CUdevice ordinal;
    int known;

    *growth =
        (struct gs_growth){.bytes = rounded(bytes), .stream = stream, .pool = pool, .device = GS_NO_DEVICE};
    if (!gs_region() || !pointer || !pool || gs_is_captured(stream))
        return 0;
    known = gs_pool_find(pool, &of);
    if (!known && is_no_pool(pool))
        return 0;
    if (!known)
        of = (struct gs_pool_of){.row = device_of_pool(pool)};
    growth->device = of.row;
    growth->brings = of.managed;
    if (of.managed)
        growth->device = device_of_stream(stream, &ordinal) ? gs_device_index(ordinal) : GS_NO_DEVICE;
    return growth->device != GS_NO_DEVICE;
}

/* Another thread has made another pool the current one, and destroyed this one. */
static int is_replaced(const struct gs_growth *growth)
{
    CUmemoryPool current;
    CUdevice ordinal;

    return device_of_stream(growth->stream, &ordinal) && !REAL(cuDeviceGetMemPool)(&current, ordinal) &&
           current != growth->pool;
}

/* The driver is asked for memory of the pool that was charged, for another one may be current by then. */
GSHARE_HOOK(cuMemAllocAsync, (CUdeviceptr * dptr, size_t bytesize, CUstream hStream))
{
    struct gs_growth growth;
    CUresult result;

    do {
        if (!from_current_pool(&growth, dptr, bytesize, hStream))
            return REAL(cuMemAllocAsync)(dptr, bytesize, hStream);
        if (!gs_pool_grow(&growth))
            return refuse(__func__, &growth);
        result = REAL(cuMemAllocFromPoolAsync)(dptr, bytesize, growth.pool, hStream);
        result = gs_pool_grown(__func__, &growth, result, result ? 0 : *dptr);
    } while (result == CUDA_ERROR_INVALID_VALUE && is_replaced(&growth));
    return result;
}

GSHARE_HOOK(cuMemAllocAsync_ptsz, (CUdeviceptr * dptr, size_t bytesize, CUstream hStream))
{
    CUstream stream = hStream ? hStream : CU_STREAM_PER_THREAD;
    struct gs_growth growth;
    CUresult result;

    do {
        if (!from_current_pool(&growth, dptr, bytesize, stream))
            return REAL(cuMemAllocAsync_ptsz)(dptr, bytesize, hStream);
        if (!gs_pool_grow(&growth))
            return refuse(__func__, &growth);
        result = REAL(cuMemAllocFromPoolAsync_ptsz)(dptr, bytesize, growth.pool, hStream);
        result = gs_pool_grown(__func__, &growth, result, result ? 0 : *dptr);
    } while (result == CUDA_ERROR_INVALID_VALUE && is_replaced(&growth));
    return result;
}

GSHARE_HOOK(cuMemAllocFromPoolAsync,
            (CUdeviceptr * dptr, size_t bytesize, CUmemoryPool pool, CUstream hStream))
{
    struct gs_growth growth;
    CUresult result;

    if (gs_pool_is_gone(pool))
        return CUDA_ERROR_INVALID_VALUE;
    if (!from_pool(&growth, dptr, bytesize, pool, hStream))
        return REAL(cuMemAllocFromPoolAsync)(dptr, bytesize, pool, hStream);
    if (!gs_pool_grow(&growth))
        return refuse(__func__, &growth);
    result = REAL(cuMemAllocFromPoolAsync)(dptr, bytesize, pool, hStream);
    return gs_pool_grown(__func__, &growth, result, result ? 0 : *dptr);
}

GSHARE_HOOK(cuMemAllocFromPoolAsync_ptsz,
            (CUdeviceptr * dptr, size_t bytesize, CUmemoryPool pool, CUstream hStream))
{
    CUstream stream = hStream ? hStream : CU_STREAM_PER_THREAD;
    struct gs_growth growth;
    CUresult result;

    if (gs_pool_is_gone(pool))
        return CUDA_ERROR_INVALID_VALUE;
    if (!from_pool(&growth, dptr, bytesize, pool, stream))
        return REAL(cuMemAllocFromPoolAsync_ptsz)(dptr, bytesize, pool, hStream);
    if (!gs_pool_grow(&growth))
        return refuse(__func__, &growth);
    result = REAL(cuMemAllocFromPoolAsync_ptsz)(dptr, bytesize, pool, hStream);
    return gs_pool_grown(__func__, &growth, result, result ? 0 : *dptr);
}
