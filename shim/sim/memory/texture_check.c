/* texture_check.c -- which textures can exist. */
#include "copy.h"
#include "texture.h"

enum { /* device attributes */
       TEXTURE_ALIGNMENT = 14,
       TEXTURE_PITCH_ALIGNMENT = 51,
       LINEAR_1D_WIDTH = 69,
       LINEAR_2D_WIDTH = 70,
       LINEAR_2D_HEIGHT = 71,
       LINEAR_2D_PITCH = 72
};

size_t sim_texture_limit(CUdevice device, int attribute)
{
    int value = 0;
    sim_device_attribute(device, attribute, &value);
    return (size_t)value;
}

uint32_t sim_texel_bytes(int format, unsigned channels)
{
    const struct sim_format *f = sim_format_find(format);
    return f && f->planes == 1 && f->block == 1 ? sim_format_element(f, channels) : 0;
}

SIM_API(cuDeviceGetTexture1DLinearMaxWidth,
        (size_t * elements, int format, unsigned channels, CUdevice device))
{
    SIM_ENTER(cuDeviceGetTexture1DLinearMaxWidth);
    if (!sim_device_valid(device))
        return CUDA_ERROR_INVALID_DEVICE;
    if (!elements || !sim_texel_bytes(format, channels))
        return CUDA_ERROR_INVALID_VALUE;
    *elements = sim_texture_limit(device, LINEAR_1D_WIDTH);
    return CUDA_SUCCESS;
}

/* -------- resources -------- */

static CUresult check_linear(CUdevice device, const CUDA_RESOURCE_DESC *r)
{
    uint32_t texel = sim_texel_bytes(r->res.linear.format, r->res.linear.numChannels);
    size_t bytes = r->res.linear.sizeInBytes;
    if (!texel || !r->res.linear.devPtr ||
        r->res.linear.devPtr % sim_texture_limit(device, TEXTURE_ALIGNMENT) || bytes / texel == 0 ||
        bytes / texel > sim_texture_limit(device, LINEAR_1D_WIDTH))
        return CUDA_ERROR_INVALID_VALUE;
    return sim_device_range(r->res.linear.devPtr, bytes);
}

static CUresult check_pitched(CUdevice device, const CUDA_RESOURCE_DESC *r)
{
    uint32_t texel = sim_texel_bytes(r->res.pitch2D.format, r->res.pitch2D.numChannels);
    size_t width = r->res.pitch2D.width, height = r->res.pitch2D.height, pitch = r->res.pitch2D.pitchInBytes;
    if (!texel || !r->res.pitch2D.devPtr ||
        r->res.pitch2D.devPtr % sim_texture_limit(device, TEXTURE_ALIGNMENT) || width == 0 || height == 0 ||
        width > sim_texture_limit(device, LINEAR_2D_WIDTH) ||
        height > sim_texture_limit(device, LINEAR_2D_HEIGHT) ||
        pitch > sim_texture_limit(device, LINEAR_2D_PITCH) ||
        pitch % sim_texture_limit(device, TEXTURE_PITCH_ALIGNMENT) || pitch < width * texel)
        return CUDA_ERROR_INVALID_VALUE;
    return sim_device_range(r->res.pitch2D.devPtr, (height - 1) * pitch + width * texel);
}

CUresult sim_resource_check(CUdevice device, const CUDA_RESOURCE_DESC *r)
{
    if (r->flags != 0)
        return CUDA_ERROR_INVALID_VALUE;
    switch (r->resType) {
    case CU_RESOURCE_TYPE_ARRAY:
        return sim_is(r->res.array.hArray, SIM_ARRAY) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
    case CU_RESOURCE_TYPE_MIPMAPPED_ARRAY:
        return sim_is(r->res.mipmap.hMipmappedArray, SIM_MIPMAP) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
    case CU_RESOURCE_TYPE_LINEAR:
        return check_linear(device, r);
    case CU_RESOURCE_TYPE_PITCH2D:
        return check_pitched(device, r);
    default:
        return CUDA_ERROR_INVALID_VALUE;
    }
}

/* NULL: linear memory. */
static const CUDA_ARRAY3D_DESCRIPTOR *shown(const CUDA_RESOURCE_DESC *r)
{
    if (r->resType == CU_RESOURCE_TYPE_ARRAY)
        return &r->res.array.hArray->desc;
    return r->resType == CU_RESOURCE_TYPE_MIPMAPPED_ARRAY ? &r->res.mipmap.hMipmappedArray->desc : NULL;
}

/* -------- textures -------- */

static bool is_integer(int format, bool only_32_bits)
{
    bool small = format == CU_AD_FORMAT_UNSIGNED_INT8 || format == CU_AD_FORMAT_SIGNED_INT8 ||
                 format == CU_AD_FORMAT_UNSIGNED_INT16 || format == CU_AD_FORMAT_SIGNED_INT16;
    return format == CU_AD_FORMAT_UNSIGNED_INT32 || format == CU_AD_FORMAT_SIGNED_INT32 ||
           (small && !only_32_bits);
}

