/* kernel.c -- cuLaunchKernel, which most programs call most: short ways for the unlimited and for the prepaid launch.
 *
 * A hook that ends in a jump to what comes next need not touch its arguments; but a compiler that sees a branch before
 * the jump loads all arguments on the stack, and stores them again.  So the first choice, which an unlimited program
 * pays for, is made without a branch.  The second is made in a function that takes the arguments on the stack as what
 * they are in the x86-64 ABI: one piece of memory. */
#include "launch.h"

typedef CUresult launch_function(CUfunction f, unsigned int gridDimX, unsigned int gridDimY,
                                 unsigned int gridDimZ, unsigned int blockDimX, unsigned int blockDimY,
                                 unsigned int blockDimZ, unsigned int sharedMemBytes, CUstream hStream,
                                 void **kernelParams, void **extra);

static CUresult metered_cuLaunchKernel(CUfunction f, unsigned int gridDimX, unsigned int gridDimY,
                                       unsigned int gridDimZ, unsigned int blockDimX, unsigned int blockDimY,
                                       unsigned int blockDimZ, unsigned int sharedMemBytes, CUstream hStream,
                                       void **kernelParams, void **extra)
{
    struct gs_work work = {f, gridDimX, gridDimY, gridDimZ, blockDimX, blockDimY, blockDimZ, sharedMemBytes};
    struct gs_launch launch = gs_launch_begin(gs_legacy(hStream), &work, false);

    return gs_launch_end(&launch,
                         REAL(cuLaunchKernel)(f, gridDimX, gridDimY, gridDimZ, blockDimX, blockDimY,
                                              blockDimZ, sharedMemBytes, hStream, kernelParams, extra));
}

static CUresult metered_cuLaunchKernel_ptsz(CUfunction f, unsigned int gridDimX, unsigned int gridDimY,
                                            unsigned int gridDimZ, unsigned int blockDimX,
                                            unsigned int blockDimY, unsigned int blockDimZ,
                                            unsigned int sharedMemBytes, CUstream hStream,
                                            void **kernelParams, void **extra)
{
    struct gs_work work = {f, gridDimX, gridDimY, gridDimZ, blockDimX, blockDimY, blockDimZ, sharedMemBytes};
    struct gs_launch launch = gs_launch_begin(gs_per_thread(hStream), &work, false);

    return gs_launch_end(&launch,
                         REAL(cuLaunchKernel_ptsz)(f, gridDimX, gridDimY, gridDimZ, blockDimX, blockDimY,
                                                   blockDimZ, sharedMemBytes, hStream, kernelParams, extra));
}

#ifdef __x86_64__

struct on_stack {
    _Alignas(8) unsigned int blockDimZ;
    _Alignas(8) unsigned int sharedMemBytes;
    CUstream hStream;
    void **kernelParams;
    void **extra;
};
_Static_assert(sizeof(struct on_stack) == 40, "five arguments of eight bytes each");

typedef CUresult as_passed(CUfunction f, unsigned int gridDimX, unsigned int gridDimY, unsigned int gridDimZ,
                           unsigned int blockDimX, unsigned int blockDimY, struct on_stack rest);

static CUresult limited_cuLaunchKernel(CUfunction f, unsigned int gridDimX, unsigned int gridDimY,
                                       unsigned int gridDimZ, unsigned int blockDimX, unsigned int blockDimY,
                                       struct on_stack rest)
{
    struct gs_stream *stream = gs_thread.stream;
    launch_function *next = metered_cuLaunchKernel;

    if (gs_launch_same(stream, gs_legacy(rest.hStream))) {
        struct gs_work work = {f,         gridDimX,  gridDimY,       gridDimZ,
                               blockDimX, blockDimY, rest.blockDimZ, rest.sharedMemBytes};
        if (gs_launch_prepaid(stream, &work))
            next = &REAL(cuLaunchKernel);
    }
    return ((as_passed *)(void *)next)(f, gridDimX, gridDimY, gridDimZ, blockDimX, blockDimY, rest);
}

