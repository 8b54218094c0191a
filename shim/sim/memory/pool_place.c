/* pool_place.c -- which pools there are: a default and a current one for each place and kind of memory, and those that
 * programs make.
 *
 * Before CUDA 13 only devices had such a pair; what cuMemAllocAsync uses is that of a device and pinned memory. */
#include "ipc.h"
#include "pool.h"
#include "process.h"

#include <unistd.h>

/* Devices, and after them: */
enum { ON_HOST = SIM_MAX_DEVICES, ON_NODE, ANYWHERE, PLACES };

struct place {
    CUmemLocation location;
    bool managed;
    uint32_t index;
};

static struct sim_pool *defaults[2][PLACES], *current[2][PLACES]; /* current: NULL, that is the default */

static struct place of_device(CUdevice device)
{
    return (struct place){{CU_MEM_LOCATION_TYPE_DEVICE, device}, false, (uint32_t)device};
}

/* Only managed memory may be meant for no place. */
static CUresult find_place(const CUmemLocation *location, int type, struct place *place)
{
    if (!location || (type != CU_MEM_ALLOCATION_TYPE_PINNED && type != CU_MEM_ALLOCATION_TYPE_MANAGED))
        return CUDA_ERROR_INVALID_VALUE;
    *place = (struct place){*location, type == CU_MEM_ALLOCATION_TYPE_MANAGED, PLACES};
    switch (location->type) {
    case CU_MEM_LOCATION_TYPE_DEVICE:
        place->index = (uint32_t)location->id;
        return sim_device_valid(location->id) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_DEVICE;
    case CU_MEM_LOCATION_TYPE_HOST:
        place->location.id = 0;
        place->index = ON_HOST;
        return CUDA_SUCCESS;
    case CU_MEM_LOCATION_TYPE_HOST_NUMA:
        place->index = ON_NODE;
        return location->id == 0 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
    case CU_MEM_LOCATION_TYPE_NONE:
        place->location.id = 0;
        place->index = ANYWHERE;
        return place->managed ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
    default: /* the current node is none to make a pool for */
        return CUDA_ERROR_INVALID_VALUE;
    }
}

static CUmemPoolProps props_of(const struct place *place)
{
    return (CUmemPoolProps){.allocType = place->managed ? CU_MEM_ALLOCATION_TYPE_MANAGED
                                                        : CU_MEM_ALLOCATION_TYPE_PINNED,
                            .location = place->location};
}

/* -------- the default and the current pool, with sim_pools_lock held -------- */

static struct sim_pool *default_at(const struct place *place)
{
    struct sim_pool **pool = &defaults[place->managed][place->index];
    CUmemPoolProps props = props_of(place);
    if (!*pool && (*pool = sim_pool_new(&props)))
        (*pool)->is_default = 1;
    return *pool;
}

static struct sim_pool *current_at(const struct place *place)
{
    struct sim_pool *pool = current[place->managed][place->index];
    return pool ? pool : default_at(place);
}

struct sim_pool *sim_pool_current(CUdevice device)
{
    struct place place = of_device(device);
    return current_at(&place);
}

void sim_pool_no_longer_current(const struct sim_pool *pool)
{
    for (uint32_t i = 0; i < 2 * PLACES; i++)
        if (current[i / PLACES][i % PLACES] == pool)
            current[i / PLACES][i % PLACES] = NULL;
}

/* -------- the calls -------- */

