/* copies.h -- what each hooked copy, fill and wait in a stream does: one line for each spelling, OF_name(arguments) with
 * the arguments of hooks.def's row, which makes a struct gs_copy. */
#ifndef GS_COPIES_H
#define GS_COPIES_H

#include "copy.h"

#define MAKE(stream, way, kind, bytes)                                                                       \
    (struct gs_copy)                                                                                         \
    {                                                                                                        \
        stream, way, kind, (uint64_t)(bytes),                                                                \
        {                                                                                                    \
            0                                                                                                \
        }                                                                                                    \
    }
#define ACROSS(stream, waits, to_host, n)                                                                    \
    gs_copy_between(stream, waits, to_host, !(to_host), GS_COPY_LINEAR, n)

/* -------- shapes of arguments -------- */

#define FILL(stands, size, to, value, n) MAKE(stands(NULL), GS_ON_GPU, GS_FILL, (uint64_t)(n)*size)
#define FILL_ASYNC(stands, size, to, value, n, stream)                                                       \
    MAKE(stands(stream), GS_ON_GPU, GS_FILL, (uint64_t)(n)*size)
#define FILL_2D(stands, size, to, pitch, value, w, h)                                                        \
    MAKE(stands(NULL), GS_ON_GPU, GS_FILL, (uint64_t)(w) * (h)*size)
#define FILL_2D_ASYNC(stands, size, to, pitch, value, w, h, stream)                                          \
    MAKE(stands(stream), GS_ON_GPU, GS_FILL, (uint64_t)(w) * (h)*size)
#define ON_GPU(stands, to, from, n)                           MAKE(stands(NULL), GS_ON_GPU, GS_COPY_LINEAR, n)
#define ON_GPU_ASYNC(stands, to, from, n, stream)             MAKE(stands(stream), GS_ON_GPU, GS_COPY_LINEAR, n)
#define TO_DEVICE(stands, to, from, n)                        ACROSS(stands(NULL), true, false, n)
#define TO_DEVICE_ASYNC(stands, to, from, n, stream)          ACROSS(stands(stream), false, false, n)
#define TO_HOST(stands, to, from, n)                          ACROSS(stands(NULL), true, true, n)
#define TO_HOST_ASYNC(stands, to, from, n, stream)            ACROSS(stands(stream), false, true, n)
#define ARRAY_ON_GPU(stands, to, a, b, n)                     MAKE(stands(NULL), GS_ON_GPU, GS_COPY_LINEAR, n)
#define ARRAYS_ON_GPU(stands, to, a, from, b, n)              MAKE(stands(NULL), GS_ON_GPU, GS_COPY_LINEAR, n)
#define ARRAY_TO_DEVICE(stands, to, a, from, n)               ACROSS(stands(NULL), true, false, n)
#define ARRAY_TO_DEVICE_ASYNC(stands, to, a, from, n, stream) ACROSS(stands(stream), false, false, n)
#define ARRAY_TO_HOST(stands, to, from, a, n)                 ACROSS(stands(NULL), true, true, n)
#define ARRAY_TO_HOST_ASYNC(stands, to, from, a, n, stream)   ACROSS(stands(stream), false, true, n)
#define UNIFIED(stands, to, from, n)                          gs_copy_unified(stands(NULL), true, to, from, n)
#define UNIFIED_ASYNC(stands, to, from, n, stream)            gs_copy_unified(stands(stream), false, to, from, n)
#define WITH_ATTRIBUTES(stands, to, from, n, a, stream)       gs_copy_unified(stands(stream), false, to, from, n)
#define PEER(stands, to, a, from, b, n)                       MAKE(stands(NULL), GS_ON_GPU, GS_COPY_LINEAR, n)
#define PEER_ASYNC(stands, to, a, from, b, n, stream)         MAKE(stands(stream), GS_ON_GPU, GS_COPY_LINEAR, n)
#define BREAK(stream)                                         MAKE(stream, GS_OVER_BUS, GS_COPY_LINEAR, 0)
#define WORK(stream)                                          MAKE(stream, GS_ON_GPU, GS_DECOMPRESS, 0)

