/* graph.h -- graphs: nodes of work with an order between them.
 *
 * An executable graph holds a graph of its own, so its nodes are nodes like any others (exec.h). */
#ifndef SIM_GRAPH_H
#define SIM_GRAPH_H

#include "sim.h"

typedef struct sim_graph *CUgraph;
typedef struct sim_graph_node *CUgraphNode;
typedef struct sim_graph_exec *CUgraphExec;
typedef struct sim_user_object *CUuserObject;
typedef unsigned long long CUgraphConditionalHandle;

enum sim_node_type {
    SIM_NODE_KERNEL = 0,
    SIM_NODE_MEMCPY = 1,
    SIM_NODE_MEMSET = 2,
    SIM_NODE_HOST = 3,
    SIM_NODE_GRAPH = 4,
    SIM_NODE_EMPTY = 5,
    SIM_NODE_WAIT_EVENT = 6,
    SIM_NODE_EVENT_RECORD = 7,
    SIM_NODE_SIGNAL = 8,
    SIM_NODE_WAIT = 9,
    SIM_NODE_MEM_ALLOC = 10,
    SIM_NODE_MEM_FREE = 11,
    SIM_NODE_BATCH_MEM_OP = 12,
    SIM_NODE_CONDITIONAL = 13,
};

#define SIM_NODE_BIT(type) (1u << (type))
#define SIM_MEMORY_NODES   (SIM_NODE_BIT(SIM_NODE_MEM_ALLOC) | SIM_NODE_BIT(SIM_NODE_MEM_FREE))

/* CUgraphEdgeData */
struct sim_graph_edge_data {
    unsigned char from_port, to_port, type, reserved[5];
};

struct sim_node_list {
    struct sim_graph_node **node;
    struct sim_graph_edge_data *data; /* of the edge from that node */
    uint32_t count, room;
};

/* Attributes of a kernel node, by CUlaunchAttributeID. */
#define SIM_ATTRIBUTES 17

struct sim_attributes {
    CUlaunchAttributeValue value[SIM_ATTRIBUTES];
};

/* What a node does.  What it points to is its own, except in one that sim_task_of_*() has just filled. */
struct sim_task {
    struct sim_context *context; /* in which it is done; NULL: in any */
    struct sim_work work;
    void *values;                      /* of a kernel's parameters, and pointers to them */
    struct sim_attributes *attributes; /* of a kernel, those that its launch has no place for; or NULL */
    union {
        CUDA_MEMCPY3D shape; /* a copy as it was given */
        struct {
            CUstreamBatchMemOpParams *op;
            uint32_t count, flags;
        } batch;
        struct sim_graph_memory *memory; /* allocated or freed */
        struct {
            CUgraphConditionalHandle handle;
            uint32_t kind;
        } condition;
    };
};

struct sim_graph_node {
    uint32_t magic;
    enum sim_node_type type;
    struct sim_graph *graph;
    struct sim_node_list before; /* what it depends on */
    struct sim_task task;
    struct sim_graph **inner; /* a child graph, or the bodies of a conditional node */
    uint32_t inner_count;
    uint32_t local_id;           /* in its graph */
    unsigned long long id;       /* never the same twice */
    unsigned long long original; /* id of the node that it is a copy of; 0: none */
    bool disabled;               /* in an executable graph */
    uint64_t mark;               /* of the last walk that came by */
    uint32_t index;              /* scratch of walks */
    struct sim_graph_node *peer; /* scratch of copies and comparisons */
};

/* A conditional handle. */
struct sim_condition {
    CUgraphConditionalHandle handle;
    struct sim_context *context;
    uint32_t value, flags;
};

struct sim_user_reference {
    struct sim_user_object *object;
    uint32_t count;
};

/* What executable graphs have in common with the graph that they were made of, which may be gone before them. */
struct sim_brood {
    _Atomic uint32_t executables; /* that live */
    _Atomic uint32_t holders;     /* they, and the graph */
};

struct sim_graph {
    uint32_t magic;
    uint32_t id;                   /* never the same twice */
    uint32_t original;             /* id of the graph that it is a copy of */
    struct sim_graph_node *parent; /* whose child or body it is */
    bool moved;                    /* to its parent, not copied */
    uint32_t next_local_id;
    uint32_t memory_nodes;   /* its own, not those of its children */
    uint32_t captures;       /* into it, going on */
    struct sim_brood *brood; /* NULL: nothing was ever made of it */
    struct sim_node_list nodes;
    struct sim_condition *condition;
    uint32_t conditions;
    struct sim_user_reference *reference;
    uint32_t references;
};

static inline bool sim_graph_has_executables(const struct sim_graph *graph)
{
    return graph->brood && graph->brood->executables;
}

/* -------- graph.c -------- */

void sim_brood_leave(struct sim_brood *brood);

CUresult sim_node_list_add(struct sim_node_list *list, struct sim_graph_node *node,
                           const struct sim_graph_edge_data *data);
/* True if the list had it. */
bool sim_node_list_remove(struct sim_node_list *list, const struct sim_graph_node *node);
/* Where the list has it, or its length. */
uint32_t sim_node_list_find(const struct sim_node_list *list, const struct sim_graph_node *node);
void sim_node_list_free(struct sim_node_list *list);

CUresult sim_graph_new(struct sim_graph **graph);
void sim_graph_free(struct sim_graph *graph);
/* A copy of the graph; the copies remember their originals. */
CUresult sim_graph_copy(struct sim_graph *graph, struct sim_graph **copy);
/* Checks the dependencies: nodes of the graph, each once.  The new node does nothing. */
CUresult sim_graph_add(struct sim_graph *graph, enum sim_node_type type, struct sim_graph_node *const *before,
                       const struct sim_graph_edge_data *data, size_t count, struct sim_graph_node **node);
void sim_graph_remove(struct sim_graph_node *node);
/* Does it, or a graph inside, hold nodes of those types? */
bool sim_graph_holds(const struct sim_graph *graph, unsigned types);
/* Is the node a copy of that one (of its original, if it is itself a copy)? */
struct sim_graph_node *sim_graph_find_copy(const struct sim_graph *copy, unsigned long long original);
/* A number that no earlier walk used as mark. */
uint64_t sim_graph_walk(void);
uint32_t sim_graph_next_id(void);

/* -------- graph_edges.c -------- */

/* Only what the driver defines: ports of kernels, the programmatic type. */
bool sim_edge_valid(const struct sim_graph_node *from, const struct sim_graph_edge_data *data);
bool sim_edges_plain(const struct sim_node_list *list);
/* Mark all that the node depends on, and itself. */
CUresult sim_graph_mark_before(struct sim_graph_node *node, uint64_t walk);

/* -------- user_object.c -------- */

CUresult sim_graph_share_references(const struct sim_graph *from, struct sim_graph *to);
void sim_graph_drop_references(struct sim_graph *graph);

/* -------- conditional.c -------- */

/* The condition of that handle, in the graph or one around it. */
struct sim_condition *sim_condition_find(struct sim_graph *graph, CUgraphConditionalHandle handle);

#endif
