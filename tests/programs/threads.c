/* threads.c -- threads that use the same streams, events, memory, modules and graphs of one process at once:
 * built with the simulator's sources and ThreadSanitizer.  Usage: threads SEED SECONDS. */
#include "threads.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { THREADS = 4, LANES = 3, BYTES = 4096, BIG = 2 << 20, THREAD_LOCAL = 1, POSIX_FD = 1 };

static const char image[] = ".version 6.0\n.target sm_50\n.address_size 64\n"
                            ".visible .global .align 4 .b8 word[4];\n"
                            ".visible .entry spin(.param .u64 ns) { ret; }\n";
static CUcontext primary;
static CUfunction spin;
static CUkernel shared_kernel;
static CUstream lane[LANES];
static CUevent mark[LANES];
static CUmemoryPool shared_pool;
static CUgraphExec graph, graph_with_memory;
static _Atomic long called;
static time_t end_s;

static void must(CUresult result, CUresult allowed, int line)
{
    if (result == CUDA_SUCCESS || result == CUDA_ERROR_NOT_READY || result == allowed)
        return;
    fprintf(stderr, "threads.c:%d: %d\n", line, (int)result);
    _exit(1);
}
#define MUST(call)         must(call, CUDA_SUCCESS, __LINE__)
#define MAY(call, allowed) must(call, allowed, __LINE__)

struct actor {
    unsigned chance;
    char *host;
    CUstream at; /* of those that all share */
    CUevent event;
};

static void host_work(void *counter)
{
    ++*(_Atomic long *)counter;
}

static void launch_of(CUfunction function, CUstream stream)
{
    uint64_t ns = 1000;
    void *params[] = {&ns};
    MUST(cuLaunchKernel(function, 1, 1, 1, 32, 1, 1, 0, stream, params, NULL));
}

static void launches(struct actor *a)
{
    for (int n = 0; n < 20; n++)
        launch_of(spin, a->at);
    launch_of((CUfunction)shared_kernel, a->at);
    launch_of(spin, (CUstream)2); /* the thread's own */
}

static void linear_memory(struct actor *a)
{
    CUdeviceptr p, base;
    size_t bytes;
    int kind;
    CUipcMemHandle handle;
    MUST(cuMemAlloc_v2(&p, BYTES));
    MUST(cuMemcpyHtoDAsync_v2(p, a->host, BYTES, a->at));
    MUST(cuMemcpyDtoHAsync_v2(a->host, p, BYTES, a->at));
    MUST(cuStreamSynchronize(a->at));
    MUST(cuMemcpyHtoD_v2(p, "pageable", 8));
    MUST(cuPointerGetAttribute(&kind, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, p));
    MUST(cuMemGetAddressRange_v2(&base, &bytes, p + 7));
    MUST(cuIpcGetMemHandle(&handle, p));
    MUST(cuMemFree_v2(p));
}

static void ordered_memory(struct actor *a)
{
    CUdeviceptr p, q;
    MUST(cuMemAllocAsync(&p, BYTES, a->at));
    MUST(cuMemAllocFromPoolAsync(&q, BYTES, shared_pool, a->at));
    MUST(cuMemsetD8Async(p, 1, BYTES, a->at));
    MUST(cuMemFreeAsync(p, a->at));
    MUST(cuMemFreeAsync(q, lane[0]));
}

static void pools(struct actor *a)
{
    CUmemPoolProps props = {.allocType = CU_MEM_ALLOCATION_TYPE_PINNED,
                            .location = {CU_MEM_LOCATION_TYPE_DEVICE, 0}};
    CUmemoryPool pool;
    CUdeviceptr p;
    uint64_t value = a->chance & 1 ? BIG : 0;
    MUST(cuMemPoolSetAttribute(shared_pool, CU_MEMPOOL_ATTR_RELEASE_THRESHOLD, &value));
    MUST(cuMemPoolGetAttribute(shared_pool, CU_MEMPOOL_ATTR_USED_MEM_CURRENT, &value));
    MUST(cuMemPoolTrimTo(shared_pool, 0));
    MUST(cuMemPoolCreate(&pool, &props));
    MUST(cuMemAllocFromPoolAsync(&p, BYTES, pool, a->at));
    MUST(cuMemFreeAsync(p, a->at));
    MUST(cuMemPoolDestroy(pool));
}

