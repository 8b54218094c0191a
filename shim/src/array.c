/* array.c -- arrays and mipmapped arrays.  Levels, planes and what is mapped later take nothing by themselves. */
#include "array_size.h"
#include "device.h"
#include "hooks.h"
#include "ledger.h"
#include "physical.h"
#include "region.h"
#include "reserve.h"

/* Memory is mapped to these afterwards, and is charged to whoever made it. */
#define WITHOUT_MEMORY (CUDA_ARRAY3D_SPARSE | CUDA_ARRAY3D_DEFERRED_MAPPING)

/* Between the decision and the driver's answer. */
struct making {
    struct gs_entry entry;
    CUresult refusal; /* instead of asking the driver */
    int passes;       /* none of ours: the driver is just asked */
};

/* False: refused. */
static int begin(const char *api, struct making *making, const CUDA_ARRAY3D_DESCRIPTOR *desc,
                 unsigned int levels)
{
    uint64_t bytes;
    CUcontext context = NULL;
    CUdevice ordinal;

    *making = (struct making){.entry = {.device = GS_NO_DEVICE, .kind = GS_ARRAY}};
    making->passes = 1;
    if (desc->Flags & WITHOUT_MEMORY || REAL(cuCtxGetCurrent)(&context) || REAL(cuCtxGetDevice)(&ordinal))
        return 1;
    making->entry.owner = (uint64_t)context;
    making->entry.device = gs_device_index(ordinal);
    if (making->entry.device == GS_NO_DEVICE)
        return 1;
    bytes = gs_array_size(desc, levels, ordinal);
    if (bytes >= GS_ABSURD_ARRAY)
        return 1;
    making->passes = 0;
    making->entry.bytes = bytes;
    if (gs_reserve(making->entry.device, GS_ARRAY, bytes))
        return 1;
    making->refusal = gs_array_refusal(desc, levels, ordinal);
    if (!making->refusal)
        making->refusal = gs_refuse(api, making->entry.device, bytes);
    return 0;
}

/* What the program gets, given what the driver said.  False: we cannot keep account of it, and it must go. */
static int end(const struct making *making, CUresult result, const void *handle)
{
    const struct gs_entry *entry = &making->entry;
    struct gs_entry stale;
    enum gs_noted noted;

    if (making->passes)
        return 1;
    if (result) {
        gs_quota_release(entry->device, entry->kind, entry->bytes);
        return 1;
    }
    noted = gs_ledger_put((uint64_t)handle, entry, &stale);
    if (noted == GS_NOTED_OVER)
        gs_entry_release(&stale);
    else if (noted == GS_NOT_NOTED)
        gs_quota_release(entry->device, entry->kind, entry->bytes);
    return noted != GS_NOT_NOTED;
}

static CUresult end_array(const struct making *making, CUresult result, CUarray *handle)
{
    if (end(making, result, result ? NULL : *handle))
        return result;
    REAL(cuArrayDestroy)(*handle);
    return CUDA_ERROR_OUT_OF_MEMORY;
}

/* The descriptors that know no depth. */
static int begin_flat(const char *api, struct making *making, size_t width, size_t height, int format,
                      unsigned int channels)
{
    const CUDA_ARRAY3D_DESCRIPTOR desc = {
        .Width = width, .Height = height, .Format = format, .NumChannels = channels};

    return begin(api, making, &desc, 0);
}

GSHARE_HOOK(cuArrayCreate_v2, (CUarray * pHandle, const CUDA_ARRAY_DESCRIPTOR *pAllocateArray))
{
    struct making making;

    if (!gs_region() || !pHandle || !pAllocateArray)
        return REAL(cuArrayCreate_v2)(pHandle, pAllocateArray);
    if (!begin_flat(__func__, &making, pAllocateArray->Width, pAllocateArray->Height, pAllocateArray->Format,
                    pAllocateArray->NumChannels))
        return making.refusal;
    return end_array(&making, REAL(cuArrayCreate_v2)(pHandle, pAllocateArray), pHandle);
}

GSHARE_HOOK(cuArrayCreate, (CUarray * pHandle, const CUDA_ARRAY_DESCRIPTOR_v1 *pAllocateArray))
{
    struct making making;

    if (!gs_region() || !pHandle || !pAllocateArray)
        return REAL(cuArrayCreate)(pHandle, pAllocateArray);
    if (!begin_flat(__func__, &making, pAllocateArray->Width, pAllocateArray->Height, pAllocateArray->Format,
                    pAllocateArray->NumChannels))
        return making.refusal;
    return end_array(&making, REAL(cuArrayCreate)(pHandle, pAllocateArray), pHandle);
}

