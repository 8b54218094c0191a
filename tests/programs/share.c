/* share.c -- a program that keeps a GPU busy in one of the ways there are, for the tests of compute shares.
 *
 *   share KIND SECONDS KERNEL_NS [BATCH GAP_US [STREAMS]]
 *
 * KIND: kernel, ptsz, ex, cooperative, graph (of four kernels), copy (a kernel, and waits by copying the result),
 * upload (a copy of 1 MiB from pinned memory, and a kernel behind it), host (a kernel, and a function of the host).
 * Or memset, memset_ptsz, inside, inside_ptsz, unified, box: of KERNEL_NS bytes, inside device memory.
 * BATCH launches, then a synchronise and a pause of GAP_US; 0 means that it launches as fast as it may and
 * synchronises at the end. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "copy_types.h"

#define GRAPH_KERNELS 4
#define MOST_STREAMS  16
#define UPLOAD_BYTES  (1 << 20)
#define HOST_US       300

CUresult cuInit(unsigned int flags);
CUresult cuDeviceGet(CUdevice *device, int ordinal);
CUresult cuCtxCreate_v2(CUcontext *context, unsigned int flags, CUdevice device);
CUresult cuModuleLoadData(CUmodule *module, const void *image);
CUresult cuModuleGetFunction(CUfunction *function, CUmodule module, const char *name);
CUresult cuStreamCreate(CUstream *stream, unsigned int flags);
CUresult cuStreamBeginCapture_v2(CUstream stream, int mode);
CUresult cuStreamEndCapture(CUstream stream, CUgraph *graph);
CUresult cuGraphInstantiateWithFlags(CUgraphExec *exec, CUgraph graph, unsigned long long flags);
CUresult cuGraphLaunch(CUgraphExec exec, CUstream stream);
CUresult cuCtxSynchronize(void);
CUresult cuMemAlloc_v2(CUdeviceptr *pointer, size_t bytes);
CUresult cuMemcpyDtoH_v2(void *target, CUdeviceptr source, size_t bytes);
CUresult cuLaunchKernel(CUfunction f, unsigned int gridX, unsigned int gridY, unsigned int gridZ,
                        unsigned int blockX, unsigned int blockY, unsigned int blockZ, unsigned int shared,
                        CUstream stream, void **params, void **extra);
CUresult cuLaunchKernel_ptsz(CUfunction f, unsigned int gridX, unsigned int gridY, unsigned int gridZ,
                             unsigned int blockX, unsigned int blockY, unsigned int blockZ,
                             unsigned int shared, CUstream stream, void **params, void **extra);
CUresult cuLaunchKernelEx(const CUlaunchConfig *config, CUfunction f, void **params, void **extra);
CUresult cuMemAllocHost_v2(void **pointer, size_t bytes);
CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void *from, size_t bytes, CUstream stream);
CUresult cuMemsetD8Async(CUdeviceptr to, unsigned char value, size_t bytes, CUstream stream);
CUresult cuMemsetD32_v2_ptds(CUdeviceptr to, unsigned int value, size_t count);
CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream);
CUresult cuMemcpyDtoDAsync_v2_ptsz(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream);
CUresult cuMemcpyAsync(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream);
CUresult cuMemcpy2DAsync_v2(const CUDA_MEMCPY2D *box, CUstream stream);
CUresult cuLaunchHostFunc(CUstream stream, void (*function)(void *), void *argument);
CUresult cuLaunchCooperativeKernel(CUfunction f, unsigned int gridX, unsigned int gridY, unsigned int gridZ,
                                   unsigned int blockX, unsigned int blockY, unsigned int blockZ,
                                   unsigned int shared, CUstream stream, void **params);

static const char spin[] = ".version 6.0\n.target sm_50\n.address_size 64\n"
                           ".visible .entry spin(.param .u64 ns)\n{\n    ret;\n}\n";

static CUfunction function;
static CUgraphExec graph;
static CUdeviceptr here, there; /* device memory */
static void *pinned;

static void check(CUresult result, const char *what)
{
    if (result != CUDA_SUCCESS) {
        fprintf(stderr, "%s: %d\n", what, result);
        exit(1);
    }
}

static uint64_t now(void)
{
    struct timespec at;

    clock_gettime(CLOCK_MONOTONIC, &at);
    return (uint64_t)at.tv_sec * 1000000000u + (uint64_t)at.tv_nsec;
}

static void pause_host(void *unused __attribute__((unused)))
{
    usleep(HOST_US);
}

