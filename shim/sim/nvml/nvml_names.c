/* nvml_names.c -- exports every name of NVML: those that no other file defines are not supported. */
#include "nvml.h"

#define NVML(name)                                                                                           \
    __attribute__((weak, visibility("default"))) nvmlReturn_t name(void)                                     \
    {                                                                                                        \
        return sim_nvml.users ? NVML_ERROR_NOT_SUPPORTED : NVML_ERROR_UNINITIALIZED;                         \
    }
#include "nvml.def"
#undef NVML
