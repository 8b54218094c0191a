/* graph_exec.h -- which executable graphs allocate, and their launches. */
#ifndef GS_GRAPH_EXEC_H
#define GS_GRAPH_EXEC_H

#include <stdbool.h>

#include "hooks.h"

#define GS_GRAPH_FILTER_BITS 12

/* Some do.  A bit for each of them, by a hash of its handle; no bit is ever cleared. */
extern bool gs_graphs_allocate;
extern uint64_t gs_graph_filter[(1 << GS_GRAPH_FILTER_BITS) / 64];

static inline uint32_t gs_graph_bit(CUgraphExec exec)
{
    return (uint32_t)((uint64_t)exec * 0x9e3779b97f4a7c15ull >> (64 - GS_GRAPH_FILTER_BITS));
}

/* False: it does not.  Nearly always false for one that does not: the launch of such a graph pays for no more than
 * this. */
static inline bool gs_graph_may_allocate(CUgraphExec exec)
{
    uint32_t bit = gs_graph_bit(exec);

    return __builtin_expect(__atomic_load_n(&gs_graph_filter[bit / 64], __ATOMIC_RELAXED) >> bit % 64 & 1, 0);
}

/* Launches it by `launch`, with its memory charged.  `stream` is what the handle stands for, `api` the function that was
 * called. */
CUresult gs_graph_launch(const char *api, CUgraphExec exec, CUstream handle, CUstream stream,
                         CUresult (*launch)(CUgraphExec exec, CUstream handle));

#endif
