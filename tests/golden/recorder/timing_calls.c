/* timing_calls.c -- what calls and copies cost the program that makes them, with nobody else on the GPU. */
#include "structures.h"
#include "timings.h"

#include <string.h>

enum { ROUNDS = 2000, COPIES = 20 };

static word stream, other, event, event2, memory, kernel;
static float ms;

static int event_create(void)
{
    return DO(cuEventCreate, A(other), 0);
}

static int event_destroy(void)
{
    return DO(cuEventDestroy_v2, other);
}

static int event_record(void)
{
    return DO(cuEventRecord, event, stream);
}

static int event_query(void)
{
    return DO(cuEventQuery, event);
}

static int event_elapsed(void)
{
    return DO(cuEventElapsedTime, A(ms), event, event2);
}

static int stream_query(void)
{
    return DO(cuStreamQuery, stream);
}

static int stream_synchronize(void)
{
    return DO(cuStreamSynchronize, stream);
}

static int write_value(void)
{
    return DO(cuStreamWriteValue32_v2, stream, memory, 1, 0);
}

static int launch(void)
{
    return DO(cuLaunchKernel, kernel, 1, 1, 1, 1, 1, 1, 0, stream, 0, 0);
}

static int launch_and_wait(void)
{
    int code = launch();
    return code ? code : stream_synchronize();
}

static int allocate_small(void)
{
    return DO(cuMemAlloc_v2, A(other), 4096);
}

static int allocate_large(void)
{
    return DO(cuMemAlloc_v2, A(other), 64 * MIB);
}

static int release(void)
{
    return DO(cuMemFree_v2, other);
}

static int allocate_async(void)
{
    return DO(cuMemAllocAsync, A(other), MIB, stream);
}

static int release_async(void)
{
    return DO(cuMemFreeAsync, other, stream);
}

static int memory_info(void)
{
    size_t free, total;
    return DO(cuMemGetInfo_v2, A(free), A(total));
}

static int nothing(void)
{
    return 0;
}

/* What was asked first, then, where there are two, what undoes it; the stream is emptied now and then. */
static void pair(const char *first, int (*call)(void), const char *second, int (*undo)(void), int rounds)
{
    struct fact *costs = new_fact(first, "ns"), *undoing = undo ? new_fact(second, "ns") : NULL;
    for (int i = 0; i < rounds && !costs->code; i++) {
        uint64_t begin = now_ns();
        costs->code = call();
        uint64_t middle = now_ns();
        sample(costs, (double)(middle - begin));
        if (undoing) {
            undoing->code = undo();
            sample(undoing, (double)(now_ns() - middle));
        }
        if (i % 256 == 255)
            stream_synchronize();
    }
    stream_synchronize();
}

void time_calls(const void *unused)
{
    if (begin_context() != 0)
        return;
    stream = new_stream(1);
    event = new_event(0);
    event2 = new_event(0);
    kernel = kernel_named("none");
    DO(cuMemAlloc_v2, A(memory), MIB);
    DO(cuEventRecord, event, stream);
    DO(cuEventRecord, event2, stream);
    launch_and_wait();
    pair("the clock itself", nothing, NULL, NULL, ROUNDS);
    pair("cuEventCreate", event_create, "cuEventDestroy", event_destroy, ROUNDS);
    pair("cuEventElapsedTime", event_elapsed, NULL, NULL, ROUNDS);
    pair("cuEventRecord", event_record, NULL, NULL, ROUNDS);
    pair("cuEventQuery", event_query, NULL, NULL, ROUNDS);
    pair("cuStreamQuery", stream_query, NULL, NULL, ROUNDS);
    pair("cuStreamSynchronize, idle", stream_synchronize, NULL, NULL, ROUNDS);
    pair("cuStreamWriteValue32", write_value, NULL, NULL, ROUNDS);
    pair("cuLaunchKernel", launch, NULL, NULL, ROUNDS);
    pair("cuLaunchKernel and its end", launch_and_wait, NULL, NULL, ROUNDS / 2);
    pair("cuMemAlloc of 4 KiB", allocate_small, "cuMemFree of 4 KiB", release, ROUNDS / 2);
    pair("cuMemAlloc of 64 MiB", allocate_large, "cuMemFree of 64 MiB", release, ROUNDS / 10);
    pair("cuMemAllocAsync of 1 MiB", allocate_async, "cuMemFreeAsync of 1 MiB", release_async, ROUNDS / 2);
    pair("cuMemGetInfo", memory_info, NULL, NULL, ROUNDS / 10);
}

static void copies(const char *name, word to, word from, size_t bytes)
{
    struct fact *rate = new_fact(name, "B/us");
    for (int i = 0; i < COPIES; i++) {
        DO(cuEventRecord, event, stream);
        rate->code = DO(cuMemcpyAsync, to, from, bytes, stream);
        DO(cuEventRecord, event2, stream);
        stream_synchronize();
        if (rate->code || DO(cuEventElapsedTime, A(ms), event, event2) != 0)
            return;
        sample(rate, (double)bytes / ((double)ms * 1000));
    }
}

void time_copies(const void *unused)
{
    const size_t bytes = 64 * MIB;
    word a = 0, b = 0, host = 0;
    if (begin_context() != 0)
        return;
    stream = new_stream(1);
    event = new_event(0);
    event2 = new_event(0);
    DO(cuMemAlloc_v2, A(a), bytes);
    DO(cuMemAlloc_v2, A(b), bytes);
    if (DO(cuMemAllocHost_v2, A(host), bytes) != 0)
        return;
    copies("copy of 64 MiB, host to device", a, host, bytes);
    copies("copy of 64 MiB, device to host", host, a, bytes);
    copies("copy of 64 MiB, device to device", b, a, bytes);
}
