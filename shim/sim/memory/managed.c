/* managed.c -- hints about managed memory: checked, and remembered nowhere, since it always lies on its device. */
#include "process.h"

static CUresult check(CUdeviceptr address, size_t bytes)
{
    struct sim_block block;
    if (bytes == 0 || !sim_block_find(address, &block) || block.kind != SIM_BLOCK_MANAGED)
        return CUDA_ERROR_INVALID_VALUE;
    return address + bytes <= block.base + block.bytes ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

static CUresult check_location(CUmemLocation location)
{
    if (location.type == CU_MEM_LOCATION_TYPE_DEVICE)
        return sim_device_valid(location.id) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_DEVICE;
    return location.type == CU_MEM_LOCATION_TYPE_INVALID ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
}

/* The first forms name the host as device -1. */
static CUmemLocation location_of(CUdevice device)
{
    return (CUmemLocation){device == -1 ? CU_MEM_LOCATION_TYPE_HOST : CU_MEM_LOCATION_TYPE_DEVICE, device};
}

static CUresult prefetch(CUdeviceptr address, size_t bytes, CUmemLocation location, CUstream handle,
                         bool per_thread)
{
    struct sim_stream *stream;
    SIM_TRY(sim_stream_resolve(handle, per_thread, &stream));
    SIM_TRY(check(address, bytes));
    SIM_TRY(check_location(location));
    if (stream->capture)
        return sim_capture_forbids(stream);
    struct sim_work work = {.kind = SIM_WORK_EMPTY};
    return sim_submit_now(stream, &work);
}

SIM_STREAM_API(cuMemPrefetchAsync, cuMemPrefetchAsync_ptsz,
               (CUdeviceptr address, size_t bytes, CUdevice device, CUstream stream),
               (address, bytes, device, stream))
{
    SIM_ENTER_CONTEXT(cuMemPrefetchAsync, ctx);
    return prefetch(address, bytes, location_of(device), stream, per_thread);
}

SIM_STREAM_API(cuMemPrefetchAsync_v2, cuMemPrefetchAsync_v2_ptsz,
               (CUdeviceptr address, size_t bytes, CUmemLocation location, unsigned flags, CUstream stream),
               (address, bytes, location, flags, stream))
{
    SIM_ENTER_CONTEXT(cuMemPrefetchAsync_v2, ctx);
    if (flags != 0)
        return CUDA_ERROR_INVALID_VALUE;
    return prefetch(address, bytes, location, stream, per_thread);
}

static CUresult advise(CUdeviceptr address, size_t bytes, int advice, CUmemLocation location)
{
    if (advice < 1 || advice > 6)
        return CUDA_ERROR_INVALID_VALUE;
    SIM_TRY(check(address, bytes));
    bool without_location = advice == 1 || advice == 2 || advice == 4;
    return without_location ? CUDA_SUCCESS : check_location(location);
}

SIM_API(cuMemAdvise, (CUdeviceptr address, size_t bytes, int advice, CUdevice device))
{
    SIM_ENTER_CONTEXT(cuMemAdvise, ctx);
    return advise(address, bytes, advice, location_of(device));
}

SIM_API(cuMemAdvise_v2, (CUdeviceptr address, size_t bytes, int advice, CUmemLocation location))
{
    SIM_ENTER_CONTEXT(cuMemAdvise_v2, ctx);
    return advise(address, bytes, advice, location);
}
