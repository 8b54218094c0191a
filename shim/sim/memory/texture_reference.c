/* texture_reference.c -- texture and surface references: deprecated since CUDA 12, and still there.
 *
 * Modules of today hold none: cuModuleGetTexRef and cuModuleGetSurfRef find nothing in any image. */
#include "copy.h"
#include "legacy.h"
#include "module.h"
#include "texture.h"

#include <string.h>

enum { TEXTURE_ALIGNMENT = 14, LINEAR_1D_WIDTH = 69 }; /* device attributes */

struct sim_texture_reference {
    uint32_t magic;
    CUDA_RESOURCE_DESC resource; /* of what it is bound to */
    CUDA_TEXTURE_DESC texture;
    bool bound;
    int format;
    unsigned channels;
};

struct sim_surface_reference {
    uint32_t magic;
    CUarray array;
};

#define ENTER_REFERENCE(name, reference, magic)                                                              \
    SIM_ENTER_CONTEXT(name, ctx);                                                                            \
    if (!sim_is(reference, magic))                                                                           \
    return CUDA_ERROR_INVALID_VALUE
#define ENTER_TEXTURE(name) ENTER_REFERENCE(name, reference, SIM_TEXTURE_REFERENCE)

SIM_API(cuTexRefCreate, (CUtexref * reference))
{
    SIM_ENTER_CONTEXT(cuTexRefCreate, ctx);
    if (!reference)
        return CUDA_ERROR_INVALID_VALUE;
    CUtexref r = sim_object_new(SIM_TEXTURE_REFERENCE, sizeof(*r));
    if (!r)
        return CUDA_ERROR_OUT_OF_MEMORY;
    r->format = CU_AD_FORMAT_FLOAT;
    r->channels = 1;
    r->texture.maxAnisotropy = 1;
    *reference = r;
    return CUDA_SUCCESS;
}

SIM_API(cuTexRefDestroy, (CUtexref reference))
{
    ENTER_TEXTURE(cuTexRefDestroy);
    sim_object_free(reference);
    return CUDA_SUCCESS;
}

/* -------- binding -------- */

static void bind(CUtexref reference, const CUDA_RESOURCE_DESC *resource)
{
    reference->resource = *resource;
    reference->bound = true;
}

SIM_API(cuTexRefSetArray, (CUtexref reference, CUarray array, unsigned flags))
{
    ENTER_TEXTURE(cuTexRefSetArray);
    if (!sim_is(array, SIM_ARRAY) || flags != CU_TRSA_OVERRIDE_FORMAT)
        return CUDA_ERROR_INVALID_VALUE;
    bind(reference, &(CUDA_RESOURCE_DESC){.resType = CU_RESOURCE_TYPE_ARRAY, .res.array = {array}});
    reference->format = array->desc.Format;
    reference->channels = array->desc.NumChannels;
    return CUDA_SUCCESS;
}

SIM_API(cuTexRefSetMipmappedArray, (CUtexref reference, CUmipmappedArray mipmap, unsigned flags))
{
    ENTER_TEXTURE(cuTexRefSetMipmappedArray);
    if (!sim_is(mipmap, SIM_MIPMAP) || flags != CU_TRSA_OVERRIDE_FORMAT)
        return CUDA_ERROR_INVALID_VALUE;
    bind(reference,
         &(CUDA_RESOURCE_DESC){.resType = CU_RESOURCE_TYPE_MIPMAPPED_ARRAY, .res.mipmap = {mipmap}});
    reference->format = mipmap->desc.Format;
    reference->channels = mipmap->desc.NumChannels;
    return CUDA_SUCCESS;
}

