/* graph_memory.h -- the device memory behind all graphs of this process, charged for what the driver has reserved. */
#ifndef GS_GRAPH_MEMORY_H
#define GS_GRAPH_MEMORY_H

#include "graph_need.h"
#include "ledger.h"

/* One launch or upload, from the decision to the driver's answer. */
struct gs_flight {
    const char *api; /* the function that was called */
    const struct gs_graph_need *need;
    uint64_t stream; /* its number, unlike its handle never used again */
    bool upload;     /* nothing runs, nothing is left allocated */
    struct gs_flight_part {
        uint64_t bytes; /* needed */
        uint64_t again; /* of that, left allocated by an earlier launch, and taken over */
        uint64_t more;  /* reserved */
        uint32_t claim;
    } part[GS_MAX_DEVICES];
};

/* Reserves what may be needed beyond what the driver has.  CUDA_ERROR_OUT_OF_MEMORY: over the quota. */
CUresult gs_flight_begin(struct gs_flight *flight, CUstream stream);

/* What the program gets, given what the driver said. */
CUresult gs_flight_end(const struct gs_flight *flight, CUresult result);

/* The program has freed what a graph had left allocated; the driver keeps it for graphs. */
void gs_graph_memory_freed(const struct gs_entry *entry, CUstream stream);

/* Asks the driver what it has reserved now.  Never waits for the GPU. */
void gs_graph_memory_refresh(void);

/* Makes the driver give back what it keeps for graphs that do not run. */
void gs_graph_memory_trim(int device);

void gs_graph_memory_forget(void); /* in a fork's child */

#endif