/* -------- memsets -------- */

#define OF_cuMemsetD16(...)             FILL(gs_legacy, 2, __VA_ARGS__)
#define OF_cuMemsetD16Async(...)        FILL_ASYNC(gs_legacy, 2, __VA_ARGS__)
#define OF_cuMemsetD16Async_ptsz(...)   FILL_ASYNC(gs_per_thread, 2, __VA_ARGS__)
#define OF_cuMemsetD16_v2(...)          FILL(gs_legacy, 2, __VA_ARGS__)
#define OF_cuMemsetD16_v2_ptds(...)     FILL(gs_per_thread, 2, __VA_ARGS__)
#define OF_cuMemsetD2D16(...)           FILL_2D(gs_legacy, 2, __VA_ARGS__)
#define OF_cuMemsetD2D16Async(...)      FILL_2D_ASYNC(gs_legacy, 2, __VA_ARGS__)
#define OF_cuMemsetD2D16Async_ptsz(...) FILL_2D_ASYNC(gs_per_thread, 2, __VA_ARGS__)
#define OF_cuMemsetD2D16_v2(...)        FILL_2D(gs_legacy, 2, __VA_ARGS__)
#define OF_cuMemsetD2D16_v2_ptds(...)   FILL_2D(gs_per_thread, 2, __VA_ARGS__)
#define OF_cuMemsetD2D32(...)           FILL_2D(gs_legacy, 4, __VA_ARGS__)
#define OF_cuMemsetD2D32Async(...)      FILL_2D_ASYNC(gs_legacy, 4, __VA_ARGS__)
#define OF_cuMemsetD2D32Async_ptsz(...) FILL_2D_ASYNC(gs_per_thread, 4, __VA_ARGS__)
#define OF_cuMemsetD2D32_v2(...)        FILL_2D(gs_legacy, 4, __VA_ARGS__)
#define OF_cuMemsetD2D32_v2_ptds(...)   FILL_2D(gs_per_thread, 4, __VA_ARGS__)
#define OF_cuMemsetD2D8(...)            FILL_2D(gs_legacy, 1, __VA_ARGS__)
#define OF_cuMemsetD2D8Async(...)       FILL_2D_ASYNC(gs_legacy, 1, __VA_ARGS__)
#define OF_cuMemsetD2D8Async_ptsz(...)  FILL_2D_ASYNC(gs_per_thread, 1, __VA_ARGS__)
#define OF_cuMemsetD2D8_v2(...)         FILL_2D(gs_legacy, 1, __VA_ARGS__)
#define OF_cuMemsetD2D8_v2_ptds(...)    FILL_2D(gs_per_thread, 1, __VA_ARGS__)
#define OF_cuMemsetD32(...)             FILL(gs_legacy, 4, __VA_ARGS__)
#define OF_cuMemsetD32Async(...)        FILL_ASYNC(gs_legacy, 4, __VA_ARGS__)
#define OF_cuMemsetD32Async_ptsz(...)   FILL_ASYNC(gs_per_thread, 4, __VA_ARGS__)
#define OF_cuMemsetD32_v2(...)          FILL(gs_legacy, 4, __VA_ARGS__)
#define OF_cuMemsetD32_v2_ptds(...)     FILL(gs_per_thread, 4, __VA_ARGS__)
#define OF_cuMemsetD8(...)              FILL(gs_legacy, 1, __VA_ARGS__)
#define OF_cuMemsetD8Async(...)         FILL_ASYNC(gs_legacy, 1, __VA_ARGS__)
#define OF_cuMemsetD8Async_ptsz(...)    FILL_ASYNC(gs_per_thread, 1, __VA_ARGS__)
#define OF_cuMemsetD8_v2(...)           FILL(gs_legacy, 1, __VA_ARGS__)
#define OF_cuMemsetD8_v2_ptds(...)      FILL(gs_per_thread, 1, __VA_ARGS__)

