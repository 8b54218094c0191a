/* sparse.c -- arrays whose memory is mapped to them tile by tile, or all at once later.
 *
 * A tile takes 64 KiB of a pool made by cuMemCreate, and holds the pool's memory as a mapping does.  The bytes of a
 * tile stay in the array's own space: a tile is empty after each change of its mapping, and two arrays that map the
 * same memory do not see each other's data. */
#include "address.h"
#include "array.h"
#include "process.h"

#include <stdlib.h>
#include <string.h>

/* -------- tiles -------- */

static bool is_3d(const CUDA_ARRAY3D_DESCRIPTOR *desc)
{
    return sim_shape_of(desc) == SIM_SHAPE_3D;
}

/* The shapes of 64 KiB that graphics APIs agreed on, by log2 of the bytes of an element. */
static const uint16_t tile_2d[5][2] = {{256, 256}, {256, 128}, {128, 128}, {128, 64}, {64, 64}};
static const uint16_t tile_3d[5][3] = {{64, 32, 32}, {32, 32, 32}, {32, 32, 16}, {32, 16, 16}, {16, 16, 16}};

static uint64_t pieces(uint64_t extent, uint64_t piece)
{
    return (extent + piece - 1) / piece;
}

struct sim_tiling sim_tiling_of(const CUDA_ARRAY3D_DESCRIPTOR *desc, unsigned levels)
{
    struct sim_layout whole = sim_layout_of(desc);
    unsigned size = (unsigned)__builtin_ctz(whole.element_bytes);
    struct sim_tiling t = {.width = tile_2d[size][0],
                           .height = tile_2d[size][1],
                           .depth = 1,
                           .layers = sim_shape_layered(desc) ? desc->Depth : 1};
    if (is_3d(desc)) {
        t.width = tile_3d[size][0];
        t.height = tile_3d[size][1];
        t.depth = tile_3d[size][2];
    }
    uint64_t tail_bytes = 0;
    for (unsigned level = 0; level < levels; level++) {
        CUDA_ARRAY3D_DESCRIPTOR part = sim_shape_level(desc, level);
        struct sim_layout l = sim_layout_of(&part);
        uint64_t depth = is_3d(desc) ? l.slices : 1;
        if (tail_bytes == 0 && l.columns >= t.width && l.rows >= t.height && depth >= t.depth) {
            t.level_tiles[level] =
                pieces(l.columns, t.width) * pieces(l.rows, t.height) * pieces(depth, t.depth);
            t.tail_level = level + 1;
        } else
            tail_bytes += l.slice * depth;
        t.layer_tiles += t.level_tiles[level];
    }
    t.tail_tiles = pieces(tail_bytes, SIM_ARRAY_PAGE);
    t.layer_tiles += t.tail_tiles;
    return t;
}

void sim_tiles_drop(struct sim_storage *storage)
{
    for (uint64_t i = 0; storage->mapped_tiles && i < storage->tile_count; i++)
        if (storage->tile[i]) {
            sim_physical_let_go(storage->tile[i]);
            storage->mapped_tiles--;
        }
}

/* -------- what a program can ask -------- */

SIM_API(cuArrayGetSparseProperties, (CUDA_ARRAY_SPARSE_PROPERTIES * properties, CUarray array))
{
    SIM_ENTER(cuArrayGetSparseProperties);
    if (!properties || !sim_is(array, SIM_ARRAY) || array->part || !(array->desc.Flags & CUDA_ARRAY3D_SPARSE))
        return CUDA_ERROR_INVALID_VALUE;
    struct sim_tiling t = sim_tiling_of(&array->desc, 1);
    *properties = (CUDA_ARRAY_SPARSE_PROPERTIES){.tileExtent = {t.width, t.height, t.depth}};
    if (t.tail_tiles) { /* smaller than a tile: all of it is tail */
        properties->flags = CU_ARRAY_SPARSE_PROPERTIES_SINGLE_MIPTAIL;
        properties->miptailSize = t.tail_tiles * t.layers * SIM_ARRAY_PAGE;
    }
    return CUDA_SUCCESS;
}

SIM_API(cuMipmappedArrayGetSparseProperties,
        (CUDA_ARRAY_SPARSE_PROPERTIES * properties, CUmipmappedArray mipmap))
{
    SIM_ENTER(cuMipmappedArrayGetSparseProperties);
    if (!properties || !sim_is(mipmap, SIM_MIPMAP) || !(mipmap->desc.Flags & CUDA_ARRAY3D_SPARSE))
        return CUDA_ERROR_INVALID_VALUE;
    struct sim_tiling t = sim_tiling_of(&mipmap->desc, mipmap->levels);
    *properties = (CUDA_ARRAY_SPARSE_PROPERTIES){.tileExtent = {t.width, t.height, t.depth},
                                                 .miptailFirstLevel = t.tail_level,
                                                 .miptailSize = t.tail_tiles * SIM_ARRAY_PAGE};
    return CUDA_SUCCESS;
}