/* Integers that stay integers cannot be interpolated. */
static bool can_filter(const CUDA_RESOURCE_DESC *r, const CUDA_TEXTURE_DESC *t)
{
    const CUDA_ARRAY3D_DESCRIPTOR *desc = shown(r);
    int format = desc ? desc->Format : r->res.pitch2D.format;
    return t->filterMode != CU_TR_FILTER_MODE_LINEAR || r->resType == CU_RESOURCE_TYPE_LINEAR ||
           !is_integer(format, !(t->flags & CU_TRSF_READ_AS_INTEGER));
}

CUresult sim_texture_check(const CUDA_RESOURCE_DESC *r, const CUDA_TEXTURE_DESC *t)
{
    const unsigned all = CU_TRSF_READ_AS_INTEGER | CU_TRSF_NORMALIZED_COORDINATES | CU_TRSF_SRGB |
                         CU_TRSF_DISABLE_TRILINEAR_OPTIMIZATION | CU_TRSF_SEAMLESS_CUBEMAP;
    const CUDA_ARRAY3D_DESCRIPTOR *desc = shown(r);
    if ((t->flags & ~all) || (t->filterMode & ~1) || (t->mipmapFilterMode & ~1))
        return CUDA_ERROR_INVALID_VALUE;
    for (int i = 0; i < 3; i++)
        if (t->addressMode[i] < CU_TR_ADDRESS_MODE_WRAP || t->addressMode[i] > CU_TR_ADDRESS_MODE_BORDER)
            return CUDA_ERROR_INVALID_VALUE;
    if (r->resType == CU_RESOURCE_TYPE_MIPMAPPED_ARRAY && !(t->flags & CU_TRSF_NORMALIZED_COORDINATES))
        return CUDA_ERROR_INVALID_VALUE;
    if ((t->flags & CU_TRSF_SEAMLESS_CUBEMAP) && !(desc && desc->Flags & CUDA_ARRAY3D_CUBEMAP))
        return CUDA_ERROR_INVALID_VALUE;
    return can_filter(r, t) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

/* -------- views -------- */

enum {
    VIEW_FIRST_BLOCK = 0x19,
    VIEW_BC1 = 0x19,
    VIEW_BC4_UNSIGNED = 0x1c,
    VIEW_BC4_SIGNED = 0x1d,
    VIEW_LAST = 0x22
};

/* Bytes of an element in a view that is not of blocks: three widths of channels for each type, from 1 on. */
static uint32_t view_bytes(int format)
{
    static const uint8_t channel[] = {1, 1, 2, 2, 4, 4, 2, 4};
    return channel[(format - 1) / 3] << (format - 1) % 3;
}

static bool extents_match(const CUDA_ARRAY3D_DESCRIPTOR *desc, const CUDA_RESOURCE_VIEW_DESC *v, bool blocks)
{
    size_t factor = blocks ? 4 : 1;
    return v->width == factor * desc->Width && v->height == factor * desc->Height && v->depth == desc->Depth;
}

CUresult sim_view_check(const CUDA_RESOURCE_DESC *r, const CUDA_RESOURCE_VIEW_DESC *v)
{
    const CUDA_ARRAY3D_DESCRIPTOR *desc = shown(r);
    bool blocks = v->format >= VIEW_FIRST_BLOCK;
    if (!desc || v->format < 0 || v->format > VIEW_LAST || !extents_match(desc, v, blocks))
        return CUDA_ERROR_INVALID_VALUE;
    if (blocks) {
        bool half = v->format == VIEW_BC1 || v->format == VIEW_BC4_UNSIGNED || v->format == VIEW_BC4_SIGNED;
        if (desc->Format != CU_AD_FORMAT_UNSIGNED_INT32 || desc->NumChannels != (half ? 2 : 4))
            return CUDA_ERROR_INVALID_VALUE;
    } else if (v->format && view_bytes(v->format) != sim_texel_bytes(desc->Format, desc->NumChannels))
        return CUDA_ERROR_INVALID_VALUE;
    unsigned levels =
        r->resType == CU_RESOURCE_TYPE_MIPMAPPED_ARRAY ? r->res.mipmap.hMipmappedArray->levels : 1;
    size_t layers = sim_shape_layered(desc) ? desc->Depth : 1;
    return v->firstMipmapLevel <= v->lastMipmapLevel && v->lastMipmapLevel < levels &&
                   v->firstLayer <= v->lastLayer && v->lastLayer < layers
               ? CUDA_SUCCESS
               : CUDA_ERROR_INVALID_VALUE;
}
