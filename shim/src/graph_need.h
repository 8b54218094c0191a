/* graph_need.h -- what launches of a graph do to device memory: read from its nodes, once, when it is instantiated.
 *
 * A graph's allocations have their addresses from the moment their nodes are made; memory comes behind them at a
 * launch.  Two allocations of one graph may have the same address where their lives do not overlap, and then the
 * same memory: so the most that a graph can take is what lies behind all its addresses. */
#ifndef GS_GRAPH_NEED_H
#define GS_GRAPH_NEED_H

#include <stdbool.h>

#include "device.h"

#define GS_GRAPH_GRAIN ((uint64_t)2 << 20) /* memory comes behind addresses in whole pages of the device */

struct gs_graph_use {
    CUdeviceptr address;
    uint64_t bytes;
    uint32_t part;
    bool frees; /* what another graph has left allocated; otherwise: left allocated by this one */
};

/* On one device. */
struct gs_graph_part {
    int device;
    CUdevice ordinal;
    uint64_t most_bytes;  /* behind its allocations while it runs */
    uint64_t stays_bytes; /* of that, behind those that it does not free */
};

struct gs_graph_need {
    size_t mapped_bytes;
    struct gs_graph_part part[GS_MAX_DEVICES];
    uint32_t parts;
    uint32_t uses;
    struct gs_graph_use use[];
};

/* NULL: no memory nodes.  False: the driver does not tell of all, or there is no memory to note them down. */
bool gs_graph_need_of(CUgraph graph, struct gs_graph_need **need);

void gs_graph_need_free(struct gs_graph_need *need);

#endif
