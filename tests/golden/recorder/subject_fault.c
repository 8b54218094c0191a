/* subject_fault.c -- destroyed handles where an error is documented, and what every call answers after a fault. */
#include "recorder.h"
#include "structures.h"
#include "subjects.h"

void record_destroyed(void)
{
    word primary = 0, context = 0, found = 0, memory = 0;
    DO(cuCtxGetCurrent, A(primary));
    DO(cuCtxCreate_v2, A(context), 0, 0);
    word stream = new_stream(1), event = new_event(0);
    CALL(cuCtxDestroy_v2, "current, with a stream and an event", context);
    CALL(cuCtxGetCurrent, "after that", A(found));
    DO(cuCtxSetCurrent, primary);
    CALL(cuEventDestroy_v2, "of a destroyed context", event);
    CALL(cuStreamDestroy_v2, "of a destroyed context", stream);
    stream = new_stream(1);
    CALL(cuStreamDestroy_v2, "", stream);
    CALL(cuStreamQuery, "destroyed", stream);
    event = new_event(0);
    CALL(cuEventDestroy_v2, "", event);
    CALL(cuEventQuery, "destroyed", event);
    CALL(cuMemsetD8_v2, "at 0", 0, 0, 16);
    CALL(cuMemAlloc_v2, "after these", A(memory), MIB);
    CALL(cuCtxPushCurrent_v2, "destroyed", context);
    CALL(cuCtxSetCurrent, "destroyed", context);
    CALL(cuCtxDestroy_v2, "destroyed", context);
}

static void after_fault(const char *when, word stream, word event, word memory)
{
    word found = 0;
    size_t free = 0, total = 0;
    int number = 0, other = 0;
    char byte = 0;
    CALL(cuStreamSynchronize, when, stream);
    CALL(cuStreamQuery, when, stream);
    CALL(cuCtxSynchronize, when);
    CALL(cuEventQuery, when, event);
    CALL(cuEventRecord, when, event, stream);
    CALL(cuMemAlloc_v2, when, A(found), MIB);
    CALL(cuMemAlloc_v2, text_of("%s, NULL", when), 0, MIB);
    CALL(cuMemFree_v2, when, memory);
    CALL(cuMemGetInfo_v2, when, A(free), A(total));
    CALL(cuMemcpyDtoH_v2, when, A(byte), memory, 1);
    CALL(cuMemsetD8_v2, when, memory, 0, 16);
    CALL(cuStreamCreate, when, A(found), 0);
    CALL(cuEventCreate, when, A(found), 0);
    CALL(cuCtxGetCurrent, when, A(found));
    CALL(cuCtxGetDevice, when, A(number));
    CALL(cuCtxGetFlags, when, A(number));
    CALL(cuCtxGetLimit, when, A(free), 0);
    CALL(cuCtxGetStreamPriorityRange, when, A(number), A(other));
    CALL(cuDeviceGetCount, when, A(number));
    CALL(cuDeviceGetAttribute, when, A(number), 1, 0);
    CALL(cuDeviceTotalMem_v2, when, A(total), 0);
    CALL(cuDriverGetVersion, when, A(number));
    CALL(cuInit, when, 0);
    CALL(cuPointerGetAttribute, when, A(number), 2, memory);
    CALL(cuGraphCreate, when, A(found), 0);
    CALL(cuMemHostAlloc, when, A(found), 4096, 0);
    CALL(cuModuleLoadData, when, A(found), P("garbage"));
    CALL(cuDevicePrimaryCtxGetState, when, 0, A(number), A(other));
    CALL(cuDevicePrimaryCtxRetain, when, A(found), 0);
    CALL(cuStreamDestroy_v2, when, stream);
    CALL(cuEventDestroy_v2, when, event);
    CALL(cuDevicePrimaryCtxReset_v2, when, 0);
    CALL(cuMemAlloc_v2, text_of("%s, after reset", when), A(found), MIB);
}

void record_trap(void)
{
    word stream = new_stream(1), event = new_event(0), memory = 0, trap = kernel_named("trap");
    DO(cuMemAlloc_v2, A(memory), MIB);
    DO(cuEventRecord, event, stream);
    DO(cuCtxSynchronize);
    CALL(cuLaunchKernel, "of a trap", trap, 1, 1, 1, 1, 1, 1, 0, stream, 0, 0);
    after_fault("after a trap", stream, event, memory);
}

void record_illegal_address(void)
{
    uint64_t nowhere = 0x7000000000000000;
    void *params[] = {&nowhere};
    word stream = new_stream(1), event = new_event(0), memory = 0, function = kernel_named("shares");
    DO(cuMemAlloc_v2, A(memory), MIB);
    DO(cuEventRecord, event, stream);
    DO(cuCtxSynchronize);
    CALL(cuLaunchKernel, "that writes to nowhere", function, 1, 1, 1, 1, 1, 1, 0, stream, P(params), 0);
    after_fault("after an illegal address", stream, event, memory);
}
