/* copy.h -- what a copy, a fill or a wait in a stream means for the GPU time of its tenant.
 *
 * Fills, and copies inside a device, run where kernels run, and are metered as kernels are.  Copies over the bus have
 * engines of their own: they cost no GPU time, but a stream that waits for one, or for the host, is not busy.  So they
 * end a window, and the next one begins behind them.  Those between the host and a device may have a limit of their
 * own, in bytes a second. */
#ifndef GS_COPY_H
#define GS_COPY_H

#include "copy_types.h"
#include "launch.h"

enum gs_copy_way {
    GS_NO_COPY,   /* nothing moves, or not by the GPU */
    GS_ON_GPU,    /* takes GPU time */
    GS_OVER_BUS,  /* the stream goes on when it is through */
    GS_WAITED_FOR /* so does the host */
};

enum gs_copy_kind { GS_FILL, GS_COPY_LINEAR, GS_COPY_BOX, GS_COPY_BATCH, GS_DECOMPRESS, GS_COPY_KINDS };

struct gs_copy {
    CUstream stream;
    enum gs_copy_way way;
    enum gs_copy_kind kind;
    uint64_t bytes;
    uint64_t bus_bytes[GS_DIRECTIONS]; /* of them, over the bus */
};

/* -------- the limit on copies over the bus (copy_rate.c) -------- */

/* What a copy has been charged, on a device of the tenant's; no device: nothing. */
struct gs_copy_charge {
    struct gs_device_usage *usage;
    uint64_t bytes[GS_DIRECTIONS];
};

/* Before a copy: waits until the tenant may copy more, in the caller's thread, and charges it.  A copy that a stream
 * only records is not made now, and passes. */
struct gs_copy_charge gs_copy_pass(const struct gs_copy *copy);

/* The driver has refused the copy. */
void gs_copy_refund(const struct gs_copy_charge *charge);

/* -------- by what the program says (copy_shape.c) -------- */

struct gs_copy gs_copy_between(CUstream stream, bool waits, bool to_host, bool from_host,
                               enum gs_copy_kind kind, uint64_t bytes);
struct gs_copy gs_copy_unified(CUstream stream, bool waits, CUdeviceptr to, CUdeviceptr from, uint64_t bytes);
struct gs_copy gs_copy_2d(CUstream stream, bool waits, const CUDA_MEMCPY2D *box);
struct gs_copy gs_copy_2d_v1(CUstream stream, bool waits, const CUDA_MEMCPY2D_v1 *box);
struct gs_copy gs_copy_3d(CUstream stream, bool waits, const CUDA_MEMCPY3D *box);
struct gs_copy gs_copy_3d_v1(CUstream stream, bool waits, const CUDA_MEMCPY3D_v1 *box);
struct gs_copy gs_copy_3d_peer(CUstream stream, bool waits, const CUDA_MEMCPY3D_PEER *box);
struct gs_copy gs_copy_batch(CUstream stream, const CUdeviceptr *to, const CUdeviceptr *from,
                             const size_t *bytes, size_t count);
struct gs_copy gs_copy_boxes(CUstream stream, const CUDA_MEMCPY3D_BATCH_OP *boxes, size_t count);

#endif
