/* copy_batch.c -- batches of copies, and single ones that come with attributes.
 *
 * A batch is checked as a whole before anything of it is queued.  The order inside one is free; here it is that of the
 * list. */
#include "array.h"
#include "copy.h"

/* The attributes of the copy `index`, and whether the lists of attributes make sense for so many copies. */
static bool attributes_fit(const CUmemcpyAttributes *attributes, const size_t *first, size_t count,
                           size_t copies)
{
    if (!attributes || !first || count == 0 || count > copies || first[0] != 0 || first[count - 1] >= copies)
        return false;
    for (size_t i = 1; i < count; i++)
        if (first[i] <= first[i - 1])
            return false;
    return true;
}

static CUresult check_order(int order, unsigned flags)
{
    if (order < CU_MEMCPY_SRC_ACCESS_ORDER_STREAM || order > CU_MEMCPY_SRC_ACCESS_ORDER_ANY)
        return CUDA_ERROR_INVALID_VALUE;
    return flags & ~(unsigned)CU_MEMCPY_FLAG_PREFER_OVERLAP_WITH_COMPUTE ? CUDA_ERROR_INVALID_VALUE
                                                                         : CUDA_SUCCESS;
}

/* A source that may be gone when the call returns is taken along: host memory as a copy, other by waiting. */
static CUresult submit(struct sim_stream *stream, struct sim_copy *copy, int order)
{
    if (order != CU_MEMCPY_SRC_ACCESS_ORDER_DURING_API_CALL || stream->capture)
        return sim_copy_submit(stream, copy, false);
    if (!copy->source_host)
        return sim_copy_submit(stream, copy, true);
    SIM_TRY(sim_copy_stage(copy));
    return sim_copy_submit(stream, copy, false);
}

/* Batches have no place in the legacy default stream. */
static CUresult take_stream(CUstream handle, bool per_thread, struct sim_stream **stream)
{
    if (handle == CU_STREAM_LEGACY || (handle == NULL && !per_thread))
        return CUDA_ERROR_INVALID_VALUE;
    return sim_stream_resolve(handle, per_thread, stream);
}

/* -------- pointers -------- */

static CUresult linear(CUdeviceptr to, CUdeviceptr from, size_t bytes, struct sim_copy *copy)
{
    const CUDA_MEMCPY3D box = {.srcMemoryType = CU_MEMORYTYPE_UNIFIED,
                               .srcDevice = from,
                               .dstMemoryType = CU_MEMORYTYPE_UNIFIED,
                               .dstDevice = to,
                               .WidthInBytes = bytes,
                               .Height = 1,
                               .Depth = 1};
    return to && from ? sim_copy_from_3d(&box, copy) : CUDA_ERROR_INVALID_VALUE;
}

struct batch {
    const CUdeviceptr *to, *from;
    const size_t *bytes;
    size_t count;
    const CUmemcpyAttributes *attributes;
    const size_t *first;
    size_t attribute_count;
};

static CUresult copy_batch(const struct batch *b, size_t *failed, CUstream handle, bool per_thread)
{
    struct sim_stream *stream;
    struct sim_copy copy;
    if (failed)
        *failed = SIZE_MAX;
    if (!b->to || !b->from || !b->bytes || b->count == 0 ||
        !attributes_fit(b->attributes, b->first, b->attribute_count, b->count))
        return CUDA_ERROR_INVALID_VALUE;
    SIM_TRY(take_stream(handle, per_thread, &stream));
    for (size_t a = 0; a < b->attribute_count; a++)
        SIM_TRY(check_order(b->attributes[a].srcAccessOrder, b->attributes[a].flags));
    for (size_t i = 0; i < b->count; i++) {
        CUresult result = linear(b->to[i], b->from[i], b->bytes[i], &copy);
        if (result != CUDA_SUCCESS) {
            if (failed)
                *failed = i;
            return result;
        }
    }
    for (size_t i = 0, a = 0; i < b->count; i++) {
        a += a + 1 < b->attribute_count && b->first[a + 1] == i;
        SIM_TRY(linear(b->to[i], b->from[i], b->bytes[i], &copy));
        SIM_TRY(submit(stream, &copy, b->attributes[a].srcAccessOrder));
    }
    return CUDA_SUCCESS;
}

