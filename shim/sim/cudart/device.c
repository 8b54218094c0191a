/* device.c -- what can be asked of devices, and access from one to another. */
#include "device.h"

#include <string.h>

/* Without a context: the driver's answer, remembered. */
#define ASK(call)                                                                                            \
    ({                                                                                                       \
        cudaError_t error_ = rt_load();                                                                      \
        rt_remember(error_ ? error_ : (cudaError_t)(call));                                                  \
    })

enum attribute {
#define ATTRIBUTE(number, name, value) name = number,
#include "attributes.def"
#undef ATTRIBUTE
};

static const struct {
    size_t offset, bytes;
    enum attribute attribute;
} properties[] = {
#define PROPERTY(field, attribute)                                                                           \
    {offsetof(cudaDeviceProp, field), sizeof(((cudaDeviceProp *)0)->field), attribute},
#include "properties.def"
#undef PROPERTY
};

RT_API(cudaRuntimeGetVersion, (int *version))
{
    if (!version)
        return rt_remember(cudaErrorInvalidValue);
    *version = RT_VERSION;
    return cudaSuccess;
}

/* 0 where there is no driver. */
RT_API(cudaDriverGetVersion, (int *version))
{
    if (!version)
        return rt_remember(cudaErrorInvalidValue);
    *version = 0;
    return rt_load() == cudaErrorInsufficientDriver
               ? cudaSuccess
               : rt_remember((cudaError_t)rt_legacy.cuDriverGetVersion(version));
}

RT_API(cudaGetDeviceCount, (int *count))
{
    if (!count)
        return rt_remember(cudaErrorInvalidValue);
    *count = 0;
    return ASK(rt_legacy.cuDeviceGetCount(count));
}

RT_API(cudaGetDeviceProperties, (cudaDeviceProp * all, int device))
{
    cudaDeviceProp answer = {0};
    cudaError_t error = all ? ASK(rt_legacy.cuDeviceGetName(answer.name, sizeof answer.name, device))
                            : rt_remember(cudaErrorInvalidValue);
    if (!error)
        error = (cudaError_t)rt_legacy.cuDeviceGetUuid(&answer.uuid, device);
    if (!error)
        error = (cudaError_t)rt_legacy.cuDeviceTotalMem(&answer.totalGlobalMem, device);
    for (size_t i = 0; i < sizeof properties / sizeof *properties && !error; i++) {
        int value = 0;
        error = (cudaError_t)rt_legacy.cuDeviceGetAttribute(&value, (int)properties[i].attribute, device);
        size_t wide = (size_t)value;
        memcpy((char *)&answer + properties[i].offset, &wide, properties[i].bytes);
    }
    if (!error)
        *all = answer;
    return rt_remember(error);
}

RT_API(cudaDeviceGetAttribute, (int *value, int attribute, int device))
{
    return ASK(rt_legacy.cuDeviceGetAttribute(value, attribute, device));
}

RT_API(cudaDeviceGetPCIBusId, (char *id, int bytes, int device))
{
    return ASK(rt_legacy.cuDeviceGetPCIBusId(id, bytes, device));
}

RT_API(cudaDeviceGetByPCIBusId, (int *device, const char *id))
{
    return ASK(rt_legacy.cuDeviceGetByPCIBusId(device, id));
}

RT_API(cudaDeviceCanAccessPeer, (int *can, int device, int peer))
{
    return ASK(rt_legacy.cuDeviceCanAccessPeer(can, device, peer));
}

RT_API(cudaDeviceGetP2PAttribute, (int *value, int attribute, int device, int peer))
{
    return ASK(rt_legacy.cuDeviceGetP2PAttribute(value, attribute, device, peer));
}

RT_API(cudaDeviceEnablePeerAccess, (int peer, unsigned flags))
{
    CUcontext ctx;
    cudaError_t error = RT_CALL(rt_legacy.cuDevicePrimaryCtxRetain(&ctx, peer));
    return error ? error : rt_remember((cudaError_t)rt_legacy.cuCtxEnablePeerAccess(ctx, flags));
}

RT_API(cudaDeviceDisablePeerAccess, (int peer))
{
    CUcontext ctx;
    cudaError_t error = RT_CALL(rt_legacy.cuDevicePrimaryCtxRetain(&ctx, peer));
    return error ? error : rt_remember((cudaError_t)rt_legacy.cuCtxDisablePeerAccess(ctx));
}

RT_STREAM_API(cudaMemcpyPeerAsync, cudaMemcpyPeerAsync_ptsz,
              (void *to, int to_device, const void *from, int from_device, size_t bytes, cudaStream_t stream),
              (to, to_device, from, from_device, bytes, stream))
{
    CUcontext to_ctx, from_ctx;
    cudaError_t error = RT_CALL(rt->cuDevicePrimaryCtxRetain(&to_ctx, to_device));
    if (!error)
        error = RT_CALL(rt->cuDevicePrimaryCtxRetain(&from_ctx, from_device));
    return error ? error
                 : rt_remember((cudaError_t)rt->cuMemcpyPeerAsync((CUdeviceptr)to, to_ctx, (CUdeviceptr)from,
                                                                  from_ctx, bytes, stream));
}

RT_API(cudaMemcpyPeer, (void *to, int to_device, const void *from, int from_device, size_t bytes))
{
    cudaError_t error = cudaMemcpyPeerAsync(to, to_device, from, from_device, bytes, NULL);
    return error ? error : RT_CALL(rt_legacy.cuStreamSynchronize(NULL));
}

RT_API(cudaInitDevice, (int device, unsigned device_flags, unsigned flags))
{
    CUcontext ctx;
    return ASK(rt_legacy.cuDevicePrimaryCtxRetain(&ctx, device));
}

RT_API(cudaSetDeviceFlags, (unsigned flags))
{
    CUdevice device = 0;
    cudaError_t error = RT_CALL(rt_legacy.cuCtxGetDevice(&device));
    return error ? error : rt_remember((cudaError_t)rt_legacy.cuDevicePrimaryCtxSetFlags(device, flags));
}

RT_API(cudaGetDeviceFlags, (unsigned *flags))
{
    CUdevice device = 0;
    int active;
    cudaError_t error =
        flags ? RT_CALL(rt_legacy.cuCtxGetDevice(&device)) : rt_remember(cudaErrorInvalidValue);
    return error ? error
                 : rt_remember((cudaError_t)rt_legacy.cuDevicePrimaryCtxGetState(device, flags, &active));
}

RT_STREAM_API(cudaGetDriverEntryPointByVersion, cudaGetDriverEntryPointByVersion_ptsz,
              (const char *name, void **function, unsigned version, unsigned long long flags, int *found),
              (name, function, version, flags, found))
{
    if (!name || !function)
        return rt_remember(cudaErrorInvalidValue);
    if (!flags && rt == &rt_per_thread)
        flags = 2; /* the default is that of the compilation */
    return ASK(rt_look_up(name, function, (int)version, flags, found));
}