/* -------- mapping -------- */

/* What one CUarrayMapInfo is about. */
struct target {
    struct sim_storage *storage;
    const CUDA_ARRAY3D_DESCRIPTOR *desc;
    struct sim_array *const *level;
    unsigned levels;
    bool single_tail;
    struct sim_tiling tiling;
};

/* Back one tile by `held`, or by nothing. */
static void set_tile(struct sim_storage *storage, uint64_t index, void *held)
{
    void *before = storage->tile[index];
    storage->tile[index] = held;
    storage->mapped_tiles += (held != NULL) - (before != NULL);
    if (before)
        sim_physical_let_go(before);
}

static void clear_tile(const struct sim_array *array, const struct sim_tiling *t, uint64_t x, uint64_t y,
                       uint64_t z, unsigned layer)
{
    const struct sim_layout *l = &array->layout;
    uint64_t columns = l->columns - x < t->width ? l->columns - x : t->width;
    uint64_t rows = l->rows - y < t->height ? l->rows - y : t->height;
    uint64_t slices = l->slices - z < t->depth ? l->slices - z : t->depth;
    for (uint64_t s = 0; s < slices; s++)
        for (uint64_t r = 0; r < rows; r++)
            memset(array->base + (z + layer + s) * l->slice + (y + r) * l->pitch + x * l->element_bytes, 0,
                   columns * l->element_bytes);
}

/* The next tile of the operation takes the next 64 KiB of the memory. */
static CUresult change_tile(const struct target *target, const CUarrayMapInfo *info, uint64_t index,
                            uint64_t *offset)
{
    void *held = NULL;
    *offset += SIM_ARRAY_PAGE;
    if (info->memOperationType == CU_MEM_OPERATION_TYPE_MAP)
        SIM_TRY(sim_physical_hold(info->memHandle.memHandle, target->storage->device, *offset, &held));
    set_tile(target->storage, index, held);
    return CUDA_SUCCESS;
}

static bool aligned(uint64_t offset, uint64_t extent, uint64_t tile, uint64_t whole)
{
    return offset % tile == 0 && extent > 0 && offset + extent <= pieces(whole, tile) * tile &&
           (extent % tile == 0 || offset + extent == whole);
}

static CUresult change_level(const struct target *target, const CUarrayMapInfo *info)
{
    const struct sim_tiling *t = &target->tiling;
    unsigned level = info->subresource.sparseLevel.level, layer = info->subresource.sparseLevel.layer;
    uint64_t x0 = info->subresource.sparseLevel.offsetX, width = info->subresource.sparseLevel.extentWidth;
    uint64_t y0 = info->subresource.sparseLevel.offsetY, height = info->subresource.sparseLevel.extentHeight;
    uint64_t z0 = info->subresource.sparseLevel.offsetZ, depth = info->subresource.sparseLevel.extentDepth;
    if (level >= t->tail_level || layer >= t->layers)
        return CUDA_ERROR_INVALID_VALUE;
    const struct sim_layout *l = &target->level[level]->layout;
    uint64_t slices = is_3d(target->desc) ? l->slices : 1;
    if (!aligned(x0, width, t->width, l->columns) || !aligned(y0, height, t->height, l->rows) ||
        !aligned(z0, depth, t->depth, slices))
        return CUDA_ERROR_INVALID_VALUE;
    uint64_t first = layer * t->level_tiles[level], offset = info->offset;
    for (unsigned before = 0; before < level; before++)
        first += t->level_tiles[before] * t->layers;
    uint64_t across = pieces(l->columns, t->width), down = pieces(l->rows, t->height);
    for (uint64_t z = z0; z < z0 + depth; z += t->depth)
        for (uint64_t y = y0; y < y0 + height; y += t->height)
            for (uint64_t x = x0; x < x0 + width; x += t->width) {
                uint64_t place = (z / t->depth * down + y / t->height) * across + x / t->width;
                SIM_TRY(change_tile(target, info, first + place, &offset));
                clear_tile(target->level[level], t, x, y, z, layer);
            }
    return CUDA_SUCCESS;
}

static CUresult change_tail(const struct target *target, const CUarrayMapInfo *info)
{
    const struct sim_tiling *t = &target->tiling;
    uint64_t from = info->subresource.miptail.offset, bytes = info->subresource.miptail.size;
    uint64_t layers = target->single_tail ? 1 : t->layers;
    uint64_t tiles = target->single_tail ? t->tail_tiles * t->layers : t->tail_tiles;
    unsigned layer = info->subresource.miptail.layer;
    if (layer >= layers || from % SIM_ARRAY_PAGE || bytes % SIM_ARRAY_PAGE || bytes == 0 ||
        from + bytes > tiles * SIM_ARRAY_PAGE)
        return CUDA_ERROR_INVALID_VALUE;
    uint64_t first = (t->layer_tiles - t->tail_tiles) * t->layers + layer * tiles + from / SIM_ARRAY_PAGE;
    uint64_t offset = info->offset;
    for (uint64_t i = 0; i < bytes / SIM_ARRAY_PAGE; i++)
        SIM_TRY(change_tile(target, info, first + i, &offset));
    return CUDA_SUCCESS;
}

