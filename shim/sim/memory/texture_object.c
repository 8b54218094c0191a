/* texture_object.c -- texture and surface objects: small numbers, as the device's tables of descriptors have them. */
#include "address.h"
#include "texture.h"

#include <stdlib.h>

struct object {
    struct sim_context *context; /* NULL: a free place */
    CUDA_RESOURCE_DESC resource;
    CUDA_TEXTURE_DESC texture;
    CUDA_RESOURCE_VIEW_DESC view;
    bool has_view;
};

/* The object n is place[n - 1]. */
struct table {
    struct object **place;
    size_t count;
};

static struct table textures, surfaces; /* under sim_memory_lock */

static unsigned long long add(struct table *table, const struct object *object)
{
    size_t at = 0;
    while (at < table->count && table->place[at]->context)
        at++;
    if (at == table->count) {
        struct object **longer = realloc(table->place, (at + 1) * sizeof(*longer));
        if (!longer)
            return 0;
        table->place = longer;
        if (!(table->place[at] = malloc(sizeof(struct object))))
            return 0;
        table->count++;
    }
    *table->place[at] = *object;
    return at + 1;
}

static struct object *find(const struct table *table, unsigned long long number)
{
    struct object *object = number && number <= table->count ? table->place[number - 1] : NULL;
    return object && object->context ? object : NULL;
}

static CUresult create(struct table *table, const struct object *object, unsigned long long *out)
{
    pthread_mutex_lock(&sim_memory_lock);
    *out = add(table, object);
    pthread_mutex_unlock(&sim_memory_lock);
    return *out ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

static CUresult destroy(struct table *table, unsigned long long number)
{
    pthread_mutex_lock(&sim_memory_lock);
    struct object *object = find(table, number);
    if (object)
        object->context = NULL;
    pthread_mutex_unlock(&sim_memory_lock);
    return object ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

static CUresult look(const struct table *table, unsigned long long number, struct object *copy)
{
    pthread_mutex_lock(&sim_memory_lock);
    const struct object *object = find(table, number);
    if (object)
        *copy = *object;
    pthread_mutex_unlock(&sim_memory_lock);
    return object ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

void sim_textures_forget(struct sim_context *ctx)
{
    struct table *const tables[] = {&textures, &surfaces};
    pthread_mutex_lock(&sim_memory_lock);
    for (int t = 0; t < 2; t++)
        for (size_t i = 0; i < tables[t]->count; i++)
            if (tables[t]->place[i]->context == ctx)
                tables[t]->place[i]->context = NULL;
    pthread_mutex_unlock(&sim_memory_lock);
}

/* -------- textures -------- */

SIM_API(cuTexObjectCreate, (CUtexObject * out, const CUDA_RESOURCE_DESC *resource,
                            const CUDA_TEXTURE_DESC *texture, const CUDA_RESOURCE_VIEW_DESC *view))
{
    SIM_ENTER_CONTEXT(cuTexObjectCreate, ctx);
    if (!out || !resource || !texture)
        return CUDA_ERROR_INVALID_VALUE;
    SIM_TRY(sim_resource_check(ctx->device, resource));
    SIM_TRY(sim_texture_check(resource, texture));
    struct object object = {.context = ctx->root, .resource = *resource, .texture = *texture};
    if (view) {
        SIM_TRY(sim_view_check(resource, view));
        object.view = *view;
        object.has_view = true;
    }
    return create(&textures, &object, out);
}

SIM_API(cuTexObjectDestroy, (CUtexObject number))
{
    SIM_ENTER_CONTEXT(cuTexObjectDestroy, ctx);
    return destroy(&textures, number);
}

SIM_API(cuTexObjectGetResourceDesc, (CUDA_RESOURCE_DESC * resource, CUtexObject number))
{
    SIM_ENTER_CONTEXT(cuTexObjectGetResourceDesc, ctx);
    struct object object;
    if (!resource)
        return CUDA_ERROR_INVALID_VALUE;
    SIM_TRY(look(&textures, number, &object));
    *resource = object.resource;
    return CUDA_SUCCESS;
}

SIM_API(cuTexObjectGetTextureDesc, (CUDA_TEXTURE_DESC * texture, CUtexObject number))
{
    SIM_ENTER_CONTEXT(cuTexObjectGetTextureDesc, ctx);
    struct object object;
    if (!texture)
        return CUDA_ERROR_INVALID_VALUE;
    SIM_TRY(look(&textures, number, &object));
    *texture = object.texture;
    return CUDA_SUCCESS;
}

SIM_API(cuTexObjectGetResourceViewDesc, (CUDA_RESOURCE_VIEW_DESC * view, CUtexObject number))
{
    SIM_ENTER_CONTEXT(cuTexObjectGetResourceViewDesc, ctx);
    struct object object;
    if (!view)
        return CUDA_ERROR_INVALID_VALUE;
    SIM_TRY(look(&textures, number, &object));
    if (!object.has_view)
        return CUDA_ERROR_INVALID_VALUE;
    *view = object.view;
    return CUDA_SUCCESS;
}

/* -------- surfaces -------- */

SIM_API(cuSurfObjectCreate, (CUsurfObject * out, const CUDA_RESOURCE_DESC *resource))
{
    SIM_ENTER_CONTEXT(cuSurfObjectCreate, ctx);
    if (!out || !resource || resource->resType != CU_RESOURCE_TYPE_ARRAY)
        return CUDA_ERROR_INVALID_VALUE;
    SIM_TRY(sim_resource_check(ctx->device, resource));
    if (!(resource->res.array.hArray->desc.Flags & CUDA_ARRAY3D_SURFACE_LDST))
        return CUDA_ERROR_INVALID_VALUE;
    const struct object object = {.context = ctx->root, .resource = *resource};
    return create(&surfaces, &object, out);
}

SIM_API(cuSurfObjectDestroy, (CUsurfObject number))
{
    SIM_ENTER_CONTEXT(cuSurfObjectDestroy, ctx);
    return destroy(&surfaces, number);
}

SIM_API(cuSurfObjectGetResourceDesc, (CUDA_RESOURCE_DESC * resource, CUsurfObject number))
{
    SIM_ENTER_CONTEXT(cuSurfObjectGetResourceDesc, ctx);
    struct object object;
    if (!resource)
        return CUDA_ERROR_INVALID_VALUE;
    SIM_TRY(look(&surfaces, number, &object));
    *resource = object.resource;
    return CUDA_SUCCESS;
}
