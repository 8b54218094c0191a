/* storage.c -- the memory of arrays: charged at once, or mapped to them later. */
#include "address.h"
#include "array.h"
#include "process.h"

#include <stdlib.h>

CUresult sim_storage_open(struct sim_context *ctx, uint64_t bytes, unsigned flags, struct sim_storage **out)
{
    bool charged = !(flags & (CUDA_ARRAY3D_SPARSE | CUDA_ARRAY3D_DEFERRED_MAPPING));
    bytes = (bytes + SIM_ARRAY_PAGE - 1) & ~(SIM_ARRAY_PAGE - 1);
    if (charged)
        SIM_TRY(sim_charge_or_trim(ctx->device, SIM_MEM_ARRAY, bytes));
    struct sim_storage *storage = calloc(1, sizeof(*storage));
    pthread_mutex_lock(&sim_memory_lock);
    uint64_t base = storage ? sim_space_take(bytes) : 0;
    pthread_mutex_unlock(&sim_memory_lock);
    if (!base) {
        if (charged)
            sim_uncharge(ctx->device, SIM_MEM_ARRAY, bytes);
        free(storage);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    *storage = (struct sim_storage){
        .base = base, .bytes = bytes, .device = ctx->device, .flags = flags, .charged = charged};
    storage->tile_count = flags & CUDA_ARRAY3D_DEFERRED_MAPPING ? 1 : bytes / SIM_ARRAY_PAGE;
    *out = storage;
    return CUDA_SUCCESS;
}

void sim_storage_close(struct sim_storage *storage)
{
    pthread_mutex_lock(&sim_memory_lock);
    sim_tiles_drop(storage);
    sim_space_give(storage->base, storage->bytes);
    pthread_mutex_unlock(&sim_memory_lock);
    if (storage->charged)
        sim_uncharge(storage->device, SIM_MEM_ARRAY, storage->bytes);
    free(storage->tile);
    free(storage);
}
