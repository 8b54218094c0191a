/* copy_legacy.c -- copies and memsets in the spelling of CUDA 2. */
#include "copy.h"
#include "legacy.h"

SIM_EXPORT CUresult cuMemcpyHtoD_v2(CUdeviceptr, const void *, size_t);
SIM_EXPORT CUresult cuMemcpyDtoH_v2(void *, CUdeviceptr, size_t);
SIM_EXPORT CUresult cuMemcpyDtoD_v2(CUdeviceptr, CUdeviceptr, size_t);
SIM_EXPORT CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr, const void *, size_t, CUstream);
SIM_EXPORT CUresult cuMemcpyDtoHAsync_v2(void *, CUdeviceptr, size_t, CUstream);
SIM_EXPORT CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr, CUdeviceptr, size_t, CUstream);
SIM_EXPORT CUresult cuMemcpyDtoA_v2(CUarray, size_t, CUdeviceptr, size_t);
SIM_EXPORT CUresult cuMemcpyAtoD_v2(CUdeviceptr, CUarray, size_t, size_t);
SIM_EXPORT CUresult cuMemcpyHtoA_v2(CUarray, size_t, const void *, size_t);
SIM_EXPORT CUresult cuMemcpyAtoH_v2(void *, CUarray, size_t, size_t);
SIM_EXPORT CUresult cuMemcpyAtoA_v2(CUarray, size_t, CUarray, size_t, size_t);
SIM_EXPORT CUresult cuMemcpyHtoAAsync_v2(CUarray, size_t, const void *, size_t, CUstream);
SIM_EXPORT CUresult cuMemcpyAtoHAsync_v2(void *, CUarray, size_t, size_t, CUstream);
SIM_EXPORT CUresult cuMemcpy2D_v2(const CUDA_MEMCPY2D *);
SIM_EXPORT CUresult cuMemcpy2DUnaligned_v2(const CUDA_MEMCPY2D *);
SIM_EXPORT CUresult cuMemcpy2DAsync_v2(const CUDA_MEMCPY2D *, CUstream);
SIM_EXPORT CUresult cuMemcpy3D_v2(const CUDA_MEMCPY3D *);
SIM_EXPORT CUresult cuMemcpy3DAsync_v2(const CUDA_MEMCPY3D *, CUstream);
SIM_EXPORT CUresult cuMemsetD8_v2(CUdeviceptr, unsigned char, size_t);
SIM_EXPORT CUresult cuMemsetD16_v2(CUdeviceptr, unsigned short, size_t);
SIM_EXPORT CUresult cuMemsetD32_v2(CUdeviceptr, unsigned, size_t);
SIM_EXPORT CUresult cuMemsetD2D8_v2(CUdeviceptr, size_t, unsigned char, size_t, size_t);
SIM_EXPORT CUresult cuMemsetD2D16_v2(CUdeviceptr, size_t, unsigned short, size_t, size_t);
SIM_EXPORT CUresult cuMemsetD2D32_v2(CUdeviceptr, size_t, unsigned, size_t, size_t);

SIM_LEGACY_API(cuMemcpyHtoD, (CUdeviceptr_v1 to, const void *from, unsigned bytes),
               cuMemcpyHtoD_v2(to, from, bytes))
SIM_LEGACY_API(cuMemcpyDtoH, (void *to, CUdeviceptr_v1 from, unsigned bytes),
               cuMemcpyDtoH_v2(to, from, bytes))
SIM_LEGACY_API(cuMemcpyDtoD, (CUdeviceptr_v1 to, CUdeviceptr_v1 from, unsigned bytes),
               cuMemcpyDtoD_v2(to, from, bytes))
SIM_LEGACY_API(cuMemcpyHtoDAsync, (CUdeviceptr_v1 to, const void *from, unsigned bytes, CUstream stream),
               cuMemcpyHtoDAsync_v2(to, from, bytes, stream))
SIM_LEGACY_API(cuMemcpyDtoHAsync, (void *to, CUdeviceptr_v1 from, unsigned bytes, CUstream stream),
               cuMemcpyDtoHAsync_v2(to, from, bytes, stream))
SIM_LEGACY_API(cuMemcpyDtoDAsync, (CUdeviceptr_v1 to, CUdeviceptr_v1 from, unsigned bytes, CUstream stream),
               cuMemcpyDtoDAsync_v2(to, from, bytes, stream))
SIM_LEGACY_API(cuMemcpyDtoA, (CUarray to, unsigned offset, CUdeviceptr_v1 from, unsigned bytes),
               cuMemcpyDtoA_v2(to, offset, from, bytes))
