/* launch.h -- what every launch does before and after the driver's function. */
#ifndef GS_LAUNCH_H
#define GS_LAUNCH_H

#include "gate.h"

/* One load and one branch: no limit on the current device, which a limit may get at any time. */
static inline bool gs_launch_unlimited(void)
{
    return __builtin_expect(__atomic_load_n(gs_thread.cap_ppm, __ATOMIC_RELAXED) == GS_NO_CAP_PPM, 1);
}

/* A launch on its way.  No stream: nothing is metered. */
struct gs_launch {
    struct gs_stream *stream;
    struct gs_cost *work;
    int64_t cost_ns;
    bool alone; /* in a window of its own */
};

/* A launch into a default stream names none; which one that is depends on the spelling of the function. */
static inline CUstream gs_legacy(CUstream handle)
{
    return handle != NULL ? handle : CU_STREAM_LEGACY;
}

static inline CUstream gs_per_thread(CUstream handle)
{
    return handle != NULL ? handle : CU_STREAM_PER_THREAD;
}

/* The start marker, and the turn of the kinds of work to be measured one by one. */
static inline void gs_launch_marker(struct gs_launch *launch)
{
    uint32_t countdown = __atomic_load_n(&launch->work->countdown, __ATOMIC_RELAXED);

    if (countdown == 0)
        countdown = launch->stream->gappy ? GS_SAMPLE_GAPPY : GS_SAMPLE_EVERY;
    __atomic_store_n(&launch->work->countdown, countdown - 1, __ATOMIC_RELAXED);
    if (launch->alone || launch->stream->idle)
        gs_meter_begin(launch->stream, launch->alone);
}

static inline struct gs_launch gs_launch_begin(CUstream handle, uint64_t key, bool alone)
{
    struct gs_launch launch = {.stream = gs_stream_of(handle)};

    if (launch.stream == NULL)
        return launch;
    if (__builtin_expect(__atomic_load_n(&gs_captures, __ATOMIC_RELAXED) != 0, 0) &&
        gs_meter_capturing(handle)) {
        launch.stream = NULL;
        return launch;
    }
    launch.work = gs_cost_of(key);
    launch.cost_ns = (int64_t)gs_cost_load(&launch.work->mean_ns);
    if (launch.cost_ns == 0)
        launch.cost_ns = GS_UNKNOWN_COST_NS;
    launch.alone = alone || __atomic_load_n(&launch.work->countdown, __ATOMIC_RELAXED) == 0;
    if (!gs_gate_try(launch.stream->device, launch.cost_ns))
        gs_gate_pass(launch.stream->device, launch.cost_ns);
    gs_launch_marker(&launch);
    return launch;
}

static inline CUresult gs_launch_end(const struct gs_launch *launch, CUresult result)
{
    struct gs_stream *stream = launch->stream;

    if (stream == NULL)
        return result;
    if (__builtin_expect(result != CUDA_SUCCESS, 0)) {
        gs_gate_refund(stream->device, launch->cost_ns);
        return result;
    }
    int64_t open_ns = __atomic_add_fetch(&stream->open_ns, launch->cost_ns, __ATOMIC_RELAXED);
    if (__atomic_fetch_add(&stream->open_launches, 1, __ATOMIC_RELAXED) == 0)
        stream->open_work = launch->work;
    else if (stream->open_work != launch->work)
        stream->open_work = NULL;
    if (open_ns >= stream->device->window_ns || launch->alone)
        gs_meter_mark(stream);
    return result;
}

#endif
