/* nvml_accounting.c -- accounting of processes that have ended: off, as on every card until root switches it on. */
#include "nvml.h"

#define PROCESSES_KEPT 4000 /* were it on */

NVML_NUMBER(nvmlDeviceGetAccountingMode, unsigned, 0)

NVML_NUMBER(nvmlDeviceGetAccountingBufferSize, unsigned, PROCESSES_KEPT)

NVML_API(nvmlDeviceGetAccountingPids, (nvmlDevice_t device, unsigned *count, unsigned *pid))
{
    NVML_ENTER_DEVICE(device, count);
    return NVML_ERROR_NOT_SUPPORTED;
}

NVML_API(nvmlDeviceGetAccountingStats, (nvmlDevice_t device, unsigned pid, void *stats))
{
    NVML_ENTER_DEVICE(device, stats);
    return NVML_ERROR_NOT_SUPPORTED;
}

NVML_API(nvmlDeviceGetAccountingStats_v2, (nvmlDevice_t device, void *stats))
{
    NVML_ENTER_DEVICE(device, stats);
    return NVML_ERROR_NOT_SUPPORTED;
}

NVML_API(nvmlDeviceSetAccountingMode, (nvmlDevice_t device, unsigned mode))
{
    NVML_ENTER_DEVICE(device, device);
    return mode > 1 ? NVML_ERROR_INVALID_ARGUMENT : NVML_ERROR_NO_PERMISSION;
}

NVML_API(nvmlDeviceClearAccountingPids, (nvmlDevice_t device))
{
    NVML_ENTER_DEVICE(device, device);
    return NVML_ERROR_NO_PERMISSION;
}