/* What lies before the address down to where textures may begin is told as an offset. */
SIM_API(cuTexRefSetAddress_v2, (size_t * offset, CUtexref reference, CUdeviceptr address, size_t bytes))
{
    ENTER_TEXTURE(cuTexRefSetAddress_v2);
    size_t before = address % sim_texture_limit(ctx->device, TEXTURE_ALIGNMENT);
    uint32_t texel = sim_texel_bytes(reference->format, reference->channels);
    if (!texel || (before && !offset) || bytes == 0 ||
        bytes / texel > sim_texture_limit(ctx->device, LINEAR_1D_WIDTH))
        return CUDA_ERROR_INVALID_VALUE;
    SIM_TRY(sim_device_range(address, bytes));
    CUDA_RESOURCE_DESC resource = {.resType = CU_RESOURCE_TYPE_LINEAR};
    resource.res.linear.devPtr = address;
    resource.res.linear.sizeInBytes = bytes;
    bind(reference, &resource);
    if (offset)
        *offset = before;
    return CUDA_SUCCESS;
}

SIM_API(cuTexRefSetAddress2D_v3,
        (CUtexref reference, const CUDA_ARRAY_DESCRIPTOR *desc, CUdeviceptr address, size_t pitch))
{
    ENTER_TEXTURE(cuTexRefSetAddress2D_v3);
    if (!desc)
        return CUDA_ERROR_INVALID_VALUE;
    CUDA_RESOURCE_DESC resource = {.resType = CU_RESOURCE_TYPE_PITCH2D};
    resource.res.pitch2D.devPtr = address;
    resource.res.pitch2D.format = desc->Format;
    resource.res.pitch2D.numChannels = desc->NumChannels;
    resource.res.pitch2D.width = desc->Width;
    resource.res.pitch2D.height = desc->Height;
    resource.res.pitch2D.pitchInBytes = pitch;
    SIM_TRY(sim_resource_check(ctx->device, &resource));
    bind(reference, &resource);
    reference->format = desc->Format;
    reference->channels = desc->NumChannels;
    return CUDA_SUCCESS;
}

SIM_API(cuTexRefSetAddress2D_v2,
        (CUtexref reference, const CUDA_ARRAY_DESCRIPTOR *desc, CUdeviceptr address, size_t pitch))
{
    return cuTexRefSetAddress2D_v3(reference, desc, address, pitch);
}

SIM_API(cuTexRefGetAddress_v2, (CUdeviceptr * address, CUtexref reference))
{
    ENTER_TEXTURE(cuTexRefGetAddress_v2);
    CUresourcetype type = reference->resource.resType;
    if (!address || !reference->bound ||
        (type != CU_RESOURCE_TYPE_LINEAR && type != CU_RESOURCE_TYPE_PITCH2D))
        return CUDA_ERROR_INVALID_VALUE;
    *address = type == CU_RESOURCE_TYPE_LINEAR ? reference->resource.res.linear.devPtr
                                               : reference->resource.res.pitch2D.devPtr;
    return CUDA_SUCCESS;
}

SIM_API(cuTexRefGetArray, (CUarray * array, CUtexref reference))
{
    ENTER_TEXTURE(cuTexRefGetArray);
    if (!array || !reference->bound || reference->resource.resType != CU_RESOURCE_TYPE_ARRAY)
        return CUDA_ERROR_INVALID_VALUE;
    *array = reference->resource.res.array.hArray;
    return CUDA_SUCCESS;
}

SIM_API(cuTexRefGetMipmappedArray, (CUmipmappedArray * mipmap, CUtexref reference))
{
    ENTER_TEXTURE(cuTexRefGetMipmappedArray);
    if (!mipmap || !reference->bound || reference->resource.resType != CU_RESOURCE_TYPE_MIPMAPPED_ARRAY)
        return CUDA_ERROR_INVALID_VALUE;
    *mipmap = reference->resource.res.mipmap.hMipmappedArray;
    return CUDA_SUCCESS;
}

/* -------- the spelling of CUDA 2 -------- */

SIM_API(cuTexRefSetAddress, (unsigned *offset, CUtexref reference, CUdeviceptr_v1 address, unsigned bytes))
{
    SIM_TRY(sim_legacy_context());
    size_t wide;
    SIM_TRY(cuTexRefSetAddress_v2(offset ? &wide : NULL, reference, address, bytes));
    if (offset)
        *offset = (unsigned)wide;
    return CUDA_SUCCESS;
}

