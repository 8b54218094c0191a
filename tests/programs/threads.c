/* threads.c -- threads that use the same streams, events, memory, modules and graphs of one process at once:
 * built with the simulator's sources and ThreadSanitizer.  Usage: threads SEED ROUNDS. */
#include "cuda_types.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

typedef struct graph *CUgraph;
typedef struct graph_exec *CUgraphExec;

CUresult cuInit(unsigned);
CUresult cuDevicePrimaryCtxRetain(CUcontext *, CUdevice);
CUresult cuCtxSetCurrent(CUcontext);
CUresult cuCtxSynchronize(void);
CUresult cuMemAlloc_v2(CUdeviceptr *, size_t);
CUresult cuMemFree_v2(CUdeviceptr);
CUresult cuMemGetInfo_v2(size_t *, size_t *);
CUresult cuMemAllocHost_v2(void **, size_t);
CUresult cuMemFreeHost(void *);
CUresult cuMemAllocAsync(CUdeviceptr *, size_t, CUstream);
CUresult cuMemFreeAsync(CUdeviceptr, CUstream);
CUresult cuMemsetD8Async(CUdeviceptr, unsigned char, size_t, CUstream);
CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr, const void *, size_t, CUstream);
CUresult cuMemcpyDtoHAsync_v2(void *, CUdeviceptr, size_t, CUstream);
CUresult cuPointerGetAttribute(void *, int, CUdeviceptr);
CUresult cuStreamCreate(CUstream *, unsigned);
CUresult cuStreamQuery(CUstream);
CUresult cuStreamSynchronize(CUstream);
CUresult cuStreamWaitEvent(CUstream, CUevent, unsigned);
CUresult cuLaunchHostFunc(CUstream, CUhostFn, void *);
CUresult cuEventCreate(CUevent *, unsigned);
CUresult cuEventRecord(CUevent, CUstream);
CUresult cuEventQuery(CUevent);
CUresult cuEventSynchronize(CUevent);
CUresult cuStreamBeginCapture_v2(CUstream, int);
CUresult cuStreamEndCapture(CUstream, CUgraph *);
CUresult cuGraphInstantiateWithFlags(CUgraphExec *, CUgraph, unsigned long long);
CUresult cuGraphLaunch(CUgraphExec, CUstream);
CUresult cuGraphExecDestroy(CUgraphExec);
CUresult cuGraphDestroy(CUgraph);
CUresult cuModuleLoadData(CUmodule *, const void *);
CUresult cuModuleUnload(CUmodule);
CUresult cuModuleGetFunction(CUfunction *, CUmodule, const char *);
CUresult cuLaunchKernel(CUfunction, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned,
                        CUstream, void **, void **);

enum { THREADS = 4, LANES = 3, BYTES = 4096, THREAD_LOCAL = 1 };

static const char image[] = ".version 6.0\n.target sm_50\n.address_size 64\n"
                            ".visible .entry spin(.param .u64 ns) { ret; }\n";
static CUcontext primary;
static CUfunction spin;
static CUstream lane[LANES];
static CUevent mark[LANES];
static CUgraphExec graph;
static _Atomic long called;
static long rounds;

static void must(CUresult result, int line)
{
    if (result == CUDA_SUCCESS || result == CUDA_ERROR_NOT_READY)
        return;
    fprintf(stderr, "threads.c:%d: %d\n", line, (int)result);
    _exit(1);
}
#define MUST(call) must(call, __LINE__)

static void host_work(void *counter)
{
    ++*(_Atomic long *)counter;
}

static void launch(CUstream stream)
{
    uint64_t ns = 1000;
    void *params[] = {&ns};
    MUST(cuLaunchKernel(spin, 1, 1, 1, 32, 1, 1, 0, stream, params, NULL));
}

