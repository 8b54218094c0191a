/* copy_shape.c -- copies of rectangles and boxes between host memory, device memory and arrays. */
#include "array.h"
#include "copy.h"
#include "process.h"

#include <string.h>

#define MAX_PITCH 2147483647ull /* as CU_DEVICE_ATTRIBUTE_MAX_PITCH says */

struct side {
    CUmemorytype type;
    CUdeviceptr host, device; /* host memory as an address too */
    CUarray array;
    size_t x, y, z, level, pitch, height;
};

static bool holds(uint64_t extent, size_t first, size_t count)
{
    return first <= extent && count <= extent - first;
}

static CUresult locate_in_array(const struct side *side, const CUDA_MEMCPY3D *shape, char **base,
                                uint64_t *pitch, uint64_t *slice, uint8_t *host)
{
    if (!sim_is(side->array, SIM_ARRAY) || !sim_array_copyable(side->array))
        return CUDA_ERROR_INVALID_VALUE;
    const struct sim_layout *l = &side->array->layout;
    if (side->x % l->element_bytes || shape->WidthInBytes % l->element_bytes ||
        !holds(l->columns * l->element_bytes, side->x, shape->WidthInBytes) ||
        !holds(l->rows, side->y, shape->Height) || !holds(l->slices, side->z, shape->Depth))
        return CUDA_ERROR_INVALID_VALUE;
    *host = 0;
    *pitch = l->pitch;
    *slice = l->slice;
    *base = side->array->base + side->z * l->slice + side->y * l->pitch + side->x;
    return CUDA_SUCCESS;
}

/* Where the box begins in that side's memory. */
static CUresult locate(const struct side *side, const CUDA_MEMCPY3D *shape, char **base, uint64_t *pitch,
                       uint64_t *slice, uint8_t *host)
{
    CUdeviceptr start;
    if (side->level != 0)
        return CUDA_ERROR_INVALID_VALUE;
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
    case CU_MEMORYTYPE_ARRAY:
        return locate_in_array(side, shape, base, pitch, slice, host);
    default:
        return CUDA_ERROR_INVALID_VALUE;
    }
    size_t row = side->pitch ? side->pitch : side->x + shape->WidthInBytes;
    size_t rows = side->height ? side->height : side->y + shape->Height;
    if (!start || side->pitch > MAX_PITCH || !holds(row, side->x, shape->WidthInBytes) ||
        !holds(rows, side->y, shape->Height))
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
    struct side from = {.type = shape->srcMemoryType,
                        .host = (CUdeviceptr)shape->srcHost,
                        .device = shape->srcDevice,
                        .array = shape->srcArray,
                        .x = shape->srcXInBytes,
                        .y = shape->srcY,
                        .z = shape->srcZ,
                        .level = shape->srcLOD,
                        .pitch = shape->srcPitch,
                        .height = shape->srcHeight};
    struct side to = {.type = shape->dstMemoryType,
                      .host = (CUdeviceptr)shape->dstHost,
                      .device = shape->dstDevice,
                      .array = shape->dstArray,
                      .x = shape->dstXInBytes,
                      .y = shape->dstY,
                      .z = shape->dstZ,
                      .level = shape->dstLOD,
                      .pitch = shape->dstPitch,
                      .height = shape->dstHeight};
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

CUresult sim_copy_3d(const CUDA_MEMCPY3D *shape, CUstream handle, bool per_thread, bool synchronous)
{
    if (!shape)
        return CUDA_ERROR_INVALID_VALUE;
    struct sim_stream *stream;
    struct sim_copy copy;
    SIM_TRY(sim_stream_resolve(handle, per_thread, &stream));
    SIM_TRY(sim_copy_from_3d(shape, &copy));
    return sim_copy_submit(stream, &copy, synchronous && (copy.source_host || copy.destination_host));
}

CUresult sim_copy_2d(const CUDA_MEMCPY2D *shape, CUstream handle, bool per_thread, bool synchronous)
{
    if (!shape)
        return CUDA_ERROR_INVALID_VALUE;
    CUDA_MEMCPY3D box = {SIM_SHAPE(shape), .Depth = 1};
    return sim_copy_3d(&box, handle, per_thread, synchronous);
}

#define FLAT(name, twin)                                                                                     \
    SIM_STREAM_API(name, twin, (const CUDA_MEMCPY2D *shape), (shape))                                        \
    {                                                                                                        \
        SIM_ENTER_CONTEXT(name, ctx);                                                                        \
        return sim_copy_2d(shape, NULL, per_thread, true);                                                   \
    }

FLAT(cuMemcpy2D_v2, cuMemcpy2D_v2_ptds)
FLAT(cuMemcpy2DUnaligned_v2, cuMemcpy2DUnaligned_v2_ptds)

SIM_STREAM_API(cuMemcpy2DAsync_v2, cuMemcpy2DAsync_v2_ptsz, (const CUDA_MEMCPY2D *shape, CUstream stream),
               (shape, stream))
{
    SIM_ENTER_CONTEXT(cuMemcpy2DAsync_v2, ctx);
    return sim_copy_2d(shape, stream, per_thread, false);
}

SIM_STREAM_API(cuMemcpy3D_v2, cuMemcpy3D_v2_ptds, (const CUDA_MEMCPY3D *shape), (shape))
{
    SIM_ENTER_CONTEXT(cuMemcpy3D_v2, ctx);
    return sim_copy_3d(shape, NULL, per_thread, true);
}

SIM_STREAM_API(cuMemcpy3DAsync_v2, cuMemcpy3DAsync_v2_ptsz, (const CUDA_MEMCPY3D *shape, CUstream stream),
               (shape, stream))
{
    SIM_ENTER_CONTEXT(cuMemcpy3DAsync_v2, ctx);
    return sim_copy_3d(shape, stream, per_thread, false);
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
    return sim_copy_3d(&box, stream, per_thread, synchronous);
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