SIM_API(cuTexRefSetAddress2D,
        (CUtexref reference, const CUDA_ARRAY_DESCRIPTOR_v1 *desc, CUdeviceptr_v1 address, unsigned pitch))
{
    SIM_TRY(sim_legacy_context());
    if (!desc)
        return cuTexRefSetAddress2D_v3(reference, NULL, address, pitch);
    const CUDA_ARRAY_DESCRIPTOR wide = {desc->Width, desc->Height, desc->Format, desc->NumChannels};
    return cuTexRefSetAddress2D_v3(reference, &wide, address, pitch);
}

SIM_API(cuTexRefGetAddress, (CUdeviceptr_v1 * address, CUtexref reference))
{
    SIM_TRY(sim_legacy_context());
    CUdeviceptr wide;
    SIM_TRY(cuTexRefGetAddress_v2(address ? &wide : NULL, reference));
    if (wide > UINT32_MAX)
        return CUDA_ERROR_INVALID_VALUE;
    *address = (CUdeviceptr_v1)wide;
    return CUDA_SUCCESS;
}

/* -------- properties: what is set is told again -------- */

SIM_API(cuTexRefSetFormat, (CUtexref reference, int format, int channels))
{
    ENTER_TEXTURE(cuTexRefSetFormat);
    if (!sim_texel_bytes(format, (unsigned)channels))
        return CUDA_ERROR_INVALID_VALUE;
    reference->format = format;
    reference->channels = (unsigned)channels;
    return CUDA_SUCCESS;
}

SIM_API(cuTexRefGetFormat, (int *format, int *channels, CUtexref reference))
{
    ENTER_TEXTURE(cuTexRefGetFormat);
    if (!format && !channels)
        return CUDA_ERROR_INVALID_VALUE;
    if (format)
        *format = reference->format;
    if (channels)
        *channels = (int)reference->channels;
    return CUDA_SUCCESS;
}

SIM_API(cuTexRefSetAddressMode, (CUtexref reference, int dimension, int mode))
{
    ENTER_TEXTURE(cuTexRefSetAddressMode);
    if (dimension < 0 || dimension > 2 || mode < CU_TR_ADDRESS_MODE_WRAP || mode > CU_TR_ADDRESS_MODE_BORDER)
        return CUDA_ERROR_INVALID_VALUE;
    reference->texture.addressMode[dimension] = mode;
    return CUDA_SUCCESS;
}

SIM_API(cuTexRefGetAddressMode, (int *mode, CUtexref reference, int dimension))
{
    ENTER_TEXTURE(cuTexRefGetAddressMode);
    if (!mode || dimension < 0 || dimension > 2)
        return CUDA_ERROR_INVALID_VALUE;
    *mode = reference->texture.addressMode[dimension];
    return CUDA_SUCCESS;
}

SIM_API(cuTexRefSetFlags, (CUtexref reference, unsigned flags))
{
    ENTER_TEXTURE(cuTexRefSetFlags);
    const unsigned all = CU_TRSF_READ_AS_INTEGER | CU_TRSF_NORMALIZED_COORDINATES | CU_TRSF_SRGB |
                         CU_TRSF_DISABLE_TRILINEAR_OPTIMIZATION;
    if (flags & ~all)
        return CUDA_ERROR_INVALID_VALUE;
    reference->texture.flags = flags;
    return CUDA_SUCCESS;
}

/* Border colors count only where the first address mode is that of borders. */
SIM_API(cuTexRefSetBorderColor, (CUtexref reference, const float *color))
{
    ENTER_TEXTURE(cuTexRefSetBorderColor);
    if (!color || reference->texture.addressMode[0] != CU_TR_ADDRESS_MODE_BORDER)
        return CUDA_ERROR_INVALID_VALUE;
    memcpy(reference->texture.borderColor, color, sizeof(reference->texture.borderColor));
    return CUDA_SUCCESS;
}

SIM_API(cuTexRefGetBorderColor, (float *color, CUtexref reference))
{
    ENTER_TEXTURE(cuTexRefGetBorderColor);
    if (!color)
        return CUDA_ERROR_INVALID_VALUE;
    memcpy(color, reference->texture.borderColor, sizeof(reference->texture.borderColor));
    return CUDA_SUCCESS;
}