SIM_STREAM_API(cuMemcpyBatchAsync, cuMemcpyBatchAsync_ptsz,
               (CUdeviceptr * to, CUdeviceptr *from, size_t *bytes, size_t count,
                CUmemcpyAttributes *attributes, size_t *first, size_t attribute_count, size_t *failed,
                CUstream stream),
               (to, from, bytes, count, attributes, first, attribute_count, failed, stream))
{
    SIM_ENTER_CONTEXT(cuMemcpyBatchAsync, ctx);
    const struct batch batch = {to, from, bytes, count, attributes, first, attribute_count};
    return copy_batch(&batch, failed, stream, per_thread);
}

SIM_STREAM_API(cuMemcpyBatchAsync_v2, cuMemcpyBatchAsync_v2_ptsz,
               (CUdeviceptr * to, CUdeviceptr *from, size_t *bytes, size_t count,
                CUmemcpyAttributes *attributes, size_t *first, size_t attribute_count, CUstream stream),
               (to, from, bytes, count, attributes, first, attribute_count, stream))
{
    SIM_ENTER_CONTEXT(cuMemcpyBatchAsync_v2, ctx);
    const struct batch batch = {to, from, bytes, count, attributes, first, attribute_count};
    return copy_batch(&batch, NULL, stream, per_thread);
}

SIM_STREAM_API(cuMemcpyWithAttributesAsync, cuMemcpyWithAttributesAsync_ptsz,
               (CUdeviceptr to, CUdeviceptr from, size_t bytes, CUmemcpyAttributes *attributes,
                CUstream handle),
               (to, from, bytes, attributes, handle))
{
    SIM_ENTER_CONTEXT(cuMemcpyWithAttributesAsync, ctx);
    struct sim_stream *stream;
    struct sim_copy copy;
    if (!attributes)
        return CUDA_ERROR_INVALID_VALUE;
    SIM_TRY(sim_stream_resolve(handle, per_thread, &stream));
    SIM_TRY(check_order(attributes->srcAccessOrder, attributes->flags));
    SIM_TRY(linear(to, from, bytes, &copy));
    return submit(stream, &copy, attributes->srcAccessOrder);
}

/* -------- boxes -------- */

/* The size of an element is that of the arrays, or a byte where both operands are pointers. */
static CUresult element_of(const CUDA_MEMCPY3D_BATCH_OP *op, uint32_t *bytes)
{
    const CUmemcpy3DOperand *side[] = {&op->src, &op->dst};
    *bytes = 0;
    for (int i = 0; i < 2; i++) {
        if (side[i]->type == CU_MEMCPY_OPERAND_TYPE_POINTER)
            continue;
        if (side[i]->type != CU_MEMCPY_OPERAND_TYPE_ARRAY || !sim_is(side[i]->op.array.array, SIM_ARRAY))
            return CUDA_ERROR_INVALID_VALUE;
        uint32_t own = side[i]->op.array.array->layout.element_bytes;
        if (*bytes && own != *bytes)
            return CUDA_ERROR_INVALID_VALUE;
        *bytes = own;
    }
    *bytes += *bytes == 0;
    return CUDA_SUCCESS;
}

