/* copy.c -- copies: the runtime names a direction where the driver has a call or a memory type for each. */
#include "cudart.h"

static bool from_host(int kind)
{
    return kind == RT_HOST_TO_HOST || kind == RT_HOST_TO_DEVICE;
}

static bool to_host(int kind)
{
    return kind == RT_HOST_TO_HOST || kind == RT_DEVICE_TO_HOST;
}

static CUresult copy(const struct rt_driver *rt, void *to, const void *from, size_t bytes, int kind)
{
    switch (kind) {
    case RT_HOST_TO_DEVICE:
        return rt->cuMemcpyHtoD((CUdeviceptr)to, from, bytes);
    case RT_DEVICE_TO_HOST:
        return rt->cuMemcpyDtoH(to, (CUdeviceptr)from, bytes);
    case RT_DEVICE_TO_DEVICE:
        return rt->cuMemcpyDtoD((CUdeviceptr)to, (CUdeviceptr)from, bytes);
    case RT_HOST_TO_HOST:
    case RT_ANY_DIRECTION:
        return rt->cuMemcpy((CUdeviceptr)to, (CUdeviceptr)from, bytes);
    default:
        return (CUresult)cudaErrorInvalidMemcpyDirection;
    }
}

static CUresult copy_async(const struct rt_driver *rt, void *to, const void *from, size_t bytes, int kind,
                           cudaStream_t stream)
{
    switch (kind) {
    case RT_HOST_TO_DEVICE:
        return rt->cuMemcpyHtoDAsync((CUdeviceptr)to, from, bytes, stream);
    case RT_DEVICE_TO_HOST:
        return rt->cuMemcpyDtoHAsync(to, (CUdeviceptr)from, bytes, stream);
    case RT_DEVICE_TO_DEVICE:
        return rt->cuMemcpyDtoDAsync((CUdeviceptr)to, (CUdeviceptr)from, bytes, stream);
    case RT_HOST_TO_HOST:
    case RT_ANY_DIRECTION:
        return rt->cuMemcpyAsync((CUdeviceptr)to, (CUdeviceptr)from, bytes, stream);
    default:
        return (CUresult)cudaErrorInvalidMemcpyDirection;
    }
}

RT_STREAM_API(cudaMemcpy, cudaMemcpy_ptds, (void *to, const void *from, size_t bytes, int kind),
              (to, from, bytes, kind))
{
    return RT_CALL(copy(rt, to, from, bytes, kind));
}

RT_STREAM_API(cudaMemcpyAsync, cudaMemcpyAsync_ptsz,
              (void *to, const void *from, size_t bytes, int kind, cudaStream_t stream),
              (to, from, bytes, kind, stream))
{
    return RT_CALL(copy_async(rt, to, from, bytes, kind, stream));
}

/* -------- variables -------- */

RT_STREAM_API(cudaMemcpyToSymbolAsync, cudaMemcpyToSymbolAsync_ptsz,
              (const void *symbol, const void *from, size_t bytes, size_t offset, int kind,
               cudaStream_t stream),
              (symbol, from, bytes, offset, kind, stream))
{
    CUdeviceptr address;
    size_t size;
    cudaError_t error = rt_symbol(symbol, &address, &size);
    if (!error && (offset > size || bytes > size - offset))
        error = cudaErrorInvalidValue;
    if (!error && kind != RT_HOST_TO_DEVICE && kind != RT_DEVICE_TO_DEVICE && kind != RT_ANY_DIRECTION)
        error = cudaErrorInvalidMemcpyDirection;
    return rt_remember(
        error ? error : (cudaError_t)copy_async(rt, (void *)(address + offset), from, bytes, kind, stream));
}

RT_STREAM_API(cudaMemcpyFromSymbolAsync, cudaMemcpyFromSymbolAsync_ptsz,
              (void *to, const void *symbol, size_t bytes, size_t offset, int kind, cudaStream_t stream),
              (to, symbol, bytes, offset, kind, stream))
{
    CUdeviceptr address;
    size_t size;
    cudaError_t error = rt_symbol(symbol, &address, &size);
    if (!error && (offset > size || bytes > size - offset))
        error = cudaErrorInvalidValue;
    if (!error && kind != RT_DEVICE_TO_HOST && kind != RT_DEVICE_TO_DEVICE && kind != RT_ANY_DIRECTION)
        error = cudaErrorInvalidMemcpyDirection;
    return rt_remember(
        error ? error : (cudaError_t)copy_async(rt, to, (void *)(address + offset), bytes, kind, stream));
}

RT_STREAM_API(cudaMemcpyToSymbol, cudaMemcpyToSymbol_ptds,
              (const void *symbol, const void *from, size_t bytes, size_t offset, int kind),
              (symbol, from, bytes, offset, kind))
{
    cudaError_t error = do_cudaMemcpyToSymbolAsync(rt, symbol, from, bytes, offset, kind, NULL);
    return error ? error : RT_CALL(rt->cuStreamSynchronize(NULL));
}

RT_STREAM_API(cudaMemcpyFromSymbol, cudaMemcpyFromSymbol_ptds,
              (void *to, const void *symbol, size_t bytes, size_t offset, int kind),
              (to, symbol, bytes, offset, kind))
{
    cudaError_t error = do_cudaMemcpyFromSymbolAsync(rt, to, symbol, bytes, offset, kind, NULL);
    return error ? error : RT_CALL(rt->cuStreamSynchronize(NULL));
}

