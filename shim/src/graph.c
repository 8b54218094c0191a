/* graph.c -- graph launches: one unit each, with a cost of its own; and captures, which nothing may disturb. */
#include "graph_exec.h"
#include "launch.h"

static inline __attribute__((always_inline)) CUresult launch(CUgraphExec hGraphExec, CUstream hStream)
{
    if (gs_launch_unlimited())
        return REAL(cuGraphLaunch)(hGraphExec, hStream);
    struct gs_work work = {.function = hGraphExec};
    struct gs_launch launch = gs_launch_begin(gs_legacy(hStream), &work, true);
    return gs_launch_end(&launch, REAL(cuGraphLaunch)(hGraphExec, hStream));
}

GSHARE_HOOK(cuGraphLaunch, (CUgraphExec hGraphExec, CUstream hStream))
{
    if (gs_graph_may_allocate(hGraphExec))
        return gs_graph_launch(__func__, hGraphExec, hStream, gs_legacy(hStream), launch);
    return launch(hGraphExec, hStream);
}

static inline __attribute__((always_inline)) CUresult launch_ptsz(CUgraphExec hGraphExec, CUstream hStream)
{
    if (gs_launch_unlimited())
        return REAL(cuGraphLaunch_ptsz)(hGraphExec, hStream);
    struct gs_work work = {.function = hGraphExec};
    struct gs_launch launch = gs_launch_begin(gs_per_thread(hStream), &work, true);
    return gs_launch_end(&launch, REAL(cuGraphLaunch_ptsz)(hGraphExec, hStream));
}

GSHARE_HOOK(cuGraphLaunch_ptsz, (CUgraphExec hGraphExec, CUstream hStream))
{
    if (gs_graph_may_allocate(hGraphExec))
        return gs_graph_launch(__func__, hGraphExec, hStream, gs_per_thread(hStream), launch_ptsz);
    return launch_ptsz(hGraphExec, hStream);
}

/* -------- captures -------- */

/* A capture that ends with its stream's destruction is never taken off: then streams are asked needlessly. */
static void capture_ends(void)
{
    uint32_t captures = __atomic_load_n(&gs_captures, __ATOMIC_RELAXED);

    while (captures > 0 && !__atomic_compare_exchange_n(&gs_captures, &captures, captures - 1, false,
                                                        __ATOMIC_SEQ_CST, __ATOMIC_RELAXED))
        ;
}

static CUresult capture_began(CUresult result)
{
    if (result != CUDA_SUCCESS)
        capture_ends();
    return result;
}

static CUresult capture_ended(CUresult result)
{
    if (result == CUDA_SUCCESS || result == CUDA_ERROR_STREAM_CAPTURE_INVALIDATED)
        capture_ends();
    return result;
}

GSHARE_HOOK(cuStreamBeginCapture, (CUstream hStream))
{
    gs_meter_capture_begins();
    return capture_began(REAL(cuStreamBeginCapture)(hStream));
}

GSHARE_HOOK(cuStreamBeginCapture_v2, (CUstream hStream, int mode))
{
    gs_meter_capture_begins();
    return capture_began(REAL(cuStreamBeginCapture_v2)(hStream, mode));
}

GSHARE_HOOK(cuStreamBeginCaptureToGraph, (CUstream hStream, CUgraph hGraph, const CUgraphNode *dependencies,
                                          const void *dependencyData, size_t numDependencies, int mode))
{
    gs_meter_capture_begins();
    return capture_began(REAL(cuStreamBeginCaptureToGraph)(hStream, hGraph, dependencies, dependencyData,
                                                           numDependencies, mode));
}

GSHARE_HOOK(cuStreamBeginRecaptureToGraph,
            (CUstream hStream, int mode, CUgraph hGraph, void *callbackFunc, void *userData))
{
    gs_meter_capture_begins();
    return capture_began(REAL(cuStreamBeginRecaptureToGraph)(hStream, mode, hGraph, callbackFunc, userData));
}

GSHARE_HOOK(cuStreamEndCapture, (CUstream hStream, CUgraph *phGraph))
{
    return capture_ended(REAL(cuStreamEndCapture)(hStream, phGraph));
}

GSHARE_HOOK(cuStreamBeginCapture_ptsz, (CUstream hStream))
{
    gs_meter_capture_begins();
    return capture_began(REAL(cuStreamBeginCapture_ptsz)(hStream));
}

GSHARE_HOOK(cuStreamBeginCapture_v2_ptsz, (CUstream hStream, int mode))
{
    gs_meter_capture_begins();
    return capture_began(REAL(cuStreamBeginCapture_v2_ptsz)(hStream, mode));
}

GSHARE_HOOK(cuStreamBeginCaptureToGraph_ptsz,
            (CUstream hStream, CUgraph hGraph, const CUgraphNode *dependencies, const void *dependencyData,
             size_t numDependencies, int mode))
{
    gs_meter_capture_begins();
    return capture_began(REAL(cuStreamBeginCaptureToGraph_ptsz)(hStream, hGraph, dependencies, dependencyData,
                                                                numDependencies, mode));
}

GSHARE_HOOK(cuStreamBeginRecaptureToGraph_ptsz,
            (CUstream hStream, int mode, CUgraph hGraph, void *callbackFunc, void *userData))
{
    gs_meter_capture_begins();
    return capture_began(
        REAL(cuStreamBeginRecaptureToGraph_ptsz)(hStream, mode, hGraph, callbackFunc, userData));
}

GSHARE_HOOK(cuStreamEndCapture_ptsz, (CUstream hStream, CUgraph *phGraph))
{
    return capture_ended(REAL(cuStreamEndCapture_ptsz)(hStream, phGraph));
}
