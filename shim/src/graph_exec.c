/* graph_exec.c -- executable graphs that allocate: known from their instantiation to their end. */
#include "graph_exec.h"
#include "graph_memory.h"
#include "launch.h"
#include "pool.h"
#include "region.h"

#define CUDA_GRAPH_INSTANTIATE_FLAG_UPLOAD 2ull
#define CUDA_GRAPH_INSTANTIATE_ERROR       1

bool gs_graphs_allocate;
uint64_t gs_graph_filter[(1 << GS_GRAPH_FILTER_BITS) / 64];

static struct gs_graph_need *need_in(const struct gs_entry *entry)
{
    return entry->kind == GS_GRAPH_EXEC ? (struct gs_graph_need *)entry->owner : NULL;
}

static struct gs_graph_need *find(CUgraphExec exec)
{
    struct gs_entry entry;

    return gs_graph_may_allocate(exec) && gs_ledger_find((uint64_t)exec, &entry) ? need_in(&entry) : NULL;
}

static bool capturing(CUstream stream)
{
    return __atomic_load_n(&gs_captures, __ATOMIC_RELAXED) && gs_is_captured(stream);
}

CUresult gs_graph_launch(const char *api, CUgraphExec exec, CUstream handle, CUstream stream,
                         CUresult (*launch)(CUgraphExec exec, CUstream handle))
{
    struct gs_flight flight = {.api = api, .need = find(exec)};
    CUresult result;

    if (!flight.need || capturing(stream)) /* then it becomes part of another graph */
        return launch(exec, handle);
    result = gs_flight_begin(&flight, stream);
    return result ? result : gs_flight_end(&flight, launch(exec, handle));
}

static CUresult upload(const char *api, CUgraphExec exec, CUstream handle, CUstream stream,
                       CUresult (*real)(CUgraphExec exec, CUstream handle))
{
    struct gs_flight flight = {.api = api, .need = find(exec), .upload = true};
    CUresult result;

    if (!flight.need || capturing(stream))
        return real(exec, handle);
    result = gs_flight_begin(&flight, stream);
    return result ? result : gs_flight_end(&flight, real(exec, handle));
}

GSHARE_HOOK(cuGraphUpload, (CUgraphExec hGraphExec, CUstream hStream))
{
    return upload(__func__, hGraphExec, hStream, gs_legacy(hStream), REAL(cuGraphUpload));
}

GSHARE_HOOK(cuGraphUpload_ptsz, (CUgraphExec hGraphExec, CUstream hStream))
{
    return upload(__func__, hGraphExec, hStream, gs_per_thread(hStream), REAL(cuGraphUpload_ptsz));
}

/* -------- from instantiation to the end -------- */

