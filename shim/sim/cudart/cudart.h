/* cudart.h -- a small CUDA runtime (libcudart.so.13) over the public driver API, for programs of nvcc.
 *
 * It reaches the driver as NVIDIA's does: dlopen, cuGetProcAddress_v2, and one lookup for each row of calls.def.
 * The numbers of cudaError_t are those of CUresult; a few exist only here.  NVIDIA's runtime is not imitated:
 * neither its private tables nor textures, graphics and external objects are here. */
#ifndef SIM_CUDART_H
#define SIM_CUDART_H

#include "memory_types.h"

#include <stdbool.h>

#define RT_VERSION 13000

#define RT_API(name, params) __attribute__((visibility("default"))) cudaError_t name params

/* As SIM_STREAM_API: one body, in which `rt` is the driver with the legacy or the per-thread default stream. */
#define RT_UNPACK(...) __VA_ARGS__
#define RT_STREAM_API(name, twin, params, args)                                                              \
    static cudaError_t do_##name(const struct rt_driver *rt, RT_UNPACK params);                              \
    RT_API(name, params)                                                                                     \
    {                                                                                                        \
        return do_##name(&rt_legacy, RT_UNPACK args);                                                        \
    }                                                                                                        \
    RT_API(twin, params)                                                                                     \
    {                                                                                                        \
        return do_##name(&rt_per_thread, RT_UNPACK args);                                                    \
    }                                                                                                        \
    static cudaError_t do_##name(const struct rt_driver *rt, RT_UNPACK params)

/* Initialise, make the thread's device current, call the driver, remember what went wrong. */
#define RT_CALL(call)                                                                                        \
    ({                                                                                                       \
        cudaError_t rt_result_ = rt_enter();                                                                 \
        rt_remember(rt_result_ ? rt_result_ : (cudaError_t)(call));                                          \
    })

typedef int cudaError_t;
enum {
    cudaSuccess = 0,
    cudaErrorInvalidValue = 1,
    cudaErrorInvalidConfiguration = 9,
    cudaErrorInvalidPitchValue = 12,
    cudaErrorInvalidSymbol = 13,
    cudaErrorInvalidMemcpyDirection = 21,
    cudaErrorInsufficientDriver = 35,
    cudaErrorCallRequiresNewerDriver = 36,
    cudaErrorInvalidDeviceFunction = 98,
    cudaErrorInvalidDevice = 101,
    cudaErrorNotReady = 600,
};

enum { RT_HOST_TO_HOST, RT_HOST_TO_DEVICE, RT_DEVICE_TO_HOST, RT_DEVICE_TO_DEVICE, RT_ANY_DIRECTION };

typedef CUstream cudaStream_t;
typedef CUevent cudaEvent_t;
typedef CUarray cudaArray_t;
typedef CUmemoryPool cudaMemPool_t;
typedef struct rt_graph *cudaGraph_t;
typedef struct rt_node *cudaGraphNode_t;
typedef struct rt_exec *cudaGraphExec_t;
typedef struct rt_library *cudaLibrary_t;
typedef struct rt_kernel *cudaKernel_t;
typedef struct rt_user_object *cudaUserObject_t;
typedef void (*cudaStreamCallback_t)(cudaStream_t, cudaError_t, void *);

typedef struct {
    unsigned x, y, z;
} dim3;

typedef struct {
    char reserved[64];
} cudaIpcMemHandle_t, cudaIpcEventHandle_t;

typedef CUmemLocation cudaMemLocation;

typedef struct {
    unsigned char from_port, to_port, type, reserved[5];
} cudaGraphEdgeData;

typedef struct {
    int result;
    cudaGraphNode_t errorNode, errorFromNode;
} cudaGraphExecUpdateResultInfo;

typedef struct {
    void *ptr;
    size_t pitch, xsize, ysize;
} cudaPitchedPtr;

typedef struct {
    size_t width, height, depth;
} cudaExtent;

typedef struct {
    size_t x, y, z;
} cudaPos;

