/* copy_shape.c -- which way a copy goes, and how much it moves, by the description that the program gives. */
#include "copy.h"

static bool is_host(CUdeviceptr address)
{
    unsigned int type = CU_MEMORYTYPE_HOST;

    /* An address that the driver does not know is the program's own memory. */
    return REAL(cuPointerGetAttribute)(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, address) != CUDA_SUCCESS ||
           type == CU_MEMORYTYPE_HOST;
}

static bool is_host_side(int type, CUdeviceptr address)
{
    return type == CU_MEMORYTYPE_HOST || (type == CU_MEMORYTYPE_UNIFIED && is_host(address));
}

static enum gs_copy_way way_of(bool to_host, bool from_host, bool waits)
{
    if (!to_host && !from_host)
        return GS_ON_GPU;
    return waits ? GS_WAITED_FOR : GS_OVER_BUS;
}

struct gs_copy gs_copy_unified(CUstream stream, bool waits, CUdeviceptr to, CUdeviceptr from, uint64_t bytes)
{
    return (struct gs_copy){stream, way_of(is_host(to), is_host(from), waits), GS_COPY_LINEAR, bytes};
}

#define BOX(stream, waits, box, depth)                                                                       \
    (struct gs_copy)                                                                                         \
    {                                                                                                        \
        (stream),                                                                                            \
            way_of(is_host_side((box)->dstMemoryType, (box)->dstDevice),                                     \
                   is_host_side((box)->srcMemoryType, (box)->srcDevice), (waits)),                           \
            GS_COPY_BOX, (uint64_t)(box)->WidthInBytes *(box)->Height *(depth)                               \
    }

struct gs_copy gs_copy_2d(CUstream stream, bool waits, const CUDA_MEMCPY2D *box)
{
    return box != NULL ? BOX(stream, waits, box, 1) : (struct gs_copy){.way = GS_NO_COPY};
}

struct gs_copy gs_copy_2d_v1(CUstream stream, bool waits, const CUDA_MEMCPY2D_v1 *box)
{
    return box != NULL ? BOX(stream, waits, box, 1) : (struct gs_copy){.way = GS_NO_COPY};
}

struct gs_copy gs_copy_3d(CUstream stream, bool waits, const CUDA_MEMCPY3D *box)
{
    return box != NULL ? BOX(stream, waits, box, box->Depth) : (struct gs_copy){.way = GS_NO_COPY};
}

struct gs_copy gs_copy_3d_v1(CUstream stream, bool waits, const CUDA_MEMCPY3D_v1 *box)
{
    return box != NULL ? BOX(stream, waits, box, box->Depth) : (struct gs_copy){.way = GS_NO_COPY};
}

struct gs_copy gs_copy_3d_peer(CUstream stream, bool waits, const CUDA_MEMCPY3D_PEER *box)
{
    return box != NULL ? BOX(stream, waits, box, box->Depth) : (struct gs_copy){.way = GS_NO_COPY};
}

/* -------- batches: one that has anything for the GPU to do is metered as a whole -------- */

struct gs_copy gs_copy_batch(CUstream stream, const CUdeviceptr *to, const CUdeviceptr *from,
                             const size_t *bytes, size_t count)
{
    struct gs_copy copy = {stream, GS_OVER_BUS, GS_COPY_BATCH, 0};

    if (to == NULL || from == NULL || bytes == NULL)
        return (struct gs_copy){.way = GS_NO_COPY};
    for (size_t i = 0; i < count; i++) {
        copy.bytes += bytes[i];
        if (copy.way != GS_ON_GPU && !is_host(to[i]) && !is_host(from[i]))
            copy.way = GS_ON_GPU;
    }
    return copy;
}

static bool is_host_operand(const CUmemcpy3DOperand *operand)
{
    return operand->type == CU_MEMCPY_OPERAND_TYPE_POINTER && is_host(operand->op.ptr.ptr);
}

struct gs_copy gs_copy_boxes(CUstream stream, const CUDA_MEMCPY3D_BATCH_OP *boxes, size_t count)
{
    struct gs_copy copy = {stream, GS_OVER_BUS, GS_COPY_BATCH, 0};

    if (boxes == NULL)
        return (struct gs_copy){.way = GS_NO_COPY};
    for (size_t i = 0; i < count; i++) {
        copy.bytes += boxes[i].width * boxes[i].height * boxes[i].depth;
        if (copy.way != GS_ON_GPU && !is_host_operand(&boxes[i].dst) && !is_host_operand(&boxes[i].src))
            copy.way = GS_ON_GPU;
    }
    return copy;
}