static void virtual_memory(struct actor *a)
{
    CUmemAllocationProp prop = {.type = CU_MEM_ALLOCATION_TYPE_PINNED,
                                .requestedHandleTypes = CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR,
                                .location = {CU_MEM_LOCATION_TYPE_DEVICE, 0}};
    CUmemAccessDesc access = {prop.location, CU_MEM_ACCESS_FLAGS_PROT_READWRITE};
    CUmemGenericAllocationHandle handle, again;
    CUdeviceptr p;
    int fd;
    MUST(cuMemAddressReserve(&p, BIG, 0, 0, 0));
    MUST(cuMemCreate(&handle, BIG, &prop, 0));
    MUST(cuMemExportToShareableHandle(&fd, handle, POSIX_FD, 0));
    MUST(cuMemImportFromShareableHandle(&again, (void *)(intptr_t)fd, POSIX_FD));
    close(fd);
    MUST(cuMemMap(p, BIG, 0, handle, 0));
    MUST(cuMemSetAccess(p, BIG, &access, 1));
    MUST(cuMemRelease(handle));
    MUST(cuMemRelease(again));
    MUST(cuMemsetD8Async(p, 2, BYTES, a->at));
    MUST(cuStreamSynchronize(a->at));
    MUST(cuMemUnmap(p, BIG));
    MUST(cuMemAddressFree(p, BIG));
}

static void managed_memory(struct actor *a)
{
    CUdeviceptr p;
    MUST(cuMemAllocManaged(&p, BYTES, 1));
    MUST(cuMemAdvise(p, BYTES, 1, 0));
    MUST(cuMemPrefetchAsync(p, BYTES, 0, a->at));
    MUST(cuMemsetD8Async(p, 3, BYTES, a->at));
    MUST(cuStreamSynchronize(a->at));
    MUST(cuMemFree_v2(p));
}

static void host_memory(struct actor *a)
{
    void *pinned, *own = aligned_alloc(BYTES, BYTES);
    MUST(cuMemAllocHost_v2(&pinned, BYTES));
    MUST(cuMemFreeHost(pinned));
    MUST(cuMemHostRegister_v2(own, BYTES, 0));
    MUST(cuMemHostUnregister(own));
    free(own);
    MUST(cuLaunchHostFunc(a->at, host_work, &called));
}

static void arrays(struct actor *a)
{
    CUDA_ARRAY_DESCRIPTOR flat = {64, 0, CU_AD_FORMAT_UNSIGNED_INT8, 1};
    CUDA_ARRAY3D_DESCRIPTOR deep = {64, 64, 0, CU_AD_FORMAT_FLOAT, 1, CUDA_ARRAY3D_SURFACE_LDST};
    CUDA_RESOURCE_DESC resource = {.resType = CU_RESOURCE_TYPE_ARRAY};
    CUarray array, level;
    CUmipmappedArray mipmap;
    CUsurfObject surface;
    MUST(cuArrayCreate_v2(&array, &flat));
    MUST(cuMemcpyHtoA_v2(array, 0, a->host, 64));
    MUST(cuArrayDestroy(array));
    MUST(cuMipmappedArrayCreate(&mipmap, &deep, 3));
    MUST(cuMipmappedArrayGetLevel(&level, mipmap, 1));
    resource.res.array.hArray = level;
    MUST(cuSurfObjectCreate(&surface, &resource));
    MUST(cuSurfObjectDestroy(surface));
    MUST(cuMipmappedArrayDestroy(mipmap));
}

static void events(struct actor *a)
{
    CUevent own;
    CUipcEventHandle handle;
    float ms;
    switch (rand_r(&a->chance) % 4) {
    case 0:
        MUST(cuEventRecord(a->event, a->at));
        break;
    case 1:
        MUST(cuStreamWaitEvent(a->at, a->event, 0));
        break;
    case 2:
        MUST(cuEventQuery(a->event));
        MAY(cuEventElapsedTime(&ms, mark[0], mark[1]), CUDA_ERROR_INVALID_HANDLE);
        MUST(cuStreamQuery(a->at));
        MUST(cuEventSynchronize(a->event));
        break;
    default:
        MUST(cuEventCreate(&own, CU_EVENT_INTERPROCESS | CU_EVENT_DISABLE_TIMING));
        MUST(cuEventRecord(own, a->at));
        MUST(cuIpcGetEventHandle(&handle, own));
        MUST(cuStreamWaitEvent(lane[0], own, 0));
        MUST(cuEventDestroy_v2(own));
    }
}