typedef struct {
    cudaArray_t srcArray;
    cudaPos srcPos;
    cudaPitchedPtr srcPtr;
    cudaArray_t dstArray;
    cudaPos dstPos;
    cudaPitchedPtr dstPtr;
    cudaExtent extent;
    int kind;
} cudaMemcpy3DParms;

typedef struct {
    dim3 gridDim, blockDim;
    size_t dynamicSmemBytes;
    cudaStream_t stream;
    CUlaunchAttribute *attrs;
    unsigned numAttrs;
} cudaLaunchConfig_t;

typedef struct {
    void *func;
    dim3 gridDim, blockDim;
    unsigned sharedMemBytes;
    void **kernelParams;
    void **extra;
} cudaKernelNodeParams;

/* The driver's of the same purpose. */
typedef struct {
    CUfunction func;
    unsigned grid[3], block[3];
    unsigned sharedMemBytes;
    void **kernelParams;
    void **extra;
    cudaKernel_t kern;
    CUcontext ctx;
} rt_kernel_node;

/* The same in the driver. */
typedef struct {
    void *dst;
    size_t pitch;
    unsigned value, elementSize;
    size_t width, height;
} cudaMemsetParams;

typedef struct {
    CUhostFn fn;
    void *userData;
} cudaHostNodeParams;

typedef struct {
    CUmemPoolProps poolProps;
    const CUmemAccessDesc *accessDescs;
    size_t accessDescCount, bytesize;
    void *dptr;
} cudaMemAllocNodeParams;

typedef struct {
    int type; /* 0 unregistered, 1 host, 2 device, 3 managed */
    int device;
    void *devicePointer;
    void *hostPointer;
    long reserved[8];
} cudaPointerAttributes;

typedef struct {
    size_t sharedSizeBytes, constSizeBytes, localSizeBytes;
    int maxThreadsPerBlock, numRegs, ptxVersion, binaryVersion, cacheModeCA, maxDynamicSharedSizeBytes;
    int preferredShmemCarveout, clusterDimMustBeSet;
    int requiredClusterWidth, requiredClusterHeight, requiredClusterDepth;
    int clusterSchedulingPolicyPreference, nonPortableClusterSizeAllowed;
    int reserved[16];
} cudaFuncAttributes;

/* -------- driver.c -------- */

struct rt_driver {
#define CALL(driver, version, params)                        CUresult(*driver) params;
#define PASS(runtime, driver, version, params, args)         CALL(driver, version, params)
#define STREAM(runtime, twin, driver, version, params, args) CALL(driver, version, params)
#include "calls.def"
#undef CALL
#undef PASS
#undef STREAM
};

/* The driver's functions, stream 0 being the legacy default stream or the thread's own. */
extern struct rt_driver rt_legacy, rt_per_thread;

/* Load and initialise the driver, once; cudaErrorInsufficientDriver, cudaErrorNoDevice … where that fails. */
cudaError_t rt_load(void);
/* The same, and a current context: the primary one of the thread's device where the program set none. */
cudaError_t rt_enter(void);
/* What cudaGetLastError says; returns its argument. */
cudaError_t rt_remember(cudaError_t error);
/* A lookup like those of calls.def. */
CUresult rt_look_up(const char *name, void **function, int version, uint64_t flags, int *found);

/* -------- register.c: what nvcc's start code says about the program -------- */

/* The kernel of a host stub, or a kernel handle as it is. */
cudaError_t rt_kernel_of(const void *function, cudaKernel_t *kernel);
/* The same in the current context. */
cudaError_t rt_function_of(const void *function, CUfunction *driver_function);
/* Where a __device__ variable lies on the current device. */
cudaError_t rt_symbol(const void *symbol, CUdeviceptr *address, size_t *bytes);

/* -------- copy.c -------- */

cudaError_t rt_copy_3d(const cudaMemcpy3DParms *from, CUDA_MEMCPY3D *to);
/* A linear copy as one of 3D: graph nodes know no other. */
cudaError_t rt_copy_1d(void *to, const void *from, size_t bytes, int kind, CUDA_MEMCPY3D *copy);

#endif
