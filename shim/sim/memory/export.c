/* export.c -- physical memory as a file descriptor that other processes import.
 *
 * The descriptor is the memory: a file of its own, to which its pages move with the first export.  The last page of
 * the file names its share, which tells a forged descriptor from a real one.  Each exported descriptor has a shared
 * lock on the file, which goes with its last copy, wherever that is: so a process that has no more use for the memory
 * sees whether it has to stay. */
#define _GNU_SOURCE
#include "ipc.h"
#include "physical.h"
#include "process.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAGE 4096ull

/* -------- the file -------- */

/* What was touched; the rest is zero in the new file too. */
static bool copy_pages(int fd, const struct sim_physical *p)
{
    struct sim_file_range range;
    bool sparse = sim_space_file((uint64_t)p->backing, &range);
    uint64_t at = 0, end = p->bytes;
    while (at < p->bytes) {
        if (sparse) {
            off_t data = lseek(range.fd, (off_t)(range.offset + at), SEEK_DATA);
            if (data < 0 || (uint64_t)data >= range.offset + p->bytes)
                break;
            at = (uint64_t)data - range.offset;
            end = (uint64_t)lseek(range.fd, data, SEEK_HOLE) - range.offset;
            end = end < p->bytes ? end : p->bytes;
        }
        ssize_t done = pwrite(fd, p->backing + at, end - at, (off_t)at);
        if (done <= 0)
            return false;
        at += (uint64_t)done;
    }
    return true;
}

static uint32_t share_file(const struct sim_physical *p, uint64_t inode)
{
    struct sim_machine *m = sim_driver.machine;
    bool on_device = p->device >= 0;
    struct sim_share what = {.inode = inode,
                             .bytes = on_device ? p->bytes : 0,
                             .size = p->bytes,
                             .device = on_device ? sim_driver.device[p->device] : SIM_MAX_DEVICES,
                             .kind = SIM_MEM_VMM,
                             .purpose = SIM_SHARE_PHYSICAL,
                             .flags = p->prop.allocFlags.usage,
                             .maker = sim_driver.process};
    sim_machine_lock(m);
    uint32_t share = sim_share_open(m, sim_driver.process, &what);
    sim_machine_unlock(m);
    return share;
}

static bool write_name(int fd, const struct sim_physical *p, uint32_t share)
{
    struct sim_share_name name = {
        SIM_SHARE_MAGIC, sim_driver.machine->share[share].serial, share, SIM_SHARE_PHYSICAL, 0, 0};
    return pwrite(fd, &name, sizeof(name), (off_t)p->bytes) == (ssize_t)sizeof(name);
}

