/* arrays.c -- arrays, mipmaps, and arrays whose memory comes tile by tile. */
#include "doors.h"

enum { SIDE = 1024, TILE = 256 };

static const int formats[] = {CU_AD_FORMAT_UNSIGNED_INT8,  CU_AD_FORMAT_UNSIGNED_INT16,
                              CU_AD_FORMAT_UNSIGNED_INT32, CU_AD_FORMAT_SIGNED_INT8,
                              CU_AD_FORMAT_SIGNED_INT16,   CU_AD_FORMAT_SIGNED_INT32,
                              CU_AD_FORMAT_HALF,           CU_AD_FORMAT_FLOAT};
static const unsigned flags[] = {0, 0, CUDA_ARRAY3D_LAYERED, CUDA_ARRAY3D_SURFACE_LDST, CUDA_ARRAY3D_CUBEMAP};

/* No lines: of these only a bound is known (test_array.py). */
static CUDA_ARRAY3D_DESCRIPTOR some_shape(struct actor *a)
{
    CUDA_ARRAY3D_DESCRIPTOR shape = {.Width = 1 + below(a, 1500),
                                     .Height = 1 + below(a, 1500),
                                     .Depth = one_in(a, 2) ? 0 : below(a, 8),
                                     .Format = formats[below(a, 8)],
                                     .NumChannels = 1u << below(a, 3),
                                     .Flags = flags[below(a, 5)]};

    if (shape.Flags == CUDA_ARRAY3D_CUBEMAP) {
        shape.Height = shape.Width;
        shape.Depth = 6;
    }
    return shape;
}

void array_make(struct actor *a)
{
    struct held made = {.kind = ARRAY, .device = a->at->device, .home = home_of(a->at)};
    CUDA_ARRAY3D_DESCRIPTOR shape = some_shape(a);
    CUDA_ARRAY_DESCRIPTOR flat = {shape.Width, shape.Height, shape.Format, shape.NumChannels};
    CUresult result;

    switch (below(a, 4)) {
    case 0:
        result = DO(cuArrayCreate_v2, (CUarray *)&made.handle, &flat);
        break;
    case 1:
        made.kind = MIPMAP;
        result = DO(cuMipmappedArrayCreate, (CUmipmappedArray *)&made.handle, &shape, 1 + below(a, 5));
        break;
    case 2:
        made.kind = SPARSE;
        shape = (CUDA_ARRAY3D_DESCRIPTOR){SIDE, SIDE, 0, CU_AD_FORMAT_UNSIGNED_INT8, 1, CUDA_ARRAY3D_SPARSE};
        result = DO(cuArray3DCreate_v2, (CUarray *)&made.handle, &shape);
        break;
    default:
        result = DO(cuArray3DCreate_v2, (CUarray *)&made.handle, &shape);
    }
    if (result == CUDA_SUCCESS)
        keep(&made);
}

void array_destroy(struct actor *a)
{
    struct held held;

    if (take(a, ARRAY + below(a, 3), home_of(a->at), -1, &held))
        let_go(a, &held);
}

/* Maps memory behind some tiles, or takes it away from them. */
void tiles_change(struct actor *a)
{
    struct held array, memory = {0};
    CUarrayMapInfo info = {.resourceType = CU_RESOURCE_TYPE_ARRAY,
                           .memOperationType =
                               one_in(a, 3) ? CU_MEM_OPERATION_TYPE_UNMAP : CU_MEM_OPERATION_TYPE_MAP,
                           .offset = below(a, 16) * (64 << 10),
                           .deviceBitMask = 1u << a->at->device};
    bool maps = info.memOperationType == CU_MEM_OPERATION_TYPE_MAP;

    if (!take(a, SPARSE, home_of(a->at), -1, &array))
        return;
    info.resource.array = (CUarray)array.handle;
    info.subresource.sparseLevel.offsetX = below(a, SIDE / TILE) * TILE;
    info.subresource.sparseLevel.offsetY = below(a, SIDE / TILE) * TILE;
    info.subresource.sparseLevel.extentWidth = info.subresource.sparseLevel.extentHeight = TILE;
    info.subresource.sparseLevel.extentDepth = 1;
    if (!maps || take(a, HANDLE, ANYWHERE, a->at->device, &memory)) {
        info.memHandle.memHandle = memory.handle;
        DO(cuMemMapArrayAsync, &info, 1, a->lane);
    }
    if (memory.handle)
        keep(&memory);
    keep(&array);
}

bool end_array(struct actor *a, const struct held *held)
{
    return (held->kind == MIPMAP ? DO(cuMipmappedArrayDestroy, (CUmipmappedArray)held->handle)
                                 : DO(cuArrayDestroy, (CUarray)held->handle)) == CUDA_SUCCESS;
}