/* What moves or fills device memory; CUDA_ERROR_NOT_FOUND: another kind. */
static CUresult transfer(const char *kind, CUstream stream, size_t bytes)
{
    CUDA_MEMCPY2D box = {.srcMemoryType = CU_MEMORYTYPE_DEVICE,
                         .srcDevice = there,
                         .srcPitch = bytes,
                         .dstMemoryType = CU_MEMORYTYPE_UNIFIED,
                         .dstDevice = here,
                         .dstPitch = bytes,
                         .WidthInBytes = bytes,
                         .Height = 1};

    if (!strcmp(kind, "memset"))
        return cuMemsetD8Async(here, 1, bytes, stream);
    if (!strcmp(kind, "memset_ptsz"))
        return cuMemsetD32_v2_ptds(here, 1, bytes / 4);
    if (!strcmp(kind, "inside"))
        return cuMemcpyDtoDAsync_v2(here, there, bytes, stream);
    if (!strcmp(kind, "inside_ptsz"))
        return cuMemcpyDtoDAsync_v2_ptsz(here, there, bytes, stream);
    if (!strcmp(kind, "unified"))
        return cuMemcpyAsync(here, there, bytes, stream);
    return strcmp(kind, "box") != 0 ? CUDA_ERROR_NOT_FOUND : cuMemcpy2DAsync_v2(&box, stream);
}

static CUresult launch(const char *kind, CUstream stream, uint64_t ns)
{
    void *params[] = {&ns};
    CUresult transferred = transfer(kind, stream, ns);

    if (transferred != CUDA_ERROR_NOT_FOUND)
        return transferred;
    if (!strcmp(kind, "upload"))
        check(cuMemcpyHtoDAsync_v2(here, pinned, UPLOAD_BYTES, stream), "cuMemcpyHtoDAsync");
    if (!strcmp(kind, "host"))
        check(cuLaunchHostFunc(stream, pause_host, NULL), "cuLaunchHostFunc");
    if (!strcmp(kind, "graph"))
        return cuGraphLaunch(graph, stream);
    if (!strcmp(kind, "ptsz"))
        return cuLaunchKernel_ptsz(function, 1, 1, 1, 32, 1, 1, 0, stream, params, NULL);
    if (!strcmp(kind, "cooperative"))
        return cuLaunchCooperativeKernel(function, 1, 1, 1, 32, 1, 1, 0, stream, params);
    if (!strcmp(kind, "ex")) {
        CUlaunchConfig config = {1, 1, 1, 32, 1, 1, 0, stream, NULL, 0};
        return cuLaunchKernelEx(&config, function, params, NULL);
    }
    return cuLaunchKernel(function, 1, 1, 1, 32, 1, 1, 0, stream, params, NULL);
}

/* Waits for the GPU as many programs do: by asking for the result. */
static CUresult wait_by(const char *kind)
{
    int target;

    return strcmp(kind, "copy") != 0 ? cuCtxSynchronize() : cuMemcpyDtoH_v2(&target, here, sizeof(target));
}

static void make_graph(CUstream stream, uint64_t ns)
{
    CUgraph captured;

    check(cuStreamBeginCapture_v2(stream, 0), "begin capture"); /* global mode: the strictest */
    for (int i = 0; i < GRAPH_KERNELS; i++)
        check(launch("kernel", stream, ns / GRAPH_KERNELS), "captured launch");
    check(cuStreamEndCapture(stream, &captured), "end capture");
    check(cuGraphInstantiateWithFlags(&graph, captured, 0), "instantiate");
}

int main(int argc, char **argv)
{
    const char *kind = argv[1];
    uint64_t until = (uint64_t)(atof(argv[2]) * 1e9), ns = strtoull(argv[3], NULL, 10), launches = 0;
    uint64_t batch = argc > 4 ? strtoull(argv[4], NULL, 10) : 0;
    useconds_t gap_us = argc > 5 ? (useconds_t)atoi(argv[5]) : 0;
    int streams = argc > 6 ? atoi(argv[6]) : 0;
    CUstream stream[MOST_STREAMS] = {NULL};
    CUdevice device;
    CUcontext context;
    CUmodule module;

    check(cuInit(0), "cuInit");
    check(cuDeviceGet(&device, 0), "cuDeviceGet");
    check(cuCtxCreate_v2(&context, 0, device), "cuCtxCreate");
    check(cuModuleLoadData(&module, spin), "cuModuleLoadData");
    check(cuModuleGetFunction(&function, module, "spin"), "cuModuleGetFunction");
    check(cuMemAlloc_v2(&here, UPLOAD_BYTES), "cuMemAlloc");
    check(cuMemAlloc_v2(&there, UPLOAD_BYTES), "cuMemAlloc");
    check(cuMemAllocHost_v2(&pinned, UPLOAD_BYTES), "cuMemAllocHost");
    for (int i = 0; i < streams || (i == 0 && !strcmp(kind, "graph")); i++)
        check(cuStreamCreate(&stream[i], 1), "cuStreamCreate");
    if (!strcmp(kind, "graph"))
        make_graph(stream[0], ns);
    printf("ready\n");
    fflush(stdout);
    for (until += now(); now() < until; launches++) {
        check(launch(kind, stream[streams > 0 ? launches % (uint64_t)streams : 0], ns), kind);
        if (batch != 0 && launches % batch == batch - 1) {
            check(wait_by(kind), "wait");
            if (gap_us > 0)
                usleep(gap_us);
        }
    }
    check(cuCtxSynchronize(), "cuCtxSynchronize");
    struct timespec cpu;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu);
    printf("launches %llu cpu_ms %lld\n", (unsigned long long)launches,
           (long long)cpu.tv_sec * 1000 + cpu.tv_nsec / 1000000);
    return 0;
}
