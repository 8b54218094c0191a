/* ipc.c -- cuIpcGetMemHandle and its like: linear memory of one process that others map.
 *
 * The memory stays while anybody has it mapped: freed by its owner, it costs the next who uses it, and its place in
 * the owner's file is not used again before all have closed it. */
#include "ipc.h"
#include "address.h"
#include "process.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* -------- shares, from this process's side -------- */

bool sim_share_look(const struct sim_share_name *name, struct sim_share *found)
{
    struct sim_machine *m = sim_driver.machine;
    sim_machine_lock(m);
    const struct sim_share *s = sim_share_find(m, name->share, name->serial, name->purpose);
    if (s)
        *found = *s;
    sim_machine_unlock(m);
    return s != NULL;
}

CUresult sim_share_take(const struct sim_share_name *name, struct sim_share *found)
{
    struct sim_machine *m = sim_driver.machine;
    CUresult result = CUDA_ERROR_INVALID_HANDLE;
    sim_machine_lock(m);
    const struct sim_share *s = sim_share_find(m, name->share, name->serial, name->purpose);
    if (s) {
        enum sim_share_result held = sim_share_hold(m, name->share, sim_driver.process);
        result = held == SIM_SHARE_HELD ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
        *found = *s;
    }
    sim_machine_unlock(m);
    return result;
}

void sim_share_let_go(uint32_t share)
{
    sim_machine_lock(sim_driver.machine);
    sim_share_drop(sim_driver.machine, share, sim_driver.process);
    sim_machine_unlock(sim_driver.machine);
}

CUdevice sim_device_ordinal(uint32_t index)
{
    for (CUdevice device = 0; device < sim_driver.device_count; device++)
        if (sim_driver.device[device] == index)
            return device;
    return -1;
}

/* -------- what was freed here and is still in use elsewhere -------- */

static struct lent {
    struct lent *next;
    uint64_t address, bytes, serial;
    uint32_t share;
} * lent; /* under sim_memory_lock */

static bool in_use(uint32_t share, uint64_t serial)
{
    const struct sim_share *s = &sim_driver.machine->share[share];
    return s->serial == serial && s->first_hold != 0;
}

/* Back to the space with what is in use no more. */
static void sweep(void)
{
    sim_machine_lock(sim_driver.machine);
    for (struct lent **link = &lent; *link;) {
        struct lent *l = *link;
        if (in_use(l->share, l->serial)) {
            link = &l->next;
            continue;
        }
        *link = l->next;
        sim_space_give(l->address, l->bytes);
        free(l);
    }
    sim_machine_unlock(sim_driver.machine);
}

void sim_ipc_let_go(const struct sim_block *block)
{
    struct sim_machine *m = sim_driver.machine;
    struct lent *l = malloc(sizeof(*l));
    sim_machine_lock(m);
    uint64_t serial = m->share[block->share].serial;
    sim_share_drop(m, block->share, sim_driver.process);
    bool used = in_use(block->share, serial);
    sim_machine_unlock(m);
    if (used && l) {
        *l = (struct lent){lent, block->base, block->physical_bytes, serial, block->share};
        lent = l;
        return;
    }
    free(l);
    if (!used) /* otherwise the address is lost, nothing else */
        sim_space_give(block->base, block->physical_bytes);
}

/* -------- handles -------- */

_Static_assert(sizeof(struct sim_share_name) <= sizeof(CUipcMemHandle), "a handle has room for it");

static uint32_t share_block(const struct sim_block *block)
{
    struct sim_machine *m = sim_driver.machine;
    struct sim_file_range range;
    if (!sim_space_file(block->base, &range))
        return 0;
    struct sim_share what = {.inode = range.inode,
                             .offset = range.offset,
                             .bytes = block->physical_bytes,
                             .size = block->bytes,
                             .device = sim_driver.device[block->device],
                             .kind = SIM_MEM_LINEAR,
                             .purpose = SIM_SHARE_LINEAR,
                             .maker = sim_driver.process,
                             .maker_fd = (uint32_t)range.fd};
    sim_machine_lock(m);
    uint32_t share = sim_share_open(m, sim_driver.process, &what);
    sim_machine_unlock(m);
    return share;
}