SIM_LEGACY_API(cuMemcpyAtoD, (CUdeviceptr_v1 to, CUarray from, unsigned offset, unsigned bytes),
               cuMemcpyAtoD_v2(to, from, offset, bytes))
SIM_LEGACY_API(cuMemcpyHtoA, (CUarray to, unsigned offset, const void *from, unsigned bytes),
               cuMemcpyHtoA_v2(to, offset, from, bytes))
SIM_LEGACY_API(cuMemcpyAtoH, (void *to, CUarray from, unsigned offset, unsigned bytes),
               cuMemcpyAtoH_v2(to, from, offset, bytes))
SIM_LEGACY_API(cuMemcpyAtoA,
               (CUarray to, unsigned to_offset, CUarray from, unsigned from_offset, unsigned bytes),
               cuMemcpyAtoA_v2(to, to_offset, from, from_offset, bytes))
SIM_LEGACY_API(cuMemcpyHtoAAsync,
               (CUarray to, unsigned offset, const void *from, unsigned bytes, CUstream stream),
               cuMemcpyHtoAAsync_v2(to, offset, from, bytes, stream))
SIM_LEGACY_API(cuMemcpyAtoHAsync, (void *to, CUarray from, unsigned offset, unsigned bytes, CUstream stream),
               cuMemcpyAtoHAsync_v2(to, from, offset, bytes, stream))

/* -------- rectangles and boxes -------- */

static const CUDA_MEMCPY2D *wide_2d(const CUDA_MEMCPY2D_v1 *p, CUDA_MEMCPY2D *wide)
{
    if (!p)
        return NULL;
    *wide = (CUDA_MEMCPY2D){SIM_SHAPE(p)};
    return wide;
}

static const CUDA_MEMCPY3D *wide_3d(const CUDA_MEMCPY3D_v1 *p, CUDA_MEMCPY3D *wide)
{
    if (!p)
        return NULL;
    *wide = (CUDA_MEMCPY3D){
        SIM_SHAPE(p),    .srcZ = p->srcZ,     .srcLOD = p->srcLOD,       .srcHeight = p->srcHeight,
        .dstZ = p->dstZ, .dstLOD = p->dstLOD, .dstHeight = p->dstHeight, .Depth = p->Depth};
    return wide;
}

SIM_LEGACY_API(cuMemcpy2D, (const CUDA_MEMCPY2D_v1 *shape),
               cuMemcpy2D_v2(wide_2d(shape, &(CUDA_MEMCPY2D){0})))
SIM_LEGACY_API(cuMemcpy2DUnaligned, (const CUDA_MEMCPY2D_v1 *shape),
               cuMemcpy2DUnaligned_v2(wide_2d(shape, &(CUDA_MEMCPY2D){0})))
SIM_LEGACY_API(cuMemcpy2DAsync, (const CUDA_MEMCPY2D_v1 *shape, CUstream stream),
               cuMemcpy2DAsync_v2(wide_2d(shape, &(CUDA_MEMCPY2D){0}), stream))
SIM_LEGACY_API(cuMemcpy3D, (const CUDA_MEMCPY3D_v1 *shape),
               cuMemcpy3D_v2(wide_3d(shape, &(CUDA_MEMCPY3D){0})))
SIM_LEGACY_API(cuMemcpy3DAsync, (const CUDA_MEMCPY3D_v1 *shape, CUstream stream),
               cuMemcpy3DAsync_v2(wide_3d(shape, &(CUDA_MEMCPY3D){0}), stream))

/* -------- memsets -------- */

SIM_LEGACY_API(cuMemsetD8, (CUdeviceptr_v1 to, unsigned char value, unsigned count),
               cuMemsetD8_v2(to, value, count))
SIM_LEGACY_API(cuMemsetD16, (CUdeviceptr_v1 to, unsigned short value, unsigned count),
               cuMemsetD16_v2(to, value, count))
SIM_LEGACY_API(cuMemsetD32, (CUdeviceptr_v1 to, unsigned value, unsigned count),
               cuMemsetD32_v2(to, value, count))
SIM_LEGACY_API(cuMemsetD2D8,
               (CUdeviceptr_v1 to, unsigned pitch, unsigned char value, unsigned width, unsigned height),
               cuMemsetD2D8_v2(to, pitch, value, width, height))
SIM_LEGACY_API(cuMemsetD2D16,
               (CUdeviceptr_v1 to, unsigned pitch, unsigned short value, unsigned width, unsigned height),
               cuMemsetD2D16_v2(to, pitch, value, width, height))
SIM_LEGACY_API(cuMemsetD2D32,
               (CUdeviceptr_v1 to, unsigned pitch, unsigned value, unsigned width, unsigned height),
               cuMemsetD2D32_v2(to, pitch, value, width, height))
