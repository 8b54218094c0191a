/* copy.h -- submitting copies and fills, for the many shapes of the API and for graphs. */
#ifndef SIM_COPY_H
#define SIM_COPY_H

#include "sim.h"

/* An asynchronous copy from or to pageable memory may still take the caller's time, as the driver's do. */
CUresult sim_copy_submit(struct sim_stream *stream, const struct sim_copy *copy, bool synchronous);
/* Packs the rows of a source in memory of the copy's own: the caller may change it as soon as the call returns. */
CUresult sim_copy_stage(struct sim_copy *copy);
CUresult sim_fill_submit(struct sim_stream *stream, const struct sim_fill *fill);
/* Where the box lies on both sides; checks that device memory holds it. */
CUresult sim_copy_from_3d(const CUDA_MEMCPY3D *shape, struct sim_copy *copy);
CUresult sim_copy_3d(const CUDA_MEMCPY3D *shape, CUstream handle, bool per_thread, bool synchronous);
CUresult sim_copy_2d(const CUDA_MEMCPY2D *shape, CUstream handle, bool per_thread, bool synchronous);

/* What rectangles and boxes have in common, of any width of fields. */
#define SIM_SHAPE(p)                                                                                         \
    .srcXInBytes = (p)->srcXInBytes, .srcY = (p)->srcY, .srcMemoryType = (p)->srcMemoryType,                 \
    .srcHost = (p)->srcHost, .srcDevice = (p)->srcDevice, .srcArray = (p)->srcArray,                         \
    .srcPitch = (p)->srcPitch, .dstXInBytes = (p)->dstXInBytes, .dstY = (p)->dstY,                           \
    .dstMemoryType = (p)->dstMemoryType, .dstHost = (p)->dstHost, .dstDevice = (p)->dstDevice,               \
    .dstArray = (p)->dstArray, .dstPitch = (p)->dstPitch, .WidthInBytes = (p)->WidthInBytes,                 \
    .Height = (p)->Height

/* One side of a linear copy: an array with an offset in bytes, or memory. */
struct sim_end {
    CUarray array;
    uint64_t offset;
    CUmemorytype type;
    uint64_t address;
};

static inline struct sim_end sim_end_array(CUarray array, uint64_t offset)
{
    return (struct sim_end){array, offset, CU_MEMORYTYPE_ARRAY, 0};
}

static inline struct sim_end sim_end_host(const void *address)
{
    return (struct sim_end){NULL, 0, CU_MEMORYTYPE_HOST, (uint64_t)address};
}

static inline struct sim_end sim_end_device(CUdeviceptr address)
{
    return (struct sim_end){NULL, 0, CU_MEMORYTYPE_DEVICE, address};
}

/* copy_array.c: at least one of them is an array. */
CUresult sim_copy_1d(struct sim_end to, struct sim_end from, uint64_t bytes, CUstream handle, bool per_thread,
                     bool synchronous);

/* INVALID_VALUE unless all of it is mapped device (or known host) memory. */
CUresult sim_device_range(CUdeviceptr address, uint64_t bytes);
/* Within addresses that cuMemAddressReserve gave, whether anything is mapped there or not. */
bool sim_address_reserved(uint64_t address);
/* Host memory, known to the driver or not. */
bool sim_is_host(uint64_t address);

#endif