static CUresult box_of(const CUDA_MEMCPY3D_BATCH_OP *op, struct sim_copy *copy)
{
    uint32_t size;
    SIM_TRY(check_order(op->srcAccessOrder, op->flags));
    SIM_TRY(element_of(op, &size));
    if (op->extent.width == 0 || op->extent.height == 0 || op->extent.depth == 0)
        return CUDA_ERROR_INVALID_VALUE;
    CUDA_MEMCPY3D box = {
        .WidthInBytes = op->extent.width * size, .Height = op->extent.height, .Depth = op->extent.depth};
    if (op->src.type == CU_MEMCPY_OPERAND_TYPE_ARRAY) {
        box.srcMemoryType = CU_MEMORYTYPE_ARRAY;
        box.srcArray = op->src.op.array.array;
        box.srcXInBytes = op->src.op.array.offset.x * size;
        box.srcY = op->src.op.array.offset.y;
        box.srcZ = op->src.op.array.offset.z;
    } else {
        box.srcMemoryType = CU_MEMORYTYPE_UNIFIED;
        box.srcDevice = op->src.op.ptr.ptr;
        box.srcPitch = op->src.op.ptr.rowLength * size;
        box.srcHeight = op->src.op.ptr.layerHeight;
    }
    if (op->dst.type == CU_MEMCPY_OPERAND_TYPE_ARRAY) {
        box.dstMemoryType = CU_MEMORYTYPE_ARRAY;
        box.dstArray = op->dst.op.array.array;
        box.dstXInBytes = op->dst.op.array.offset.x * size;
        box.dstY = op->dst.op.array.offset.y;
        box.dstZ = op->dst.op.array.offset.z;
    } else {
        box.dstMemoryType = CU_MEMORYTYPE_UNIFIED;
        box.dstDevice = op->dst.op.ptr.ptr;
        box.dstPitch = op->dst.op.ptr.rowLength * size;
        box.dstHeight = op->dst.op.ptr.layerHeight;
    }
    return sim_copy_from_3d(&box, copy);
}

static CUresult box_batch(size_t count, const CUDA_MEMCPY3D_BATCH_OP *ops, size_t *failed,
                          unsigned long long flags, CUstream handle, bool per_thread)
{
    struct sim_stream *stream;
    struct sim_copy copy;
    if (failed)
        *failed = SIZE_MAX;
    if (!ops || count == 0 || flags != 0)
        return CUDA_ERROR_INVALID_VALUE;
    SIM_TRY(take_stream(handle, per_thread, &stream));
    for (size_t i = 0; i < count; i++) {
        CUresult result = box_of(&ops[i], &copy);
        if (result != CUDA_SUCCESS) {
            if (failed)
                *failed = i;
            return result;
        }
    }
    for (size_t i = 0; i < count; i++) {
        SIM_TRY(box_of(&ops[i], &copy));
        SIM_TRY(submit(stream, &copy, ops[i].srcAccessOrder));
    }
    return CUDA_SUCCESS;
}

SIM_STREAM_API(cuMemcpy3DBatchAsync, cuMemcpy3DBatchAsync_ptsz,
               (size_t count, CUDA_MEMCPY3D_BATCH_OP *ops, size_t *failed, unsigned long long flags,
                CUstream stream),
               (count, ops, failed, flags, stream))
{
    SIM_ENTER_CONTEXT(cuMemcpy3DBatchAsync, ctx);
    return box_batch(count, ops, failed, flags, stream, per_thread);
}

SIM_STREAM_API(cuMemcpy3DBatchAsync_v2, cuMemcpy3DBatchAsync_v2_ptsz,
               (size_t count, CUDA_MEMCPY3D_BATCH_OP *ops, unsigned long long flags, CUstream stream),
               (count, ops, flags, stream))
{
    SIM_ENTER_CONTEXT(cuMemcpy3DBatchAsync_v2, ctx);
    return box_batch(count, ops, NULL, flags, stream, per_thread);
}

SIM_STREAM_API(cuMemcpy3DWithAttributesAsync, cuMemcpy3DWithAttributesAsync_ptsz,
               (CUDA_MEMCPY3D_BATCH_OP * op, unsigned long long flags, CUstream handle), (op, flags, handle))
{
    SIM_ENTER_CONTEXT(cuMemcpy3DWithAttributesAsync, ctx);
    struct sim_stream *stream;
    struct sim_copy copy;
    if (!op || flags != 0)
        return CUDA_ERROR_INVALID_VALUE;
    SIM_TRY(sim_stream_resolve(handle, per_thread, &stream));
    SIM_TRY(box_of(op, &copy));
    return submit(stream, &copy, op->srcAccessOrder);
}