static CUresult instantiated(CUresult result, CUgraphExec *exec, struct gs_graph_need *need)
{
    struct gs_entry entry = {.owner = (uint64_t)need, .device = GS_NO_DEVICE, .kind = GS_GRAPH_EXEC};
    struct gs_entry stale;
    enum gs_noted noted;

    if (result || !need) {
        gs_graph_need_free(need);
        return result;
    }
    noted = gs_ledger_put((uint64_t)*exec, &entry, &stale);
    if (noted == GS_NOT_NOTED) {
        REAL(cuGraphExecDestroy)(*exec);
        gs_graph_need_free(need);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    if (noted == GS_NOTED_OVER) { /* what had this address has gone, perhaps just now with its context */
        gs_graph_need_free(need_in(&stale));
        gs_entry_release(&stale);
    }
    __atomic_fetch_or(&gs_graph_filter[gs_graph_bit(*exec) / 64], 1ull << gs_graph_bit(*exec) % 64,
                      __ATOMIC_RELAXED);
    __atomic_store_n(&gs_graphs_allocate, true, __ATOMIC_RELEASE);
    return CUDA_SUCCESS;
}

GSHARE_HOOK(cuGraphInstantiate, (CUgraphExec * phGraphExec, CUgraph hGraph, CUgraphNode *phErrorNode,
                                 char *logBuffer, size_t bufferSize))
{
    struct gs_graph_need *need = NULL;

    if (gs_region() && !gs_graph_need_of(hGraph, &need))
        return CUDA_ERROR_OUT_OF_MEMORY;
    return instantiated(REAL(cuGraphInstantiate)(phGraphExec, hGraph, phErrorNode, logBuffer, bufferSize),
                        phGraphExec, need);
}

GSHARE_HOOK(cuGraphInstantiate_v2, (CUgraphExec * phGraphExec, CUgraph hGraph, CUgraphNode *phErrorNode,
                                    char *logBuffer, size_t bufferSize))
{
    struct gs_graph_need *need = NULL;

    if (gs_region() && !gs_graph_need_of(hGraph, &need))
        return CUDA_ERROR_OUT_OF_MEMORY;
    return instantiated(REAL(cuGraphInstantiate_v2)(phGraphExec, hGraph, phErrorNode, logBuffer, bufferSize),
                        phGraphExec, need);
}

GSHARE_HOOK(cuGraphInstantiateWithFlags,
            (CUgraphExec * phGraphExec, CUgraph hGraph, unsigned long long flags))
{
    struct gs_graph_need *need = NULL;

    if (gs_region() && !gs_graph_need_of(hGraph, &need))
        return CUDA_ERROR_OUT_OF_MEMORY;
    return instantiated(REAL(cuGraphInstantiateWithFlags)(phGraphExec, hGraph, flags), phGraphExec, need);
}

/* The only one that can upload at once. */
static CUresult with_params(const char *api, CUgraphExec *exec, CUgraph graph,
                            CUDA_GRAPH_INSTANTIATE_PARAMS *params, CUstream (*stands_for)(CUstream handle),
                            CUresult (*real)(CUgraphExec *exec, CUgraph graph,
                                             CUDA_GRAPH_INSTANTIATE_PARAMS *params))
{
    struct gs_flight flight = {.api = api, .upload = true};
    struct gs_graph_need *need = NULL;
    CUresult result;

    if (gs_region() && !gs_graph_need_of(graph, &need))
        return CUDA_ERROR_OUT_OF_MEMORY;
    if (!need || !exec || !params || !(params->flags & CUDA_GRAPH_INSTANTIATE_FLAG_UPLOAD))
        return instantiated(real(exec, graph, params), exec, need);
    flight.need = need;
    result = gs_flight_begin(&flight, stands_for(params->hUploadStream));
    if (result) {
        params->hErrNode_out = NULL;
        params->result_out = CUDA_GRAPH_INSTANTIATE_ERROR;
        gs_graph_need_free(need);
        return result;
    }
    return instantiated(gs_flight_end(&flight, real(exec, graph, params)), exec, need);
}

GSHARE_HOOK(cuGraphInstantiateWithParams,
            (CUgraphExec * phGraphExec, CUgraph hGraph, CUDA_GRAPH_INSTANTIATE_PARAMS *instantiateParams))
{
    return with_params(__func__, phGraphExec, hGraph, instantiateParams, gs_legacy,
                       REAL(cuGraphInstantiateWithParams));
}

GSHARE_HOOK(cuGraphInstantiateWithParams_ptsz,
            (CUgraphExec * phGraphExec, CUgraph hGraph, CUDA_GRAPH_INSTANTIATE_PARAMS *instantiateParams))
{
    return with_params(__func__, phGraphExec, hGraph, instantiateParams, gs_per_thread,
                       REAL(cuGraphInstantiateWithParams_ptsz));
}

/* What it has made the driver reserve stays reserved. */
GSHARE_HOOK(cuGraphExecDestroy, (CUgraphExec hGraphExec))
{
    struct gs_entry entry, stale;
    CUresult result;

    if (!find(hGraphExec) || !gs_ledger_take((uint64_t)hGraphExec, &entry))
        return REAL(cuGraphExecDestroy)(hGraphExec);
    result = REAL(cuGraphExecDestroy)(hGraphExec);
    if (result && gs_ledger_put((uint64_t)hGraphExec, &entry, &stale) == GS_NOTED)
        return result;
    gs_graph_need_free(need_in(&entry));
    return result;
}
