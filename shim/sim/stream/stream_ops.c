/* stream_ops.c -- what a stream does to single words of memory, and calls into the host from a stream. */
#include "copy.h"
#include "process.h"

#include <stdlib.h>

#define WAIT_FLAGS 3u         /* how to compare */
#define WAIT_FLUSH (1u << 30) /* nothing to flush here */

static CUresult value_op(CUstream handle, bool per_thread, enum sim_work_kind kind, CUdeviceptr address,
                         uint64_t value, uint32_t flags, uint32_t bytes)
{
    struct sim_stream *stream;
    struct sim_block block;
    SIM_TRY(sim_stream_resolve(handle, per_thread, &stream));
    if (flags & ~(kind == SIM_WORK_WAIT_VALUE ? WAIT_FLAGS | WAIT_FLUSH : 1u))
        return CUDA_ERROR_INVALID_VALUE;
    if (address % bytes || !sim_block_find(address, &block))
        return CUDA_ERROR_INVALID_VALUE;
    struct sim_work work = {.kind = kind,
                            .value = {.address = address, .value = value, .flags = flags, .bytes = bytes}};
    return sim_submit(stream, &work);
}

#define VALUE_OP(name, twin, kind, type)                                                                     \
    SIM_STREAM_API(name, twin, (CUstream stream, CUdeviceptr address, type value, unsigned flags),           \
                   (stream, address, value, flags))                                                          \
    {                                                                                                        \
        SIM_ENTER(name);                                                                                     \
        return value_op(stream, per_thread, kind, address, value, flags, sizeof(type));                      \
    }

VALUE_OP(cuStreamWriteValue32, cuStreamWriteValue32_ptsz, SIM_WORK_WRITE_VALUE, uint32_t)
VALUE_OP(cuStreamWriteValue32_v2, cuStreamWriteValue32_v2_ptsz, SIM_WORK_WRITE_VALUE, uint32_t)
VALUE_OP(cuStreamWriteValue64, cuStreamWriteValue64_ptsz, SIM_WORK_WRITE_VALUE, uint64_t)
VALUE_OP(cuStreamWriteValue64_v2, cuStreamWriteValue64_v2_ptsz, SIM_WORK_WRITE_VALUE, uint64_t)
VALUE_OP(cuStreamWaitValue32, cuStreamWaitValue32_ptsz, SIM_WORK_WAIT_VALUE, uint32_t)
VALUE_OP(cuStreamWaitValue32_v2, cuStreamWaitValue32_v2_ptsz, SIM_WORK_WAIT_VALUE, uint32_t)
VALUE_OP(cuStreamWaitValue64, cuStreamWaitValue64_ptsz, SIM_WORK_WAIT_VALUE, uint64_t)
VALUE_OP(cuStreamWaitValue64_v2, cuStreamWaitValue64_v2_ptsz, SIM_WORK_WAIT_VALUE, uint64_t)

static CUresult batch(CUstream handle, bool per_thread, unsigned count, const CUstreamBatchMemOpParams *op,
                      unsigned flags)
{
    struct sim_stream *stream;
    SIM_TRY(sim_stream_resolve(handle, per_thread, &stream));
    if ((count > 0 && !op) || count > 256 || flags != 0)
        return CUDA_ERROR_INVALID_VALUE;
    for (unsigned i = 0; i < count; i++) {
        int kind = op[i].operation;
        if (kind == CU_STREAM_MEM_OP_BARRIER)
            continue; /* everything is ordered already */
        bool wait = kind == CU_STREAM_MEM_OP_WAIT_VALUE_32 || kind == CU_STREAM_MEM_OP_WAIT_VALUE_64;
        bool wide = kind == CU_STREAM_MEM_OP_WAIT_VALUE_64 || kind == CU_STREAM_MEM_OP_WRITE_VALUE_64;
        if (!wait && !wide && kind != CU_STREAM_MEM_OP_WRITE_VALUE_32)
            return CUDA_ERROR_INVALID_VALUE;
        SIM_TRY(value_op(handle, per_thread, wait ? SIM_WORK_WAIT_VALUE : SIM_WORK_WRITE_VALUE,
                         op[i].value.address, wide ? op[i].value.value : (uint32_t)op[i].value.value,
                         op[i].value.flags, wide ? 8 : 4));
    }
    return CUDA_SUCCESS;
}