SIM_API(cuTexRefSetMipmapLevelClamp, (CUtexref reference, float least, float most))
{
    ENTER_TEXTURE(cuTexRefSetMipmapLevelClamp);
    reference->texture.minMipmapLevelClamp = least;
    reference->texture.maxMipmapLevelClamp = most;
    return CUDA_SUCCESS;
}

SIM_API(cuTexRefGetMipmapLevelClamp, (float *least, float *most, CUtexref reference))
{
    ENTER_TEXTURE(cuTexRefGetMipmapLevelClamp);
    if (!least || !most)
        return CUDA_ERROR_INVALID_VALUE;
    *least = reference->texture.minMipmapLevelClamp;
    *most = reference->texture.maxMipmapLevelClamp;
    return CUDA_SUCCESS;
}

#define SETTER(name, type, field, bad)                                                                       \
    SIM_API(name, (CUtexref reference, type value))                                                          \
    {                                                                                                        \
        ENTER_TEXTURE(name);                                                                                 \
        if (bad)                                                                                             \
            return CUDA_ERROR_INVALID_VALUE;                                                                 \
        reference->texture.field = value;                                                                    \
        return CUDA_SUCCESS;                                                                                 \
    }
#define GETTER(name, type, field)                                                                            \
    SIM_API(name, (type * value, CUtexref reference))                                                        \
    {                                                                                                        \
        ENTER_TEXTURE(name);                                                                                 \
        if (!value)                                                                                          \
            return CUDA_ERROR_INVALID_VALUE;                                                                 \
        *value = (type)reference->texture.field;                                                             \
        return CUDA_SUCCESS;                                                                                 \
    }

SETTER(cuTexRefSetFilterMode, int, filterMode, value & ~1)
SETTER(cuTexRefSetMipmapFilterMode, int, mipmapFilterMode, value & ~1)
SETTER(cuTexRefSetMipmapLevelBias, float, mipmapLevelBias, false)
SETTER(cuTexRefSetMaxAnisotropy, unsigned, maxAnisotropy, false)
GETTER(cuTexRefGetFilterMode, int, filterMode)
GETTER(cuTexRefGetMipmapFilterMode, int, mipmapFilterMode)
GETTER(cuTexRefGetMipmapLevelBias, float, mipmapLevelBias)
GETTER(cuTexRefGetMaxAnisotropy, int, maxAnisotropy)
GETTER(cuTexRefGetFlags, unsigned, flags)

/* -------- surfaces, and modules -------- */

SIM_API(cuSurfRefSetArray, (CUsurfref reference, CUarray array, unsigned flags))
{
    ENTER_REFERENCE(cuSurfRefSetArray, reference, SIM_SURFACE_REFERENCE);
    if (!sim_is(array, SIM_ARRAY) || !(array->desc.Flags & CUDA_ARRAY3D_SURFACE_LDST) || flags != 0)
        return CUDA_ERROR_INVALID_VALUE;
    reference->array = array;
    return CUDA_SUCCESS;
}

SIM_API(cuSurfRefGetArray, (CUarray * array, CUsurfref reference))
{
    ENTER_REFERENCE(cuSurfRefGetArray, reference, SIM_SURFACE_REFERENCE);
    if (!array || !reference->array)
        return CUDA_ERROR_INVALID_VALUE;
    *array = reference->array;
    return CUDA_SUCCESS;
}

SIM_API(cuModuleGetTexRef, (CUtexref * reference, CUmodule module, const char *name))
{
    ENTER_REFERENCE(cuModuleGetTexRef, module, SIM_MODULE);
    return reference && name ? CUDA_ERROR_NOT_FOUND : CUDA_ERROR_INVALID_VALUE;
}

SIM_API(cuModuleGetSurfRef, (CUsurfref * reference, CUmodule module, const char *name))
{
    ENTER_REFERENCE(cuModuleGetSurfRef, module, SIM_MODULE);
    return reference && name ? CUDA_ERROR_NOT_FOUND : CUDA_ERROR_INVALID_VALUE;
}