/* An address inside an allocation stands for all of it, as with the driver. */
SIM_API(cuIpcGetMemHandle, (CUipcMemHandle * handle, CUdeviceptr address))
{
    SIM_ENTER_CONTEXT(cuIpcGetMemHandle, ctx);
    struct sim_share_name name = {.magic = SIM_SHARE_MAGIC, .purpose = SIM_SHARE_LINEAR};
    if (!handle)
        return CUDA_ERROR_INVALID_VALUE;
    SIM_TRY(sim_capture_unsafe_call());
    pthread_mutex_lock(&sim_memory_lock);
    sweep();
    struct sim_block *block = sim_blocks_at(address);
    CUresult result = CUDA_ERROR_INVALID_VALUE;
    if (block && block->kind == SIM_BLOCK_LINEAR) {
        if (!block->share)
            block->share = share_block(block);
        name.share = block->share;
        name.serial = sim_driver.machine->share[block->share].serial;
        result = block->share ? CUDA_SUCCESS : CUDA_ERROR_MAP_FAILED;
    }
    pthread_mutex_unlock(&sim_memory_lock);
    if (result != CUDA_SUCCESS)
        return result;
    memset(handle, 0, sizeof(*handle));
    memcpy(handle, &name, sizeof(name));
    return CUDA_SUCCESS;
}

/* The owner's file; -1: the owner is gone, or has closed it. */
static int open_file(const struct sim_share *share)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/%u/fd/%u", sim_driver.machine->process[share->maker].pid,
             share->maker_fd);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd >= 0 && sim_file_inode(fd) != share->inode) {
        close(fd);
        fd = -1;
    }
    return fd;
}

static CUresult map_share(struct sim_context *ctx, const struct sim_share_name *name, CUdeviceptr *address)
{
    struct sim_share share;
    SIM_TRY(sim_share_take(name, &share));
    int fd = open_file(&share);
    CUresult result = CUDA_ERROR_INVALID_HANDLE;
    if (fd >= 0) {
        CUdevice device = sim_device_ordinal(share.device);
        result = sim_import_open(SIM_BLOCK_IPC, ctx, device, fd, share.offset, share.size, name->share, NULL,
                                 address);
        if (result != CUDA_SUCCESS)
            result = CUDA_ERROR_MAP_FAILED;
        close(fd);
    }
    if (result != CUDA_SUCCESS)
        sim_share_let_go(name->share);
    return result;
}

static CUresult open_handle(CUdeviceptr *address, const CUipcMemHandle *handle, unsigned flags)
{
    SIM_ENTER_CONTEXT(cuIpcOpenMemHandle_v2, ctx);
    struct sim_share_name name;
    struct sim_share share;
    memcpy(&name, handle, sizeof(name));
    if (!address || flags != CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS)
        return CUDA_ERROR_INVALID_VALUE;
    if (name.magic != SIM_SHARE_MAGIC || name.purpose != SIM_SHARE_LINEAR)
        return CUDA_ERROR_INVALID_VALUE;
    SIM_TRY(sim_capture_unsafe_call());
    if (!sim_share_look(&name, &share) || !share.first_hold)
        return CUDA_ERROR_INVALID_HANDLE;
    if (share.maker == sim_driver.process)
        return CUDA_ERROR_INVALID_CONTEXT;
    if (sim_device_ordinal(share.device) < 0)
        return CUDA_ERROR_INVALID_VALUE;
    struct sim_context *opener = ctx;
    if (sim_import_again(name.share, &opener, address)) /* one context of a process may have it */
        return opener == ctx ? CUDA_SUCCESS : CUDA_ERROR_INVALID_CONTEXT;
    return map_share(ctx, &name, address);
}

SIM_API(cuIpcOpenMemHandle, (CUdeviceptr * address, CUipcMemHandle handle, unsigned flags))
{
    return open_handle(address, &handle, flags);
}

SIM_API(cuIpcOpenMemHandle_v2, (CUdeviceptr * address, CUipcMemHandle handle, unsigned flags))
{
    return open_handle(address, &handle, flags);
}

/* Work that may still use it is waited for. */
SIM_API(cuIpcCloseMemHandle, (CUdeviceptr address))
{
    SIM_ENTER_CONTEXT(cuIpcCloseMemHandle, ctx);
    struct sim_block block;
    if (!sim_block_find(address, &block) || block.kind != SIM_BLOCK_IPC)
        return CUDA_ERROR_INVALID_VALUE;
    SIM_TRY(sim_capture_unsafe_call());
    SIM_TRY(sim_context_synchronize(ctx));
    return sim_import_close(address, SIM_BLOCK_IPC);
}
