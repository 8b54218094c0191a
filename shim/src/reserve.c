/* reserve.c -- before the driver is asked: is there room, and if not, really not? */
#include "graph_memory.h"
#include "later.h"
#include "physical.h"
#include "pool.h"
#include "refusal.h"
#include "reserve.h"

int gs_reserve_after_asking(int device, uint32_t kind, uint64_t bytes)
{
    gs_after_wait();
    if (gs_quota_reserve(device, kind, bytes))
        return 1;
    gs_pool_trim(device);
    gs_graph_memory_trim(device);
    return gs_quota_try(device, kind, bytes);
}

void gs_after_wait(void)
{
    gs_later_collect();
    gs_physical_collect();
    gs_pool_refresh();
    gs_graph_memory_refresh();
}

CUresult gs_refuse(const char *api, int device, uint64_t bytes)
{
    gs_refusal_note(api, device, bytes);
    return CUDA_ERROR_OUT_OF_MEMORY;
}
