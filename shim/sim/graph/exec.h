/* exec.h -- executable graphs: a copy of a graph, and a plan of how its nodes go into queues. */
#ifndef SIM_EXEC_H
#define SIM_EXEC_H

#include "graph_memory.h"
#include "task.h"

#define SIM_LANES 32 /* as many queues as a device has for one process */

#define SIM_FLAG_AUTO_FREE     1ull
#define SIM_FLAG_UPLOAD        2ull
#define SIM_FLAG_DEVICE_LAUNCH 4ull
#define SIM_FLAG_NODE_PRIORITY 8ull

/* One node's turn.  Steps of one lane are done one after the other, in one queue. */
struct sim_step {
    struct sim_graph_node *node; /* of the executable graph */
    uint32_t lane;
    uint32_t branch;            /* done only if that is chosen */
    uint32_t first_wait, waits; /* steps of other lanes that come first: plan.wait[] */
    bool awaited;               /* another lane waits for it */
    bool marker;                /* begin or end of what is inside the node: nothing to do */
};

struct sim_lane {
    struct sim_context *context; /* NULL: any */
    uint32_t steps, last;        /* last: its last step */
    uint32_t known[SIM_LANES];   /* of each lane, how many steps are done when this one's last is */
};

/* A body of a conditional node.  Branch 0 is the graph itself. */
struct sim_branch {
    uint32_t around; /* the branch that holds the node */
    struct sim_graph_node *node;
    uint32_t body;
};

struct sim_plan {
    struct sim_step *step; /* in an order that respects the edges */
    uint32_t *wait;        /* steps */
    struct sim_branch *branch;
    uint32_t steps, waits, branches, lanes;
    struct sim_lane lane[SIM_LANES];
};

CUresult sim_plan_make(struct sim_graph *graph, struct sim_plan *plan);
void sim_plan_free(struct sim_plan *plan);

struct sim_graph_exec {
    uint32_t magic;
    uint32_t id;
    uint64_t flags;
    struct sim_graph *graph; /* its own copy */
    struct sim_brood *brood; /* of what it was made of */
    struct sim_plan plan;
    struct sim_graph_need need;
    struct sim_point *done;    /* where each step of the last launch ended, if another lane waits for it */
    struct sim_stream *stream; /* of the last launch */
    unsigned long long serial; /* that stream's */
    bool launched;
    pthread_mutex_t lock; /* from `done` on, and `need`: one launch at a time */
};

/* lanes.c: `count` hidden streams of those contexts for a launch into `stream`; they wait for nobody else's work. */
CUresult sim_lanes_take(struct sim_stream *stream, struct sim_context *const *context, uint32_t count,
                        struct sim_stream **lane);

/* graph_launch.c */
CUresult sim_exec_upload(struct sim_graph_exec *exec, struct sim_stream *stream);
/* What the last launch has still to do; queue 0: nothing. With its lock held, or when nobody else knows it. */
struct sim_point sim_exec_end(const struct sim_graph_exec *exec);

/* CUgraphExecUpdateResult */
enum {
    SIM_UPDATE_SUCCESS = 0,
    SIM_UPDATE_ERROR = 1,
    SIM_UPDATE_TOPOLOGY_CHANGED = 2,
    SIM_UPDATE_TYPE_CHANGED = 3,
    SIM_UPDATE_PARAMETERS_CHANGED = 5,
    SIM_UPDATE_NOT_SUPPORTED = 6,
    SIM_UPDATE_UNSUPPORTED_FUNCTION = 7,
    SIM_UPDATE_ATTRIBUTES_CHANGED = 8
};

/* CUgraphExecUpdateResultInfo */
struct sim_update {
    int result;
    CUgraphNode node, from;
};

/* exec_update.c: may the task of an executable graph's node become this one? */
int sim_exec_may_change(const struct sim_graph_exec *exec, enum sim_node_type type,
                        const struct sim_task *from, const struct sim_task *to);
/* Give `own`, which is the executable graph's or one inside, what `graph` does. */
CUresult sim_exec_update(struct sim_graph_exec *exec, struct sim_graph *own, struct sim_graph *graph,
                         struct sim_update *update);
/* exec_set.c */
CUresult sim_exec_replace(struct sim_graph_exec *exec, struct sim_graph_node *node,
                          const struct sim_task *task);

#endif
