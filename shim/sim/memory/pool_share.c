/* pool_share.c -- pools that processes share: one exports the pool as a descriptor, and single allocations as data.
 *
 * Such a pool's memory is a file of its own.  Its first page names its share, which is charged to the owner, or, when
 * that is gone, to a process that has imported the pool. */
#define _GNU_SOURCE
#include "ipc.h"
#include "pool.h"
#include "process.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* -------- pages -------- */

uint64_t sim_pool_map(struct sim_pool *pool, uint64_t bytes, uint64_t *offset)
{
    uint64_t at = pool->file_end + SIM_PHYSICAL_GRAIN; /* the first piece is for the name */
    if (at + bytes > SIM_FILE_BYTES)
        return 0;
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, pool->fd, (off_t)at);
    if (p == MAP_FAILED)
        return 0;
    madvise(p, bytes, MADV_DONTDUMP);
    pool->file_end += bytes; /* no place is used twice: there is no end to them */
    *offset = at;
    return (uint64_t)p;
}

void sim_pool_unmap(struct sim_pool *pool, uint64_t base, uint64_t bytes)
{
    sim_pages_drop(base, bytes);
    munmap((void *)base, bytes);
}

/* -------- the share -------- */

void sim_pool_tell(const struct sim_pool *pool)
{
    if (!pool->share || pool->imported || pool->on_host) /* host memory costs no device anything */
        return;
    sim_machine_lock(sim_driver.machine);
    sim_share_resize(sim_driver.machine, pool->share, pool->reserved);
    sim_machine_unlock(sim_driver.machine);
}

void sim_pool_unshare(struct sim_pool *pool)
{
    if (pool->share)
        sim_share_let_go(pool->share);
    if (pool->fd >= 0)
        close(pool->fd);
    pool->share = 0;
    pool->fd = -1;
}

static struct sim_share_name name_of(const struct sim_pool *pool)
{
    return (struct sim_share_name){SIM_SHARE_MAGIC, pool->serial, pool->share, SIM_SHARE_POOL, 0, 0};
}

/* With sim_pools_lock held. */
static bool share(struct sim_pool *pool)
{
    struct sim_machine *m = sim_driver.machine;
    struct sim_share_name none = {0};
    if (pool->share)
        return true;
    if (pwrite(pool->fd, &none, sizeof(none), 0) != (ssize_t)sizeof(none)) /* a page for the name */
        return false;
    struct sim_share what = {.inode = sim_file_inode(pool->fd),
                             .bytes = pool->on_host ? 0 : pool->reserved,
                             .device = pool->on_host ? SIM_MAX_DEVICES : sim_driver.device[pool->device],
                             .kind = SIM_MEM_POOL,
                             .purpose = SIM_SHARE_POOL,
                             .maker = sim_driver.process};
    sim_machine_lock(m);
    pool->share = sim_share_open(m, sim_driver.process, &what);
    pool->serial = m->share[pool->share].serial;
    sim_machine_unlock(m);
    struct sim_share_name name = name_of(pool);
    return pool->share && pwrite(pool->fd, &name, sizeof(name), 0) == (ssize_t)sizeof(name);
}

static bool is_pool(CUmemoryPool pool)
{
    return sim_is(pool, SIM_POOL) && !pool->destroyed;
}

SIM_API(cuMemPoolExportToShareableHandle, (void *out, CUmemoryPool pool, int type, unsigned long long flags))
{
    SIM_ENTER(cuMemPoolExportToShareableHandle);
    if (!out || flags != 0 || !is_pool(pool))
        return CUDA_ERROR_INVALID_VALUE;
    SIM_TRY(sim_handle_type_check(type));
    if (pool->imported || !(pool->props.handleTypes & type))
        return CUDA_ERROR_INVALID_VALUE;
    pthread_mutex_lock(&sim_pools_lock);
    int fd = share(pool) ? sim_file_reopen(pool->fd) : -1;
    pthread_mutex_unlock(&sim_pools_lock);
    if (fd < 0)
        return CUDA_ERROR_OUT_OF_MEMORY;
    *(int *)out = fd;
    return CUDA_SUCCESS;
}

