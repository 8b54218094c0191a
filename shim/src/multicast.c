/* multicast.c -- multicast objects and logical endpoints: what is bound to them lives for as long as it is bound.
 *
 * They take no memory of a device themselves, and cost nothing. */
#include "device.h"
#include "hooks.h"
#include "physical.h"
#include "region.h"

static struct gs_part part_of(CUdevice device, uint64_t offset, uint64_t size)
{
    return (struct gs_part){.where = (uint64_t)device, .from = {offset}, .to = {offset + size, 1, 1}};
}

/* A bind, from before the driver's call. */
struct bind {
    uint32_t object; /* holds on the records of both */
    uint32_t memory;
    CUmemGenericAllocationHandle retained; /* to be released: found by an address */
};

static struct bind of_handle(uint32_t object, CUmemGenericAllocationHandle memory)
{
    return (struct bind){.object = object, .memory = gs_physical_hold(gs_name(GS_NAME_HANDLE, memory))};
}

static struct bind of_address(uint32_t object, void *address)
{
    CUmemGenericAllocationHandle memory = 0;
    struct bind bind = {.object = object};

    if (REAL(cuMemRetainAllocationHandle)(&memory, address))
        return bind;
    bind = of_handle(object, memory);
    bind.retained = memory;
    return bind;
}

static void forget(const struct bind *bind)
{
    gs_physical_drop(bind->object);
    gs_physical_drop(bind->memory);
    if (bind->retained)
        REAL(cuMemRelease)(bind->retained);
}

/* False: no memory to note it. */
static int note(const struct bind *bind, CUdevice device, uint64_t offset, uint64_t size)
{
    struct gs_part part = part_of(device, offset, size);

    return !bind->memory || (bind->object && gs_physical_keep(bind->object, bind->memory, &part));
}

/* -------- multicast objects -------- */

static uint32_t hold_object(CUmemGenericAllocationHandle handle)
{
    return gs_physical_hold(gs_name(GS_NAME_HANDLE, handle));
}

GSHARE_HOOK(cuMulticastCreate, (CUmemGenericAllocationHandle * mcHandle, const void *prop))
{
    CUresult result = REAL(cuMulticastCreate)(mcHandle, prop);

    if (!result && gs_region() && !gs_physical_new(gs_name(GS_NAME_HANDLE, *mcHandle), GS_NO_DEVICE, 0)) {
        REAL(cuMemRelease)(*mcHandle);
        result = CUDA_ERROR_OUT_OF_MEMORY;
    }
    return result;
}

/* The device that the older functions do not name: that of the memory. */
static CUdevice device_of(CUmemGenericAllocationHandle memory)
{
    CUmemAllocationProp prop = {0};

    return REAL(cuMemGetAllocationPropertiesFromHandle)(&prop, memory) ? -1 : prop.location.id;
}

static CUresult bound(CUresult result, const struct bind *bind, CUmemGenericAllocationHandle object,
                      CUdevice device, size_t offset, size_t size)
{
    if (!result && !note(bind, device, offset, size)) {
        REAL(cuMulticastUnbind)(object, device, offset, size);
        result = CUDA_ERROR_OUT_OF_MEMORY;
    }
    forget(bind);
    return result;
}

GSHARE_HOOK(cuMulticastBindMem,
            (CUmemGenericAllocationHandle mcHandle, size_t mcOffset, CUmemGenericAllocationHandle memHandle,
             size_t memOffset, size_t size, unsigned long long flags))
{
    struct bind bind;

    if (!gs_region())
        return REAL(cuMulticastBindMem)(mcHandle, mcOffset, memHandle, memOffset, size, flags);
    bind = of_handle(hold_object(mcHandle), memHandle);
    return bound(REAL(cuMulticastBindMem)(mcHandle, mcOffset, memHandle, memOffset, size, flags), &bind,
                 mcHandle, device_of(memHandle), mcOffset, size);
}

GSHARE_HOOK(cuMulticastBindMem_v2,
            (CUmemGenericAllocationHandle mcHandle, CUdevice dev, size_t mcOffset,
             CUmemGenericAllocationHandle memHandle, size_t memOffset, size_t size, unsigned long long flags))
{
    struct bind bind;

    if (!gs_region())
        return REAL(cuMulticastBindMem_v2)(mcHandle, dev, mcOffset, memHandle, memOffset, size, flags);
    bind = of_handle(hold_object(mcHandle), memHandle);
    return bound(REAL(cuMulticastBindMem_v2)(mcHandle, dev, mcOffset, memHandle, memOffset, size, flags),
                 &bind, mcHandle, dev, mcOffset, size);
}

