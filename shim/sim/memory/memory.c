/* memory.c -- device memory: linear, pitched, managed; and what the driver says about an address.
 *
 * Physical use of one linear allocation: its bytes rounded up to 512 (SIM_LINEAR_GRAIN), pitched ones by rows of
 * their pitch.  cuMemGetInfo shows it to the byte. */
#include "address.h"
#include "graph_memory.h"
#include "array.h"
#include "ipc.h"
#include "legacy.h"
#include "managed.h"
#include "physical.h"
#include "process.h"

#include <stdlib.h>
#include <string.h>

#define PITCH_GRAIN 512
#define MAX_PITCH   2147483647ull /* as CU_DEVICE_ATTRIBUTE_MAX_PITCH says */

pthread_mutex_t sim_memory_lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned long long last_id;

struct sim_block *sim_block_new(enum sim_block_kind kind, CUdevice device, uint64_t base, uint64_t bytes)
{
    struct sim_block *block = calloc(1, sizeof(*block));
    if (block) {
        block->kind = kind;
        block->device = device;
        block->base = base;
        block->bytes = bytes;
        block->id = ++last_id;
        sim_blocks_insert(block);
    }
    return block;
}

static enum sim_memory_kind memory_kind(enum sim_block_kind kind)
{
    switch (kind) {
    case SIM_BLOCK_MODULE:
        return SIM_MEM_MODULE;
    default:
        return SIM_MEM_LINEAR;
    }
}

/* `last`: the program will be told of a refusal. */
static CUresult charge(CUdevice device, enum sim_memory_kind kind, uint64_t bytes, bool last)
{
    struct sim_machine *m = sim_driver.machine;
    uint32_t index = sim_driver.device[device];
    sim_machine_lock(m);
    int refused = sim_memory_charge(m, sim_driver.process, index, kind, bytes);
    if (refused) {
        sim_machine_reap(m);
        refused = sim_memory_charge(m, sim_driver.process, index, kind, bytes);
    }
    if (refused && last)
        sim_memory_deny(m, sim_driver.process, index);
    sim_machine_unlock(m);
    return refused ? CUDA_ERROR_OUT_OF_MEMORY : CUDA_SUCCESS;
}

CUresult sim_charge(CUdevice device, enum sim_memory_kind kind, uint64_t bytes)
{
    return charge(device, kind, bytes, true);
}

void sim_uncharge(CUdevice device, enum sim_memory_kind kind, uint64_t bytes)
{
    struct sim_machine *m = sim_driver.machine;
    sim_machine_lock(m);
    sim_memory_release(m, sim_driver.process, sim_driver.device[device], kind, bytes);
    sim_machine_unlock(m);
}

CUresult sim_charge_or_trim(CUdevice device, enum sim_memory_kind kind, uint64_t bytes)
{
    CUresult result = charge(device, kind, bytes, false);
    if (result == CUDA_ERROR_OUT_OF_MEMORY) {
        sim_exports_sweep();
        sim_pools_trim(device);
        sim_managed_evict(device, bytes);
        result = sim_charge(device, kind, bytes);
    }
    return result;
}

