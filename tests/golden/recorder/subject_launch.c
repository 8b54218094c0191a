/* subject_launch.c -- launches: shapes, parameters, attributes; and occupancy. */
#include "recorder.h"
#include "structures.h"
#include "subjects.h"

static void shapes(void)
{
    static const struct {
        const char *what;
        unsigned grid[3], block[3], shared;
    } rows[] = {
        {"1 thread", {1, 1, 1}, {1, 1, 1}, 0},
        {"no blocks", {0, 1, 1}, {1, 1, 1}, 0},
        {"no blocks along y", {1, 0, 1}, {1, 1, 1}, 0},
        {"no threads", {1, 1, 1}, {0, 1, 1}, 0},
        {"no threads along z", {1, 1, 1}, {1, 1, 0}, 0},
        {"1024 threads", {1, 1, 1}, {1024, 1, 1}, 0},
        {"1025 threads", {1, 1, 1}, {1025, 1, 1}, 0},
        {"32 x 32 threads", {1, 1, 1}, {32, 32, 1}, 0},
        {"33 x 32 threads", {1, 1, 1}, {33, 32, 1}, 0},
        {"64 threads along z", {1, 1, 1}, {1, 1, 64}, 0},
        {"65 threads along z", {1, 1, 1}, {1, 1, 65}, 0},
        {"65536 blocks along x", {65536, 1, 1}, {1, 1, 1}, 0},
        {"65535 blocks along y", {1, 65535, 1}, {1, 1, 1}, 0},
        {"65536 blocks along y", {1, 65536, 1}, {1, 1, 1}, 0},
        {"65536 blocks along z", {1, 1, 65536}, {1, 1, 1}, 0},
        {"2^31 blocks along x", {0x80000000u, 1, 1}, {1, 1, 1}, 0},
        {"48 KiB of shared memory", {1, 1, 1}, {1, 1, 1}, 48 << 10},
        {"48 KiB and 1 byte", {1, 1, 1}, {1, 1, 1}, (48 << 10) + 1},
        {"1 GiB of shared memory", {1, 1, 1}, {1, 1, 1}, 1 << 30},
    };
    word none = kernel_named("none"), narrow = kernel_named("narrow");
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
        CALL(cuLaunchKernel, rows[i].what, none, rows[i].grid[0], rows[i].grid[1], rows[i].grid[2],
             rows[i].block[0], rows[i].block[1], rows[i].block[2], rows[i].shared, 0, 0, 0);
    CALL(cuLaunchKernel, "64 threads where 64 may be", narrow, 1, 1, 1, 64, 1, 1, 0, 0, 0, 0);
    CALL(cuLaunchKernel, "65 threads where 64 may be", narrow, 1, 1, 1, 65, 1, 1, 0, 0, 0, 0);
    CALL(cuLaunchKernel, "NULL", 0, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0);
    CALL(cuLaunchKernel, "NULL and no blocks", 0, 0, 1, 1, 1, 1, 1, 0, 0, 0, 0);
    CALL(cuCtxSynchronize, "after these");
}

static void parameters(void)
{
    uint64_t ns = 1000;
    size_t bytes = sizeof(ns), few = 4;
    void *params[] = {&ns};
    void *extra[] = {(void *)1, &ns, (void *)2, &bytes, NULL};
    void *short_extra[] = {(void *)1, &ns, (void *)2, &few, NULL};
    void *no_size[] = {(void *)1, &ns, NULL};
    void *unknown[] = {(void *)9, &ns, NULL};
    word one = kernel_named("one");
    CALL(cuLaunchKernel, "by extra", one, 1, 1, 1, 1, 1, 1, 0, 0, 0, P(extra));
    CALL(cuLaunchKernel, "by both", one, 1, 1, 1, 1, 1, 1, 0, 0, P(params), P(extra));
    CALL(cuLaunchKernel, "by neither", one, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0);
    CALL(cuLaunchKernel, "4 bytes by extra", one, 1, 1, 1, 1, 1, 1, 0, 0, 0, P(short_extra));
    CALL(cuLaunchKernel, "extra without a size", one, 1, 1, 1, 1, 1, 1, 0, 0, 0, P(no_size));
    CALL(cuLaunchKernel, "extra of an unknown kind", one, 1, 1, 1, 1, 1, 1, 0, 0, 0, P(unknown));
    CALL(cuCtxSynchronize, "after these parameters");
    CALL(cuFuncSetBlockShape, "1", one, 1, 1, 1);
    CALL(cuFuncSetBlockShape, "0", one, 0, 1, 1);
    CALL(cuParamSetSize, "8", one, 8);
    CALL(cuParamSetv, "8", one, 0, A(ns), 8);
    CALL(cuLaunch, "", one);
    CALL(cuLaunchGrid, "0 x 1", one, 0, 1);
    CALL(cuCtxSynchronize, "after the launches of CUDA 2");
}