static void capture(void)
{
    CUstream own;
    CUgraph made;
    CUgraphExec exec;
    MUST(cuStreamCreate(&own, 1));
    MUST(cuStreamBeginCapture_v2(own, THREAD_LOCAL));
    launch(own);
    MUST(cuStreamEndCapture(own, &made));
    MUST(cuGraphInstantiateWithFlags(&exec, made, 0));
    MUST(cuGraphLaunch(exec, lane[0]));
    MUST(cuGraphExecDestroy(exec));
    MUST(cuGraphDestroy(made));
}

static void *work(void *seed)
{
    unsigned chance = (unsigned)(size_t)seed;
    char *host;
    MUST(cuCtxSetCurrent(primary));
    MUST(cuMemAllocHost_v2((void **)&host, BYTES));
    for (long i = 0; i < rounds; i++) {
        CUstream at = lane[rand_r(&chance) % LANES];
        CUevent event = mark[rand_r(&chance) % LANES];
        CUdeviceptr p;
        CUmodule module;
        size_t free_bytes, total_bytes;
        int kind;
        switch (rand_r(&chance) % 12) {
        case 0:
            MUST(cuMemAlloc_v2(&p, BYTES));
            MUST(cuMemcpyHtoDAsync_v2(p, host, BYTES, at));
            MUST(cuMemcpyDtoHAsync_v2(host, p, BYTES, at));
            MUST(cuStreamSynchronize(at));
            MUST(cuPointerGetAttribute(&kind, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, p));
            MUST(cuMemFree_v2(p));
            break;
        case 1:
            MUST(cuMemAllocAsync(&p, BYTES, at));
            MUST(cuMemsetD8Async(p, 1, BYTES, at));
            MUST(cuMemFreeAsync(p, at));
            break;
        case 2:
            MUST(cuEventRecord(event, at));
            break;
        case 3:
            MUST(cuStreamWaitEvent(at, event, 0));
            break;
        case 4:
            MUST(cuEventQuery(event));
            MUST(cuStreamQuery(at));
            MUST(cuEventSynchronize(event));
            break;
        case 5:
            MUST(cuModuleLoadData(&module, image));
            MUST(cuModuleUnload(module));
            break;
        case 6:
            MUST(cuLaunchHostFunc(at, host_work, &called));
            break;
        case 7:
            MUST(cuGraphLaunch(graph, at));
            break;
        case 8:
            capture();
            break;
        case 9:
            MUST(cuMemGetInfo_v2(&free_bytes, &total_bytes));
            break;
        default:
            for (int n = 0; n < 20; n++)
                launch(at);
        }
    }
    MUST(cuCtxSynchronize());
    MUST(cuMemFreeHost(host));
    return NULL;
}

int main(int argc, char **argv)
{
    CUmodule module;
    CUgraph made;
    pthread_t thread[THREADS];
    size_t seed = argc > 1 ? strtoul(argv[1], NULL, 10) : 1;
    rounds = argc > 2 ? strtol(argv[2], NULL, 10) : 100;
    MUST(cuInit(0));
    MUST(cuDevicePrimaryCtxRetain(&primary, 0));
    MUST(cuCtxSetCurrent(primary));
    MUST(cuModuleLoadData(&module, image));
    MUST(cuModuleGetFunction(&spin, module, "spin"));
    for (int i = 0; i < LANES; i++) {
        MUST(cuStreamCreate(&lane[i], i & 1));
        MUST(cuEventCreate(&mark[i], 0));
    }
    MUST(cuStreamBeginCapture_v2(lane[1], THREAD_LOCAL));
    launch(lane[1]);
    MUST(cuStreamEndCapture(lane[1], &made));
    MUST(cuGraphInstantiateWithFlags(&graph, made, 0));
    for (size_t i = 0; i < THREADS; i++)
        pthread_create(&thread[i], NULL, work, (void *)(seed * THREADS + i));
    for (int i = 0; i < THREADS; i++)
        pthread_join(thread[i], NULL);
    printf("done, %ld host functions\n", called);
    return 0;
}
