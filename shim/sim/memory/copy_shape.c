/* copy_shape.c -- copies of rectangles and boxes, and batches of copies. */
#include "copy.h"
#include "process.h"

#include <string.h>

struct side {
    CUmemorytype type;
    CUdeviceptr host, device; /* host memory as an address too */
    size_t x, y, z, pitch, height;
};

/* Where the box begins in that side's memory. */
static CUresult locate(const struct side *side, const CUDA_MEMCPY3D *shape, char **base, uint64_t *pitch,
                       uint64_t *slice, uint8_t *host)
{
    CUdeviceptr start;
    switch (side->type) {
    case CU_MEMORYTYPE_HOST:
        start = side->host;
        *host = 1;
        break;
    case CU_MEMORYTYPE_DEVICE:
        start = side->device;
        *host = 0;
        break;
    case CU_MEMORYTYPE_UNIFIED:
        start = side->device;
        *host = sim_is_host(start);
        break;
    default: /* arrays */
        return side->type == CU_MEMORYTYPE_ARRAY ? CUDA_ERROR_INVALID_HANDLE : CUDA_ERROR_INVALID_VALUE;
    }
    size_t row = side->pitch ? side->pitch : side->x + shape->WidthInBytes;
    size_t rows = side->height ? side->height : side->y + shape->Height;
    if (!start || row < side->x + shape->WidthInBytes || rows < side->y + shape->Height)
        return CUDA_ERROR_INVALID_VALUE;
    *pitch = row;
    *slice = row * rows;
    *base = (char *)start + side->z * *slice + side->y * row + side->x;
    if (!*host) {
        uint64_t last = (shape->Depth - 1) * *slice + (shape->Height - 1) * row + shape->WidthInBytes;
        SIM_TRY(sim_device_range((CUdeviceptr)*base, last));
    }
    return CUDA_SUCCESS;
}

CUresult sim_copy_from_3d(const CUDA_MEMCPY3D *shape, struct sim_copy *copy)
{
    struct side from = {shape->srcMemoryType, (CUdeviceptr)shape->srcHost,
                        shape->srcDevice,     shape->srcXInBytes,
                        shape->srcY,          shape->srcZ,
                        shape->srcPitch,      shape->srcHeight};
    struct side to = {shape->dstMemoryType, (CUdeviceptr)shape->dstHost,
                      shape->dstDevice,     shape->dstXInBytes,
                      shape->dstY,          shape->dstZ,
                      shape->dstPitch,      shape->dstHeight};
    char *source;
    memset(copy, 0, sizeof(*copy));
    copy->width = shape->WidthInBytes;
    copy->height = shape->Height;
    copy->depth = shape->Depth;
    if (copy->width == 0 || copy->height == 0 || copy->depth == 0)
        return CUDA_SUCCESS;
    SIM_TRY(locate(&from, shape, &source, &copy->source_pitch, &copy->source_slice, &copy->source_host));
    SIM_TRY(locate(&to, shape, &copy->destination, &copy->destination_pitch, &copy->destination_slice,
                   &copy->destination_host));
    copy->source = source;
    return CUDA_SUCCESS;
}

static CUDA_MEMCPY3D flat(const CUDA_MEMCPY2D *p)
{
    return (CUDA_MEMCPY3D){.srcXInBytes = p->srcXInBytes,
                           .srcY = p->srcY,
                           .srcMemoryType = p->srcMemoryType,
                           .srcHost = p->srcHost,
                           .srcDevice = p->srcDevice,
                           .srcArray = p->srcArray,
                           .srcPitch = p->srcPitch,
                           .dstXInBytes = p->dstXInBytes,
                           .dstY = p->dstY,
                           .dstMemoryType = p->dstMemoryType,
                           .dstHost = p->dstHost,
                           .dstDevice = p->dstDevice,
                           .dstArray = p->dstArray,
                           .dstPitch = p->dstPitch,
                           .WidthInBytes = p->WidthInBytes,
                           .Height = p->Height,
                           .Depth = 1};
}

static CUresult copy_shape(const CUDA_MEMCPY3D *shape, CUstream handle, bool per_thread, bool synchronous)
{
    struct sim_stream *stream;
    struct sim_copy copy;
    SIM_TRY(sim_stream_resolve(handle, per_thread, &stream));
    SIM_TRY(sim_copy_from_3d(shape, &copy));
    return sim_copy_submit(stream, &copy, synchronous && (copy.source_host || copy.destination_host));
}

#define FLAT(name, twin)                                                                                     \
    SIM_STREAM_API(name, twin, (const CUDA_MEMCPY2D *shape), (shape))                                        \
    {                                                                                                        \
        SIM_ENTER_CONTEXT(name, ctx);                                                                        \
        if (!shape)                                                                                          \
            return CUDA_ERROR_INVALID_VALUE;                                                                 \
        CUDA_MEMCPY3D box = flat(shape);                                                                     \
        return copy_shape(&box, NULL, per_thread, true);                                                     \
    }