SIM_STREAM_API(cuStreamBatchMemOp, cuStreamBatchMemOp_ptsz,
               (CUstream stream, unsigned count, CUstreamBatchMemOpParams *op, unsigned flags),
               (stream, count, op, flags))
{
    SIM_ENTER(cuStreamBatchMemOp);
    return batch(stream, per_thread, count, op, flags);
}

SIM_STREAM_API(cuStreamBatchMemOp_v2, cuStreamBatchMemOp_v2_ptsz,
               (CUstream stream, unsigned count, CUstreamBatchMemOpParams *op, unsigned flags),
               (stream, count, op, flags))
{
    SIM_ENTER(cuStreamBatchMemOp_v2);
    return batch(stream, per_thread, count, op, flags);
}

/* -------- the host, from a stream -------- */

SIM_STREAM_API(cuLaunchHostFunc, cuLaunchHostFunc_ptsz, (CUstream handle, CUhostFn function, void *argument),
               (handle, function, argument))
{
    if (!function) /* said even before cuInit */
        return CUDA_ERROR_INVALID_VALUE;
    SIM_ENTER(cuLaunchHostFunc);
    struct sim_stream *stream;
    SIM_TRY(sim_stream_resolve(handle, per_thread, &stream));
    struct sim_work work = {.kind = SIM_WORK_HOST, .host = {function, argument}};
    return sim_submit(stream, &work);
}

/* The helper looks for work in its own way: how a thread would wait for it makes no difference. */
SIM_STREAM_API(cuLaunchHostFunc_v2, cuLaunchHostFunc_v2_ptsz,
               (CUstream handle, CUhostFn function, void *argument, unsigned wait),
               (handle, function, argument, wait))
{
    SIM_ENTER(cuLaunchHostFunc_v2);
    struct sim_stream *stream;
    SIM_TRY(sim_stream_resolve(handle, per_thread, &stream));
    if (!function || wait > 1)
        return CUDA_ERROR_INVALID_VALUE;
    struct sim_work work = {.kind = SIM_WORK_HOST, .host = {function, argument}};
    return sim_submit(stream, &work);
}

struct callback {
    void (*function)(CUstream, CUresult, void *);
    CUstream stream;
    void *argument;
};

static void call_back(void *p)
{
    struct callback callback = *(struct callback *)p;
    free(p);
    callback.function(callback.stream, CUDA_SUCCESS, callback.argument);
}

SIM_STREAM_API(cuStreamAddCallback, cuStreamAddCallback_ptsz,
               (CUstream handle, void (*function)(CUstream, CUresult, void *), void *argument,
                unsigned flags),
               (handle, function, argument, flags))
{
    SIM_ENTER(cuStreamAddCallback);
    struct sim_stream *stream;
    SIM_TRY(sim_stream_resolve(handle, per_thread, &stream));
    if (!function || flags != 0)
        return CUDA_ERROR_INVALID_VALUE;
    if (stream->capture)
        return sim_capture_forbids(stream);
    struct callback *callback = malloc(sizeof(*callback));
    if (!callback)
        return CUDA_ERROR_OUT_OF_MEMORY;
    *callback = (struct callback){function, handle, argument};
    struct sim_work work = {.kind = SIM_WORK_HOST, .host = {call_back, callback}};
    CUresult result = sim_submit_now(stream, &work);
    if (result != CUDA_SUCCESS)
        free(callback);
    return result;
}