static void attributes(void)
{
    uint64_t ns = 1000;
    void *params[] = {&ns};
    struct launch launch = {.grid = {1, 1, 1}, .block = {1, 1, 1}};
    struct attribute attribute[2] = {{.id = 2, .value.number = 1}};
    word spin = spin_function();
    CALL(cuLaunchKernelEx, "", A(launch), spin, P(params), 0);
    CALL(cuLaunchKernelEx, "NULL", 0, spin, P(params), 0);
    CALL(cuLaunchKernelEx, "function NULL", A(launch), 0, P(params), 0);
    launch.count = 1;
    CALL(cuLaunchKernelEx, "attributes NULL", A(launch), spin, P(params), 0);
    launch.attributes = attribute;
    CALL(cuLaunchKernelEx, "cooperative", A(launch), spin, P(params), 0);
    launch.grid[0] = 1 << 20;
    CALL(cuLaunchKernelEx, "cooperative, too many", A(launch), spin, P(params), 0);
    launch.grid[0] = 1;
    attribute[0] = (struct attribute){.id = 8, .value.number = -1};
    CALL(cuLaunchKernelEx, "priority -1", A(launch), spin, P(params), 0);
    attribute[0] = (struct attribute){.id = 8, .value.number = -100};
    CALL(cuLaunchKernelEx, "priority -100", A(launch), spin, P(params), 0);
    attribute[0] = (struct attribute){.id = 999};
    CALL(cuLaunchKernelEx, "attribute 999", A(launch), spin, P(params), 0);
    attribute[0] = (struct attribute){.id = 0};
    CALL(cuLaunchKernelEx, "attribute 0", A(launch), spin, P(params), 0);
    attribute[0] = (struct attribute){.id = 4, .value.cluster = {3, 1, 1}};
    CALL(cuLaunchKernelEx, "clusters of 3 in 1 block", A(launch), spin, P(params), 0);
    CALL(cuLaunchCooperativeKernel, "", spin, 1, 1, 1, 1, 1, 1, 0, 0, P(params));
    CALL(cuLaunchCooperativeKernel, "too many", spin, 1 << 20, 1, 1, 1, 1, 1, 0, 0, P(params));
    CALL(cuLaunchCooperativeKernel, "NULL", 0, 1, 1, 1, 1, 1, 1, 0, 0, P(params));
    CALL(cuCtxSynchronize, "after these attributes");
}

void record_launch(void)
{
    shapes();
    parameters();
    attributes();
}

static size_t shared_of_block(int threads)
{
    return (size_t)threads * 16;
}

void record_occupancy(void)
{
    static const char *const names[] = {"none", "shares", "narrow"};
    static const int threads[] = {1, 32, 33, 64, 128, 256, 512, 768, 1024};
    static const unsigned shared[] = {0, 16 << 10, 48 << 10};
    int blocks = -1, grid = -1, block = -1;
    size_t bytes = 0;
    for (size_t n = 0; n < 3; n++) {
        word function = kernel_named(names[n]);
        for (size_t t = 0; t < sizeof(threads) / sizeof(*threads); t++)
            for (size_t s = 0; s < 3; s++) {
                CALL(cuOccupancyMaxActiveBlocksPerMultiprocessor,
                     text_of("%s, %d threads, %u bytes", names[n], threads[t], shared[s]), A(blocks),
                     function, (word)threads[t], shared[s]);
                DEVICE_VALUE("blocks", blocks);
            }
        CALL(cuOccupancyMaxPotentialBlockSize, names[n], A(grid), A(block), function, 0, 0, 0);
        DEVICE_VALUE("grid", grid);
        DEVICE_VALUE("block", block);
        CALL(cuOccupancyMaxPotentialBlockSize, text_of("%s, 16 bytes a thread", names[n]), A(grid), A(block),
             function, P(shared_of_block), 0, 0);
        DEVICE_VALUE("grid", grid);
        DEVICE_VALUE("block", block);
        CALL(cuOccupancyAvailableDynamicSMemPerBlock, names[n], A(bytes), function, 1, 64);
        DEVICE_VALUE("bytes", bytes);
    }
    word function = kernel_named("none");
    CALL(cuOccupancyMaxActiveBlocksPerMultiprocessor, "0 threads", A(blocks), function, 0, 0);
    CALL(cuOccupancyMaxActiveBlocksPerMultiprocessor, "-1 threads", A(blocks), function, (word)-1, 0);
    CALL(cuOccupancyMaxActiveBlocksPerMultiprocessor, "2048 threads", A(blocks), function, 2048, 0);
    CALL(cuOccupancyMaxActiveBlocksPerMultiprocessor, "1 GiB", A(blocks), function, 32, 1 << 30);
    CALL(cuOccupancyMaxActiveBlocksPerMultiprocessor, "NULL", 0, function, 32, 0);
    CALL(cuOccupancyMaxActiveBlocksPerMultiprocessor, "function NULL", A(blocks), 0, 32, 0);
    CALL(cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags, "flags 1", A(blocks), function, 32, 0, 1);
    DEVICE_VALUE("blocks", blocks);
    CALL(cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags, "flags 9", A(blocks), function, 32, 0, 9);
    CALL(cuOccupancyMaxPotentialBlockSize, "NULL", 0, 0, function, 0, 0, 0);
    CALL(cuOccupancyMaxPotentialBlockSize, "100 threads at most", A(grid), A(block), function, 0, 0, 100);
    DEVICE_VALUE("grid", grid);
    DEVICE_VALUE("block", block);
    CALL(cuOccupancyAvailableDynamicSMemPerBlock, "NULL", 0, function, 1, 64);
    CALL(cuOccupancyAvailableDynamicSMemPerBlock, "0 blocks", A(bytes), function, 0, 64);
    CALL(cuOccupancyAvailableDynamicSMemPerBlock, "2048 threads", A(bytes), function, 1, 2048);
    struct launch launch = {.grid = {8, 1, 1}, .block = {64, 1, 1}};
    struct attribute attribute = {.id = 4, .value.cluster = {2, 1, 1}};
    CALL(cuOccupancyMaxPotentialClusterSize, "", A(blocks), function, A(launch));
    DEVICE_VALUE("size", blocks);
    launch.attributes = &attribute;
    launch.count = 1;
    CALL(cuOccupancyMaxActiveClusters, "of 2", A(blocks), function, A(launch));
    DEVICE_VALUE("clusters", blocks);
    CALL(cuOccupancyMaxPotentialClusterSize, "NULL", 0, function, A(launch));
    CALL(cuOccupancyMaxActiveClusters, "NULL", 0, function, A(launch));
}
