/* array.c -- arrays: made, described, taken apart into planes, destroyed. */
#include "array.h"
#include "address.h"
#include "process.h"

#include <stdlib.h>

static struct sim_array *arrays;

struct sim_array *sim_array_part(struct sim_context *ctx, const CUDA_ARRAY3D_DESCRIPTOR *desc,
                                 struct sim_layout layout, char *base, struct sim_storage *storage)
{
    struct sim_array *array = sim_object_new(SIM_ARRAY, sizeof(*array));
    if (array) {
        array->part = true;
        array->context = ctx;
        array->desc = *desc;
        array->format = sim_format_find(desc->Format);
        array->layout = layout;
        array->base = base;
        array->storage = storage;
    }
    return array;
}

void sim_array_free(struct sim_array *array)
{
    for (int plane = 0; plane < SIM_MAX_PLANES; plane++)
        if (array->plane[plane])
            sim_object_free(array->plane[plane]);
    sim_object_free(array);
}

bool sim_array_copyable(const struct sim_array *array)
{
    const struct sim_storage *storage = array->storage;
    return array->format->planes == 1 &&
           (!(storage->flags & CUDA_ARRAY3D_DEFERRED_MAPPING) || storage->mapped_tiles > 0);
}

static CUresult create(struct sim_context *ctx, const CUDA_ARRAY3D_DESCRIPTOR *desc, CUarray *out)
{
    SIM_TRY(sim_shape_check(ctx->device, desc, false));
    SIM_TRY(sim_capture_unsafe_call());
    struct sim_layout layout = sim_layout_of(desc);
    struct sim_storage *storage;
    uint64_t bytes = layout.bytes;
    if (desc->Flags & CUDA_ARRAY3D_SPARSE) { /* whole tiles, whatever the extents */
        struct sim_tiling tiling = sim_tiling_of(desc, 1);
        uint64_t tiled = tiling.layer_tiles * tiling.layers * SIM_ARRAY_PAGE;
        bytes = tiled > bytes ? tiled : bytes;
    }
    SIM_TRY(sim_storage_open(ctx, bytes, desc->Flags, &storage));
    struct sim_array *array = sim_array_part(ctx->root, desc, layout, (char *)storage->base, storage);
    if (!array) {
        sim_storage_close(storage);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    array->part = false;
    pthread_mutex_lock(&sim_memory_lock);
    array->next = arrays;
    array->link = &arrays;
    if (arrays)
        arrays->link = &array->next;
    arrays = array;
    pthread_mutex_unlock(&sim_memory_lock);
    *out = array;
    return CUDA_SUCCESS;
}

/* Out of the list; the caller has waited for work that may still use it. */
static void destroy(struct sim_array *array)
{
    pthread_mutex_lock(&sim_memory_lock);
    *array->link = array->next;
    if (array->next)
        array->next->link = array->link;
    pthread_mutex_unlock(&sim_memory_lock);
    sim_storage_close(array->storage);
    sim_array_free(array);
}

void sim_arrays_forget(struct sim_context *ctx)
{
    for (;;) {
        pthread_mutex_lock(&sim_memory_lock);
        struct sim_array *array = arrays;
        while (array && array->context != ctx)
            array = array->next;
        pthread_mutex_unlock(&sim_memory_lock);
        if (!array)
            return;
        destroy(array);
    }
}

/* -------- the API -------- */

SIM_API(cuArray3DCreate_v2, (CUarray * array, const CUDA_ARRAY3D_DESCRIPTOR *desc))
{
    SIM_ENTER_CONTEXT(cuArray3DCreate_v2, ctx);
    return array && desc ? create(ctx, desc, array) : CUDA_ERROR_INVALID_VALUE;
}

SIM_API(cuArrayCreate_v2, (CUarray * array, const CUDA_ARRAY_DESCRIPTOR *desc))
{
    SIM_ENTER_CONTEXT(cuArrayCreate_v2, ctx);
    if (!array || !desc)
        return CUDA_ERROR_INVALID_VALUE;
    const CUDA_ARRAY3D_DESCRIPTOR box = {.Width = desc->Width,
                                         .Height = desc->Height,
                                         .Format = desc->Format,
                                         .NumChannels = desc->NumChannels};
    return create(ctx, &box, array);
}

SIM_API(cuArray3DGetDescriptor_v2, (CUDA_ARRAY3D_DESCRIPTOR * desc, CUarray array))
{
    SIM_ENTER_CONTEXT(cuArray3DGetDescriptor_v2, ctx);
    if (!desc)
        return CUDA_ERROR_INVALID_VALUE;
    if (!sim_is(array, SIM_ARRAY))
        return CUDA_ERROR_INVALID_HANDLE;
    *desc = array->desc;
    return CUDA_SUCCESS;
}

SIM_API(cuArrayGetDescriptor_v2, (CUDA_ARRAY_DESCRIPTOR * desc, CUarray array))
{
    SIM_ENTER_CONTEXT(cuArrayGetDescriptor_v2, ctx);
    if (!desc)
        return CUDA_ERROR_INVALID_VALUE;
    if (!sim_is(array, SIM_ARRAY))
        return CUDA_ERROR_INVALID_HANDLE;
    *desc = (CUDA_ARRAY_DESCRIPTOR){array->desc.Width, array->desc.Height, array->desc.Format,
                                    array->desc.NumChannels};
    return CUDA_SUCCESS;
}

SIM_API(cuArrayGetMemoryRequirements,
        (CUDA_ARRAY_MEMORY_REQUIREMENTS * requirements, CUarray array, CUdevice device))
{
    SIM_ENTER(cuArrayGetMemoryRequirements);
    if (!requirements || !sim_is(array, SIM_ARRAY) || !sim_device_valid(device) ||
        !(array->desc.Flags & CUDA_ARRAY3D_DEFERRED_MAPPING) || array->part)
        return CUDA_ERROR_INVALID_VALUE;
    *requirements =
        (CUDA_ARRAY_MEMORY_REQUIREMENTS){.size = array->storage->bytes, .alignment = SIM_ARRAY_PAGE};
    return CUDA_SUCCESS;
}

SIM_API(cuArrayGetPlane, (CUarray * out, CUarray array, unsigned plane))
{
    SIM_ENTER_CONTEXT(cuArrayGetPlane, ctx);
    if (!sim_is(array, SIM_ARRAY))
        return CUDA_ERROR_INVALID_HANDLE;
    if (!out || array->format->planes == 1 || plane >= array->format->planes)
        return CUDA_ERROR_INVALID_VALUE;
    pthread_mutex_lock(&sim_memory_lock);
    char *base = array->base;
    CUDA_ARRAY3D_DESCRIPTOR desc;
    struct sim_layout layout = {0};
    for (unsigned p = 0; p <= plane; p++) {
        base += layout.bytes;
        desc = array->desc;
        layout = sim_layout_of_plane(&desc, p);
    }
    if (!array->plane[plane])
        array->plane[plane] = sim_array_part(array->context, &desc, layout, base, array->storage);
    *out = array->plane[plane];
    pthread_mutex_unlock(&sim_memory_lock);
    return *out ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

/* A level of a mipmapped array and a plane go with the whole: by themselves they are no arrays to destroy. */
SIM_API(cuArrayDestroy, (CUarray array))
{
    SIM_ENTER_CONTEXT(cuArrayDestroy, ctx);
    if (!sim_is(array, SIM_ARRAY) || array->part)
        return CUDA_ERROR_INVALID_HANDLE;
    SIM_TRY(sim_capture_unsafe_call());
    SIM_TRY(sim_context_synchronize(ctx));
    if (array->context != ctx)
        SIM_TRY(sim_context_synchronize(array->context));
    destroy(array);
    return CUDA_SUCCESS;
}
