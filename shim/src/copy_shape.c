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

struct gs_copy gs_copy_between(CUstream stream, bool waits, bool to_host, bool from_host,
                               enum gs_copy_kind kind, uint64_t bytes)
{
    struct gs_copy copy = {.stream = stream, .way = GS_ON_GPU, .kind = kind, .bytes = bytes};

    if (to_host || from_host)
        copy.way = waits ? GS_WAITED_FOR : GS_OVER_BUS;
    if (to_host != from_host)
        copy.bus_bytes[to_host] = bytes;
    return copy;
}

struct gs_copy gs_copy_unified(CUstream stream, bool waits, CUdeviceptr to, CUdeviceptr from, uint64_t bytes)
{
    return gs_copy_between(stream, waits, is_host(to), is_host(from), GS_COPY_LINEAR, bytes);
}

#define BOX(stream, waits, box, depth)                                                                       \
    gs_copy_between(stream, waits, is_host_side((box)->dstMemoryType, (box)->dstDevice),                     \
                    is_host_side((box)->srcMemoryType, (box)->srcDevice), GS_COPY_BOX,                       \
                    (uint64_t)(box)->WidthInBytes *(box)->Height *(depth))

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

/* One copy more. */
static void add(struct gs_copy *batch, bool to_host, bool from_host, uint64_t bytes)
{
    batch->bytes += bytes;
    if (!to_host && !from_host)
        batch->way = GS_ON_GPU;
    if (to_host != from_host)
        batch->bus_bytes[to_host] += bytes;
}

struct gs_copy gs_copy_batch(CUstream stream, const CUdeviceptr *to, const CUdeviceptr *from,
                             const size_t *bytes, size_t count)
{
    struct gs_copy copy = {.stream = stream, .way = GS_OVER_BUS, .kind = GS_COPY_BATCH};

    if (to == NULL || from == NULL || bytes == NULL)
        return (struct gs_copy){.way = GS_NO_COPY};
    for (size_t i = 0; i < count; i++)
        add(&copy, is_host(to[i]), is_host(from[i]), bytes[i]);
    return copy;
}

static bool is_host_operand(const CUmemcpy3DOperand *operand)
{
    return operand->type == CU_MEMCPY_OPERAND_TYPE_POINTER && is_host(operand->op.ptr.ptr);
}

/* What such a box's width counts; 1 for the block formats, which nobody fills from the host by parts. */
static uint64_t element_bytes(const CUmemcpy3DOperand *operand)
{
    CUDA_ARRAY3D_DESCRIPTOR array = {0};

    if (operand->type != CU_MEMCPY_OPERAND_TYPE_ARRAY ||
        REAL(cuArray3DGetDescriptor_v2)(&array, operand->op.array.array) != CUDA_SUCCESS)
        return 1;
    switch (array.Format) {
    case CU_AD_FORMAT_UNSIGNED_INT16:
    case CU_AD_FORMAT_SIGNED_INT16:
    case CU_AD_FORMAT_HALF:
        return 2ull * array.NumChannels;
    case CU_AD_FORMAT_UNSIGNED_INT32:
    case CU_AD_FORMAT_SIGNED_INT32:
    case CU_AD_FORMAT_FLOAT:
        return 4ull * array.NumChannels;
    default:
        return array.NumChannels;
    }
}

static uint64_t box_bytes(const CUDA_MEMCPY3D_BATCH_OP *box)
{
    uint64_t to = element_bytes(&box->dst), from = element_bytes(&box->src);

    return box->width * box->height * box->depth * (to > from ? to : from);
}

struct gs_copy gs_copy_boxes(CUstream stream, const CUDA_MEMCPY3D_BATCH_OP *boxes, size_t count)
{
    struct gs_copy copy = {.stream = stream, .way = GS_OVER_BUS, .kind = GS_COPY_BATCH};

    if (boxes == NULL)
        return (struct gs_copy){.way = GS_NO_COPY};
    for (size_t i = 0; i < count; i++)
        add(&copy, is_host_operand(&boxes[i].dst), is_host_operand(&boxes[i].src), box_bytes(&boxes[i]));
    return copy;
}
