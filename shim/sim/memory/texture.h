/* texture.h -- texture and surface objects, and the references of before CUDA 5: what was said about them is kept,
 * checked and told again; no kernel of the simulator samples anything. */
#ifndef SIM_TEXTURE_H
#define SIM_TEXTURE_H

#include "array.h"

/* INVALID_VALUE unless it describes something that a texture can show. */
CUresult sim_resource_check(CUdevice device, const CUDA_RESOURCE_DESC *resource);
CUresult sim_texture_check(const CUDA_RESOURCE_DESC *resource, const CUDA_TEXTURE_DESC *texture);
CUresult sim_view_check(const CUDA_RESOURCE_DESC *resource, const CUDA_RESOURCE_VIEW_DESC *view);
/* The limit or alignment of that number (attributes.def). */
size_t sim_texture_limit(CUdevice device, int attribute);
/* Bytes of an element of linear memory seen as a texture; 0: no such format. */
uint32_t sim_texel_bytes(int format, unsigned channels);

#endif