FLAT(cuMemcpy2D_v2, cuMemcpy2D_v2_ptds)
FLAT(cuMemcpy2DUnaligned_v2, cuMemcpy2DUnaligned_v2_ptds)

SIM_STREAM_API(cuMemcpy2DAsync_v2, cuMemcpy2DAsync_v2_ptsz, (const CUDA_MEMCPY2D *shape, CUstream stream),
               (shape, stream))
{
    SIM_ENTER_CONTEXT(cuMemcpy2DAsync_v2, ctx);
    if (!shape)
        return CUDA_ERROR_INVALID_VALUE;
    CUDA_MEMCPY3D box = flat(shape);
    return copy_shape(&box, stream, per_thread, false);
}

SIM_STREAM_API(cuMemcpy3D_v2, cuMemcpy3D_v2_ptds, (const CUDA_MEMCPY3D *shape), (shape))
{
    SIM_ENTER_CONTEXT(cuMemcpy3D_v2, ctx);
    return shape ? copy_shape(shape, NULL, per_thread, true) : CUDA_ERROR_INVALID_VALUE;
}

SIM_STREAM_API(cuMemcpy3DAsync_v2, cuMemcpy3DAsync_v2_ptsz, (const CUDA_MEMCPY3D *shape, CUstream stream),
               (shape, stream))
{
    SIM_ENTER_CONTEXT(cuMemcpy3DAsync_v2, ctx);
    return shape ? copy_shape(shape, stream, per_thread, false) : CUDA_ERROR_INVALID_VALUE;
}

/* The peer form differs from the plain one only in what lies in the two reserved places. */
_Static_assert(sizeof(CUDA_MEMCPY3D_PEER) == sizeof(CUDA_MEMCPY3D), "one layout");

static CUresult copy_peer(const CUDA_MEMCPY3D_PEER *shape, CUstream stream, bool per_thread, bool synchronous)
{
    CUDA_MEMCPY3D box;
    if (!shape)
        return CUDA_ERROR_INVALID_VALUE;
    if (!sim_is(shape->srcContext, SIM_CONTEXT) || !sim_is(shape->dstContext, SIM_CONTEXT))
        return CUDA_ERROR_INVALID_CONTEXT;
    memcpy(&box, shape, sizeof(box));
    return copy_shape(&box, stream, per_thread, synchronous);
}

SIM_STREAM_API(cuMemcpy3DPeer, cuMemcpy3DPeer_ptds, (const CUDA_MEMCPY3D_PEER *shape), (shape))
{
    SIM_ENTER_CONTEXT(cuMemcpy3DPeer, ctx);
    return copy_peer(shape, NULL, per_thread, true);
}

SIM_STREAM_API(cuMemcpy3DPeerAsync, cuMemcpy3DPeerAsync_ptsz,
               (const CUDA_MEMCPY3D_PEER *shape, CUstream stream), (shape, stream))
{
    SIM_ENTER_CONTEXT(cuMemcpy3DPeerAsync, ctx);
    return copy_peer(shape, stream, per_thread, false);
}

/* -------- batches: the order inside one is free; here it is that of the list -------- */

static CUresult copy_batch(CUdeviceptr *to, CUdeviceptr *from, size_t *bytes, size_t count, size_t *failed,
                           CUstream handle, bool per_thread)
{
    if (!to || !from || !bytes || count == 0)
        return CUDA_ERROR_INVALID_VALUE;
    for (size_t i = 0; i < count; i++) {
        CUDA_MEMCPY3D box = {.srcMemoryType = CU_MEMORYTYPE_UNIFIED,
                             .srcDevice = from[i],
                             .dstMemoryType = CU_MEMORYTYPE_UNIFIED,
                             .dstDevice = to[i],
                             .WidthInBytes = bytes[i],
                             .Height = 1,
                             .Depth = 1};
        CUresult result = copy_shape(&box, handle, per_thread, false);
        if (result != CUDA_SUCCESS) {
            if (failed)
                *failed = i;
            return result;
        }
    }
    return CUDA_SUCCESS;
}

SIM_STREAM_API(cuMemcpyBatchAsync, cuMemcpyBatchAsync_ptsz,
               (CUdeviceptr * to, CUdeviceptr *from, size_t *bytes, size_t count, void *attributes,
                size_t *indices, size_t attribute_count, size_t *failed, CUstream stream),
               (to, from, bytes, count, attributes, indices, attribute_count, failed, stream))
{
    SIM_ENTER_CONTEXT(cuMemcpyBatchAsync, ctx);
    return copy_batch(to, from, bytes, count, failed, stream, per_thread);
}

SIM_STREAM_API(cuMemcpyBatchAsync_v2, cuMemcpyBatchAsync_v2_ptsz,
               (CUdeviceptr * to, CUdeviceptr *from, size_t *bytes, size_t count, void *attributes,
                size_t *indices, size_t attribute_count, CUstream stream),
               (to, from, bytes, count, attributes, indices, attribute_count, stream))
{
    SIM_ENTER_CONTEXT(cuMemcpyBatchAsync_v2, ctx);
    return copy_batch(to, from, bytes, count, NULL, stream, per_thread);
}