/* -------- lines -------- */

#define OF_cuMemcpy(...)                         UNIFIED(gs_legacy, __VA_ARGS__)
#define OF_cuMemcpyAsync(...)                    UNIFIED_ASYNC(gs_legacy, __VA_ARGS__)
#define OF_cuMemcpyAsync_ptsz(...)               UNIFIED_ASYNC(gs_per_thread, __VA_ARGS__)
#define OF_cuMemcpyDtoD(...)                     ON_GPU(gs_legacy, __VA_ARGS__)
#define OF_cuMemcpyDtoDAsync(...)                ON_GPU_ASYNC(gs_legacy, __VA_ARGS__)
#define OF_cuMemcpyDtoDAsync_v2(...)             ON_GPU_ASYNC(gs_legacy, __VA_ARGS__)
#define OF_cuMemcpyDtoDAsync_v2_ptsz(...)        ON_GPU_ASYNC(gs_per_thread, __VA_ARGS__)
#define OF_cuMemcpyDtoD_v2(...)                  ON_GPU(gs_legacy, __VA_ARGS__)
#define OF_cuMemcpyDtoD_v2_ptds(...)             ON_GPU(gs_per_thread, __VA_ARGS__)
#define OF_cuMemcpyDtoH(...)                     TO_HOST(gs_legacy, __VA_ARGS__)
#define OF_cuMemcpyDtoHAsync(...)                TO_HOST_ASYNC(gs_legacy, __VA_ARGS__)
#define OF_cuMemcpyDtoHAsync_v2(...)             TO_HOST_ASYNC(gs_legacy, __VA_ARGS__)
#define OF_cuMemcpyDtoHAsync_v2_ptsz(...)        TO_HOST_ASYNC(gs_per_thread, __VA_ARGS__)
#define OF_cuMemcpyDtoH_v2(...)                  TO_HOST(gs_legacy, __VA_ARGS__)
#define OF_cuMemcpyDtoH_v2_ptds(...)             TO_HOST(gs_per_thread, __VA_ARGS__)
#define OF_cuMemcpyHtoD(...)                     TO_DEVICE(gs_legacy, __VA_ARGS__)
#define OF_cuMemcpyHtoDAsync(...)                TO_DEVICE_ASYNC(gs_legacy, __VA_ARGS__)
#define OF_cuMemcpyHtoDAsync_v2(...)             TO_DEVICE_ASYNC(gs_legacy, __VA_ARGS__)
#define OF_cuMemcpyHtoDAsync_v2_ptsz(...)        TO_DEVICE_ASYNC(gs_per_thread, __VA_ARGS__)
#define OF_cuMemcpyHtoD_v2(...)                  TO_DEVICE(gs_legacy, __VA_ARGS__)
#define OF_cuMemcpyHtoD_v2_ptds(...)             TO_DEVICE(gs_per_thread, __VA_ARGS__)
#define OF_cuMemcpyPeer(...)                     PEER(gs_legacy, __VA_ARGS__)
#define OF_cuMemcpyPeerAsync(...)                PEER_ASYNC(gs_legacy, __VA_ARGS__)
#define OF_cuMemcpyPeerAsync_ptsz(...)           PEER_ASYNC(gs_per_thread, __VA_ARGS__)
#define OF_cuMemcpyPeer_ptds(...)                PEER(gs_per_thread, __VA_ARGS__)
#define OF_cuMemcpyWithAttributesAsync(...)      WITH_ATTRIBUTES(gs_legacy, __VA_ARGS__)
#define OF_cuMemcpyWithAttributesAsync_ptsz(...) WITH_ATTRIBUTES(gs_per_thread, __VA_ARGS__)
#define OF_cuMemcpy_ptds(...)                    UNIFIED(gs_per_thread, __VA_ARGS__)

