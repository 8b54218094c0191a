/* copy.h -- submitting copies and fills, for the many shapes of the API and for graphs. */
#ifndef SIM_COPY_H
#define SIM_COPY_H

#include "sim.h"

/* An asynchronous copy from or to pageable memory may still take the caller's time, as the driver's do. */
CUresult sim_copy_submit(struct sim_stream *stream, const struct sim_copy *copy, bool synchronous);
CUresult sim_fill_submit(struct sim_stream *stream, const struct sim_fill *fill);
/* Where the box lies on both sides; checks that device memory holds it. */
CUresult sim_copy_from_3d(const CUDA_MEMCPY3D *shape, struct sim_copy *copy);
/* INVALID_VALUE unless all of it is mapped device (or known host) memory. */
CUresult sim_device_range(CUdeviceptr address, uint64_t bytes);
/* Host memory, known to the driver or not. */
bool sim_is_host(uint64_t address);

#endif
