/* external.c -- external memory and semaphores: of what other APIs export there is nothing here, except that the
 * descriptors of cuMemExportToShareableHandle are taken for opaque ones. */
#include "ipc.h"
#include "physical.h"
#include "process.h"

#include <unistd.h>

enum { OPAQUE_FD = 1, LAST_MEMORY_TYPE = 9, LAST_SEMAPHORE_TYPE = 10 };

struct sim_external {
    uint32_t magic;
    struct sim_physical *memory;
    uint64_t bytes;
};

SIM_API(cuImportExternalMemory, (CUexternalMemory * out, const CUDA_EXTERNAL_MEMORY_HANDLE_DESC *desc))
{
    SIM_ENTER_CONTEXT(cuImportExternalMemory, ctx);
    struct sim_physical *p = NULL;
    if (!out || !desc || desc->type < OPAQUE_FD || desc->type > LAST_MEMORY_TYPE || desc->flags & ~1u ||
        !desc->size)
        return CUDA_ERROR_INVALID_VALUE;
    if (desc->type != OPAQUE_FD)
        return CUDA_ERROR_NOT_SUPPORTED;
    struct sim_external *external = sim_object_new(SIM_EXTERNAL, sizeof(*external));
    if (!external)
        return CUDA_ERROR_OUT_OF_MEMORY;
    pthread_mutex_lock(&sim_memory_lock);
    CUresult result = sim_physical_import(desc->handle.fd, &p);
    if (result == CUDA_SUCCESS && desc->size > p->bytes) {
        p->references--;
        sim_physical_settle(p);
        result = CUDA_ERROR_INVALID_VALUE;
    }
    pthread_mutex_unlock(&sim_memory_lock);
    if (result != CUDA_SUCCESS) {
        sim_object_free(external);
        return result == CUDA_ERROR_INVALID_VALUE ? CUDA_ERROR_INVALID_HANDLE : result;
    }
    close(desc->handle.fd); /* it is the driver's from now on */
    external->memory = p;
    external->bytes = desc->size;
    *out = external;
    return CUDA_SUCCESS;
}

SIM_API(cuExternalMemoryGetMappedBuffer,
        (CUdeviceptr * address, CUexternalMemory external, const CUDA_EXTERNAL_MEMORY_BUFFER_DESC *desc))
{
    SIM_ENTER_CONTEXT(cuExternalMemoryGetMappedBuffer, ctx);
    struct sim_share share;
    if (!sim_is(external, SIM_EXTERNAL))
        return CUDA_ERROR_INVALID_HANDLE;
    if (!address || !desc || desc->flags || !desc->size || desc->size > external->bytes ||
        desc->offset > external->bytes - desc->size)
        return CUDA_ERROR_INVALID_VALUE;
    const struct sim_physical *p = external->memory;
    struct sim_share_name name = {SIM_SHARE_MAGIC, p->serial, p->share, SIM_SHARE_PHYSICAL, 0, 0};
    SIM_TRY(sim_share_take(&name, &share));
    CUresult result = sim_import_open(SIM_BLOCK_IMPORTED, ctx, p->device < 0 ? ctx->device : p->device, p->fd,
                                      desc->offset, desc->size, p->share, NULL, address);
    if (result != CUDA_SUCCESS)
        sim_share_let_go(p->share);
    return result;
}

SIM_API(cuExternalMemoryGetMappedMipmappedArray, (void **mipmap, CUexternalMemory external, const void *desc))
{
    SIM_ENTER_CONTEXT(cuExternalMemoryGetMappedMipmappedArray, ctx);
    if (!sim_is(external, SIM_EXTERNAL))
        return CUDA_ERROR_INVALID_HANDLE;
    return mipmap && desc ? CUDA_ERROR_NOT_SUPPORTED : CUDA_ERROR_INVALID_VALUE;
}

/* Buffers that were mapped from it stay until they are freed. */
SIM_API(cuDestroyExternalMemory, (CUexternalMemory external))
{
    SIM_ENTER(cuDestroyExternalMemory);
    if (!sim_is(external, SIM_EXTERNAL))
        return CUDA_ERROR_INVALID_HANDLE;
    pthread_mutex_lock(&sim_memory_lock);
    external->memory->references--;
    sim_physical_settle(external->memory);
    pthread_mutex_unlock(&sim_memory_lock);
    sim_object_free(external);
    return CUDA_SUCCESS;
}

/* -------- semaphores: no other API here makes one -------- */

SIM_API(cuImportExternalSemaphore, (void **out, const int *desc))
{
    SIM_ENTER_CONTEXT(cuImportExternalSemaphore, ctx);
    if (!out || !desc || *desc < OPAQUE_FD || *desc > LAST_SEMAPHORE_TYPE) /* it begins with its type */
        return CUDA_ERROR_INVALID_VALUE;
    return CUDA_ERROR_NOT_SUPPORTED;
}

static CUresult no_semaphore(const void *semaphores, const void *params, unsigned count, CUstream handle,
                             bool per_thread)
{
    struct sim_stream *stream;
    SIM_TRY(sim_stream_resolve(handle, per_thread, &stream));
    return semaphores && params && count ? CUDA_ERROR_INVALID_HANDLE : CUDA_ERROR_INVALID_VALUE;
}

SIM_STREAM_API(cuSignalExternalSemaphoresAsync, cuSignalExternalSemaphoresAsync_ptsz,
               (const void *semaphores, const void *params, unsigned count, CUstream stream),
               (semaphores, params, count, stream))
{
    SIM_ENTER_CONTEXT(cuSignalExternalSemaphoresAsync, ctx);
    return no_semaphore(semaphores, params, count, stream, per_thread);
}

SIM_STREAM_API(cuWaitExternalSemaphoresAsync, cuWaitExternalSemaphoresAsync_ptsz,
               (const void *semaphores, const void *params, unsigned count, CUstream stream),
               (semaphores, params, count, stream))
{
    SIM_ENTER_CONTEXT(cuWaitExternalSemaphoresAsync, ctx);
    return no_semaphore(semaphores, params, count, stream, per_thread);
}

SIM_API(cuDestroyExternalSemaphore, (void *semaphore))
{
    SIM_ENTER(cuDestroyExternalSemaphore);
    return CUDA_ERROR_INVALID_HANDLE;
}

/* -------- for other devices of the host -------- */

enum { DMA_BUF_FD = 1 };

/* As with a kernel driver that has no DMA buffers (CU_DEVICE_ATTRIBUTE_DMA_BUF_SUPPORTED is 0). */
SIM_API(cuMemGetHandleForAddressRange,
        (void *handle, CUdeviceptr address, size_t bytes, int type, unsigned long long flags))
{
    SIM_ENTER_CONTEXT(cuMemGetHandleForAddressRange, ctx);
    struct sim_block block;
    if (!handle || bytes == 0 || (address | bytes) % 4096 || type != DMA_BUF_FD || flags > 1)
        return CUDA_ERROR_INVALID_VALUE;
    return sim_block_find(address, &block) ? CUDA_ERROR_NOT_SUPPORTED : CUDA_ERROR_INVALID_VALUE;
}
