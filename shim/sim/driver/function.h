/* function.h -- kernels: module.c makes them, launch.c prices them. */
#ifndef SIM_FUNCTION_H
#define SIM_FUNCTION_H

#include "cuda_types.h"

struct sim_context;

enum sim_kernel_model {
    SIM_MODEL_GRID, /* 5 us + waves of blocks over the SMs x 10 us */
    SIM_MODEL_SPIN, /* the first parameter, a u64, is its nanoseconds: an entry named `spin` with one such */
    SIM_MODEL_FIXED /* model_ns: SIMGPU_KERNELS="name=ns,..." */
};

#define SIM_MAX_PARAMS          512
#define SIM_MAX_BLOCK_THREADS   1024
#define SIM_SETTABLE_ATTRIBUTES 7 /* from CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT on */

struct sim_param {
    uint32_t offset, bytes;
};

struct sim_function {
    uint32_t magic;
    uint32_t param_count;
    struct sim_module *module; /* NULL for a context-free kernel of a library */
    const char *name;
    struct sim_param *param;
    uint32_t param_bytes;
    uint32_t max_threads, registers;
    uint32_t launch_bound; /* threads of a block that its author promised at most; 0: no promise */
    uint32_t shared_bytes, const_bytes, local_bytes;
    uint32_t max_dynamic_shared; /* cuFuncSetAttribute */
    uint32_t cache_config;
    int settable[SIM_SETTABLE_ATTRIBUTES]; /* the other attributes that cuFuncSetAttribute changes */
    enum sim_kernel_model model;
    uint64_t model_ns;
    struct sim_kernel *kernel; /* of a library; NULL: a module's own function */
};

/* launch.c: choose the model by the function's name and parameters (module.c calls it once per function). */
void sim_function_choose_model(struct sim_function *function);
/* module.c: CUfunction given to a launch -> function; a CUkernel is accepted for `ctx`, as the driver does.
 */
struct sim_function *sim_function_resolve(CUfunction handle, struct sim_context *ctx);

#endif