/* -------- arrays -------- */

#define OF_cuMemcpyAtoA(...)              ARRAYS_ON_GPU(gs_legacy, __VA_ARGS__)
#define OF_cuMemcpyAtoA_v2(...)           ARRAYS_ON_GPU(gs_legacy, __VA_ARGS__)
#define OF_cuMemcpyAtoA_v2_ptds(...)      ARRAYS_ON_GPU(gs_per_thread, __VA_ARGS__)
#define OF_cuMemcpyAtoD(...)              ARRAY_ON_GPU(gs_legacy, __VA_ARGS__)
#define OF_cuMemcpyAtoD_v2(...)           ARRAY_ON_GPU(gs_legacy, __VA_ARGS__)
#define OF_cuMemcpyAtoD_v2_ptds(...)      ARRAY_ON_GPU(gs_per_thread, __VA_ARGS__)
#define OF_cuMemcpyAtoH(...)              ARRAY_TO_HOST(gs_legacy, __VA_ARGS__)
#define OF_cuMemcpyAtoHAsync(...)         ARRAY_TO_HOST_ASYNC(gs_legacy, __VA_ARGS__)
#define OF_cuMemcpyAtoHAsync_v2(...)      ARRAY_TO_HOST_ASYNC(gs_legacy, __VA_ARGS__)
#define OF_cuMemcpyAtoHAsync_v2_ptsz(...) ARRAY_TO_HOST_ASYNC(gs_per_thread, __VA_ARGS__)
#define OF_cuMemcpyAtoH_v2(...)           ARRAY_TO_HOST(gs_legacy, __VA_ARGS__)
#define OF_cuMemcpyAtoH_v2_ptds(...)      ARRAY_TO_HOST(gs_per_thread, __VA_ARGS__)
#define OF_cuMemcpyDtoA(...)              ARRAY_ON_GPU(gs_legacy, __VA_ARGS__)
#define OF_cuMemcpyDtoA_v2(...)           ARRAY_ON_GPU(gs_legacy, __VA_ARGS__)
#define OF_cuMemcpyDtoA_v2_ptds(...)      ARRAY_ON_GPU(gs_per_thread, __VA_ARGS__)
#define OF_cuMemcpyHtoA(...)              ARRAY_TO_DEVICE(gs_legacy, __VA_ARGS__)
#define OF_cuMemcpyHtoAAsync(...)         ARRAY_TO_DEVICE_ASYNC(gs_legacy, __VA_ARGS__)
#define OF_cuMemcpyHtoAAsync_v2(...)      ARRAY_TO_DEVICE_ASYNC(gs_legacy, __VA_ARGS__)
#define OF_cuMemcpyHtoAAsync_v2_ptsz(...) ARRAY_TO_DEVICE_ASYNC(gs_per_thread, __VA_ARGS__)
#define OF_cuMemcpyHtoA_v2(...)           ARRAY_TO_DEVICE(gs_legacy, __VA_ARGS__)
#define OF_cuMemcpyHtoA_v2_ptds(...)      ARRAY_TO_DEVICE(gs_per_thread, __VA_ARGS__)

/* -------- boxes -------- */

