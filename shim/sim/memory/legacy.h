/* legacy.h -- the API of CUDA 2, whose addresses and sizes have 32 bits.
 *
 * Its calls work in contexts that its own cuCtxCreate made (API version 3010), where memory lies below 4 GiB; in any
 * other they answer CUDA_ERROR_INVALID_CONTEXT, as documented for mixed versions.  The opposite mixture, newer calls
 * in such a context, is let pass.  Each is a narrow spelling of the newer call, under whose name faults are injected. */
#ifndef SIM_LEGACY_H
#define SIM_LEGACY_H

#include "array_types.h"
#include "sim.h"

#define SIM_LEGACY_API_VERSION 3010

typedef unsigned int CUdeviceptr_v1;

typedef struct {
    unsigned int srcXInBytes, srcY;
    CUmemorytype srcMemoryType;
    const void *srcHost;
    CUdeviceptr_v1 srcDevice;
    CUarray srcArray;
    unsigned int srcPitch;
    unsigned int dstXInBytes, dstY;
    CUmemorytype dstMemoryType;
    void *dstHost;
    CUdeviceptr_v1 dstDevice;
    CUarray dstArray;
    unsigned int dstPitch;
    unsigned int WidthInBytes, Height;
} CUDA_MEMCPY2D_v1;

typedef struct {
    unsigned int srcXInBytes, srcY, srcZ, srcLOD;
    CUmemorytype srcMemoryType;
    const void *srcHost;
    CUdeviceptr_v1 srcDevice;
    CUarray srcArray;
    void *reserved0;
    unsigned int srcPitch, srcHeight;
    unsigned int dstXInBytes, dstY, dstZ, dstLOD;
    CUmemorytype dstMemoryType;
    void *dstHost;
    CUdeviceptr_v1 dstDevice;
    CUarray dstArray;
    void *reserved1;
    unsigned int dstPitch, dstHeight;
    unsigned int WidthInBytes, Height, Depth;
} CUDA_MEMCPY3D_v1;

typedef struct {
    unsigned int Width, Height;
    int Format;
    unsigned int NumChannels;
} CUDA_ARRAY_DESCRIPTOR_v1;

typedef struct {
    unsigned int Width, Height, Depth;
    int Format;
    unsigned int NumChannels;
    unsigned int Flags;
} CUDA_ARRAY3D_DESCRIPTOR_v1;

/* Without a context the newer call has the answer. */
static inline CUresult sim_legacy_context(void)
{
    const struct sim_context *ctx = sim_current_context();
    return ctx && ctx->api_version != SIM_LEGACY_API_VERSION ? CUDA_ERROR_INVALID_CONTEXT : CUDA_SUCCESS;
}

/* A size or address of the newer call as the older one can say it: at most what fits. */
static inline unsigned sim_legacy_size(uint64_t value)
{
    return value > UINT32_MAX ? UINT32_MAX : (unsigned)value;
}

#define SIM_LEGACY_API(name, params, call)                                                                   \
    SIM_API(name, params)                                                                                    \
    {                                                                                                        \
        SIM_TRY(sim_legacy_context());                                                                       \
        return call;                                                                                         \
    }

#endif
