/* stream_id.c -- what tells a stream from all others of the process, earlier ones included. */
#include "stream_id.h"
#include "hooks.h"
#include "meter.h"

/* Drivers may number default streams without regard to their context; before CUDA 12 they number none, and handles may
 * come back. */
uint64_t gs_stream_id(CUstream stream)
{
    unsigned long long number;
    CUcontext context = NULL;

    if (stream && stream != CU_STREAM_LEGACY && stream != CU_STREAM_PER_THREAD)
        return !REAL(cuStreamGetId)(stream, &number) && number ? number : (uint64_t)stream;
    REAL(cuCtxGetCurrent)(&context);
    return (uint64_t)context ^ (stream == CU_STREAM_PER_THREAD ? (uint64_t)&gs_thread << 1 : 0);
}