static CUresult import(int fd, struct sim_pool **out)
{
    struct sim_share_name name;
    struct sim_share share;
    struct stat st;
    if (fd < 0 || fstat(fd, &st) || !S_ISREG(st.st_mode) ||
        pread(fd, &name, sizeof(name), 0) != (ssize_t)sizeof(name) || name.magic != SIM_SHARE_MAGIC ||
        name.purpose != SIM_SHARE_POOL || !sim_share_look(&name, &share) || share.inode != st.st_ino)
        return CUDA_ERROR_INVALID_VALUE;
    bool on_host = share.device == SIM_MAX_DEVICES;
    CUdevice device = on_host ? 0 : sim_device_ordinal(share.device);
    if (device < 0)
        return CUDA_ERROR_INVALID_VALUE; /* not visible here */
    CUmemPoolProps props = {
        .allocType = CU_MEM_ALLOCATION_TYPE_PINNED,
        .handleTypes = CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR,
        .location = {on_host ? CU_MEM_LOCATION_TYPE_HOST_NUMA : CU_MEM_LOCATION_TYPE_DEVICE, device}};
    int own = sim_file_reopen(fd);
    if (own < 0)
        return CUDA_ERROR_OUT_OF_MEMORY;
    CUresult result = sim_share_take(&name, &share);
    struct sim_pool *pool = result == CUDA_SUCCESS ? sim_pool_new(&props) : NULL;
    if (!pool) {
        if (result == CUDA_SUCCESS)
            sim_share_let_go(name.share);
        close(own);
        return result == CUDA_ERROR_INVALID_HANDLE ? CUDA_ERROR_INVALID_VALUE : CUDA_ERROR_OUT_OF_MEMORY;
    }
    pool->imported = true;
    pool->fd = own;
    pool->share = name.share;
    pool->serial = name.serial;
    *out = pool;
    return CUDA_SUCCESS;
}

SIM_API(cuMemPoolImportFromShareableHandle,
        (CUmemoryPool * pool, void *handle, int type, unsigned long long flags))
{
    SIM_ENTER(cuMemPoolImportFromShareableHandle);
    if (!pool || flags != 0)
        return CUDA_ERROR_INVALID_VALUE;
    SIM_TRY(sim_handle_type_check(type));
    pthread_mutex_lock(&sim_pools_lock);
    CUresult result = import((int)(intptr_t)handle, pool);
    pthread_mutex_unlock(&sim_pools_lock);
    return result;
}

/* -------- single allocations -------- */

_Static_assert(sizeof(struct sim_share_name) <= sizeof(CUmemPoolPtrExportData), "the data have room for it");

SIM_API(cuMemPoolExportPointer, (CUmemPoolPtrExportData * data, CUdeviceptr address))
{
    SIM_ENTER(cuMemPoolExportPointer);
    struct sim_share_name name;
    CUresult result = CUDA_ERROR_INVALID_VALUE;
    if (!data)
        return CUDA_ERROR_INVALID_VALUE;
    pthread_mutex_lock(&sim_pools_lock);
    pthread_mutex_lock(&sim_memory_lock);
    const struct sim_block *block = sim_blocks_at(address);
    if (block && block->base == address && block->kind == SIM_BLOCK_POOL) {
        const struct sim_segment *segment = ((const struct sim_slot *)block->owner)->segment;
        struct sim_pool *pool = segment->pool;
        if (pool->fd >= 0) {
            result = share(pool) ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
            name = name_of(pool);
            name.offset = segment->offset + (address - segment->base);
            name.bytes = block->bytes;
        }
    }
    pthread_mutex_unlock(&sim_memory_lock);
    pthread_mutex_unlock(&sim_pools_lock);
    if (result != CUDA_SUCCESS)
        return result;
    memset(data, 0, sizeof(*data));
    memcpy(data, &name, sizeof(name));
    return CUDA_SUCCESS;
}

static void mark_on_host(CUdeviceptr address)
{
    pthread_mutex_lock(&sim_memory_lock);
    sim_blocks_at(address)->flags |= SIM_BLOCK_ON_HOST;
    pthread_mutex_unlock(&sim_memory_lock);
}

SIM_API(cuMemPoolImportPointer, (CUdeviceptr * address, CUmemoryPool pool, CUmemPoolPtrExportData *data))
{
    SIM_ENTER(cuMemPoolImportPointer);
    struct sim_share_name name;
    struct sim_share found;
    if (!address || !data || !is_pool(pool) || !pool->imported)
        return CUDA_ERROR_INVALID_VALUE;
    memcpy(&name, data, sizeof(name));
    if (name.magic != SIM_SHARE_MAGIC || name.purpose != SIM_SHARE_POOL || name.share != pool->share ||
        name.serial != pool->serial || name.bytes == 0 || name.offset < SIM_PHYSICAL_GRAIN ||
        name.offset > SIM_FILE_BYTES || name.bytes > SIM_FILE_BYTES - name.offset)
        return CUDA_ERROR_INVALID_VALUE;
    if (sim_share_take(&name, &found) != CUDA_SUCCESS)
        return CUDA_ERROR_OUT_OF_MEMORY;
    CUdevice device = pool->on_host ? 0 : pool->device;
    CUresult result = sim_import_open(SIM_BLOCK_IMPORTED, NULL, device, pool->fd, name.offset, name.bytes,
                                      name.share, pool, address);
    if (result == CUDA_SUCCESS && pool->on_host)
        mark_on_host(*address);
    if (result != CUDA_SUCCESS)
        sim_share_let_go(name.share);
    return result;
}
