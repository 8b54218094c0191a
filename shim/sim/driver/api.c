/* api.c -- exports every driver function: those that no other file defines answer CUDA_ERROR_NOT_SUPPORTED. */
#include "api.h"

#define API(symbol, name, version, stream)                                                                   \
    SIM_EXPORT __attribute__((weak)) CUresult symbol(void)                                                   \
    {                                                                                                        \
        SIM_ENTER(symbol);                                                                                   \
        return CUDA_ERROR_NOT_SUPPORTED;                                                                     \
    }
#include "api.def"
#undef API

#define PLAIN                              false
#define PER_THREAD                         true
#define API(symbol, name, version, stream) {#name, #symbol, version, stream, (void *)symbol},
const struct sim_api sim_api[] = {
#include "api.def"
};
#undef API

const size_t sim_api_count = sizeof(sim_api) / sizeof(sim_api[0]);
