/* graph.h -- graphs: nodes of work with an order between them, and their executable form. */
#ifndef SIM_GRAPH_H
#define SIM_GRAPH_H

#include "sim.h"

typedef struct sim_graph *CUgraph;
typedef struct sim_graph_node *CUgraphNode;
typedef struct sim_graph_exec *CUgraphExec;

enum sim_node_type {
    SIM_NODE_KERNEL = 0,
    SIM_NODE_MEMCPY = 1,
    SIM_NODE_MEMSET = 2,
    SIM_NODE_HOST = 3,
    SIM_NODE_GRAPH = 4,
    SIM_NODE_EMPTY = 5,
    SIM_NODE_WAIT_EVENT = 6,
    SIM_NODE_EVENT_RECORD = 7,
    SIM_NODE_BATCH_MEM_OP = 12,
};

struct sim_node_list {
    struct sim_graph_node **node;
    uint32_t count, room;
};

struct sim_graph_node {
    uint32_t magic;
    enum sim_node_type type;
    struct sim_graph *graph;
    struct sim_node_list before; /* what it depends on */
    struct sim_context *context; /* in which its work is done */
    struct sim_work work;
    void *params; /* the values of the kernel's parameters, and pointers to them: work.launch.params */
    struct sim_graph *child;
    struct sim_graph_node *original; /* of a clone */
    unsigned long long capture;      /* id of the capture that made it; 0: none */
    uint64_t mark;                   /* of the last walk that came by */
};

struct sim_graph {
    uint32_t magic;
    bool owned; /* by the node whose child it is */
    struct sim_node_list nodes;
    struct sim_graph *original; /* of a clone */
};

/* One thing to do for a launch.  `params` belongs to it. */
struct sim_graph_step {
    struct sim_graph_node *node; /* as the caller knows it */
    struct sim_context *context;
    struct sim_work work;
    void *params;
    bool disabled;
};

struct sim_graph_exec {
    uint32_t magic;
    uint32_t count;
    uint64_t flags;
    struct sim_graph_step *step; /* in an order that respects the edges */
};

struct sim_graph_edge_data {
    unsigned char from_port, to_port, type, reserved[5];
};

CUresult sim_node_list_add(struct sim_node_list *list, struct sim_graph_node *node);
/* True if the list had it. */
bool sim_node_list_remove(struct sim_node_list *list, const struct sim_graph_node *node);
bool sim_node_list_has(const struct sim_node_list *list, const struct sim_graph_node *node);

CUresult sim_graph_new(struct sim_graph **graph);
void sim_graph_free(struct sim_graph *graph);
/* A copy of the graph; the copies remember their originals. */
CUresult sim_graph_copy(const struct sim_graph *graph, struct sim_graph **copy);
/* Checks the dependencies: nodes of the graph, each once. */
CUresult sim_graph_add(struct sim_graph *graph, enum sim_node_type type, struct sim_graph_node *const *before,
                       size_t count, struct sim_graph_node **node);
void sim_graph_remove(struct sim_graph_node *node);
/* A number that no earlier walk used as mark. */
uint64_t sim_graph_walk(void);

/* Sets what the node does; what it did before is forgotten.  The work's kernel parameters are copied. */
CUresult sim_node_set_work(struct sim_graph_node *node, struct sim_context *ctx, const struct sim_work *work);
enum sim_node_type sim_node_type_of(const struct sim_work *work);
/* Copies of the parameters that the launch points to, into one block that *params owns. */
CUresult sim_launch_keep(struct sim_launch *launch, void **params);

#endif
