/* tiles.c -- physical memory mapped to arrays: a tile keeps it until the tile is mapped anew, unmapped, or gone
 * with its array.
 *
 * The mapping changes when the stream comes to it; so does the charge of what nothing keeps after that. */
#include "hooks.h"
#include "physical.h"
#include "region.h"

#define ALL UINT64_MAX

static uint64_t name_of(const CUarrayMapInfo *info)
{
    return gs_name(GS_NAME_ARRAY, info->resourceType == CU_RESOURCE_TYPE_ARRAY
                                      ? (uint64_t)info->resource.array
                                      : (uint64_t)info->resource.mipmap);
}

static int is_sparse(const CUarrayMapInfo *info, CUDA_ARRAY_SPARSE_PROPERTIES *sparse)
{
    return info->resourceType == CU_RESOURCE_TYPE_ARRAY
               ? !REAL(cuArrayGetSparseProperties)(sparse, info->resource.array)
               : !REAL(cuMipmappedArrayGetSparseProperties)(sparse, info->resource.mipmap);
}

/* At the edge of an array a tile may be named whole, or as far as the array goes. */
static void span(struct gs_part *part, int i, uint64_t from, uint64_t extent, uint64_t tile)
{
    uint64_t to = from + extent;

    part->from[i] = from;
    part->to[i] = tile ? (to + tile - 1) / tile * tile : to;
}

static struct gs_part part_of(const CUarrayMapInfo *info)
{
    CUDA_ARRAY_SPARSE_PROPERTIES sparse = {0};
    struct gs_part part = {.to = {ALL, 1, 1}};

    if (!is_sparse(info, &sparse)) /* mapped all at once */
        return part;
    if (info->subresourceType != CU_ARRAY_SPARSE_SUBRESOURCE_TYPE_LEVEL) {
        part.where = info->subresource.miptail.layer;
        span(&part, 0, info->subresource.miptail.offset, info->subresource.miptail.size, 0);
        return part;
    }
    part.where =
        (uint64_t)(info->subresource.sparseLevel.level + 1) << 32 | info->subresource.sparseLevel.layer;
    span(&part, 0, info->subresource.sparseLevel.offsetX, info->subresource.sparseLevel.extentWidth,
         sparse.tileExtent.width);
    span(&part, 1, info->subresource.sparseLevel.offsetY, info->subresource.sparseLevel.extentHeight,
         sparse.tileExtent.height);
    span(&part, 2, info->subresource.sparseLevel.offsetZ, info->subresource.sparseLevel.extentDepth,
         sparse.tileExtent.depth);
    return part;
}

static uint32_t hold_memory(const CUarrayMapInfo *info)
{
    return info->memOperationType == CU_MEM_OPERATION_TYPE_MAP
               ? gs_physical_hold(gs_name(GS_NAME_HANDLE, info->memHandle.memHandle))
               : 0;
}

/* `replaces`: what was mapped there is no more. */
static void note(const CUarrayMapInfo *info, CUcontext context, CUstream stream, int replaces)
{
    uint32_t memory = hold_memory(info);
    uint32_t array =
        memory ? gs_physical_hold_keeper(name_of(info), context) : gs_physical_hold(name_of(info));
    struct gs_part part;

    if (array) {
        part = part_of(info);
        if (replaces)
            gs_physical_leave(array, &part, stream);
    }
    if (!memory || (array && gs_physical_keep(array, memory, &part)))
        gs_physical_drop(memory); /* else there is no memory to note it, and it is charged for good */
    gs_physical_drop(array);
}

/* Nothing of it goes before it has been noted. */
static void hold_all(const CUarrayMapInfo *list, unsigned int count)
{
    for (unsigned int i = 0; i < count; i++)
        hold_memory(&list[i]);
}

static void drop_all(const CUarrayMapInfo *list, unsigned int count)
{
    for (unsigned int i = 0; i < count; i++) {
        uint32_t memory = hold_memory(&list[i]);

        gs_physical_drop(memory);
        gs_physical_drop(memory);
    }
}

/* Of a list that was refused, the first ones may have been carried out. */
static CUresult mapped(CUresult result, const CUarrayMapInfo *list, unsigned int count, CUstream stream)
{
    CUcontext context = NULL;

    REAL(cuCtxGetCurrent)(&context);
    for (unsigned int i = 0; i < count && (!result || count > 1); i++)
        note(&list[i], context, stream, !result);
    drop_all(list, count);
    return result;
}

GSHARE_HOOK(cuMemMapArrayAsync, (CUarrayMapInfo * mapInfoList, unsigned int count, CUstream hStream))
{
    if (!gs_region() || !mapInfoList)
        return REAL(cuMemMapArrayAsync)(mapInfoList, count, hStream);
    hold_all(mapInfoList, count);
    return mapped(REAL(cuMemMapArrayAsync)(mapInfoList, count, hStream), mapInfoList, count,
                  hStream ? hStream : CU_STREAM_LEGACY);
}

GSHARE_HOOK(cuMemMapArrayAsync_ptsz, (CUarrayMapInfo * mapInfoList, unsigned int count, CUstream hStream))
{
    if (!gs_region() || !mapInfoList)
        return REAL(cuMemMapArrayAsync_ptsz)(mapInfoList, count, hStream);
    hold_all(mapInfoList, count);
    return mapped(REAL(cuMemMapArrayAsync_ptsz)(mapInfoList, count, hStream), mapInfoList, count,
                  hStream ? hStream : CU_STREAM_PER_THREAD);
}
