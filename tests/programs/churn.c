/* churn.c -- a process that uses everything of the simulated driver at random until it is killed. */
#include "cuda_types.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

CUresult cuInit(unsigned);
CUresult cuDevicePrimaryCtxRetain(CUcontext *, CUdevice);
CUresult cuCtxSetCurrent(CUcontext);
CUresult cuCtxCreate_v2(CUcontext *, unsigned, CUdevice);
CUresult cuCtxDestroy_v2(CUcontext);
CUresult cuCtxSynchronize(void);
CUresult cuMemAlloc_v2(CUdeviceptr *, size_t);
CUresult cuMemFree_v2(CUdeviceptr);
CUresult cuMemAllocAsync(CUdeviceptr *, size_t, CUstream);
CUresult cuMemFreeAsync(CUdeviceptr, CUstream);
CUresult cuMemsetD8Async(CUdeviceptr, unsigned char, size_t, CUstream);
CUresult cuMemcpyHtoD_v2(CUdeviceptr, const void *, size_t);
CUresult cuMemcpyDtoH_v2(void *, CUdeviceptr, size_t);
CUresult cuStreamCreate(CUstream *, unsigned);
CUresult cuStreamDestroy_v2(CUstream);
CUresult cuStreamSynchronize(CUstream);
CUresult cuStreamWaitEvent(CUstream, CUevent, unsigned);
CUresult cuEventCreate(CUevent *, unsigned);
CUresult cuEventDestroy_v2(CUevent);
CUresult cuEventRecord(CUevent, CUstream);
CUresult cuEventSynchronize(CUevent);
CUresult cuModuleLoadData(CUmodule *, const void *);
CUresult cuModuleGetFunction(CUfunction *, CUmodule, const char *);
CUresult cuLaunchKernel(CUfunction, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned,
                        CUstream, void **, void **);

#define LANES 4
#define KIB   1024

static const char image[] = ".version 6.0\n.target sm_50\n.address_size 64\n"
                            ".visible .entry spin(.param .u64 ns) { ret; }\n";
static CUcontext primary;
static CUfunction spin;

static void must(CUresult result, int line)
{
    if (result != CUDA_SUCCESS) {
        fprintf(stderr, "churn.c:%d: %d\n", line, (int)result);
        _exit(1);
    }
}
#define MUST(call) must(call, __LINE__)

static void *work(void *seed)
{
    unsigned chance = (unsigned)(size_t)seed;
    CUstream lane[LANES];
    CUevent mark[LANES];
    static _Thread_local char data[64 * KIB];
    MUST(cuCtxSetCurrent(primary));
    for (int i = 0; i < LANES; i++) {
        MUST(cuStreamCreate(&lane[i], i & 1));
        MUST(cuEventCreate(&mark[i], 0));
    }
    for (;;) {
        CUstream at = lane[rand_r(&chance) % LANES];
        int other = (int)(rand_r(&chance) % LANES);
        uint64_t ns = rand_r(&chance) % 200000;
        void *params[] = {&ns};
        CUdeviceptr p;
        CUcontext second;
        switch (rand_r(&chance) % 12) {
        case 0:
            MUST(cuMemAlloc_v2(&p, rand_r(&chance) % (4096 * KIB) + 1));
            MUST(cuMemFree_v2(p));
            break;
        case 1:
            MUST(cuMemAllocAsync(&p, rand_r(&chance) % (4096 * KIB) + 1, at));
            MUST(cuMemsetD8Async(p, 1, 1, at));
            MUST(cuMemFreeAsync(p, at));
            break;
        case 2:
            MUST(cuEventRecord(mark[other], at));
            break;
        case 3:
            MUST(cuStreamWaitEvent(at, mark[other], 0));
            break;
        case 4:
            MUST(cuMemAlloc_v2(&p, sizeof(data)));
            MUST(cuMemcpyHtoD_v2(p, data, sizeof(data)));
            MUST(cuMemcpyDtoH_v2(data, p, sizeof(data)));
            MUST(cuMemFree_v2(p));
            break;
        case 5:
            MUST(cuStreamDestroy_v2(lane[other]));
            MUST(cuStreamCreate(&lane[other], other & 1));
            break;
        case 6:
            if (rand_r(&chance) % 8 == 0) {
                MUST(cuCtxCreate_v2(&second, 0, 0));
                MUST(cuLaunchKernel(spin, 1, 1, 1, 1, 1, 1, 0, at, params, NULL));
                MUST(cuCtxDestroy_v2(second));
            }
            break;
        case 7:
            MUST(cuEventSynchronize(mark[other]));
            break;
        default:
            for (int i = 0; i < 50; i++)
                MUST(cuLaunchKernel(spin, 1 + rand_r(&chance) % 100, 1, 1, 32, 1, 1, 0, at, params, NULL));
            ns = 1;
        }
    }
    return NULL;
}

int main(int argc, char **argv)
{
    CUmodule module;
    pthread_t second;
    size_t seed = argc > 1 ? strtoul(argv[1], NULL, 10) : 1;
    MUST(cuInit(0));
    MUST(cuDevicePrimaryCtxRetain(&primary, 0));
    MUST(cuCtxSetCurrent(primary));
    MUST(cuModuleLoadData(&module, image));
    MUST(cuModuleGetFunction(&spin, module, "spin"));
    pthread_create(&second, NULL, work, (void *)(seed + 1));
    work((void *)seed);
}
