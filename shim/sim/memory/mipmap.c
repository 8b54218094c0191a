/* mipmap.c -- mipmapped arrays: levels one after the other in one piece of memory. */
#include "address.h"
#include "array.h"
#include "process.h"

#define LEVEL_GRAIN 512ull

static struct sim_mipmap *mipmaps;

static uint64_t level_bytes(const CUDA_ARRAY3D_DESCRIPTOR *desc, unsigned level)
{
    CUDA_ARRAY3D_DESCRIPTOR part = sim_shape_level(desc, level);
    return (sim_layout_of(&part).bytes + LEVEL_GRAIN - 1) & ~(LEVEL_GRAIN - 1);
}

static uint64_t total_bytes(const CUDA_ARRAY3D_DESCRIPTOR *desc, unsigned levels)
{
    uint64_t bytes = 0;
    for (unsigned level = 0; level < levels; level++)
        bytes += level_bytes(desc, level);
    if (desc->Flags & CUDA_ARRAY3D_SPARSE) {
        struct sim_tiling tiling = sim_tiling_of(desc, levels);
        uint64_t tiled = tiling.layer_tiles * tiling.layers * SIM_ARRAY_PAGE;
        bytes = tiled > bytes ? tiled : bytes;
    }
    return bytes;
}

static void free_parts(struct sim_mipmap *mipmap)
{
    for (unsigned level = 0; level < mipmap->levels; level++)
        if (mipmap->level[level])
            sim_array_free(mipmap->level[level]);
    sim_storage_close(mipmap->storage);
    sim_object_free(mipmap);
}

static CUresult create(struct sim_context *ctx, const CUDA_ARRAY3D_DESCRIPTOR *desc, unsigned levels,
                       struct sim_mipmap **out)
{
    struct sim_storage *storage;
    SIM_TRY(sim_storage_open(ctx, total_bytes(desc, levels), desc->Flags, &storage));
    struct sim_mipmap *mipmap = sim_object_new(SIM_MIPMAP, sizeof(*mipmap));
    if (!mipmap) {
        sim_storage_close(storage);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    mipmap->levels = levels;
    mipmap->context = ctx->root;
    mipmap->desc = *desc;
    mipmap->storage = storage;
    char *base = (char *)storage->base;
    for (unsigned level = 0; level < levels; level++) {
        CUDA_ARRAY3D_DESCRIPTOR part = sim_shape_level(desc, level);
        mipmap->level[level] = sim_array_part(ctx->root, &part, sim_layout_of(&part), base, storage);
        if (!mipmap->level[level]) {
            free_parts(mipmap);
            return CUDA_ERROR_OUT_OF_MEMORY;
        }
        base += level_bytes(desc, level);
    }
    *out = mipmap;
    return CUDA_SUCCESS;
}

static void destroy(struct sim_mipmap *mipmap)
{
    pthread_mutex_lock(&sim_memory_lock);
    *mipmap->link = mipmap->next;
    if (mipmap->next)
        mipmap->next->link = mipmap->link;
    pthread_mutex_unlock(&sim_memory_lock);
    free_parts(mipmap);
}

void sim_mipmaps_forget(struct sim_context *ctx)
{
    for (;;) {
        pthread_mutex_lock(&sim_memory_lock);
        struct sim_mipmap *mipmap = mipmaps;
        while (mipmap && mipmap->context != ctx)
            mipmap = mipmap->next;
        pthread_mutex_unlock(&sim_memory_lock);
        if (!mipmap)
            return;
        destroy(mipmap);
    }
}

/* -------- the API -------- */

SIM_API(cuMipmappedArrayCreate,
        (CUmipmappedArray * out, const CUDA_ARRAY3D_DESCRIPTOR *desc, unsigned levels))
{
    SIM_ENTER_CONTEXT(cuMipmappedArrayCreate, ctx);
    if (!out || !desc)
        return CUDA_ERROR_INVALID_VALUE;
    SIM_TRY(sim_shape_check(ctx->device, desc, true));
    SIM_TRY(sim_capture_unsafe_call());
    unsigned most = sim_shape_levels(desc);
    SIM_TRY(create(ctx, desc, levels == 0 ? 1 : levels < most ? levels : most, out));
    pthread_mutex_lock(&sim_memory_lock);
    (*out)->next = mipmaps;
    (*out)->link = &mipmaps;
    if (mipmaps)
        mipmaps->link = &(*out)->next;
    mipmaps = *out;
    pthread_mutex_unlock(&sim_memory_lock);
    return CUDA_SUCCESS;
}

SIM_API(cuMipmappedArrayGetLevel, (CUarray * level, CUmipmappedArray mipmap, unsigned number))
{
    SIM_ENTER_CONTEXT(cuMipmappedArrayGetLevel, ctx);
    if (!sim_is(mipmap, SIM_MIPMAP))
        return CUDA_ERROR_INVALID_HANDLE;
    if (!level || number >= mipmap->levels)
        return CUDA_ERROR_INVALID_VALUE;
    *level = mipmap->level[number];
    return CUDA_SUCCESS;
}

SIM_API(cuMipmappedArrayGetMemoryRequirements,
        (CUDA_ARRAY_MEMORY_REQUIREMENTS * requirements, CUmipmappedArray mipmap, CUdevice device))
{
    SIM_ENTER(cuMipmappedArrayGetMemoryRequirements);
    if (!requirements || !sim_is(mipmap, SIM_MIPMAP) || !sim_device_valid(device) ||
        !(mipmap->desc.Flags & CUDA_ARRAY3D_DEFERRED_MAPPING))
        return CUDA_ERROR_INVALID_VALUE;
    *requirements =
        (CUDA_ARRAY_MEMORY_REQUIREMENTS){.size = mipmap->storage->bytes, .alignment = SIM_ARRAY_PAGE};
    return CUDA_SUCCESS;
}

SIM_API(cuMipmappedArrayDestroy, (CUmipmappedArray mipmap))
{
    SIM_ENTER_CONTEXT(cuMipmappedArrayDestroy, ctx);
    if (!sim_is(mipmap, SIM_MIPMAP))
        return CUDA_ERROR_INVALID_HANDLE;
    SIM_TRY(sim_capture_unsafe_call());
    SIM_TRY(sim_context_synchronize(ctx));
    if (mipmap->context != ctx)
        SIM_TRY(sim_context_synchronize(mipmap->context));
    destroy(mipmap);
    return CUDA_SUCCESS;
}