#define OF_cuMemcpy2D(pCopy)                        gs_copy_2d_v1(gs_legacy(NULL), true, pCopy)
#define OF_cuMemcpy2DAsync(pCopy, hStream)          gs_copy_2d_v1(gs_legacy(hStream), false, pCopy)
#define OF_cuMemcpy2DAsync_v2(pCopy, hStream)       gs_copy_2d(gs_legacy(hStream), false, pCopy)
#define OF_cuMemcpy2DAsync_v2_ptsz(pCopy, hStream)  gs_copy_2d(gs_per_thread(hStream), false, pCopy)
#define OF_cuMemcpy2DUnaligned(pCopy)               gs_copy_2d_v1(gs_legacy(NULL), true, pCopy)
#define OF_cuMemcpy2DUnaligned_v2(pCopy)            gs_copy_2d(gs_legacy(NULL), true, pCopy)
#define OF_cuMemcpy2DUnaligned_v2_ptds(pCopy)       gs_copy_2d(gs_per_thread(NULL), true, pCopy)
#define OF_cuMemcpy2D_v2(pCopy)                     gs_copy_2d(gs_legacy(NULL), true, pCopy)
#define OF_cuMemcpy2D_v2_ptds(pCopy)                gs_copy_2d(gs_per_thread(NULL), true, pCopy)
#define OF_cuMemcpy3D(pCopy)                        gs_copy_3d_v1(gs_legacy(NULL), true, pCopy)
#define OF_cuMemcpy3DAsync(pCopy, hStream)          gs_copy_3d_v1(gs_legacy(hStream), false, pCopy)
#define OF_cuMemcpy3DAsync_v2(pCopy, hStream)       gs_copy_3d(gs_legacy(hStream), false, pCopy)
#define OF_cuMemcpy3DAsync_v2_ptsz(pCopy, hStream)  gs_copy_3d(gs_per_thread(hStream), false, pCopy)
#define OF_cuMemcpy3DPeer(pCopy)                    gs_copy_3d_peer(gs_legacy(NULL), true, pCopy)
#define OF_cuMemcpy3DPeerAsync(pCopy, hStream)      gs_copy_3d_peer(gs_legacy(hStream), false, pCopy)
#define OF_cuMemcpy3DPeerAsync_ptsz(pCopy, hStream) gs_copy_3d_peer(gs_per_thread(hStream), false, pCopy)
#define OF_cuMemcpy3DPeer_ptds(pCopy)               gs_copy_3d_peer(gs_per_thread(NULL), true, pCopy)
#define OF_cuMemcpy3D_v2(pCopy)                     gs_copy_3d(gs_legacy(NULL), true, pCopy)
#define OF_cuMemcpy3D_v2_ptds(pCopy)                gs_copy_3d(gs_per_thread(NULL), true, pCopy)

/* -------- batches -------- */

#define OF_cuMemcpy3DBatchAsync(numOps, opList, failIdx, flags, hStream)                                     \
    gs_copy_boxes(gs_legacy(hStream), opList, numOps)
#define OF_cuMemcpy3DBatchAsync_ptsz(numOps, opList, failIdx, flags, hStream)                                \
    gs_copy_boxes(gs_per_thread(hStream), opList, numOps)
#define OF_cuMemcpy3DBatchAsync_v2(numOps, opList, flags, hStream)                                           \
    gs_copy_boxes(gs_legacy(hStream), opList, numOps)
#define OF_cuMemcpy3DBatchAsync_v2_ptsz(numOps, opList, flags, hStream)                                      \
    gs_copy_boxes(gs_per_thread(hStream), opList, numOps)
#define OF_cuMemcpy3DWithAttributesAsync(op, flags, hStream)      gs_copy_boxes(gs_legacy(hStream), op, 1)
#define OF_cuMemcpy3DWithAttributesAsync_ptsz(op, flags, hStream) gs_copy_boxes(gs_per_thread(hStream), op, 1)
#define OF_cuMemcpyBatchAsync(dsts, srcs, sizes, count, attrs, attrsIdxs, numAttrs, failIdx, hStream)        \
    gs_copy_batch(gs_legacy(hStream), dsts, srcs, sizes, count)
#define OF_cuMemcpyBatchAsync_ptsz(dsts, srcs, sizes, count, attrs, attrsIdxs, numAttrs, failIdx, hStream)   \
    gs_copy_batch(gs_per_thread(hStream), dsts, srcs, sizes, count)
#define OF_cuMemcpyBatchAsync_v2(dsts, srcs, sizes, count, attrs, attrsIdxs, numAttrs, hStream)              \
    gs_copy_batch(gs_legacy(hStream), dsts, srcs, sizes, count)
