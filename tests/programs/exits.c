/* exits.c -- what the driver answers while its process ends: before and after its own part of that.
 *
 * Prints one line: the code of a call in a handler that was registered after cuInit, in one registered before it, and
 * in a destructor of the program. */
#include "cuda_types.h"

#include <stdio.h>
#include <stdlib.h>

CUresult cuInit(unsigned);
CUresult cuDevicePrimaryCtxRetain(CUcontext *, CUdevice);
CUresult cuCtxSetCurrent(CUcontext);
CUresult cuMemAlloc_v2(CUdeviceptr *, size_t);
CUresult cuGetErrorName(CUresult, const char **);

static int allocate(void)
{
    CUdeviceptr address;
    return (int)cuMemAlloc_v2(&address, 512);
}

static void early(void)
{
    printf("%d ", allocate());
}

static void late(void)
{
    printf("%d ", allocate());
}

__attribute__((destructor)) static void last(void)
{
    const char *name;
    printf("%d %d\n", allocate(), (int)cuGetErrorName(CUDA_SUCCESS, &name));
}

int main(void)
{
    CUcontext ctx;
    atexit(early);
    if (cuInit(0) || cuDevicePrimaryCtxRetain(&ctx, 0) || cuCtxSetCurrent(ctx))
        return 1;
    atexit(late);
    return 0;
}
