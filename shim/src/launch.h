/* launch.h -- what every launch does before and after the driver's function.
 *
 * gs_launch_unlimited and gs_launch_covered are the short ways, after which a hook jumps to the driver: no limit, or
 * a launch that its stream's open window has prepaid.  A launch that the driver then refuses stays in the window,
 * where nothing will be measured for it.  Everything else goes through gs_launch_begin and gs_launch_end. */
#ifndef GS_LAUNCH_H
#define GS_LAUNCH_H

#include "meter.h"

/* One load and one branch: no limit on the current device, which may get one at any time. */
static inline bool gs_launch_unlimited(void)
{
    return __builtin_expect(__atomic_load_n(gs_thread.cap_ppm, __ATOMIC_RELAXED) == GS_NO_CAP_PPM, 1);
}

/* True: prepaid and counted, and the window of this stream, the one launched into last, goes on after it. */
static inline __attribute__((always_inline)) bool gs_launch_prepaid(struct gs_stream *stream,
                                                                    const struct gs_work *work)
{
    struct gs_cost *cost = gs_cost_place(work->function, work->grid_x);

    if (cost->known != work->function || !gs_cost_is(cost, work))
        return false;
    int64_t cost_ns = (int64_t)cost->mean_ns;
    if (__atomic_sub_fetch(&stream->credit_ns, cost_ns, __ATOMIC_RELAXED) < 0) {
        __atomic_fetch_add(&stream->credit_ns, cost_ns, __ATOMIC_RELAXED);
        return false;
    }
    if (__atomic_sub_fetch(&stream->launches_left, 1, __ATOMIC_RELAXED) < 0) {
        __atomic_fetch_add(&stream->launches_left, 1, __ATOMIC_RELAXED);
        __atomic_fetch_add(&stream->credit_ns, cost_ns, __ATOMIC_RELAXED);
        return false;
    }
    return true;
}

/* Is it the stream launched into last? */
static inline __attribute__((always_inline)) bool gs_launch_same(const struct gs_stream *last,
                                                                 CUstream handle)
{
    return __atomic_load_n(&last->handle, __ATOMIC_RELAXED) == handle;
}

static inline __attribute__((always_inline)) bool gs_launch_covered(CUstream handle,
                                                                    const struct gs_work *work)
{
    return gs_launch_same(gs_thread.stream, handle) && gs_launch_prepaid(gs_thread.stream, work);
}

/* The same as a number, 0 or 1, for those who may not branch. */
static inline uint32_t gs_launch_unlimited_index(void)
{
    return (uint32_t)(((uint64_t)__atomic_load_n(gs_thread.cap_ppm, __ATOMIC_RELAXED) + 1) >> 32);
}
_Static_assert(GS_NO_CAP_PPM == UINT32_MAX, "what the sum above overflows for");

/* A launch on its way.  No stream: it is not metered. */
struct gs_launch {
    struct gs_stream *stream;
    int64_t cost_ns;
    bool alone; /* in a window of its own */
};

struct gs_launch gs_launch_begin(CUstream handle, const struct gs_work *work, bool alone);
CUresult gs_launch_end(const struct gs_launch *launch, CUresult result);

/* Before something in a stream that takes no GPU time, and that what follows waits for. */
void gs_launch_apart(CUstream handle);

/* A launch into a default stream names none; which one that is depends on the spelling of the function. */
static inline CUstream gs_legacy(CUstream handle)
{
    return (CUstream)((uintptr_t)handle +
                      (handle == NULL)); /* CU_STREAM_LEGACY is 1: no branch, no constant */
}

static inline CUstream gs_per_thread(CUstream handle)
{
    return handle != NULL ? handle : CU_STREAM_PER_THREAD;
}

#endif