/* With sim_memory_lock held, while no effect runs. */
static bool move_to_file(struct sim_physical *p)
{
    int fd = sim_file_new(p->bytes + PAGE);
    char *backing = MAP_FAILED;
    uint32_t share = 0;
    if (fd >= 0 && copy_pages(fd, p) && write_name(fd, p, 0)) /* so that there is a page for the name */
        backing = mmap(NULL, p->bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
    if (backing != MAP_FAILED)
        share = share_file(p, sim_file_inode(fd));
    if (!share) {
        if (backing != MAP_FAILED)
            munmap(backing, p->bytes);
        if (fd >= 0)
            close(fd);
        return false;
    }
    write_name(fd, p, share);
    madvise(backing, p->bytes, MADV_DONTDUMP);
    char *old = p->backing;
    p->backing = backing;
    p->fd = fd;
    p->share = share;
    p->serial = sim_driver.machine->share[share].serial;
    sim_mappings_renew(p);
    sim_space_give((uint64_t)old, p->bytes);
    return true;
}

CUresult sim_handle_type_check(int type)
{
    switch (type) {
    case CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR:
        return CUDA_SUCCESS;
    case CU_MEM_HANDLE_TYPE_WIN32:
    case CU_MEM_HANDLE_TYPE_WIN32_KMT:
    case CU_MEM_HANDLE_TYPE_FABRIC: /* no fabric here */
        return CUDA_ERROR_NOT_SUPPORTED;
    default:
        return CUDA_ERROR_INVALID_VALUE;
    }
}

static CUresult export(struct sim_physical *p, int type, int *fd)
{
    if (!p || !(p->prop.requestedHandleTypes & type))
        return CUDA_ERROR_INVALID_VALUE;
    if (p->multicast)
        return CUDA_ERROR_NOT_SUPPORTED; /* one process has all of the one device */
    if (p->fd < 0 && !move_to_file(p))
        return CUDA_ERROR_OUT_OF_MEMORY;
    *fd = sim_file_reopen(p->fd);
    if (*fd < 0)
        return CUDA_ERROR_OUT_OF_MEMORY;
    flock(*fd, LOCK_SH | LOCK_NB);
    return CUDA_SUCCESS;
}

SIM_API(cuMemExportToShareableHandle,
        (void *out, CUmemGenericAllocationHandle handle, int type, unsigned long long flags))
{
    SIM_ENTER(cuMemExportToShareableHandle);
    int fd = -1;
    if (!out || flags != 0)
        return CUDA_ERROR_INVALID_VALUE;
    SIM_TRY(sim_handle_type_check(type));
    sim_effects_pause();
    pthread_mutex_lock(&sim_memory_lock);
    CUresult result = export(sim_physical_of(handle), type, &fd);
    pthread_mutex_unlock(&sim_memory_lock);
    sim_effects_resume();
    if (result == CUDA_SUCCESS)
        *(int *)out = fd;
    return result;
}

/* -------- importing -------- */

/* What the descriptor is, or false. */
static bool read_name(int fd, struct sim_share_name *name, struct sim_share *share)
{
    struct stat st;
    if (fd < 0 || fstat(fd, &st) || !S_ISREG(st.st_mode) || st.st_size < (off_t)PAGE)
        return false;
    if (pread(fd, name, sizeof(*name), st.st_size - (off_t)PAGE) != (ssize_t)sizeof(*name))
        return false;
    return name->magic == SIM_SHARE_MAGIC && name->purpose == SIM_SHARE_PHYSICAL &&
           sim_share_look(name, share) && share->inode == st.st_ino &&
           share->size + PAGE == (uint64_t)st.st_size;
}

static CUmemAllocationProp prop_of(const struct sim_share *share, CUdevice device)
{
    CUmemAllocationProp prop = {.type = CU_MEM_ALLOCATION_TYPE_PINNED,
                                .requestedHandleTypes = CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR,
                                .location = {CU_MEM_LOCATION_TYPE_DEVICE, device}};
    if (device < 0)
        prop.location = (CUmemLocation){CU_MEM_LOCATION_TYPE_HOST, 0};
    prop.allocFlags.usage = (unsigned short)share->flags;
    return prop;
}

static CUresult take(int fd, const struct sim_share_name *name, struct sim_share *share, CUdevice device,
                     struct sim_physical **out)
{
    if (sim_share_take(name, share) != CUDA_SUCCESS)
        return CUDA_ERROR_NOT_SUPPORTED; /* the device has no room for what nobody was charged with */
    CUmemAllocationProp prop = prop_of(share, device);
    int own = sim_file_reopen(fd);
    char *backing = MAP_FAILED;
    if (own >= 0)
        backing = mmap(NULL, share->size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, own, 0);
    struct sim_physical *p = backing == MAP_FAILED ? NULL : sim_physical_new(device, share->size, &prop);
    if (!p) {
        if (backing != MAP_FAILED)
            munmap(backing, share->size);
        if (own >= 0)
            close(own);
        sim_share_let_go(name->share);
        return CUDA_ERROR_NOT_SUPPORTED;
    }
    madvise(backing, share->size, MADV_DONTDUMP);
    p->backing = backing;
    p->fd = own;
    p->share = name->share;
    p->serial = name->serial;
    *out = p;
    return CUDA_SUCCESS;
}

CUresult sim_physical_import(int fd, struct sim_physical **out)
{
    struct sim_share_name name;
    struct sim_share share;
    if (!read_name(fd, &name, &share))
        return CUDA_ERROR_INVALID_VALUE;
    CUdevice device = share.device < SIM_MAX_DEVICES ? sim_device_ordinal(share.device) : -1;
    if (share.device < SIM_MAX_DEVICES && device < 0)
        return CUDA_ERROR_NOT_SUPPORTED; /* of a device that this process does not see */
    struct sim_physical *p = sim_physical_shared(name.share, name.serial);
    if (!p)
        return take(fd, &name, &share, device, out);
    p->references++;
    *out = p;
    return CUDA_SUCCESS;
}

SIM_API(cuMemImportFromShareableHandle, (CUmemGenericAllocationHandle * handle, void *os_handle, int type))
{
    SIM_ENTER(cuMemImportFromShareableHandle);
    struct sim_physical *p;
    if (!handle)
        return CUDA_ERROR_INVALID_VALUE;
    SIM_TRY(sim_handle_type_check(type));
    sim_exports_sweep();
    pthread_mutex_lock(&sim_memory_lock);
    CUresult result = sim_physical_import((int)(intptr_t)os_handle, &p);
    if (result == CUDA_SUCCESS)
        *handle = p->handle;
    pthread_mutex_unlock(&sim_memory_lock);
    return result;
}

/* -------- the end -------- */

static struct sim_physical *kept; /* by descriptors alone */

static bool is_exported(const struct sim_physical *p)
{
    if (flock(p->fd, LOCK_EX | LOCK_NB))
        return true;
    flock(p->fd, LOCK_UN);
    return false;
}

bool sim_export_end(struct sim_physical *p)
{
    struct sim_machine *m = sim_driver.machine;
    sim_machine_lock(m);
    bool alone = !sim_share_held_by_others(m, p->share, sim_driver.process);
    sim_machine_unlock(m);
    struct sim_physical **link = &kept;
    while (*link && *link != p)
        link = &(*link)->next_kept;
    bool was_kept = *link != NULL;
    if (alone && is_exported(p)) { /* others would see to it themselves */
        if (!was_kept) {
            p->next_kept = kept;
            kept = p;
        }
        return false;
    }
    if (was_kept)
        *link = p->next_kept;
    munmap(p->backing, p->bytes);
    close(p->fd);
    sim_share_let_go(p->share);
    return true;
}

void sim_exports_sweep(void)
{
    if (!__atomic_load_n(&kept, __ATOMIC_RELAXED))
        return;
    pthread_mutex_lock(&sim_memory_lock);
    for (struct sim_physical *p = kept, *next; p; p = next) {
        next = p->next_kept;
        sim_physical_settle(p); /* one that was imported again has users */
    }
    pthread_mutex_unlock(&sim_memory_lock);
}
