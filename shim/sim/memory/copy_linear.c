/* copy_linear.c -- one-dimensional copies and the memsets, in all their spellings. */
#include "copy.h"
#include "process.h"

enum side { HOST, DEVICE, EITHER };

static CUresult copy(CUstream handle, bool per_thread, bool synchronous, CUdeviceptr to, enum side to_side,
                     CUdeviceptr from, enum side from_side, size_t bytes)
{
    struct sim_stream *stream;
    SIM_TRY(sim_stream_resolve(handle, per_thread, &stream));
    struct sim_copy c = {.source = (const char *)from,
                         .destination = (char *)to,
                         .width = bytes,
                         .height = 1,
                         .depth = 1,
                         .source_host = from_side == HOST || (from_side == EITHER && sim_is_host(from)),
                         .destination_host = to_side == HOST || (to_side == EITHER && sim_is_host(to))};
    if (bytes > 0 && (!from || !to))
        return CUDA_ERROR_INVALID_VALUE;
    if (!c.source_host || from_side == DEVICE)
        SIM_TRY(sim_device_range(from, bytes));
    if (!c.destination_host || to_side == DEVICE)
        SIM_TRY(sim_device_range(to, bytes));
    return sim_copy_submit(stream, &c, synchronous);
}

#define SYNCHRONOUS(name, twin, to_type, to_side, from_type, from_side)                                      \
    SIM_STREAM_API(name, twin, (to_type to, from_type from, size_t bytes), (to, from, bytes))                \
    {                                                                                                        \
        SIM_ENTER_CONTEXT(name, ctx);                                                                        \
        return copy(NULL, per_thread, true, (CUdeviceptr)to, to_side, (CUdeviceptr)from, from_side, bytes);  \
    }

#define ASYNCHRONOUS(name, twin, to_type, to_side, from_type, from_side)                                     \
    SIM_STREAM_API(name, twin, (to_type to, from_type from, size_t bytes, CUstream stream),                  \
                   (to, from, bytes, stream))                                                                \
    {                                                                                                        \
        SIM_ENTER_CONTEXT(name, ctx);                                                                        \
        return copy(stream, per_thread, false, (CUdeviceptr)to, to_side, (CUdeviceptr)from, from_side,       \
                    bytes);                                                                                  \
    }

SYNCHRONOUS(cuMemcpy, cuMemcpy_ptds, CUdeviceptr, EITHER, CUdeviceptr, EITHER)
SYNCHRONOUS(cuMemcpyHtoD_v2, cuMemcpyHtoD_v2_ptds, CUdeviceptr, DEVICE, const void *, HOST)
SYNCHRONOUS(cuMemcpyDtoH_v2, cuMemcpyDtoH_v2_ptds, void *, HOST, CUdeviceptr, DEVICE)
ASYNCHRONOUS(cuMemcpyAsync, cuMemcpyAsync_ptsz, CUdeviceptr, EITHER, CUdeviceptr, EITHER)
ASYNCHRONOUS(cuMemcpyHtoDAsync_v2, cuMemcpyHtoDAsync_v2_ptsz, CUdeviceptr, DEVICE, const void *, HOST)
ASYNCHRONOUS(cuMemcpyDtoHAsync_v2, cuMemcpyDtoHAsync_v2_ptsz, void *, HOST, CUdeviceptr, DEVICE)
ASYNCHRONOUS(cuMemcpyDtoDAsync_v2, cuMemcpyDtoDAsync_v2_ptsz, CUdeviceptr, DEVICE, CUdeviceptr, DEVICE)

/* Between device memories even the plain call does not wait: it is only ordered. */
SIM_STREAM_API(cuMemcpyDtoD_v2, cuMemcpyDtoD_v2_ptds, (CUdeviceptr to, CUdeviceptr from, size_t bytes),
               (to, from, bytes))
{
    SIM_ENTER_CONTEXT(cuMemcpyDtoD_v2, ctx);
    return copy(NULL, per_thread, false, to, DEVICE, from, DEVICE, bytes);
}

SIM_STREAM_API(cuMemcpyPeer, cuMemcpyPeer_ptds,
               (CUdeviceptr to, CUcontext to_ctx, CUdeviceptr from, CUcontext from_ctx, size_t bytes),
               (to, to_ctx, from, from_ctx, bytes))
{
    SIM_ENTER_CONTEXT(cuMemcpyPeer, ctx);
    if (!sim_is(to_ctx, SIM_CONTEXT) || !sim_is(from_ctx, SIM_CONTEXT))
        return CUDA_ERROR_INVALID_CONTEXT;
    return copy(NULL, per_thread, false, to, DEVICE, from, DEVICE, bytes);
}

