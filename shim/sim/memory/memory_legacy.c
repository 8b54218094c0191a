/* memory_legacy.c -- allocating device and host memory and arrays in the spelling of CUDA 2. */
#include "legacy.h"

SIM_EXPORT CUresult cuMemAlloc_v2(CUdeviceptr *, size_t);
SIM_EXPORT CUresult cuMemAllocPitch_v2(CUdeviceptr *, size_t *, size_t, size_t, unsigned);
SIM_EXPORT CUresult cuMemFree_v2(CUdeviceptr);
SIM_EXPORT CUresult cuMemGetInfo_v2(size_t *, size_t *);
SIM_EXPORT CUresult cuMemGetAddressRange_v2(CUdeviceptr *, size_t *, CUdeviceptr);
SIM_EXPORT CUresult cuMemAllocHost_v2(void **, size_t);
SIM_EXPORT CUresult cuMemHostGetDevicePointer_v2(CUdeviceptr *, void *, unsigned);
SIM_EXPORT CUresult cuMemHostRegister_v2(void *, size_t, unsigned);
SIM_EXPORT CUresult cuArrayCreate_v2(CUarray *, const CUDA_ARRAY_DESCRIPTOR *);
SIM_EXPORT CUresult cuArrayGetDescriptor_v2(CUDA_ARRAY_DESCRIPTOR *, CUarray);
SIM_EXPORT CUresult cuArray3DCreate_v2(CUarray *, const CUDA_ARRAY3D_DESCRIPTOR *);
SIM_EXPORT CUresult cuArray3DGetDescriptor_v2(CUDA_ARRAY3D_DESCRIPTOR *, CUarray);

SIM_API(cuMemAlloc, (CUdeviceptr_v1 * address, unsigned bytes))
{
    SIM_TRY(sim_legacy_context());
    CUdeviceptr wide;
    SIM_TRY(cuMemAlloc_v2(address ? &wide : NULL, bytes));
    *address = (CUdeviceptr_v1)wide;
    return CUDA_SUCCESS;
}

SIM_API(cuMemAllocPitch,
        (CUdeviceptr_v1 * address, unsigned *pitch, unsigned width, unsigned height, unsigned element_bytes))
{
    SIM_TRY(sim_legacy_context());
    CUdeviceptr wide;
    size_t row;
    SIM_TRY(cuMemAllocPitch_v2(address ? &wide : NULL, pitch ? &row : NULL, width, height, element_bytes));
    *address = (CUdeviceptr_v1)wide;
    *pitch = (unsigned)row;
    return CUDA_SUCCESS;
}

SIM_LEGACY_API(cuMemFree, (CUdeviceptr_v1 address), cuMemFree_v2(address))

SIM_API(cuMemGetInfo, (unsigned *free_bytes, unsigned *total))
{
    SIM_TRY(sim_legacy_context());
    size_t wide_free, wide_total;
    SIM_TRY(cuMemGetInfo_v2(free_bytes ? &wide_free : NULL, total ? &wide_total : NULL));
    *free_bytes = sim_legacy_size(wide_free);
    *total = sim_legacy_size(wide_total);
    return CUDA_SUCCESS;
}

SIM_API(cuMemGetAddressRange, (CUdeviceptr_v1 * base, unsigned *bytes, CUdeviceptr_v1 address))
{
    if (!base && !bytes)
        return CUDA_SUCCESS;
    SIM_TRY(sim_legacy_context());
    CUdeviceptr wide_base;
    size_t wide_bytes;
    SIM_TRY(cuMemGetAddressRange_v2(&wide_base, &wide_bytes, address));
    if (base)
        *base = (CUdeviceptr_v1)wide_base;
    if (bytes)
        *bytes = (unsigned)wide_bytes;
    return CUDA_SUCCESS;
}

SIM_LEGACY_API(cuMemAllocHost, (void **address, unsigned bytes), cuMemAllocHost_v2(address, bytes))

/* Memory that was registered, or allocated in a newer context, may lie where 32 bits do not reach. */
SIM_API(cuMemHostGetDevicePointer, (CUdeviceptr_v1 * device, void *address, unsigned flags))
{
    SIM_TRY(sim_legacy_context());
    CUdeviceptr wide;
    SIM_TRY(cuMemHostGetDevicePointer_v2(device ? &wide : NULL, address, flags));
    if (wide > UINT32_MAX)
        return CUDA_ERROR_INVALID_VALUE;
    *device = (CUdeviceptr_v1)wide;
    return CUDA_SUCCESS;
}

/* Of CUDA 4: only the meaning of its flags has changed since. */
SIM_API(cuMemHostRegister, (void *address, size_t bytes, unsigned flags))
{
    return cuMemHostRegister_v2(address, bytes, flags);
}

/* -------- arrays -------- */

SIM_API(cuArrayCreate, (CUarray * array, const CUDA_ARRAY_DESCRIPTOR_v1 *desc))
{
    SIM_TRY(sim_legacy_context());
    if (!desc)
        return cuArrayCreate_v2(array, NULL);
    const CUDA_ARRAY_DESCRIPTOR wide = {desc->Width, desc->Height, desc->Format, desc->NumChannels};
    return cuArrayCreate_v2(array, &wide);
}

SIM_API(cuArrayGetDescriptor, (CUDA_ARRAY_DESCRIPTOR_v1 * desc, CUarray array))
{
    SIM_TRY(sim_legacy_context());
    CUDA_ARRAY_DESCRIPTOR wide;
    SIM_TRY(cuArrayGetDescriptor_v2(desc ? &wide : NULL, array));
    *desc = (CUDA_ARRAY_DESCRIPTOR_v1){(unsigned)wide.Width, (unsigned)wide.Height, wide.Format,
                                       wide.NumChannels};
    return CUDA_SUCCESS;
}

SIM_API(cuArray3DCreate, (CUarray * array, const CUDA_ARRAY3D_DESCRIPTOR_v1 *desc))
{
    SIM_TRY(sim_legacy_context());
    if (!desc)
        return cuArray3DCreate_v2(array, NULL);
    const CUDA_ARRAY3D_DESCRIPTOR wide = {desc->Width,  desc->Height,      desc->Depth,
                                          desc->Format, desc->NumChannels, desc->Flags};
    return cuArray3DCreate_v2(array, &wide);
}

SIM_API(cuArray3DGetDescriptor, (CUDA_ARRAY3D_DESCRIPTOR_v1 * desc, CUarray array))
{
    SIM_TRY(sim_legacy_context());
    CUDA_ARRAY3D_DESCRIPTOR wide;
    SIM_TRY(cuArray3DGetDescriptor_v2(desc ? &wide : NULL, array));
    *desc = (CUDA_ARRAY3D_DESCRIPTOR_v1){(unsigned)wide.Width, (unsigned)wide.Height, (unsigned)wide.Depth,
                                         wide.Format,          wide.NumChannels,      wide.Flags};
    return CUDA_SUCCESS;
}