static void streams(struct actor *a)
{
    CUstream own;
    MUST(cuStreamCreate(&own, a->chance & 1));
    launch_of(spin, own);
    MUST(cuEventRecord(a->event, own));
    MUST(cuStreamDestroy_v2(own));
}

static void values(struct actor *a)
{
    CUdeviceptr word = (CUdeviceptr)a->host;
    MUST(cuStreamWriteValue32_v2(a->at, word, 5, 0));
    MUST(cuStreamWaitValue32_v2(a->at, word, 5, CU_STREAM_WAIT_VALUE_GEQ));
    MUST(cuStreamSynchronize(a->at));
}

static void modules(struct actor *a)
{
    CUmodule module;
    CUlibrary library;
    CUkernel kernel;
    CUfunction function;
    CUdeviceptr word;
    size_t bytes;
    int value;
    MUST(cuModuleLoadData(&module, image));
    MUST(cuModuleGetGlobal_v2(&word, &bytes, module, "word"));
    MUST(cuModuleUnload(module));
    MUST(cuLibraryLoadData(&library, image, NULL, NULL, 0, NULL, NULL, 0));
    MUST(cuLibraryGetKernel(&kernel, library, "spin"));
    MUST(cuKernelGetFunction(&function, kernel));
    MUST(cuFuncGetAttribute(&value, 0, function));
    launch_of(function, a->at);
    MUST(cuStreamSynchronize(a->at));
    MUST(cuLibraryUnload(library));
}

static CUgraphExec captured(bool memory)
{
    CUstream own;
    CUgraph made;
    CUgraphExec exec;
    CUdeviceptr p;
    MUST(cuStreamCreate(&own, 1));
    MUST(cuStreamBeginCapture_v2(own, THREAD_LOCAL));
    if (memory)
        MUST(cuMemAllocAsync(&p, BYTES, own));
    launch_of(spin, own);
    if (memory)
        MUST(cuMemFreeAsync(p, own));
    MUST(cuStreamEndCapture(own, &made));
    MUST(cuGraphInstantiateWithFlags(&exec, made, 0));
    MUST(cuGraphDestroy(made));
    MUST(cuStreamDestroy_v2(own));
    return exec;
}

static void graphs(struct actor *a)
{
    CUgraphExec own = captured(a->chance & 1);
    MUST(cuGraphLaunch(own, a->at));
    MUST(cuGraphExecDestroy(own));
    MUST(cuGraphLaunch(graph, a->at));
    MUST(cuGraphUpload(graph_with_memory, a->at));
    MUST(cuGraphLaunch(graph_with_memory, a->at));
}

static void contexts(struct actor *a)
{
    CUcontext own;
    CUdeviceptr p;
    CUstream stream;
    CUevent event;
    MUST(cuCtxCreate_v2(&own, 0, 0));
    MUST(cuMemAlloc_v2(&p, BYTES));
    MUST(cuStreamCreate(&stream, 0));
    MUST(cuMemsetD8Async(p, 4, BYTES, stream));
    MUST(cuEventCreate(&event, 0));
    MUST(cuCtxRecordEvent(own, event));
    MUST(cuCtxWaitEvent(own, event));
    MUST(cuEventDestroy_v2(event));
    MUST(cuCtxDestroy_v2(own));
    MUST(cuCtxSetCurrent(primary));
    MUST(cuDevicePrimaryCtxRetain(&own, 0));
    launch_of(spin, a->at);
    MUST(cuDevicePrimaryCtxRelease_v2(0));
}

