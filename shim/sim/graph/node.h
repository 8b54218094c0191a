/* node.h -- the parameters of graph nodes as the API spells them. */
#ifndef SIM_NODE_H
#define SIM_NODE_H

#include "graph.h"
#include "module.h"

/* CUDA_KERNEL_NODE_PARAMS: the first version ends before `kernel`. */
struct sim_kernel_params {
    CUfunction function;
    unsigned grid[3], block[3];
    unsigned shared_bytes;
    void **params, **extra;
    CUkernel kernel;
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
            int ownership;
        } child;
        CUevent event;
    };
    long long tail;
};

_Static_assert(sizeof(struct sim_node_params) == 256, "CUgraphNodeParams");

/* From parameters to work.  Pointers to kernel parameters stay the caller's: sim_node_set_work copies. */
CUresult sim_work_of_kernel(const struct sim_kernel_params *params, size_t size, struct sim_context **ctx,
                            struct sim_work *work);
CUresult sim_work_of_copy(const CUDA_MEMCPY3D *params, CUcontext context, struct sim_context **ctx,
                          struct sim_work *work);
CUresult sim_work_of_fill(const struct sim_fill_params *params, CUcontext context, struct sim_context **ctx,
                          struct sim_work *work);
CUresult sim_work_of_host(const struct sim_host_params *params, struct sim_work *work);
CUresult sim_work_of_event(CUevent event, bool record, struct sim_context **ctx, struct sim_work *work);
/* From the parameters of any kind but a child graph. */
CUresult sim_work_of_node(const struct sim_node_params *params, struct sim_context **ctx,
                          struct sim_work *work);

#endif
