/* graph.c -- graph nodes whose parameters are not the driver's: kernels by host function, copies by direction. */
#include "cudart.h"

static CUcontext current(void)
{
    CUcontext ctx = NULL;
    rt_legacy.cuCtxGetCurrent(&ctx);
    return ctx;
}

static cudaError_t driver_kernel(const cudaKernelNodeParams *from, rt_kernel_node *to)
{
    if (!from)
        return cudaErrorInvalidValue;
    *to = (rt_kernel_node){
        .grid = {from->gridDim.x, from->gridDim.y, from->gridDim.z},
        .block = {from->blockDim.x, from->blockDim.y, from->blockDim.z},
        .sharedMemBytes = from->sharedMemBytes,
        .kernelParams = from->kernelParams,
        .extra = from->extra,
    };
    return rt_kernel_of(from->func, &to->kern);
}

RT_API(cudaGraphAddKernelNode, (cudaGraphNode_t * node, cudaGraph_t graph, const cudaGraphNode_t *after,
                                size_t count, const cudaKernelNodeParams *kernel))
{
    rt_kernel_node driver;
    cudaError_t error = driver_kernel(kernel, &driver);
    return error ? rt_remember(error)
                 : RT_CALL(rt_legacy.cuGraphAddKernelNode(node, graph, after, count, &driver));
}

RT_API(cudaGraphKernelNodeSetParams, (cudaGraphNode_t node, const cudaKernelNodeParams *kernel))
{
    rt_kernel_node driver;
    cudaError_t error = driver_kernel(kernel, &driver);
    return error ? rt_remember(error) : RT_CALL(rt_legacy.cuGraphKernelNodeSetParams(node, &driver));
}

RT_API(cudaGraphExecKernelNodeSetParams,
       (cudaGraphExec_t exec, cudaGraphNode_t node, const cudaKernelNodeParams *kernel))
{
    rt_kernel_node driver;
    cudaError_t error = driver_kernel(kernel, &driver);
    return error ? rt_remember(error)
                 : RT_CALL(rt_legacy.cuGraphExecKernelNodeSetParams(exec, node, &driver));
}

RT_API(cudaGraphAddMemcpyNode, (cudaGraphNode_t * node, cudaGraph_t graph, const cudaGraphNode_t *after,
                                size_t count, const cudaMemcpy3DParms *box))
{
    CUDA_MEMCPY3D driver;
    cudaError_t error = rt_copy_3d(box, &driver);
    return error ? rt_remember(error)
                 : RT_CALL(rt_legacy.cuGraphAddMemcpyNode(node, graph, after, count, &driver, current()));
}

RT_API(cudaGraphAddMemcpyNode1D, (cudaGraphNode_t * node, cudaGraph_t graph, const cudaGraphNode_t *after,
                                  size_t count, void *to, const void *from, size_t bytes, int kind))
{
    CUDA_MEMCPY3D driver;
    cudaError_t error = rt_copy_1d(to, from, bytes, kind, &driver);
    return error ? rt_remember(error)
                 : RT_CALL(rt_legacy.cuGraphAddMemcpyNode(node, graph, after, count, &driver, current()));
}

RT_API(cudaGraphExecMemcpyNodeSetParams1D,
       (cudaGraphExec_t exec, cudaGraphNode_t node, void *to, const void *from, size_t bytes, int kind))
{
    CUDA_MEMCPY3D driver;
    cudaError_t error = rt_copy_1d(to, from, bytes, kind, &driver);
    return error ? rt_remember(error)
                 : RT_CALL(rt_legacy.cuGraphExecMemcpyNodeSetParams(exec, node, &driver, current()));
}

RT_API(cudaGraphAddMemsetNode, (cudaGraphNode_t * node, cudaGraph_t graph, const cudaGraphNode_t *after,
                                size_t count, const cudaMemsetParams *fill))
{
    return RT_CALL(rt_legacy.cuGraphAddMemsetNode(node, graph, after, count, fill, current()));
}

RT_API(cudaGraphExecMemsetNodeSetParams,
       (cudaGraphExec_t exec, cudaGraphNode_t node, const cudaMemsetParams *fill))
{
    return RT_CALL(rt_legacy.cuGraphExecMemsetNodeSetParams(exec, node, fill, current()));
}
