/* task.h -- what nodes do: from the API's parameters to tasks, and from tasks to streams. */
#ifndef SIM_TASK_H
#define SIM_TASK_H

#include "graph.h"

/* CUDA_KERNEL_NODE_PARAMS: the first version ends before `kernel`. */
struct sim_kernel_params {
    CUfunction function;
    unsigned grid[3], block[3];
    unsigned shared_bytes;
    void **params, **extra;
    struct sim_kernel *kernel;
    CUcontext context;
};

#define SIM_KERNEL_PARAMS_V1 offsetof(struct sim_kernel_params, kernel)

struct sim_fill_params {
    CUdeviceptr destination;
    size_t pitch;
    unsigned value, element_bytes;
    size_t width, height;
    CUcontext context; /* only inside struct sim_node_params */
};

struct sim_host_params {
    CUhostFn function;
    void *argument;
};

/* CUDA_MEM_ALLOC_NODE_PARAMS */
struct sim_alloc_params {
    CUmemPoolProps props;
    const CUmemAccessDesc *access;
    size_t access_count;
    size_t bytes;
    CUdeviceptr address;
};

/* CUDA_BATCH_MEM_OP_NODE_PARAMS */
struct sim_batch_params {
    CUcontext context;
    unsigned count;
    CUstreamBatchMemOpParams *op;
    unsigned flags;
};

enum { SIM_CONDITION_IF, SIM_CONDITION_WHILE, SIM_CONDITION_SWITCH };

struct sim_condition_params {
    CUgraphConditionalHandle handle;
    int kind;
    unsigned size;
    CUgraph *bodies;
    CUcontext context;
};

/* CUgraphNodeParams */
struct sim_node_params {
    int type;
    int reserved[3];
    union {
        long long words[29];
        struct sim_kernel_params kernel;
        struct {
            int flags, reserved;
            CUcontext context;
            CUDA_MEMCPY3D copy;
        } copy;
        struct sim_fill_params fill;
        struct sim_host_params host;
        struct {
            CUgraph graph;
            int moved;
        } child;
        CUevent event;
        struct sim_alloc_params alloc;
        CUdeviceptr free;
        struct sim_batch_params batch;
        struct sim_condition_params condition;
    };
    long long tail;
};

_Static_assert(sizeof(struct sim_node_params) == 256, "CUgraphNodeParams");
_Static_assert(sizeof(struct sim_alloc_params) == 120, "CUDA_MEM_ALLOC_NODE_PARAMS");

/* From parameters to a task that still points to what the caller gave: sim_task_keep copies. */
CUresult sim_task_of_kernel(const struct sim_kernel_params *params, size_t size, struct sim_task *task);
CUresult sim_task_of_copy(const CUDA_MEMCPY3D *params, CUcontext context, struct sim_task *task);
CUresult sim_task_of_fill(const struct sim_fill_params *params, CUcontext context, struct sim_task *task);
CUresult sim_task_of_host(const struct sim_host_params *params, struct sim_task *task);
CUresult sim_task_of_event(CUevent event, bool record, struct sim_task *task);
CUresult sim_task_of_batch(const struct sim_batch_params *params, struct sim_task *task);
/* From the parameters of any kind that needs no more than a task. */
CUresult sim_task_of_node(const struct sim_node_params *params, struct sim_task *task);
/* From work that was submitted to a capturing stream; `op` has room for what it may need. */
enum sim_node_type sim_task_of_work(struct sim_stream *stream, const struct sim_work *work,
                                    CUstreamBatchMemOpParams *op, struct sim_task *task);

/* Make `to` do the same, with copies of what `from` points to; what it did before is forgotten. */
CUresult sim_task_keep(enum sim_node_type type, struct sim_task *to, const struct sim_task *from);
void sim_task_drop(enum sim_node_type type, struct sim_task *task);
/* Those of `from`, which keeps them: sim_task_keep copies. */
void sim_task_take_attributes(struct sim_task *task, const struct sim_task *from);
CUresult sim_task_set_attribute(struct sim_task *task, CUlaunchAttributeID id,
                                const CUlaunchAttributeValue *value);
/* What was never set is zero. */
CUresult sim_task_get_attribute(const struct sim_task *task, CUlaunchAttributeID id,
                                CUlaunchAttributeValue *value);
/* Queue what it does. */
CUresult sim_task_submit(enum sim_node_type type, const struct sim_task *task, struct sim_stream *stream);

#endif