GSHARE_HOOK(cuLaunchKernel,
            (CUfunction f, unsigned int gridDimX, unsigned int gridDimY, unsigned int gridDimZ,
             unsigned int blockDimX, unsigned int blockDimY, unsigned int blockDimZ,
             unsigned int sharedMemBytes, CUstream hStream, void **kernelParams, void **extra))
{
    static launch_function *const limited = (launch_function *)(void *)limited_cuLaunchKernel;
    static launch_function *const *const next[] = {&limited, &gs_real.cuLaunchKernel};

    return (*next[gs_launch_unlimited_index()])(f, gridDimX, gridDimY, gridDimZ, blockDimX, blockDimY,
                                                blockDimZ, sharedMemBytes, hStream, kernelParams, extra);
}

static CUresult limited_cuLaunchKernel_ptsz(CUfunction f, unsigned int gridDimX, unsigned int gridDimY,
                                            unsigned int gridDimZ, unsigned int blockDimX,
                                            unsigned int blockDimY, struct on_stack rest)
{
    struct gs_stream *stream = gs_thread.stream;
    launch_function *next = metered_cuLaunchKernel_ptsz;

    if (gs_launch_same(stream, gs_per_thread(rest.hStream))) {
        struct gs_work work = {f,         gridDimX,  gridDimY,       gridDimZ,
                               blockDimX, blockDimY, rest.blockDimZ, rest.sharedMemBytes};
        if (gs_launch_prepaid(stream, &work))
            next = &REAL(cuLaunchKernel_ptsz);
    }
    return ((as_passed *)(void *)next)(f, gridDimX, gridDimY, gridDimZ, blockDimX, blockDimY, rest);
}

GSHARE_HOOK(cuLaunchKernel_ptsz,
            (CUfunction f, unsigned int gridDimX, unsigned int gridDimY, unsigned int gridDimZ,
             unsigned int blockDimX, unsigned int blockDimY, unsigned int blockDimZ,
             unsigned int sharedMemBytes, CUstream hStream, void **kernelParams, void **extra))
{
    static launch_function *const limited = (launch_function *)(void *)limited_cuLaunchKernel_ptsz;
    static launch_function *const *const next[] = {&limited, &gs_real.cuLaunchKernel_ptsz};

    return (*next[gs_launch_unlimited_index()])(f, gridDimX, gridDimY, gridDimZ, blockDimX, blockDimY,
                                                blockDimZ, sharedMemBytes, hStream, kernelParams, extra);
}

#else

GSHARE_HOOK(cuLaunchKernel,
            (CUfunction f, unsigned int gridDimX, unsigned int gridDimY, unsigned int gridDimZ,
             unsigned int blockDimX, unsigned int blockDimY, unsigned int blockDimZ,
             unsigned int sharedMemBytes, CUstream hStream, void **kernelParams, void **extra))
{
    struct gs_work work = {f, gridDimX, gridDimY, gridDimZ, blockDimX, blockDimY, blockDimZ, sharedMemBytes};

    if (gs_launch_unlimited() || gs_launch_covered(gs_legacy(hStream), &work))
        return REAL(cuLaunchKernel)(f, gridDimX, gridDimY, gridDimZ, blockDimX, blockDimY, blockDimZ,
                                    sharedMemBytes, hStream, kernelParams, extra);
    return metered_cuLaunchKernel(f, gridDimX, gridDimY, gridDimZ, blockDimX, blockDimY, blockDimZ,
                                  sharedMemBytes, hStream, kernelParams, extra);
}

GSHARE_HOOK(cuLaunchKernel_ptsz,
            (CUfunction f, unsigned int gridDimX, unsigned int gridDimY, unsigned int gridDimZ,
             unsigned int blockDimX, unsigned int blockDimY, unsigned int blockDimZ,
             unsigned int sharedMemBytes, CUstream hStream, void **kernelParams, void **extra))
{
    struct gs_work work = {f, gridDimX, gridDimY, gridDimZ, blockDimX, blockDimY, blockDimZ, sharedMemBytes};

    if (gs_launch_unlimited() || gs_launch_covered(gs_per_thread(hStream), &work))
        return REAL(cuLaunchKernel_ptsz)(f, gridDimX, gridDimY, gridDimZ, blockDimX, blockDimY, blockDimZ,
                                         sharedMemBytes, hStream, kernelParams, extra);
    return metered_cuLaunchKernel_ptsz(f, gridDimX, gridDimY, gridDimZ, blockDimX, blockDimY, blockDimZ,
                                       sharedMemBytes, hStream, kernelParams, extra);
}

#endif