#define OF_cuMemcpyBatchAsync_v2_ptsz(dsts, srcs, sizes, count, attrs, attrsIdxs, numAttrs, hStream)         \
    gs_copy_batch(gs_per_thread(hStream), dsts, srcs, sizes, count)

/* -------- others -------- */

#define OF_cuFabricCpyBatchAsync(numOps, opList, flags, hStream)                    BREAK(gs_legacy(hStream))
#define OF_cuFabricCpyBatchAsync_ptsz(numOps, opList, flags, hStream)               BREAK(gs_per_thread(hStream))
#define OF_cuMemBatchDecompressAsync(paramsArray, count, flags, errorIndex, stream) WORK(gs_legacy(stream))
#define OF_cuMemBatchDecompressAsync_ptsz(paramsArray, count, flags, errorIndex, stream)                     \
    WORK(gs_per_thread(stream))

/* -------- waits in a stream -------- */

#define OF_cuLaunchHostFunc(hStream, fn, userData)                      BREAK(gs_legacy(hStream))
#define OF_cuLaunchHostFunc_ptsz(hStream, fn, userData)                 BREAK(gs_per_thread(hStream))
#define OF_cuLaunchHostFunc_v2(hStream, fn, userData, syncMode)         BREAK(gs_legacy(hStream))
#define OF_cuLaunchHostFunc_v2_ptsz(hStream, fn, userData, syncMode)    BREAK(gs_per_thread(hStream))
#define OF_cuStreamAddCallback(hStream, callback, userData, flags)      BREAK(gs_legacy(hStream))
#define OF_cuStreamAddCallback_ptsz(hStream, callback, userData, flags) BREAK(gs_per_thread(hStream))
#define OF_cuStreamBatchMemOp(stream, count, paramArray, flags)         BREAK(gs_legacy(stream))
#define OF_cuStreamBatchMemOp_ptsz(stream, count, paramArray, flags)    BREAK(gs_per_thread(stream))
#define OF_cuStreamBatchMemOp_v2(stream, count, paramArray, flags)      BREAK(gs_legacy(stream))
#define OF_cuStreamBatchMemOp_v2_ptsz(stream, count, paramArray, flags) BREAK(gs_per_thread(stream))
#define OF_cuStreamWaitEvent(hStream, hEvent, Flags)                    BREAK(gs_legacy(hStream))
#define OF_cuStreamWaitEvent_ptsz(hStream, hEvent, Flags)               BREAK(gs_per_thread(hStream))
#define OF_cuStreamWaitValue32(stream, addr, value, flags)              BREAK(gs_legacy(stream))
#define OF_cuStreamWaitValue32_ptsz(stream, addr, value, flags)         BREAK(gs_per_thread(stream))
#define OF_cuStreamWaitValue32_v2(stream, addr, value, flags)           BREAK(gs_legacy(stream))
#define OF_cuStreamWaitValue32_v2_ptsz(stream, addr, value, flags)      BREAK(gs_per_thread(stream))
#define OF_cuStreamWaitValue64(stream, addr, value, flags)              BREAK(gs_legacy(stream))
#define OF_cuStreamWaitValue64_ptsz(stream, addr, value, flags)         BREAK(gs_per_thread(stream))
#define OF_cuStreamWaitValue64_v2(stream, addr, value, flags)           BREAK(gs_legacy(stream))
#define OF_cuStreamWaitValue64_v2_ptsz(stream, addr, value, flags)      BREAK(gs_per_thread(stream))
#define OF_cuWaitExternalSemaphoresAsync(extSemArray, paramsArray, numExtSems, stream)                       \
    BREAK(gs_legacy(stream))
#define OF_cuWaitExternalSemaphoresAsync_ptsz(extSemArray, paramsArray, numExtSems, stream)                  \
    BREAK(gs_per_thread(stream))

#endif
