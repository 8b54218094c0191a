/* pool.c -- stream-ordered memory. */
#include "process.h"

CUresult sim_pool_free_now(CUdeviceptr address)
{
    return CUDA_ERROR_INVALID_VALUE;
}