GSHARE_HOOK(cuMulticastBindAddr, (CUmemGenericAllocationHandle mcHandle, size_t mcOffset, CUdeviceptr memptr,
                                  size_t size, unsigned long long flags))
{
    struct bind bind;
    CUdevice device;

    if (!gs_region())
        return REAL(cuMulticastBindAddr)(mcHandle, mcOffset, memptr, size, flags);
    bind = of_address(hold_object(mcHandle), (void *)memptr);
    device = bind.retained ? device_of(bind.retained) : -1;
    return bound(REAL(cuMulticastBindAddr)(mcHandle, mcOffset, memptr, size, flags), &bind, mcHandle, device,
                 mcOffset, size);
}

GSHARE_HOOK(cuMulticastBindAddr_v2, (CUmemGenericAllocationHandle mcHandle, CUdevice dev, size_t mcOffset,
                                     CUdeviceptr memptr, size_t size, unsigned long long flags))
{
    struct bind bind;

    if (!gs_region())
        return REAL(cuMulticastBindAddr_v2)(mcHandle, dev, mcOffset, memptr, size, flags);
    bind = of_address(hold_object(mcHandle), (void *)memptr);
    return bound(REAL(cuMulticastBindAddr_v2)(mcHandle, dev, mcOffset, memptr, size, flags), &bind, mcHandle,
                 dev, mcOffset, size);
}

/* After the driver's answer: what was bound there is no more. */
static CUresult unbound(CUresult result, uint32_t object, CUdevice device, uint64_t offset, uint64_t size)
{
    struct gs_part part = part_of(device, offset, size);

    if (!result && object)
        gs_physical_leave(object, &part, NULL);
    gs_physical_drop(object);
    return result;
}

GSHARE_HOOK(cuMulticastUnbind,
            (CUmemGenericAllocationHandle mcHandle, CUdevice dev, size_t mcOffset, size_t size))
{
    uint32_t object;

    if (!gs_region())
        return REAL(cuMulticastUnbind)(mcHandle, dev, mcOffset, size);
    object = hold_object(mcHandle);
    return unbound(REAL(cuMulticastUnbind)(mcHandle, dev, mcOffset, size), object, dev, mcOffset, size);
}

/* -------- logical endpoints -------- */

static uint64_t endpoint(CUlogicalEndpointId id)
{
    return gs_name(GS_NAME_ENDPOINT, id);
}

static CUresult bound_to_endpoint(CUresult result, const struct bind *bind, CUlogicalEndpointId id,
                                  CUdevice device, uint64_t offset, uint64_t size)
{
    if (!result && !note(bind, device, offset, size)) {
        REAL(cuLogicalEndpointUnbind)(id, device, offset, size);
        result = CUDA_ERROR_OUT_OF_MEMORY;
    }
    forget(bind);
    return result;
}

GSHARE_HOOK(cuLogicalEndpointBindMem, (CUlogicalEndpointId leId, CUdevice dev, cuuint64_t offset,
                                       CUmemGenericAllocationHandle memHandle, cuuint64_t memOffset,
                                       cuuint64_t size, unsigned long long flags))
{
    struct bind bind;

    if (!gs_region())
        return REAL(cuLogicalEndpointBindMem)(leId, dev, offset, memHandle, memOffset, size, flags);
    bind = of_handle(gs_physical_hold_keeper(endpoint(leId), NULL), memHandle);
    return bound_to_endpoint(
        REAL(cuLogicalEndpointBindMem)(leId, dev, offset, memHandle, memOffset, size, flags), &bind, leId,
        dev, offset, size);
}

GSHARE_HOOK(cuLogicalEndpointBindAddr, (CUlogicalEndpointId leId, CUdevice dev, cuuint64_t offset, void *ptr,
                                        cuuint64_t size, unsigned long long flags))
{
    struct bind bind;

    if (!gs_region())
        return REAL(cuLogicalEndpointBindAddr)(leId, dev, offset, ptr, size, flags);
    bind = of_address(gs_physical_hold_keeper(endpoint(leId), NULL), ptr);
    return bound_to_endpoint(REAL(cuLogicalEndpointBindAddr)(leId, dev, offset, ptr, size, flags), &bind,
                             leId, dev, offset, size);
}

GSHARE_HOOK(cuLogicalEndpointUnbind,
            (CUlogicalEndpointId leId, CUdevice dev, cuuint64_t offset, cuuint64_t size))
{
    uint32_t object;

    if (!gs_region())
        return REAL(cuLogicalEndpointUnbind)(leId, dev, offset, size);
    object = gs_physical_hold(endpoint(leId));
    return unbound(REAL(cuLogicalEndpointUnbind)(leId, dev, offset, size), object, dev, offset, size);
}

GSHARE_HOOK(cuLogicalEndpointDestroy, (CUlogicalEndpointId leId))
{
    uint32_t object = gs_region() ? gs_physical_going(endpoint(leId)) : 0;

    return gs_physical_gone(object, REAL(cuLogicalEndpointDestroy)(leId));
}
