/* copy_array.c -- copies from and to one-dimensional arrays.
 *
 * Offsets and sizes are bytes.  An array with more than one row has no place in these calls: cuMemcpy2D and
 * cuMemcpy3D copy those. */
#include "array.h"
#include "copy.h"

static CUresult check(const struct sim_end *end)
{
    if (end->type != CU_MEMORYTYPE_ARRAY)
        return CUDA_SUCCESS;
    if (!sim_is(end->array, SIM_ARRAY) || end->array->layout.rows != 1 || end->array->layout.slices != 1)
        return CUDA_ERROR_INVALID_VALUE;
    return CUDA_SUCCESS;
}

CUresult sim_copy_1d(struct sim_end to, struct sim_end from, uint64_t bytes, CUstream handle, bool per_thread,
                     bool synchronous)
{
    SIM_TRY(check(&to));
    SIM_TRY(check(&from));
    if (to.array && from.array && to.array->layout.element_bytes != from.array->layout.element_bytes)
        return CUDA_ERROR_INVALID_VALUE;
    const CUDA_MEMCPY3D box = {.srcMemoryType = from.type,
                               .srcXInBytes = from.offset,
                               .srcHost = (const void *)from.address,
                               .srcDevice = from.address,
                               .srcArray = from.array,
                               .dstMemoryType = to.type,
                               .dstXInBytes = to.offset,
                               .dstHost = (void *)to.address,
                               .dstDevice = to.address,
                               .dstArray = to.array,
                               .WidthInBytes = bytes,
                               .Height = 1,
                               .Depth = 1};
    return sim_copy_3d(&box, handle, per_thread, synchronous);
}

SIM_STREAM_API(cuMemcpyDtoA_v2, cuMemcpyDtoA_v2_ptds,
               (CUarray to, size_t offset, CUdeviceptr from, size_t bytes), (to, offset, from, bytes))
{
    SIM_ENTER_CONTEXT(cuMemcpyDtoA_v2, ctx);
    return sim_copy_1d(sim_end_array(to, offset), sim_end_device(from), bytes, NULL, per_thread, true);
}

SIM_STREAM_API(cuMemcpyAtoD_v2, cuMemcpyAtoD_v2_ptds,
               (CUdeviceptr to, CUarray from, size_t offset, size_t bytes), (to, from, offset, bytes))
{
    SIM_ENTER_CONTEXT(cuMemcpyAtoD_v2, ctx);
    return sim_copy_1d(sim_end_device(to), sim_end_array(from, offset), bytes, NULL, per_thread, true);
}

SIM_STREAM_API(cuMemcpyHtoA_v2, cuMemcpyHtoA_v2_ptds,
               (CUarray to, size_t offset, const void *from, size_t bytes), (to, offset, from, bytes))
{
    SIM_ENTER_CONTEXT(cuMemcpyHtoA_v2, ctx);
    return sim_copy_1d(sim_end_array(to, offset), sim_end_host(from), bytes, NULL, per_thread, true);
}

SIM_STREAM_API(cuMemcpyAtoH_v2, cuMemcpyAtoH_v2_ptds, (void *to, CUarray from, size_t offset, size_t bytes),
               (to, from, offset, bytes))
{
    SIM_ENTER_CONTEXT(cuMemcpyAtoH_v2, ctx);
    return sim_copy_1d(sim_end_host(to), sim_end_array(from, offset), bytes, NULL, per_thread, true);
}

SIM_STREAM_API(cuMemcpyAtoA_v2, cuMemcpyAtoA_v2_ptds,
               (CUarray to, size_t to_offset, CUarray from, size_t from_offset, size_t bytes),
               (to, to_offset, from, from_offset, bytes))
{
    SIM_ENTER_CONTEXT(cuMemcpyAtoA_v2, ctx);
    return sim_copy_1d(sim_end_array(to, to_offset), sim_end_array(from, from_offset), bytes, NULL,
                       per_thread, true);
}

SIM_STREAM_API(cuMemcpyHtoAAsync_v2, cuMemcpyHtoAAsync_v2_ptsz,
               (CUarray to, size_t offset, const void *from, size_t bytes, CUstream stream),
               (to, offset, from, bytes, stream))
{
    SIM_ENTER_CONTEXT(cuMemcpyHtoAAsync_v2, ctx);
    return sim_copy_1d(sim_end_array(to, offset), sim_end_host(from), bytes, stream, per_thread, false);
}

SIM_STREAM_API(cuMemcpyAtoHAsync_v2, cuMemcpyAtoHAsync_v2_ptsz,
               (void *to, CUarray from, size_t offset, size_t bytes, CUstream stream),
               (to, from, offset, bytes, stream))
{
    SIM_ENTER_CONTEXT(cuMemcpyAtoHAsync_v2, ctx);
    return sim_copy_1d(sim_end_host(to), sim_end_array(from, offset), bytes, stream, per_thread, false);
}
