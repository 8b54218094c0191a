/* memory.c -- linear, pitched, managed and stream-ordered memory, and its pools. */
#include "doors.h"

/* Of a pool of managed memory without a preference, or of the host. */
enum { NO_DEVICE = -1 };

static CUmemoryPool pools[DEVICES][SHARED_POOLS];

void allocate(struct actor *a)
{
    struct held made = {
        .kind = LINEAR, .device = a->at->device, .home = home_of(a->at), .bytes = some_bytes(a)};
    size_t pitch;
    CUresult result;

    switch (below(a, 4)) {
    case 0:
        result = DO(cuMemAllocPitch_v2, &made.handle, &pitch, 1 + below(a, 2000), 1 + below(a, 30000), 4);
        break;
    case 1:
        made.kind = MANAGED;
        result = DO(cuMemAllocManaged, &made.handle, made.bytes, 1 + below(a, 2));
        break;
    default:
        result = DO(cuMemAlloc_v2, &made.handle, made.bytes);
    }
    if (result == CUDA_SUCCESS)
        keep(&made);
}

void free_some(struct actor *a)
{
    struct held held;

    if (take(a, one_in(a, 4) ? MANAGED : LINEAR, home_of(a->at), -1, &held))
        let_go(a, &held);
}

void managed_work(struct actor *a)
{
    struct held held;
    size_t bytes;
    CUdevice to;

    if (one_in(a, 2) ? !take(a, MANAGED, home_of(a->at), -1, &held) : !take(a, ORDERED, ANYWHERE, -1, &held))
        return;
    to = held.kind == MANAGED ? held.device : (CUdevice)below(a, (unsigned)devices); /* of a pool, perhaps */
    bytes = held.bytes;
    if (one_in(a, 3))
        DO(cuMemDiscardBatchAsync, &held.handle, &bytes, 1, 0, a->lane);
    else
        DO(cuMemPrefetchAsync, held.handle, held.bytes, one_in(a, 2) ? -1 : to, a->lane);
    keep(&held);
}

/* -------- in the order of streams -------- */

static CUmemPoolProps props_of(CUdevice device)
{
    return (CUmemPoolProps){.allocType = CU_MEM_ALLOCATION_TYPE_PINNED,
                            .location = {CU_MEM_LOCATION_TYPE_DEVICE, device}};
}

bool shared_pools_open(struct actor *a)
{
    for (CUdevice device = 0; device < devices; device++)
        for (int i = 0; i < SHARED_POOLS; i++) {
            CUmemPoolProps props = props_of(device);

            if (!pools[device][i] && DO(cuMemPoolCreate, &pools[device][i], &props) != CUDA_SUCCESS)
                return false;
        }
    return true;
}

void shared_pools_close(struct actor *a)
{
    for (CUdevice device = 0; device < devices; device++)
        for (int i = 0; i < SHARED_POOLS; i++)
            for (int tries = 0; tries < 50 && pools[device][i]; tries++)
                if (DO(cuMemPoolDestroy, pools[device][i]) == CUDA_SUCCESS)
                    pools[device][i] = NULL;
}

CUmemoryPool shared_pool(struct actor *a, CUdevice device)
{
    return pools[device][below(a, SHARED_POOLS)];
}

void ordered_allocate(struct actor *a)
{
    struct held pool,
        made = {.kind = ORDERED, .device = a->at->device, .home = NOWHERE, .bytes = some_bytes(a)};
    CUresult result;

    switch (below(a, 4)) {
    case 0:
        if (!take(a, POOL, ANYWHERE, -1, &pool))
            return;
        made.device = pool.device == NO_DEVICE ? a->at->device : pool.device;
        result = DO(cuMemAllocFromPoolAsync, &made.handle, made.bytes, (CUmemoryPool)pool.handle, a->lane);
        keep(&pool);
        break;
    case 1:
        made.device = (CUdevice)below(a, (unsigned)devices);
        result = DO(cuMemAllocFromPoolAsync, &made.handle, made.bytes, shared_pool(a, made.device), a->lane);
        break;
    default:
        result = DO(cuMemAllocAsync, &made.handle, made.bytes, a->lane);
    }
    if (result == CUDA_SUCCESS)
        keep(&made);
}

void ordered_free(struct actor *a)
{
    struct held held;

    if (!take(a, ORDERED, ANYWHERE, -1, &held))
        return;
    if (one_in(a, 4) ? DO(cuMemFree_v2, held.handle) : DO(cuMemFreeAsync, held.handle, a->lane))
        keep(&held);
}

void pool_make(struct actor *a)
{
    struct held made = {.kind = POOL, .device = (CUdevice)below(a, (unsigned)devices), .home = NOWHERE};
    CUmemPoolProps props = props_of(made.device);
    uint64_t threshold = one_in(a, 2) ? UINT64_MAX : some_bytes(a);
    bool managed = one_in(a, 3), on_host = one_in(a, 4);

    if (managed)
        props.allocType = CU_MEM_ALLOCATION_TYPE_MANAGED;
    if (on_host || (managed && one_in(a, 2))) {
        props.location = (CUmemLocation){on_host ? CU_MEM_LOCATION_TYPE_HOST : CU_MEM_LOCATION_TYPE_NONE, 0};
        made.device = NO_DEVICE;
    }
    if (DO(cuMemPoolCreate, (CUmemoryPool *)&made.handle, &props))
        return;
    DO(cuMemPoolSetAttribute, (CUmemoryPool)made.handle, CU_MEMPOOL_ATTR_RELEASE_THRESHOLD, &threshold);
    keep(&made);
}

static void change(struct actor *a, CUmemoryPool pool, CUdevice device)
{
    uint64_t threshold = one_in(a, 2) ? UINT64_MAX : 0;

    switch (below(a, 3)) {
    case 0:
        DO(cuMemPoolTrimTo, pool, one_in(a, 2) ? 0 : some_bytes(a));
        break;
    case 1:
        DO(cuMemPoolSetAttribute, pool, CU_MEMPOOL_ATTR_RELEASE_THRESHOLD, &threshold);
        break;
    default:
        DO(cuDeviceSetMemPool, device, pool);
    }
}

void pool_change(struct actor *a)
{
    CUdevice device = (CUdevice)below(a, (unsigned)devices);
    CUmemoryPool pool;
    struct held held;

    if (one_in(a, 2) && take(a, POOL, ANYWHERE, -1, &held)) {
        change(a, (CUmemoryPool)held.handle, held.device);
        keep(&held);
    } else if (one_in(a, 2)) {
        change(a, shared_pool(a, device), device);
    } else if (DO(cuDeviceGetDefaultMemPool, &pool, device) == CUDA_SUCCESS) {
        change(a, pool, device);
    }
}

void pool_destroy(struct actor *a)
{
    struct held held;

    if (take(a, POOL, ANYWHERE, -1, &held))
        let_go(a, &held);
}

bool end_memory(struct actor *a, const struct held *held)
{
    if (held->kind == POOL)
        return DO(cuMemPoolDestroy, (CUmemoryPool)held->handle) == CUDA_SUCCESS;
    if (held->kind == OPENED)
        return DO(cuIpcCloseMemHandle, held->handle) == CUDA_SUCCESS;
    if (held->kind != MANAGED && one_in(a, 3))
        return DO(cuMemFreeAsync, held->handle, a->lane) == CUDA_SUCCESS;
    return DO(cuMemFree_v2, held->handle) == CUDA_SUCCESS;
}