static void green_contexts(struct actor *a)
{
    Resource resource;
    CUdevResourceDesc desc;
    CUgreenCtx green;
    CUstream stream;
    MUST(cuDeviceGetDevResource(0, &resource, 1));
    MUST(cuDevResourceGenerateDesc(&desc, &resource, 1));
    MUST(cuGreenCtxCreate(&green, desc, 0, 1));
    MUST(cuGreenCtxStreamCreate(&stream, green, 1, 0));
    launch_of(spin, stream);
    launch_of(spin, a->at);
    MUST(cuStreamDestroy_v2(stream));
    MUST(cuGreenCtxDestroy(green));
}

static void questions(struct actor *a)
{
    size_t free_bytes, total_bytes, limit;
    int value;
    MUST(cuMemGetInfo_v2(&free_bytes, &total_bytes));
    MUST(cuCtxGetLimit(&limit, CU_LIMIT_MALLOC_HEAP_SIZE));
    MUST(cuCtxSetLimit(CU_LIMIT_MALLOC_HEAP_SIZE, a->chance & 1 ? 8 << 20 : 16 << 20));
    MUST(cuDeviceGetAttribute(&value, 16, 0));
    if (a->chance % 8 == 0)
        MUST(cuCtxSynchronize());
}

/* Not while memory is in use that cannot be saved. */
static void checkpoint(struct actor *a)
{
    static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;
    int self = getpid();
    if (a->chance % 8 || pthread_mutex_trylock(&one_at_a_time) != 0)
        return;
    MUST(cuCheckpointProcessLock(self, NULL));
    CUresult saved = cuCheckpointProcessCheckpoint(self, NULL);
    MAY(saved, CUDA_ERROR_NOT_SUPPORTED);
    if (saved == CUDA_SUCCESS)
        MUST(cuCheckpointProcessRestore(self, NULL));
    MUST(cuCheckpointProcessUnlock(self, NULL));
    pthread_mutex_unlock(&one_at_a_time);
}

static void (*const act[])(struct actor *) = {
    launches,    linear_memory, ordered_memory, pools,          virtual_memory, managed_memory,
    host_memory, arrays,        events,         events,         streams,        values,
    modules,     graphs,        contexts,       green_contexts, questions,      checkpoint};
enum { ACTS = sizeof(act) / sizeof(act[0]) };

static void *work(void *seed)
{
    struct actor a = {.chance = (unsigned)(size_t)seed};
    MUST(cuCtxSetCurrent(primary));
    MUST(cuMemAllocHost_v2((void **)&a.host, BYTES));
    while (time(NULL) < end_s) {
        a.at = lane[rand_r(&a.chance) % LANES];
        a.event = mark[rand_r(&a.chance) % LANES];
        act[rand_r(&a.chance) % ACTS](&a);
    }
    MUST(cuCtxSynchronize());
    MUST(cuMemFreeHost(a.host));
    return NULL;
}

int main(int argc, char **argv)
{
    CUmodule module;
    CUlibrary library;
    pthread_t thread[THREADS];
    size_t seed = argc > 1 ? strtoul(argv[1], NULL, 10) : 1;
    end_s = time(NULL) + (argc > 2 ? strtol(argv[2], NULL, 10) : 5);
    MUST(cuInit(0));
    MUST(cuDevicePrimaryCtxRetain(&primary, 0));
    MUST(cuCtxSetCurrent(primary));
    MUST(cuDeviceGetDefaultMemPool(&shared_pool, 0));
    MUST(cuModuleLoadData(&module, image));
    MUST(cuModuleGetFunction(&spin, module, "spin"));
    MUST(cuLibraryLoadData(&library, image, NULL, NULL, 0, NULL, NULL, 0));
    MUST(cuLibraryGetKernel(&shared_kernel, library, "spin"));
    for (int i = 0; i < LANES; i++) {
        MUST(cuStreamCreate(&lane[i], i & 1));
        MUST(cuEventCreate(&mark[i], 0));
    }
    graph = captured(false);
    graph_with_memory = captured(true);
    for (size_t i = 0; i < THREADS; i++)
        pthread_create(&thread[i], NULL, work, (void *)(seed * THREADS + i));
    for (int i = 0; i < THREADS; i++)
        pthread_join(thread[i], NULL);
    printf("done, %ld host functions\n", called);
    return 0;
}