SIM_STREAM_API(cuMemcpyPeerAsync, cuMemcpyPeerAsync_ptsz,
               (CUdeviceptr to, CUcontext to_ctx, CUdeviceptr from, CUcontext from_ctx, size_t bytes,
                CUstream stream),
               (to, to_ctx, from, from_ctx, bytes, stream))
{
    SIM_ENTER_CONTEXT(cuMemcpyPeerAsync, ctx);
    if (!sim_is(to_ctx, SIM_CONTEXT) || !sim_is(from_ctx, SIM_CONTEXT))
        return CUDA_ERROR_INVALID_CONTEXT;
    return copy(stream, per_thread, false, to, DEVICE, from, DEVICE, bytes);
}

/* -------- memsets -------- */

static CUresult fill(CUstream handle, bool per_thread, CUdeviceptr to, size_t pitch, uint32_t value,
                     uint32_t element_bytes, size_t width, size_t height)
{
    struct sim_stream *stream;
    SIM_TRY(sim_stream_resolve(handle, per_thread, &stream));
    struct sim_fill f = {(char *)to, width, height, pitch, value, element_bytes};
    if (width == 0 || height == 0)
        return CUDA_SUCCESS;
    if (to % element_bytes || (height > 1 && (pitch % element_bytes || pitch < width * element_bytes)))
        return CUDA_ERROR_INVALID_VALUE;
    SIM_TRY(sim_device_range(to, (height - 1) * pitch + width * element_bytes));
    return sim_fill_submit(stream, &f);
}

/* The spellings without a stream return at once too, except where the host may look at the memory. */
static CUresult fill_now(bool per_thread, CUdeviceptr to, size_t pitch, uint32_t value,
                         uint32_t element_bytes, size_t width, size_t height)
{
    struct sim_stream *stream;
    struct sim_block block;
    SIM_TRY(fill(NULL, per_thread, to, pitch, value, element_bytes, width, height));
    SIM_TRY(sim_stream_resolve(NULL, per_thread, &stream));
    bool seen =
        sim_block_find(to, &block) && (block.kind == SIM_BLOCK_HOST || block.kind == SIM_BLOCK_REGISTERED ||
                                       sim_block_is_managed(&block) || sim_block_is_host_pools(&block));
    return seen && !stream->capture ? sim_stream_synchronize(stream) : CUDA_SUCCESS;
}

#define FILLS(bits, type)                                                                                    \
    SIM_STREAM_API(cuMemsetD##bits##_v2, cuMemsetD##bits##_v2_ptds,                                          \
                   (CUdeviceptr to, type value, size_t count), (to, value, count))                           \
    {                                                                                                        \
        SIM_ENTER_CONTEXT(cuMemsetD##bits##_v2, ctx);                                                        \
        return fill_now(per_thread, to, 0, value, bits / 8, count, 1);                                       \
    }                                                                                                        \
    SIM_STREAM_API(cuMemsetD##bits##Async, cuMemsetD##bits##Async_ptsz,                                      \
                   (CUdeviceptr to, type value, size_t count, CUstream stream), (to, value, count, stream))  \
    {                                                                                                        \
        SIM_ENTER_CONTEXT(cuMemsetD##bits##Async, ctx);                                                      \
        return fill(stream, per_thread, to, 0, value, bits / 8, count, 1);                                   \
    }                                                                                                        \
    SIM_STREAM_API(cuMemsetD2D##bits##_v2, cuMemsetD2D##bits##_v2_ptds,                                      \
                   (CUdeviceptr to, size_t pitch, type value, size_t width, size_t height),                  \
                   (to, pitch, value, width, height))                                                        \
    {                                                                                                        \
        SIM_ENTER_CONTEXT(cuMemsetD2D##bits##_v2, ctx);                                                      \
        return fill_now(per_thread, to, pitch, value, bits / 8, width, height);                              \
    }                                                                                                        \
    SIM_STREAM_API(cuMemsetD2D##bits##Async, cuMemsetD2D##bits##Async_ptsz,                                  \
                   (CUdeviceptr to, size_t pitch, type value, size_t width, size_t height, CUstream stream), \
                   (to, pitch, value, width, height, stream))                                                \
    {                                                                                                        \
        SIM_ENTER_CONTEXT(cuMemsetD2D##bits##Async, ctx);                                                    \
        return fill(stream, per_thread, to, pitch, value, bits / 8, width, height);                          \
    }

FILLS(8, unsigned char)
FILLS(16, unsigned short)
FILLS(32, unsigned int)
