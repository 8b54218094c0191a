/* launch.h -- between the files that check and price launches. */
#ifndef SIM_LAUNCH_H
#define SIM_LAUNCH_H

#include "sim.h"

/* The cluster that the kernel was built for, in blocks; false: any. */
bool sim_function_required_cluster(const struct sim_function *f, uint32_t dim[3]);
uint32_t sim_function_greatest_cluster(const struct sim_function *f);
/* Grid, block, shared memory and parameters suit the kernel and the device. */
CUresult sim_launch_check(const struct sim_context *ctx, const struct sim_launch *launch);
/* The launch's cluster fits kernel, grid and device. */
CUresult sim_launch_check_cluster(const struct sim_context *ctx, const struct sim_launch *launch);
/* Into `launch`; `ended` is to be recorded after it, unless NULL. */
CUresult sim_launch_attributes(const struct sim_context *ctx, const CUlaunchConfig *config,
                               struct sim_launch *launch, struct sim_event **ended);

#endif
