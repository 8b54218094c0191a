/* subject_start.c -- before cuInit, cuInit, and what needs a context and has none. */
#include "recorder.h"
#include "structures.h"
#include "subjects.h"

#include <stdlib.h>

static void names(void)
{
    static const int codes[] = {0, 1, 2, 3, 4, 100, 201, 700, 718, 719, 801, 900, 911, 999, 17, -1, 5000};
    const char *text = NULL;
    for (size_t i = 0; i < sizeof(codes) / sizeof(*codes); i++) {
        text = NULL;
        CALL(cuGetErrorName, text_of("of %d", codes[i]), (word)codes[i], A(text));
        TEXT("name", text);
        CALL(cuGetErrorString, text_of("of %d", codes[i]), (word)codes[i], A(text));
    }
    CALL(cuGetErrorName, "NULL", 0, 0);
    CALL(cuGetErrorString, "NULL", 0, 0);
}

void record_before_init(void)
{
    int number = 0;
    word handle = 0;
    size_t bytes = 0;
    CALL(cuDriverGetVersion, "", A(number));
    CALL(cuDriverGetVersion, "NULL", 0);
    CALL(cuDeviceGetCount, "", A(number));
    CALL(cuDeviceGetCount, "NULL", 0);
    CALL(cuDeviceGet, "", A(number), 0);
    CALL(cuDeviceGetAttribute, "", A(number), 1, 0);
    CALL(cuDevicePrimaryCtxRetain, "", A(handle), 0);
    CALL(cuCtxCreate_v2, "", A(handle), 0, 0);
    CALL(cuCtxGetCurrent, "", A(handle));
    CALL(cuCtxSetCurrent, "NULL", 0);
    CALL(cuCtxSynchronize, "");
    CALL(cuMemAlloc_v2, "", A(handle), 1);
    CALL(cuMemAlloc_v2, "NULL", 0, 1);
    CALL(cuMemFree_v2, "0", 0);
    CALL(cuMemGetInfo_v2, "", A(bytes), A(bytes));
    CALL(cuMemHostAlloc, "", A(handle), 4096, 0);
    CALL(cuStreamCreate, "", A(handle), 0);
    CALL(cuStreamSynchronize, "stream 0", 0);
    CALL(cuEventCreate, "", A(handle), 0);
    CALL(cuModuleLoadData, "", A(handle), P("x"));
    CALL(cuModuleGetLoadingMode, "", A(number));
    CALL(cuGraphCreate, "", A(handle), 0);
    CALL(cuPointerGetAttribute, "", A(number), 2, A(number));
    CALL(cuLibraryUnload, "NULL", 0);
    CALL(cuInit, "flags 1", 1);
    CALL(cuDeviceGetCount, "after a cuInit that failed", A(number));
    CALL(cuInit, "", 0);
    CALL(cuInit, "again", 0);
    CALL(cuInit, "again, flags 1", 1);
    CALL(cuDeviceGetCount, "after cuInit", A(number));
    VALUE("some", number > 0);
    names();
}

static void without_context(void)
{
    int number = 0, other = 0;
    word handle = 0, one = 1;
    size_t bytes = 0;
    CALL(cuCtxGetCurrent, "", A(handle));
    VALUE("none", handle == 0);
    CALL(cuCtxGetCurrent, "NULL", 0);
    CALL(cuCtxGetDevice, "", A(number));
    CALL(cuCtxGetDevice, "NULL", 0);
    CALL(cuCtxGetFlags, "", A(number));
    CALL(cuCtxGetId, "", 0, A(handle));
    CALL(cuCtxGetApiVersion, "", 0, A(number));
    CALL(cuCtxGetLimit, "", A(bytes), 0);
    CALL(cuCtxSetLimit, "", 0, 1024);
    CALL(cuCtxGetCacheConfig, "", A(number));
    CALL(cuCtxGetStreamPriorityRange, "", A(number), A(other));
    CALL(cuCtxPopCurrent_v2, "", A(handle));
    CALL(cuCtxPushCurrent_v2, "NULL", 0);
    CALL(cuCtxSetCurrent, "NULL", 0);
    CALL(cuCtxSynchronize, "");
    CALL(cuCtxResetPersistingL2Cache, "");
    CALL(cuMemAlloc_v2, "", A(handle), 1);
    CALL(cuMemAlloc_v2, "0 bytes", A(handle), 0);
    CALL(cuMemAlloc_v2, "NULL", 0, 1);
    CALL(cuMemAllocPitch_v2, "", A(handle), A(bytes), 16, 16, 4);
    CALL(cuMemAllocManaged, "", A(handle), 16, 1);
    CALL(cuMemAllocHost_v2, "", A(handle), 16);
    CALL(cuMemHostAlloc, "", A(handle), 16, 0);
    CALL(cuMemAllocAsync, "stream 0", A(handle), 16, 0);
    CALL(cuMemFree_v2, "0", 0);
    CALL(cuMemFreeHost, "NULL", 0);
    CALL(cuMemGetInfo_v2, "", A(bytes), A(bytes));
    CALL(cuMemsetD8_v2, "0 bytes", 0, 0, 0);
    CALL(cuMemcpy, "0 bytes", A(one), A(handle), 0);
    CALL(cuMemcpyHtoD_v2, "0 bytes", 0, A(one), 0);
    CALL(cuStreamCreate, "", A(handle), 0);
    CALL(cuStreamCreateWithPriority, "", A(handle), 0, 0);
    CALL(cuStreamSynchronize, "stream 0", 0);
    CALL(cuStreamQuery, "stream 0", 0);
    CALL(cuEventCreate, "", A(handle), 0);
    CALL(cuModuleLoadData, "garbage", A(handle), P("garbage"));
    CALL(cuLaunchKernel, "NULL", 0, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0);
    CALL(cuLaunchHostFunc, "NULL", 0, 0, 0);
    CALL(cuPointerGetAttribute, "memory type of host memory", A(number), 2, A(one));
    CALL(cuIpcGetMemHandle, "NULL", 0, 0);
    CALL(cuCtxEnablePeerAccess, "NULL", 0, 0);
    CALL(cuCtxDisablePeerAccess, "NULL", 0);
    CALL(cuGraphCreate, "", A(handle), 0);
    CALL(cuGraphDestroy, "", handle);
    CALL(cuDevicePrimaryCtxGetState, "", 0, A(number), A(other));
    VALUE("flags", number);
    VALUE("active", other);
}

void record_no_context(void)
{
    DO(cuInit, 0);
    without_context();
}

/* A driver that may see no device, or has none: it can be asked this on any machine. */
void record_no_device(void)
{
    int number = 0;
    setenv("CUDA_VISIBLE_DEVICES", "", 1);
    CALL(cuInit, "no device", 0);
    CALL(cuInit, "no device, again", 0);
    CALL(cuInit, "no device, flags 1", 1);
    CALL(cuDriverGetVersion, "no device", A(number));
    CALL(cuDeviceGetCount, "no device", A(number));
    CALL(cuDeviceGet, "no device", A(number), 0);
    CALL(cuDeviceGetAttribute, "no device", A(number), 1, 0);
    CALL(cuDevicePrimaryCtxRetain, "no device", A(number), 0);
    CALL(cuCtxCreate_v2, "no device", A(number), 0, 0);
    without_context();
    names();
}