static CUresult get(CUmemoryPool *pool, const struct place *place, struct sim_pool *at(const struct place *))
{
    pthread_mutex_lock(&sim_pools_lock);
    *pool = at(place);
    pthread_mutex_unlock(&sim_pools_lock);
    return *pool ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

static CUresult set(const struct place *place, CUmemoryPool pool)
{
    struct place own;
    if (!sim_is(pool, SIM_POOL) || pool->destroyed || pool->imported ||
        find_place(&pool->props.location, pool->props.allocType, &own) != CUDA_SUCCESS ||
        own.managed != place->managed || own.index != place->index)
        return CUDA_ERROR_INVALID_VALUE;
    pthread_mutex_lock(&sim_pools_lock);
    current[own.managed][own.index] = pool->is_default ? NULL : pool;
    pthread_mutex_unlock(&sim_pools_lock);
    return CUDA_SUCCESS;
}

static CUresult get_of_device(CUmemoryPool *pool, CUdevice device, struct sim_pool *at(const struct place *))
{
    struct place place = of_device(device);
    if (!pool)
        return CUDA_ERROR_INVALID_VALUE;
    return sim_device_valid(device) ? get(pool, &place, at) : CUDA_ERROR_INVALID_DEVICE;
}

SIM_API(cuDeviceGetDefaultMemPool, (CUmemoryPool * pool, CUdevice device))
{
    SIM_ENTER(cuDeviceGetDefaultMemPool);
    return get_of_device(pool, device, default_at);
}

SIM_API(cuDeviceGetMemPool, (CUmemoryPool * pool, CUdevice device))
{
    SIM_ENTER(cuDeviceGetMemPool);
    return get_of_device(pool, device, current_at);
}

SIM_API(cuDeviceSetMemPool, (CUdevice device, CUmemoryPool pool))
{
    struct place place = of_device(device);
    SIM_ENTER(cuDeviceSetMemPool);
    return sim_device_valid(device) ? set(&place, pool) : CUDA_ERROR_INVALID_DEVICE;
}

static CUresult get_at(CUmemoryPool *pool, const CUmemLocation *location, int type,
                       struct sim_pool *at(const struct place *))
{
    struct place place;
    SIM_TRY(find_place(location, type, &place));
    return pool ? get(pool, &place, at) : CUDA_ERROR_INVALID_VALUE;
}

SIM_API(cuMemGetDefaultMemPool, (CUmemoryPool * pool, CUmemLocation *location, int type))
{
    SIM_ENTER(cuMemGetDefaultMemPool);
    return get_at(pool, location, type, default_at);
}

SIM_API(cuMemGetMemPool, (CUmemoryPool * pool, CUmemLocation *location, int type))
{
    SIM_ENTER(cuMemGetMemPool);
    return get_at(pool, location, type, current_at);
}

SIM_API(cuMemSetMemPool, (CUmemLocation * location, int type, CUmemoryPool pool))
{
    struct place place;
    SIM_ENTER(cuMemSetMemPool);
    SIM_TRY(find_place(location, type, &place));
    return set(&place, pool);
}

/* Host memory of no node cannot be shared, nor can managed memory, whose size has no limit either. */
static CUresult check(const CUmemPoolProps *props, const struct place *place)
{
    if (props->handleTypes & ~15)
        return CUDA_ERROR_INVALID_VALUE;
    if (props->handleTypes && (place->managed || place->index == ON_HOST))
        return CUDA_ERROR_INVALID_VALUE;
    if (place->managed && (props->maxSize || props->usage))
        return CUDA_ERROR_INVALID_VALUE;
    return props->handleTypes & ~CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR ? CUDA_ERROR_NOT_SUPPORTED
                                                                          : CUDA_SUCCESS;
}

SIM_API(cuMemPoolCreate, (CUmemoryPool * pool, const CUmemPoolProps *wanted))
{
    SIM_ENTER(cuMemPoolCreate);
    struct place place;
    if (!pool || !wanted)
        return CUDA_ERROR_INVALID_VALUE;
    SIM_TRY(find_place(&wanted->location, wanted->allocType, &place));
    SIM_TRY(check(wanted, &place));
    CUmemPoolProps props = *wanted;
    props.location = place.location;
    int fd = props.handleTypes ? sim_file_new(SIM_FILE_BYTES) : -1;
    if (props.handleTypes && fd < 0)
        return CUDA_ERROR_OUT_OF_MEMORY;
    pthread_mutex_lock(&sim_pools_lock);
    struct sim_pool *made = sim_pool_new(&props);
    if (made)
        made->fd = fd;
    pthread_mutex_unlock(&sim_pools_lock);
    if (!made) {
        if (fd >= 0)
            close(fd);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    *pool = made;
    return CUDA_SUCCESS;
}
