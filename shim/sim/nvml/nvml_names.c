/* nvml_names.c -- exports every name of NVML: those that no other file defines answer NVML_ERROR_NOT_SUPPORTED. */
#include "nvml.h"

#define NVML(name)                                                                                           \
    __attribute__((weak, visibility("default"))) nvmlReturn_t name(void)                                     \
    {                                                                                                        \
        return NVML_ERROR_NOT_SUPPORTED;                                                                     \
    }
#include "nvml.def"
#undef NVML
