/* pool_life.c -- pools made, changed and destroyed by the program. */
#include "device.h"
#include "hooks.h"
#include "pool.h"
#include "region.h"

/* Whose memory a pool hands out: a device's, pinned memory of the host, or managed memory, which the host has for
 * nothing, and devices wherever it is used. */
static void note(CUmemoryPool handle, const CUmemLocation *location, int type, int usual)
{
    struct gs_pool_of of = {gs_row_of_location(location), type == CU_MEM_ALLOCATION_TYPE_MANAGED, usual};
    struct gs_pool_of known = of;

    if (of.managed && of.row == GS_HOST_ROW)
        of.row = GS_NO_DEVICE;
    gs_pool_find(handle, &known);
    of.usual = known.usual; /* a current pool may be the program's own */
    gs_pool_note(handle, &of);
}

GSHARE_HOOK(cuMemPoolCreate, (CUmemoryPool * pool, const CUmemPoolProps *poolProps))
{
    CUresult result = REAL(cuMemPoolCreate)(pool, poolProps);

    if (!result && gs_region())
        note(*pool, &poolProps->location, poolProps->allocType, 0);
    return result;
}

GSHARE_HOOK(cuMemGetMemPool, (CUmemoryPool * pool, CUmemLocation *location, int type))
{
    CUresult result = REAL(cuMemGetMemPool)(pool, location, type);

    if (!gs_region())
        return result;
    if (!result && gs_pool_is_gone(*pool)) /* then the driver goes back to the usual one */
        result = REAL(cuMemGetDefaultMemPool)(pool, location, type);
    if (!result)
        note(*pool, location, type, 1);
    return result;
}

GSHARE_HOOK(cuMemGetDefaultMemPool, (CUmemoryPool * pool, CUmemLocation *location, int type))
{
    CUresult result = REAL(cuMemGetDefaultMemPool)(pool, location, type);

    if (!result && gs_region())
        note(*pool, location, type, 1);
    return result;
}

/* Its owner pays for it, and nothing is allocated from it here. */
GSHARE_HOOK(cuMemPoolImportFromShareableHandle,
            (CUmemoryPool * pool_out, void *handle, int handleType, unsigned long long flags))
{
    const CUmemLocation elsewhere = {0};
    CUresult result = REAL(cuMemPoolImportFromShareableHandle)(pool_out, handle, handleType, flags);

    if (!result && gs_region())
        note(*pool_out, &elsewhere, 0, 0);
    return result;
}

/* These are never destroyed. */
static int is_default(CUmemoryPool pool)
{
    struct gs_pool_of of = {0};
    CUmemoryPool usual;
    int found;

    gs_pool_find(pool, &of);
    found = of.usual;
    for (CUdevice i = 0; !found && i < GS_MOST_ORDINALS && !REAL(cuDeviceGetDefaultMemPool)(&usual, i); i++)
        found = usual == pool;
    return found;
}

/* Devices whose current pool it was have their default one again. */
static void replace(CUmemoryPool pool)
{
    CUmemoryPool usual, current;

    for (CUdevice i = 0; i < GS_MOST_ORDINALS && !REAL(cuDeviceGetMemPool)(&current, i); i++)
        if (current == pool && !REAL(cuDeviceGetDefaultMemPool)(&usual, i))
            REAL(cuDeviceSetMemPool)(i, usual);
}

GSHARE_HOOK(cuMemPoolDestroy, (CUmemoryPool pool))
{
    CUresult result;

    if (!gs_region() || is_default(pool))
        return REAL(cuMemPoolDestroy)(pool);
    if (gs_pool_is_gone(pool))
        return CUDA_ERROR_INVALID_VALUE;
    result = gs_pool_destroy(pool);
    if (!result)
        replace(pool);
    return result;
}

GSHARE_HOOK(cuMemPoolTrimTo, (CUmemoryPool pool, size_t minBytesToKeep))
{
    CUresult result;

    if (gs_pool_is_gone(pool))
        return CUDA_ERROR_INVALID_VALUE;
    result = REAL(cuMemPoolTrimTo)(pool, minBytesToKeep);
    gs_pool_refresh();
    return result;
}

GSHARE_HOOK(cuMemPoolSetAttribute, (CUmemoryPool pool, int attr, void *value))
{
    CUresult result;

    if (gs_pool_is_gone(pool))
        return CUDA_ERROR_INVALID_VALUE;
    result = REAL(cuMemPoolSetAttribute)(pool, attr, value);
    gs_pool_refresh();
    return result;
}
