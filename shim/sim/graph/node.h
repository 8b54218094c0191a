/* node.h -- adding nodes to graphs, shared by the API and by capture. */
#ifndef SIM_NODE_H
#define SIM_NODE_H

#include "task.h"

/* Where a node goes, and where its handle is put. */
#define SIM_PLACE                                                                                            \
    CUgraphNode *node, CUgraph graph, const CUgraphNode *before, const struct sim_graph_edge_data *data,     \
        size_t count

static inline bool sim_is_node(const struct sim_graph_node *node, enum sim_node_type type)
{
    return sim_is(node, SIM_GRAPH_NODE) && node->type == type;
}

CUresult sim_add_task(SIM_PLACE, enum sim_node_type type, const struct sim_task *task);
CUresult sim_add_child(SIM_PLACE, CUgraph child, bool moved);

/* node_memory.c */
CUresult sim_add_alloc(SIM_PLACE, CUdevice device, uint64_t bytes, CUdeviceptr *address);
CUresult sim_add_alloc_params(SIM_PLACE, struct sim_alloc_params *params);
CUresult sim_add_free(SIM_PLACE, CUdeviceptr address);
void sim_read_alloc(const struct sim_graph_node *node, struct sim_alloc_params *params);

/* conditional.c */
CUresult sim_add_conditional(SIM_PLACE, struct sim_condition_params *params);
void sim_read_conditional(const struct sim_graph_node *node, struct sim_condition_params *params);

#endif
