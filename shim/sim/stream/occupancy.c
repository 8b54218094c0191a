/* occupancy.c -- how many blocks of a kernel an SM holds at a time: the least of what its limits allow. */
#include "launch.h"
#include "module.h"
#include "mps.h"

#define REGISTERS_PER_SM   65536u
#define REGISTER_GRAIN     256u  /* per warp */
#define RESERVED_PER_BLOCK 1024u /* shared memory, since compute capability 8.0 */

static uint32_t round_up(uint32_t value, uint32_t grain)
{
    return (value + grain - 1) / grain * grain;
}

static uint32_t reserved_shared(const struct sim_profile *p)
{
    return p->compute_major >= 8 ? RESERVED_PER_BLOCK : 0;
}

static uint32_t least(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

static uint32_t blocks_per_sm(const struct sim_profile *p, const struct sim_function *f, uint32_t threads,
                              size_t dynamic)
{
    uint32_t warps = (threads + 31) / 32;
    uint32_t registers = round_up(f->registers * 32, REGISTER_GRAIN) * warps;
    size_t shared = f->shared_bytes + dynamic;
    if (threads > f->max_threads || shared > p->shared_per_block_optin)
        return 0;
    uint32_t blocks = least(p->blocks_per_sm, p->threads_per_sm / (32 * warps));
    if (registers)
        blocks = least(blocks, REGISTERS_PER_SM / registers);
    uint32_t bytes = round_up((uint32_t)shared + reserved_shared(p), 128);
    return shared ? least(blocks, p->shared_per_sm / bytes) : blocks;
}

static CUresult active_blocks(int *blocks, CUfunction handle, int threads, size_t dynamic, unsigned flags)
{
    struct sim_context *ctx = sim_current_context();
    if (!ctx)
        return CUDA_ERROR_INVALID_CONTEXT;
    struct sim_function *f = sim_function_resolve(handle, ctx);
    if (!blocks || threads <= 0 || flags > 1)
        return CUDA_ERROR_INVALID_VALUE;
    if (!f)
        return CUDA_ERROR_INVALID_HANDLE;
    *blocks = (int)blocks_per_sm(&sim_device_of(ctx->device)->profile, f, (uint32_t)threads, dynamic);
    return CUDA_SUCCESS;
}

SIM_API(cuOccupancyMaxActiveBlocksPerMultiprocessor, (int *blocks, CUfunction f, int threads, size_t dynamic))
{
    SIM_ENTER(cuOccupancyMaxActiveBlocksPerMultiprocessor);
    return active_blocks(blocks, f, threads, dynamic, 0);
}

SIM_API(cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags,
        (int *blocks, CUfunction f, int threads, size_t dynamic, unsigned flags))
{
    SIM_ENTER(cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags);
    return active_blocks(blocks, f, threads, dynamic, flags);
}

/* Tries all sizes of a block, the largest first, and keeps what fills an SM best. */
static CUresult best_block(int *grid, int *block, CUfunction handle, size_t (*dynamic_of)(int),
                           size_t dynamic, int limit, unsigned flags)
{
    struct sim_context *ctx = sim_current_context();
    if (!ctx)
        return CUDA_ERROR_INVALID_CONTEXT;
    struct sim_function *f = sim_function_resolve(handle, ctx);
    if (!grid || !block || limit < 0 || flags > 1)
        return CUDA_ERROR_INVALID_VALUE;
    if (!f)
        return CUDA_ERROR_INVALID_HANDLE;
    const struct sim_profile *p = &sim_device_of(ctx->device)->profile;
    uint32_t most = f->max_threads, best = 0;
    if (limit && (uint32_t)limit < most)
        most = (uint32_t)limit;
    *grid = *block = 0;
    for (uint32_t threads = most; threads; threads = threads % 32 ? threads - threads % 32 : threads - 32) {
        uint32_t blocks = blocks_per_sm(p, f, threads, dynamic_of ? dynamic_of((int)threads) : dynamic);
        if (blocks * threads <= best)
            continue;
        best = blocks * threads;
        *block = (int)threads;
        *grid = (int)(blocks * sim_mps_sms(ctx->device));
    }
    return CUDA_SUCCESS;
}

SIM_API(cuOccupancyMaxPotentialBlockSize,
        (int *grid, int *block, CUfunction f, size_t (*dynamic_of)(int), size_t dynamic, int limit))
{
    SIM_ENTER(cuOccupancyMaxPotentialBlockSize);
    return best_block(grid, block, f, dynamic_of, dynamic, limit, 0);
}

SIM_API(cuOccupancyMaxPotentialBlockSizeWithFlags,
        (int *grid, int *block, CUfunction f, size_t (*dynamic_of)(int), size_t dynamic, int limit,
         unsigned flags))
{
    SIM_ENTER(cuOccupancyMaxPotentialBlockSizeWithFlags);
    return best_block(grid, block, f, dynamic_of, dynamic, limit, flags);
}

SIM_API(cuOccupancyAvailableDynamicSMemPerBlock, (size_t * bytes, CUfunction handle, int blocks, int threads))
{
    SIM_ENTER_CONTEXT(cuOccupancyAvailableDynamicSMemPerBlock, ctx);
    struct sim_function *f = sim_function_resolve(handle, ctx);
    if (!bytes || blocks <= 0 || threads <= 0)
        return CUDA_ERROR_INVALID_VALUE;
    if (!f)
        return CUDA_ERROR_INVALID_HANDLE;
    const struct sim_profile *p = &sim_device_of(ctx->device)->profile;
    if (blocks_per_sm(p, f, (uint32_t)threads, 0) < (uint32_t)blocks)
        return CUDA_ERROR_INVALID_VALUE;
    uint32_t each =
        least(p->shared_per_sm / (uint32_t)blocks - reserved_shared(p), p->shared_per_block_optin);
    uint32_t left = each > f->shared_bytes ? each - f->shared_bytes : 0;
    *bytes = least(left, f->max_dynamic_shared); /* what a launch may ask for as the kernel is set now */
    return CUDA_SUCCESS;
}

/* -------- clusters: blocks that run together in one group of SMs -------- */

#define SMS_PER_GROUP 16u /* graphics processing clusters have 16 or 18 of them */

/* The kernel, and the context that it would run in. */
static CUresult configured(CUfunction handle, const CUlaunchConfig *config, struct sim_context **ctx,
                           struct sim_function **f)
{
    struct sim_stream *stream;
    if (!config || (config->numAttrs && !config->attrs))
        return CUDA_ERROR_INVALID_VALUE;
    SIM_TRY(sim_stream_resolve(config->hStream, false, &stream));
    *ctx = stream->context;
    *f = sim_function_resolve(handle, *ctx);
    return *f ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

/* How many blocks of the configuration an SM holds. */
static uint32_t configured_blocks(const struct sim_context *ctx, const struct sim_function *f,
                                  const CUlaunchConfig *config)
{
    uint64_t threads = (uint64_t)config->blockDimX * config->blockDimY * config->blockDimZ;
    if (threads == 0 || threads > f->max_threads)
        return 0;
    return blocks_per_sm(&sim_device_of(ctx->device)->profile, f, (uint32_t)threads, config->sharedMemBytes);
}

/* A device without clusters has those of one block. */
SIM_API(cuOccupancyMaxPotentialClusterSize, (int *size, CUfunction handle, const CUlaunchConfig *config))
{
    SIM_ENTER_CONTEXT(cuOccupancyMaxPotentialClusterSize, current);
    struct sim_context *ctx;
    struct sim_function *f;
    uint32_t dim[3];
    if (!size)
        return CUDA_ERROR_INVALID_VALUE;
    SIM_TRY(configured(handle, config, &ctx, &f));
    if (!configured_blocks(ctx, f, config))
        return CUDA_ERROR_INVALID_VALUE;
    bool clusters = sim_device_of(ctx->device)->profile.compute_major >= 9;
    if (clusters && sim_function_required_cluster(f, dim))
        *size = (int)(dim[0] * dim[1] * dim[2]);
    else
        *size = clusters ? (int)sim_function_greatest_cluster(f) : 1;
    return CUDA_SUCCESS;
}

SIM_API(cuOccupancyMaxActiveClusters, (int *count, CUfunction handle, const CUlaunchConfig *config))
{
    SIM_ENTER_CONTEXT(cuOccupancyMaxActiveClusters, current);
    struct sim_context *ctx;
    struct sim_function *f;
    struct sim_event *ended;
    if (!count)
        return CUDA_ERROR_INVALID_VALUE;
    SIM_TRY(configured(handle, config, &ctx, &f));
    struct sim_launch launch = {.function = f,
                                .grid = {config->gridDimX, config->gridDimY, config->gridDimZ}};
    SIM_TRY(sim_launch_attributes(ctx, config, &launch, &ended));
    if (!launch.cluster[0] && !sim_function_required_cluster(f, launch.cluster))
        launch.cluster[0] = launch.cluster[1] = launch.cluster[2] = 1; /* a cluster to each block */
    SIM_TRY(sim_launch_check_cluster(ctx, &launch));
    uint32_t size = launch.cluster[0] * launch.cluster[1] * launch.cluster[2];
    uint32_t blocks = configured_blocks(ctx, f, config),
             sms = sim_driver.machine->context[ctx->shared].sms_limit;
    *count =
        (int)(sms / SMS_PER_GROUP * (SMS_PER_GROUP * blocks / size) + sms % SMS_PER_GROUP * blocks / size);
    return CUDA_SUCCESS;
}