/* -------- rectangles and boxes -------- */

static CUmemorytype memory_type(bool array, int kind, bool host)
{
    return array                      ? CU_MEMORYTYPE_ARRAY
           : kind == RT_ANY_DIRECTION ? CU_MEMORYTYPE_UNIFIED
           : host                     ? CU_MEMORYTYPE_HOST
                                      : CU_MEMORYTYPE_DEVICE;
}

static cudaError_t shape_2d(void *to, size_t to_pitch, const void *from, size_t from_pitch, size_t width,
                            size_t height, int kind, CUDA_MEMCPY2D *shape)
{
    if (kind < RT_HOST_TO_HOST || kind > RT_ANY_DIRECTION)
        return cudaErrorInvalidMemcpyDirection;
    if (width > to_pitch || width > from_pitch)
        return cudaErrorInvalidPitchValue;
    *shape = (CUDA_MEMCPY2D){
        .srcMemoryType = memory_type(false, kind, from_host(kind)),
        .srcHost = from,
        .srcDevice = (CUdeviceptr)from,
        .srcPitch = from_pitch,
        .dstMemoryType = memory_type(false, kind, to_host(kind)),
        .dstHost = to,
        .dstDevice = (CUdeviceptr)to,
        .dstPitch = to_pitch,
        .WidthInBytes = width,
        .Height = height,
    };
    return cudaSuccess;
}

RT_STREAM_API(cudaMemcpy2D, cudaMemcpy2D_ptds,
              (void *to, size_t to_pitch, const void *from, size_t from_pitch, size_t width, size_t height,
               int kind),
              (to, to_pitch, from, from_pitch, width, height, kind))
{
    CUDA_MEMCPY2D shape;
    cudaError_t error = shape_2d(to, to_pitch, from, from_pitch, width, height, kind, &shape);
    return error ? rt_remember(error) : RT_CALL(rt->cuMemcpy2DUnaligned(&shape));
}

RT_STREAM_API(cudaMemcpy2DAsync, cudaMemcpy2DAsync_ptsz,
              (void *to, size_t to_pitch, const void *from, size_t from_pitch, size_t width, size_t height,
               int kind, cudaStream_t stream),
              (to, to_pitch, from, from_pitch, width, height, kind, stream))
{
    CUDA_MEMCPY2D shape;
    cudaError_t error = shape_2d(to, to_pitch, from, from_pitch, width, height, kind, &shape);
    return error ? rt_remember(error) : RT_CALL(rt->cuMemcpy2DAsync(&shape, stream));
}

cudaError_t rt_copy_3d(const cudaMemcpy3DParms *from, CUDA_MEMCPY3D *to)
{
    if (!from)
        return cudaErrorInvalidValue;
    if (from->kind < RT_HOST_TO_HOST || from->kind > RT_ANY_DIRECTION)
        return cudaErrorInvalidMemcpyDirection;
    *to = (CUDA_MEMCPY3D){
        .srcXInBytes = from->srcPos.x,
        .srcY = from->srcPos.y,
        .srcZ = from->srcPos.z,
        .srcMemoryType = memory_type(from->srcArray, from->kind, from_host(from->kind)),
        .srcHost = from->srcPtr.ptr,
        .srcDevice = (CUdeviceptr)from->srcPtr.ptr,
        .srcArray = from->srcArray,
        .srcPitch = from->srcPtr.pitch,
        .srcHeight = from->srcPtr.ysize,
        .dstXInBytes = from->dstPos.x,
        .dstY = from->dstPos.y,
        .dstZ = from->dstPos.z,
        .dstMemoryType = memory_type(from->dstArray, from->kind, to_host(from->kind)),
        .dstHost = from->dstPtr.ptr,
        .dstDevice = (CUdeviceptr)from->dstPtr.ptr,
        .dstArray = from->dstArray,
        .dstPitch = from->dstPtr.pitch,
        .dstHeight = from->dstPtr.ysize,
        .WidthInBytes = from->extent.width,
        .Height = from->extent.height,
        .Depth = from->extent.depth,
    };
    return cudaSuccess;
}

cudaError_t rt_copy_1d(void *to, const void *from, size_t bytes, int kind, CUDA_MEMCPY3D *shape)
{
    cudaMemcpy3DParms line = {
        .srcPtr = {(void *)from, bytes, bytes, 1},
        .dstPtr = {to, bytes, bytes, 1},
        .extent = {bytes, 1, 1},
        .kind = kind,
    };
    return rt_copy_3d(&line, shape);
}

RT_STREAM_API(cudaMemcpy3D, cudaMemcpy3D_ptds, (const cudaMemcpy3DParms *box), (box))
{
    CUDA_MEMCPY3D shape;
    cudaError_t error = rt_copy_3d(box, &shape);
    return error ? rt_remember(error) : RT_CALL(rt->cuMemcpy3D(&shape));
}

RT_STREAM_API(cudaMemcpy3DAsync, cudaMemcpy3DAsync_ptsz, (const cudaMemcpy3DParms *box, cudaStream_t stream),
              (box, stream))
{
    CUDA_MEMCPY3D shape;
    cudaError_t error = rt_copy_3d(box, &shape);
    return error ? rt_remember(error) : RT_CALL(rt->cuMemcpy3DAsync(&shape, stream));
}
