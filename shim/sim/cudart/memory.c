/* memory.c -- allocations and fills whose runtime call is more than the driver's, and what a pointer is. */
#include "cudart.h"

RT_API(cudaMalloc, (void **address, size_t bytes))
{
    if (!address)
        return rt_remember(cudaErrorInvalidValue);
    *address = NULL;
    return RT_CALL(bytes ? rt_legacy.cuMemAlloc((CUdeviceptr *)address, bytes) : CUDA_SUCCESS);
}

/* Of nothing, it makes a context: programs call it to get that over with. */
RT_API(cudaFree, (void *address))
{
    return RT_CALL(address ? rt_legacy.cuMemFree((CUdeviceptr)address) : CUDA_SUCCESS);
}

RT_API(cudaMallocHost, (void **pointer, size_t bytes))
{
    return RT_CALL(rt_legacy.cuMemHostAlloc(pointer, bytes, 0));
}

RT_API(cudaFreeHost, (void *pointer))
{
    return RT_CALL(pointer ? rt_legacy.cuMemFreeHost(pointer) : CUDA_SUCCESS);
}

/* Rows are wide enough apart for elements of any size. */
RT_API(cudaMallocPitch, (void **address, size_t *pitch, size_t width, size_t height))
{
    if (!address || !pitch)
        return rt_remember(cudaErrorInvalidValue);
    *address = NULL;
    *pitch = 0;
    if (!width || !height)
        return RT_CALL(CUDA_SUCCESS);
    return RT_CALL(rt_legacy.cuMemAllocPitch((CUdeviceptr *)address, pitch, width, height, 4));
}

RT_API(cudaMalloc3D, (cudaPitchedPtr * pitched, cudaExtent extent))
{
    if (!pitched)
        return rt_remember(cudaErrorInvalidValue);
    *pitched = (cudaPitchedPtr){.xsize = extent.width, .ysize = extent.height};
    return cudaMallocPitch(&pitched->ptr, &pitched->pitch, extent.width, extent.height * extent.depth);
}

RT_API(cudaMemset, (void *to, int value, size_t count))
{
    return RT_CALL(rt_legacy.cuMemsetD8((CUdeviceptr)to, (unsigned char)value, count));
}

RT_API(cudaMemset_ptds, (void *to, int value, size_t count))
{
    return RT_CALL(rt_per_thread.cuMemsetD8((CUdeviceptr)to, (unsigned char)value, count));
}

RT_STREAM_API(cudaMemsetAsync, cudaMemsetAsync_ptsz, (void *to, int value, size_t count, cudaStream_t stream),
              (to, value, count, stream))
{
    return RT_CALL(rt->cuMemsetD8Async((CUdeviceptr)to, (unsigned char)value, count, stream));
}

RT_STREAM_API(cudaMemset2D, cudaMemset2D_ptds,
              (void *to, size_t pitch, int value, size_t width, size_t height),
              (to, pitch, value, width, height))
{
    return RT_CALL(rt->cuMemsetD2D8((CUdeviceptr)to, pitch, (unsigned char)value, width, height));
}

RT_STREAM_API(cudaMemset2DAsync, cudaMemset2DAsync_ptsz,
              (void *to, size_t pitch, int value, size_t width, size_t height, cudaStream_t stream),
              (to, pitch, value, width, height, stream))
{
    return RT_CALL(
        rt->cuMemsetD2D8Async((CUdeviceptr)to, pitch, (unsigned char)value, width, height, stream));
}

RT_STREAM_API(cudaMemset3DAsync, cudaMemset3DAsync_ptsz,
              (cudaPitchedPtr to, int value, cudaExtent extent, cudaStream_t stream),
              (to, value, extent, stream))
{
    cudaError_t error = cudaSuccess;
    for (size_t z = 0; z < extent.depth && !error; z++) {
        char *slice = (char *)to.ptr + z * to.pitch * to.ysize;
        error = do_cudaMemset2DAsync(rt, slice, to.pitch, value, extent.width, extent.height, stream);
    }
    return error;
}

RT_STREAM_API(cudaMemset3D, cudaMemset3D_ptds, (cudaPitchedPtr to, int value, cudaExtent extent),
              (to, value, extent))
{
    cudaError_t error = do_cudaMemset3DAsync(rt, to, value, extent, NULL);
    return error ? error : RT_CALL(rt->cuStreamSynchronize(NULL));
}

enum { UNREGISTERED, HOST, DEVICE, MANAGED };
enum { NO_DEVICE = -2 };

/* A pointer that the driver does not know is the host's own. */
RT_API(cudaPointerGetAttributes, (cudaPointerAttributes * of, const void *pointer))
{
    enum { ASKED = 5 };
    int attributes[ASKED] = {CU_POINTER_ATTRIBUTE_MEMORY_TYPE, CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL,
                             CU_POINTER_ATTRIBUTE_DEVICE_POINTER, CU_POINTER_ATTRIBUTE_HOST_POINTER,
                             CU_POINTER_ATTRIBUTE_IS_MANAGED};
    unsigned type = 0, managed = 0;
    int device = NO_DEVICE;
    void *on_device = NULL, *on_host = NULL;
    void *values[ASKED] = {&type, &device, &on_device, &on_host, &managed};
    if (!of)
        return rt_remember(cudaErrorInvalidValue);
    cudaError_t error =
        RT_CALL(rt_legacy.cuPointerGetAttributes(ASKED, attributes, values, (CUdeviceptr)pointer));
    if (error)
        return error;
    *of = (cudaPointerAttributes){.type = UNREGISTERED, .device = NO_DEVICE, .hostPointer = (void *)pointer};
    if (type) {
        of->type = managed ? MANAGED : type == CU_MEMORYTYPE_HOST ? HOST : DEVICE;
        of->device = device;
        of->devicePointer = on_device;
        of->hostPointer = on_host;
    }
    return cudaSuccess;
}
