/* import.c -- memory that goes from process to process: it is charged where it was made, and nowhere else.
 *
 * Exported memory stays charged to its maker while a descriptor of it is open anywhere; whoever imports it under
 * limits keeps a copy of the descriptor for as long, and makes no sound otherwise.  Imported by its own maker, it is
 * held once more.  Memory of cuIpcOpenMemHandle and of pools need not be watched: its owner must not free it before
 * all others have closed it. */
#include "device.h"
#include "hooks.h"
#include "physical.h"
#include "region.h"

/* The whole of what is kept, where parts do not matter. */
static const struct gs_part whole = {.to = {1, 1, 1}};

/* What a descriptor is, found before the driver may close it. */
struct origin {
    uint32_t own; /* a hold on the record of this process, or 0 */
    struct gs_copy copy;
};

static struct origin origin_of(int fd)
{
    struct origin origin = {.own = gs_physical_of_descriptor(fd)};

    if (!origin.own)
        origin.copy = gs_copy_of(fd);
    return origin;
}

static void forget(struct origin *origin)
{
    gs_physical_drop(origin->own);
    gs_copy_close(&origin->copy);
}

/* A record for the handle of what has come in.  False: no memory for it. */
static int note(uint64_t name, struct origin *origin)
{
    uint32_t record = gs_physical_new(name, GS_NO_DEVICE, 0);

    if (record && origin->copy.inode)
        gs_physical_imported(record, &origin->copy);
    if (record && origin->own) {
        if (!gs_physical_keep(record, origin->own, &whole)) {
            gs_physical_drop(record);
            record = 0;
        }
        gs_physical_drop(origin->own);
    }
    if (record)
        *origin = (struct origin){0};
    return record != 0;
}

/* -------- physical memory -------- */

GSHARE_HOOK(cuMemExportToShareableHandle, (void *shareableHandle, CUmemGenericAllocationHandle handle,
                                           int handleType, unsigned long long flags))
{
    uint32_t record;
    CUresult result;

    if (!gs_region() || handleType != CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR)
        return REAL(cuMemExportToShareableHandle)(shareableHandle, handle, handleType, flags);
    record = gs_physical_hold(gs_name(GS_NAME_HANDLE, handle));
    result = REAL(cuMemExportToShareableHandle)(shareableHandle, handle, handleType, flags);
    if (!result && record)
        gs_physical_exported(record, *(int *)shareableHandle);
    gs_physical_drop(record);
    return result;
}

GSHARE_HOOK(cuMemImportFromShareableHandle,
            (CUmemGenericAllocationHandle * handle, void *osHandle, int shHandleType))
{
    struct origin origin = {0};
    CUresult result;

    if (!gs_region() || !handle)
        return REAL(cuMemImportFromShareableHandle)(handle, osHandle, shHandleType);
    if (shHandleType == CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR)
        origin = origin_of((int)(intptr_t)osHandle);
    result = REAL(cuMemImportFromShareableHandle)(handle, osHandle, shHandleType);
    if (!result && !gs_physical_hold(gs_name(GS_NAME_HANDLE, *handle)) &&
        !note(gs_name(GS_NAME_HANDLE, *handle), &origin)) {
        REAL(cuMemRelease)(*handle);
        result = CUDA_ERROR_OUT_OF_MEMORY;
    }
    forget(&origin);
    return result;
}

/* -------- external memory -------- */

/* The driver closes the descriptor. */
GSHARE_HOOK(cuImportExternalMemory,
            (CUexternalMemory * extMem_out, const CUDA_EXTERNAL_MEMORY_HANDLE_DESC *memHandleDesc))
{
    struct origin origin = {0};
    CUresult result;

    if (!gs_region() || !extMem_out || !memHandleDesc ||
        memHandleDesc->type != CU_EXTERNAL_MEMORY_HANDLE_TYPE_OPAQUE_FD)
        return REAL(cuImportExternalMemory)(extMem_out, memHandleDesc);
    origin = origin_of(memHandleDesc->handle.fd);
    result = REAL(cuImportExternalMemory)(extMem_out, memHandleDesc);
    if (!result && !note(gs_name(GS_NAME_EXTERNAL, (uint64_t)*extMem_out), &origin)) {
        REAL(cuDestroyExternalMemory)(*extMem_out);
        result = CUDA_ERROR_OUT_OF_MEMORY;
    }
    forget(&origin);
    return result;
}

/* What was mapped of it stays until it is freed, or its context goes. */
static void note_mapped(CUexternalMemory external, uint64_t name)
{
    uint32_t kept = gs_physical_hold(gs_name(GS_NAME_EXTERNAL, (uint64_t)external));
    CUcontext context = NULL;
    uint32_t record;

    REAL(cuCtxGetCurrent)(&context);
    record = kept ? gs_physical_hold_keeper(name, context) : 0;
    if (record)
        gs_physical_keep(record, kept, &whole);
    gs_physical_drop(record);
    gs_physical_drop(kept);
}

GSHARE_HOOK(cuExternalMemoryGetMappedBuffer,
            (CUdeviceptr * devPtr, CUexternalMemory extMem, const void *bufferDesc))
{
    CUresult result = REAL(cuExternalMemoryGetMappedBuffer)(devPtr, extMem, bufferDesc);

    if (!result && gs_region())
        note_mapped(extMem, gs_name(GS_NAME_BUFFER, *devPtr));
    return result;
}

GSHARE_HOOK(cuExternalMemoryGetMappedMipmappedArray,
            (CUmipmappedArray * mipmap, CUexternalMemory extMem, const void *mipmapDesc))
{
    CUresult result = REAL(cuExternalMemoryGetMappedMipmappedArray)(mipmap, extMem, mipmapDesc);

    if (!result && gs_region())
        note_mapped(extMem, gs_name(GS_NAME_ARRAY, (uint64_t)*mipmap));
    return result;
}

GSHARE_HOOK(cuDestroyExternalMemory, (CUexternalMemory extMem))
{
    uint32_t record;

    if (!gs_region())
        return REAL(cuDestroyExternalMemory)(extMem);
    record = gs_physical_hold(gs_name(GS_NAME_EXTERNAL, (uint64_t)extMem));
    return gs_physical_dropped(record, REAL(cuDestroyExternalMemory)(extMem));
}
