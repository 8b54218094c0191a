/* hold.c -- reserve, call, settle. */
#include "device.h"
#include "hold.h"
#include "hooks.h"
#include "later.h"
#include "pool.h"

#define LINEAR_GRAIN 512ull

uint64_t gs_linear_bytes(uint64_t bytes)
{
    return bytes > UINT64_MAX - LINEAR_GRAIN ? UINT64_MAX
                                             : (bytes + LINEAR_GRAIN - 1) / LINEAR_GRAIN * LINEAR_GRAIN;
}

uint64_t gs_times(uint64_t a, uint64_t b)
{
    uint64_t product;

    return __builtin_mul_overflow(a, b, &product) ? UINT64_MAX : product;
}

int gs_reserve(int device, uint64_t bytes)
{
    if (gs_quota_try(device, bytes))
        return 1;
    gs_after_wait();
    return gs_quota_reserve(device, bytes);
}

void gs_after_wait(void)
{
    gs_later_collect();
    gs_pool_refresh();
}

CUresult gs_refuse(int device)
{
    gs_quota_count_refusal(device);
    return CUDA_ERROR_OUT_OF_MEMORY;
}

int gs_hold_here(struct gs_hold *hold, uint64_t bytes)
{
    CUcontext context = NULL;

    REAL(cuCtxGetCurrent)(&context);
    hold->owner = (uint64_t)context;
    hold->device = gs_current_device();
    hold->bytes = bytes;
    return gs_reserve(hold->device, bytes);
}

void gs_hold_drop(const struct gs_hold *hold)
{
    gs_quota_release(hold->device, hold->bytes);
}

int gs_hold_keep(const struct gs_hold *hold, uint64_t taken_bytes, uint64_t handle, enum gs_kind kind)
{
    struct gs_entry entry = {
        .bytes = taken_bytes, .owner = hold->owner, .device = hold->device, .kind = kind};
    struct gs_entry stale;

    if (hold->device < 0)
        return 1;
    if (taken_bytes > hold->bytes && !gs_reserve(hold->device, taken_bytes - hold->bytes)) {
        gs_hold_drop(hold);
        return 0;
    }
    if (taken_bytes < hold->bytes)
        gs_quota_release(hold->device, hold->bytes - taken_bytes);
    if (!gs_ledger_put(handle, entry, &stale)) {
        gs_quota_release(hold->device, taken_bytes);
        return 0;
    }
    if (stale.bytes)
        gs_quota_release(stale.device, stale.bytes);
    return 1;
}
