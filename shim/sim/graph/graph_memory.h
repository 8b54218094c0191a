/* graph_memory.h -- memory that graphs allocate: addresses fixed when the node is made, physical memory from the
 * first launch on.
 *
 * The physical memory behind all graphs of a device is one stock.  A launch takes from it what its graph needs at
 * the same time, first what an earlier launch in the same stream had, then what is idle, then more from the
 * device; when the launch is over, what was freed in the graph goes back to the stock, not to the device. */
#ifndef SIM_GRAPH_MEMORY_H
#define SIM_GRAPH_MEMORY_H

#include "graph.h"

/* One address.  Successive allocations of one graph may share it when their lives do not overlap. */
struct sim_graph_memory {
    uint32_t users; /* nodes, and the program while it is live */
    CUdevice device;
    uint64_t address, space; /* space: bytes of address space, whole pages */
    uint64_t bytes;          /* as the newest allocation asked for */
    uint32_t owner;          /* id of the graph that allocates it */
    uint32_t freed_in;       /* id of the graph that frees it; 0: none yet */
    bool live;               /* a launch has left it allocated */
    uint64_t held;           /* physical bytes while it is live */
    struct sim_graph_memory *next;
};

void sim_graph_memory_use(struct sim_graph_memory *memory);
void sim_graph_memory_leave(struct sim_graph_memory *memory);
/* With one user. */
CUresult sim_graph_memory_new(struct sim_graph *graph, CUdevice device, uint64_t bytes,
                              struct sim_graph_memory **memory);
/* What a graph has allocated at that address; NULL: nothing. */
struct sim_graph_memory *sim_graph_memory_at(uint64_t address);

/* What the launches of one executable graph do to memory. */
struct sim_graph_need {
    uint32_t count, room;
    struct sim_graph_memory_use {
        struct sim_graph_memory *memory; /* belongs to the executable graph's nodes */
        int allocations;                 /* less frees */
        bool owned;                      /* allocated there */
    } * use;
};

CUresult sim_graph_need_of(const struct sim_graph *graph, struct sim_graph_need *need);
/* Before and after the work of a launch is queued.  `upload`: only see to it that the memory is there. */
CUresult sim_graph_need_begin(const struct sim_graph_need *need, struct sim_stream *stream, bool auto_free,
                              bool upload, uint64_t passing[SIM_MAX_DEVICES]);
void sim_graph_need_end(const struct sim_graph_need *need, struct sim_stream *stream, bool upload,
                        const uint64_t passing[SIM_MAX_DEVICES]);

/* cuMemFree and cuMemFreeAsync (stream not NULL) of a graph's allocation. */
CUresult sim_graph_memory_free(CUdeviceptr address, struct sim_stream *stream);
/* The process's last context of the device is gone. */
void sim_graph_memory_forget(CUdevice device);
/* cuMemAllocAsync and cuMemFreeAsync in a capturing stream (capture.c). */
CUresult sim_capture_alloc(struct sim_stream *stream, CUdevice device, uint64_t bytes, CUdeviceptr *address);
CUresult sim_capture_free(struct sim_stream *stream, CUdeviceptr address);

#endif