GSHARE_HOOK(cuArray3DCreate_v2, (CUarray * pHandle, const CUDA_ARRAY3D_DESCRIPTOR *pAllocateArray))
{
    struct making making;

    if (!gs_region() || !pHandle || !pAllocateArray)
        return REAL(cuArray3DCreate_v2)(pHandle, pAllocateArray);
    if (!begin(__func__, &making, pAllocateArray, 0))
        return making.refusal;
    return end_array(&making, REAL(cuArray3DCreate_v2)(pHandle, pAllocateArray), pHandle);
}

GSHARE_HOOK(cuArray3DCreate, (CUarray * pHandle, const CUDA_ARRAY3D_DESCRIPTOR_v1 *pAllocateArray))
{
    struct making making;

    if (!gs_region() || !pHandle || !pAllocateArray)
        return REAL(cuArray3DCreate)(pHandle, pAllocateArray);
    if (!begin(__func__, &making,
               &(CUDA_ARRAY3D_DESCRIPTOR){.Width = pAllocateArray->Width,
                                          .Height = pAllocateArray->Height,
                                          .Depth = pAllocateArray->Depth,
                                          .Format = pAllocateArray->Format,
                                          .NumChannels = pAllocateArray->NumChannels,
                                          .Flags = pAllocateArray->Flags},
               0))
        return making.refusal;
    return end_array(&making, REAL(cuArray3DCreate)(pHandle, pAllocateArray), pHandle);
}

GSHARE_HOOK(cuMipmappedArrayCreate,
            (CUmipmappedArray * pHandle, const CUDA_ARRAY3D_DESCRIPTOR *pMipmappedArrayDesc,
             unsigned int numMipmapLevels))
{
    struct making making;
    CUresult result;

    if (!gs_region() || !pHandle || !pMipmappedArrayDesc)
        return REAL(cuMipmappedArrayCreate)(pHandle, pMipmappedArrayDesc, numMipmapLevels);
    if (!begin(__func__, &making, pMipmappedArrayDesc, numMipmapLevels ? numMipmapLevels : 1))
        return making.refusal;
    result = REAL(cuMipmappedArrayCreate)(pHandle, pMipmappedArrayDesc, numMipmapLevels);
    if (end(&making, result, result ? NULL : *pHandle))
        return result;
    REAL(cuMipmappedArrayDestroy)(*pHandle);
    return CUDA_ERROR_OUT_OF_MEMORY;
}

/* -------- the end of them -------- */

/* The note is taken before the driver is asked: once destroyed, another thread may get the same handle. */
static int take(const void *handle, struct gs_entry *entry)
{
    return gs_region() && gs_ledger_take((uint64_t)handle, entry);
}

/* Its tiles, or external memory, may keep what is charged elsewhere. */
static uint32_t going(const void *handle)
{
    return gs_region() ? gs_physical_going(gs_name(GS_NAME_ARRAY, (uint64_t)handle)) : 0;
}

static CUresult destroyed(CUresult result, int known, const void *handle, const struct gs_entry *entry)
{
    struct gs_entry stale;
    CUcontext context = NULL;

    if (known && result)
        gs_ledger_put((uint64_t)handle, entry, &stale); /* room for it was there a moment ago */
    else if (known)
        gs_quota_release(entry->device, entry->kind, entry->bytes);
    if (!result && gs_region()) {
        if (known)
            context = (CUcontext)entry->owner;
        else
            REAL(cuCtxGetCurrent)(&context);
        gs_array_clear(context);
    }
    return result;
}

GSHARE_HOOK(cuArrayDestroy, (CUarray hArray))
{
    struct gs_entry entry;
    int known = take(hArray, &entry);
    uint32_t keeper = going(hArray);

    return gs_physical_gone(keeper, destroyed(REAL(cuArrayDestroy)(hArray), known, hArray, &entry));
}

GSHARE_HOOK(cuMipmappedArrayDestroy, (CUmipmappedArray hMipmappedArray))
{
    struct gs_entry entry;
    int known = take(hMipmappedArray, &entry);
    uint32_t keeper = going(hMipmappedArray);
    CUresult result = REAL(cuMipmappedArrayDestroy)(hMipmappedArray);

    return gs_physical_gone(keeper, destroyed(result, known, hMipmappedArray, &entry));
}