CUresult sim_device_alloc(struct sim_context *ctx, enum sim_block_kind kind, uint64_t bytes,
                          CUdeviceptr *address)
{
    uint64_t physical = (bytes + SIM_LINEAR_GRAIN - 1) & ~(SIM_LINEAR_GRAIN - 1);
    if (physical < bytes)
        return CUDA_ERROR_OUT_OF_MEMORY;
    SIM_TRY(sim_charge_or_trim(ctx->device, memory_kind(kind), physical));
    pthread_mutex_lock(&sim_memory_lock);
    bool low = ctx->api_version == SIM_LEGACY_API_VERSION;
    uint64_t base = low ? sim_space_take_low(physical) : sim_space_take(physical);
    struct sim_block *block = base ? sim_block_new(kind, ctx->device, base, bytes) : NULL;
    if (block) {
        block->physical_bytes = physical;
        block->context = ctx->root;
    } else if (base)
        sim_space_give(base, physical);
    pthread_mutex_unlock(&sim_memory_lock);
    if (!block) {
        sim_uncharge(ctx->device, memory_kind(kind), physical);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    if (kind != SIM_BLOCK_LINEAR) /* linear memory is found as it was left; anything else is zero */
        memset((void *)base, 0, bytes);
    *address = base;
    return CUDA_SUCCESS;
}

/* Without touching more than it must. */
static void clear(uint64_t base, uint64_t bytes)
{
    uint64_t first = (base + SIM_MANAGED_PAGE - 1) & ~(SIM_MANAGED_PAGE - 1);
    uint64_t last = (base + bytes) & ~(SIM_MANAGED_PAGE - 1);
    if (last <= first || !sim_pages_drop(first, last - first)) {
        memset((void *)base, 0, bytes);
        return;
    }
    memset((void *)base, 0, first - base);
    memset((void *)last, 0, base + bytes - last);
}

static CUresult alloc_managed(struct sim_context *ctx, uint64_t bytes, bool on_host, CUdeviceptr *address)
{
    uint64_t physical = (bytes + SIM_LINEAR_GRAIN - 1) & ~(SIM_LINEAR_GRAIN - 1);
    if (physical < bytes)
        return CUDA_ERROR_OUT_OF_MEMORY;
    pthread_mutex_lock(&sim_memory_lock);
    uint64_t base = sim_space_take(physical);
    struct sim_managed *managed = base ? sim_managed_open(ctx->device, base, physical, on_host) : NULL;
    struct sim_block *block = managed ? sim_block_new(SIM_BLOCK_MANAGED, ctx->device, base, bytes) : NULL;
    if (block) {
        block->physical_bytes = physical;
        block->context = ctx->root;
        block->owner = managed;
        clear(base, bytes);
        *address = base;
    } else {
        if (managed)
            sim_managed_close(managed);
        if (base)
            sim_space_give(base, physical);
    }
    pthread_mutex_unlock(&sim_memory_lock);
    return block ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

/* Out of the index; the caller gives back space and charge. */
static void forget(struct sim_block *block)
{
    sim_blocks_remove(block);
    if (block->share)
        sim_ipc_let_go(block);
    else if (block->base && block->kind != SIM_BLOCK_VMM)
        sim_space_give(block->base, block->physical_bytes);
    free(block);
}

static bool is_plain(const struct sim_block *block)
{
    return block->kind == SIM_BLOCK_LINEAR || block->kind == SIM_BLOCK_MANAGED ||
           block->kind == SIM_BLOCK_MODULE;
}

CUresult sim_device_free(CUdeviceptr address)
{
    pthread_mutex_lock(&sim_memory_lock);
    struct sim_block *block = sim_blocks_at(address);
    if (!block || block->base != address || !is_plain(block)) {
        pthread_mutex_unlock(&sim_memory_lock);
        return CUDA_ERROR_INVALID_VALUE;
    }
    CUdevice device = block->device;
    bool managed = block->kind == SIM_BLOCK_MANAGED;
    enum sim_memory_kind kind = memory_kind(block->kind);
    bool shared = block->share != 0; /* then whoever still uses it pays */
    uint64_t physical = block->physical_bytes;
    if (managed)
        sim_managed_close(block->owner);
    forget(block);
    pthread_mutex_unlock(&sim_memory_lock);
    if (!managed && !shared)
        sim_uncharge(device, kind, physical);
    return CUDA_SUCCESS;
}

bool sim_block_find(uint64_t address, struct sim_block *found)
{
    pthread_mutex_lock(&sim_memory_lock);
    const struct sim_block *block = sim_blocks_at(address);
    if (block)
        *found = *block;
    pthread_mutex_unlock(&sim_memory_lock);
    return block != NULL;
}

/* A context takes its plain allocations and its arrays with it. */
void sim_memory_forget(struct sim_context *ctx)
{
    sim_arrays_forget(ctx);
    sim_mipmaps_forget(ctx);
    sim_textures_forget(ctx);
    sim_host_memory_forget(ctx);
    sim_imports_forget(ctx);
    for (;;) {
        uint64_t address = 0;
        pthread_mutex_lock(&sim_memory_lock);
        for (struct sim_block *b = sim_blocks_next(NULL); b && !address; b = sim_blocks_next(b))
            if (b->context == ctx && is_plain(b))
                address = b->base;
        pthread_mutex_unlock(&sim_memory_lock);
        if (!address)
            return;
        sim_device_free(address);
    }
}

/* -------- the API -------- */

SIM_API(cuMemAlloc_v2, (CUdeviceptr * address, size_t bytes))
{
    SIM_ENTER_CONTEXT(cuMemAlloc_v2, ctx);
    if (!address || bytes == 0)
        return CUDA_ERROR_INVALID_VALUE;
    SIM_TRY(sim_capture_unsafe_call());
    return sim_device_alloc(ctx, SIM_BLOCK_LINEAR, bytes, address);
}

SIM_API(cuMemAllocPitch_v2,
        (CUdeviceptr * address, size_t *pitch, size_t width, size_t height, unsigned element_bytes))
{
    SIM_ENTER_CONTEXT(cuMemAllocPitch_v2, ctx);
    if (!address || !pitch || width == 0 || height == 0)
        return CUDA_ERROR_INVALID_VALUE;
    SIM_TRY(sim_capture_unsafe_call());
    if (element_bytes != 4 && element_bytes != 8 && element_bytes != 16)
        return CUDA_ERROR_INVALID_VALUE;
    if (width > MAX_PITCH)
        return CUDA_ERROR_INVALID_VALUE;
    size_t row = (width + PITCH_GRAIN - 1) & ~(size_t)(PITCH_GRAIN - 1), bytes;
    if (__builtin_mul_overflow(row, height, &bytes))
        return CUDA_ERROR_OUT_OF_MEMORY;
    SIM_TRY(sim_device_alloc(ctx, SIM_BLOCK_LINEAR, bytes, address));
    *pitch = row;
    return CUDA_SUCCESS;
}

SIM_API(cuMemAllocManaged, (CUdeviceptr * address, size_t bytes, unsigned flags))
{
    SIM_ENTER_CONTEXT(cuMemAllocManaged, ctx);
    if (!address || bytes == 0 || (flags != CU_MEM_ATTACH_GLOBAL && flags != CU_MEM_ATTACH_HOST))
        return CUDA_ERROR_INVALID_VALUE;
    SIM_TRY(sim_capture_unsafe_call());
    return alloc_managed(ctx, bytes, flags == CU_MEM_ATTACH_HOST, address);
}

/* Work that may still use the memory is waited for, as the driver does. */
SIM_API(cuMemFree_v2, (CUdeviceptr address))
{
    SIM_ENTER_CONTEXT(cuMemFree_v2, ctx);
    struct sim_block block;
    if (!sim_block_find(address, &block) || block.base != address || block.kind == SIM_BLOCK_MODULE)
        return CUDA_ERROR_INVALID_VALUE; /* a module's variables are nobody's else to free */
    SIM_TRY(sim_capture_unsafe_call());
    SIM_TRY(sim_context_synchronize(ctx));
    if (block.context && block.context != ctx && sim_is(block.context, SIM_CONTEXT))
        SIM_TRY(sim_context_synchronize(block.context));
    if (block.kind == SIM_BLOCK_POOL)
        return sim_pool_free_now(address);
    if (block.kind == SIM_BLOCK_IMPORTED)
        return sim_import_close(address, SIM_BLOCK_IMPORTED);
    if (block.kind == SIM_BLOCK_GRAPH)
        return sim_graph_memory_free(address, NULL);
    return sim_device_free(address);
}

SIM_API(cuMemGetInfo_v2, (size_t * free_bytes, size_t *total))
{
    SIM_ENTER_CONTEXT(cuMemGetInfo_v2, ctx);
    if (!free_bytes || !total)
        return CUDA_ERROR_INVALID_VALUE;
    sim_exports_sweep();
    const struct sim_device *device = sim_device_of(ctx->device);
    sim_machine_lock(sim_driver.machine);
    sim_machine_reap(sim_driver.machine);
    *total = device->profile.memory_bytes;
    *free_bytes = device->profile.memory_bytes - device->used_bytes;
    sim_machine_unlock(sim_driver.machine);
    return CUDA_SUCCESS;
}

SIM_API(cuMemGetAddressRange_v2, (CUdeviceptr * base, size_t *bytes, CUdeviceptr address))
{
    if (!base && !bytes) /* nothing is asked: not even whether there is a context */
        return CUDA_SUCCESS;
    SIM_ENTER_CONTEXT(cuMemGetAddressRange_v2, ctx);
    struct sim_block block;
    if (!sim_block_find(address, &block)) /* memory of the host that the device sees counts too */
        return CUDA_ERROR_NOT_FOUND;
    if (base)
        *base = block.base;
    if (bytes)
        *bytes = block.bytes;
    return CUDA_SUCCESS;
}