static CUresult change_all(const struct target *target, const CUarrayMapInfo *info)
{
    void *held = NULL;
    if (info->memOperationType == CU_MEM_OPERATION_TYPE_MAP)
        SIM_TRY(sim_physical_hold(info->memHandle.memHandle, target->storage->device,
                                  info->offset + target->storage->bytes, &held));
    set_tile(target->storage, 0, held);
    return CUDA_SUCCESS;
}

static CUresult take_target(const CUarrayMapInfo *info, struct target *target)
{
    if (info->resourceType == CU_RESOURCE_TYPE_ARRAY) {
        struct sim_array *const *array = &info->resource.array;
        if (!sim_is(*array, SIM_ARRAY))
            return CUDA_ERROR_INVALID_HANDLE;
        if ((*array)->part)
            return CUDA_ERROR_INVALID_VALUE;
        *target = (struct target){(*array)->storage, &(*array)->desc, array, 1, true, {0}};
    } else if (info->resourceType == CU_RESOURCE_TYPE_MIPMAPPED_ARRAY) {
        struct sim_mipmap *mipmap = info->resource.mipmap;
        if (!sim_is(mipmap, SIM_MIPMAP))
            return CUDA_ERROR_INVALID_HANDLE;
        *target = (struct target){mipmap->storage, &mipmap->desc, mipmap->level, mipmap->levels, false, {0}};
    } else
        return CUDA_ERROR_INVALID_VALUE;
    return target->storage->charged ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
}

static CUresult check(const CUarrayMapInfo *info, CUdevice device)
{
    bool map = info->memOperationType == CU_MEM_OPERATION_TYPE_MAP;
    if ((!map && info->memOperationType != CU_MEM_OPERATION_TYPE_UNMAP) || info->memHandleType != 0 ||
        info->flags || info->reserved[0] || info->reserved[1] || info->deviceBitMask != 1u << device ||
        info->offset % SIM_ARRAY_PAGE)
        return CUDA_ERROR_INVALID_VALUE;
    return map == (info->memHandle.memHandle != 0) ? CUDA_SUCCESS
           : map                                   ? CUDA_ERROR_INVALID_HANDLE
                                                   : CUDA_ERROR_INVALID_VALUE;
}

/* With the lock held. */
static CUresult change(const CUarrayMapInfo *info, CUdevice device)
{
    struct target target;
    SIM_TRY(check(info, device));
    SIM_TRY(take_target(info, &target));
    struct sim_storage *storage = target.storage;
    if (storage->device != device)
        return CUDA_ERROR_INVALID_VALUE;
    if (!storage->tile && !(storage->tile = calloc(storage->tile_count, sizeof(*storage->tile))))
        return CUDA_ERROR_OUT_OF_MEMORY;
    if (storage->flags & CUDA_ARRAY3D_DEFERRED_MAPPING)
        return change_all(&target, info);
    target.tiling = sim_tiling_of(target.desc, target.levels);
    switch (info->subresourceType) {
    case CU_ARRAY_SPARSE_SUBRESOURCE_TYPE_SPARSE_LEVEL:
        return change_level(&target, info);
    case CU_ARRAY_SPARSE_SUBRESOURCE_TYPE_MIPTAIL:
        return change_tail(&target, info);
    default:
        return CUDA_ERROR_INVALID_VALUE;
    }
}

/* The mapping changes when the work before it in the stream is done: this call waits for that. */
SIM_STREAM_API(cuMemMapArrayAsync, cuMemMapArrayAsync_ptsz,
               (CUarrayMapInfo * list, unsigned count, CUstream handle), (list, count, handle))
{
    SIM_ENTER_CONTEXT(cuMemMapArrayAsync, ctx);
    struct sim_stream *stream;
    if (!list || count == 0)
        return CUDA_ERROR_INVALID_VALUE;
    SIM_TRY(sim_stream_resolve(handle, per_thread, &stream));
    if (stream->capture)
        return sim_capture_forbids(stream);
    SIM_TRY(sim_stream_synchronize(stream));
    CUresult result = CUDA_SUCCESS;
    pthread_mutex_lock(&sim_memory_lock);
    for (unsigned i = 0; i < count && result == CUDA_SUCCESS; i++)
        result = change(&list[i], stream->context->device);
    pthread_mutex_unlock(&sim_memory_lock);
    return result;
}
