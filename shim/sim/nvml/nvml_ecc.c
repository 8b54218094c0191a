/* nvml_ecc.c -- errors of memory, and how it was repaired: the mode is on, the counters are there and stay at nought. */
#include "nvml.h"

enum { CORRECTED, UNCORRECTED, ERROR_KINDS };
enum { VOLATILE, AGGREGATE, COUNTERS };
enum { L1, L2, DRAM, REGISTERS, TEXTURES, TEXTURES_SHARED, CONTROL, SRAM, PLACES };

NVML_API(nvmlDeviceGetEccMode, (nvmlDevice_t device, unsigned *current, unsigned *pending))
{
    NVML_ENTER_DEVICE(device, current);
    if (!pending)
        return NVML_ERROR_INVALID_ARGUMENT;
    *current = *pending = 1;
    return NVML_SUCCESS;
}

NVML_NUMBER(nvmlDeviceGetDefaultEccMode, unsigned, 1)

NVML_API(nvmlDeviceGetTotalEccErrors,
         (nvmlDevice_t device, unsigned kind, unsigned counter, unsigned long long *count))
{
    NVML_ENTER_DEVICE(device, count);
    if (kind >= ERROR_KINDS || counter >= COUNTERS)
        return NVML_ERROR_INVALID_ARGUMENT;
    *count = 0;
    return NVML_SUCCESS;
}

/* Errors of memory are repaired by mapping rows anew since Ampere; before, pages were retired. */
static bool maps_rows(nvmlDevice_t device)
{
    return sim_nvml_device(device)->profile.compute_major >= 8;
}

/* Since Ampere all memory on the chip is counted as one. */
static bool is_counted(nvmlDevice_t device, unsigned place)
{
    if (place == DRAM)
        return true;
    return maps_rows(device) ? place == SRAM : place != SRAM && place != TEXTURES_SHARED;
}

NVML_API(nvmlDeviceGetMemoryErrorCounter,
         (nvmlDevice_t device, unsigned kind, unsigned counter, unsigned place, unsigned long long *count))
{
    NVML_ENTER_DEVICE(device, count);
    if (kind >= ERROR_KINDS || counter >= COUNTERS || place >= PLACES)
        return NVML_ERROR_INVALID_ARGUMENT;
    if (!is_counted(device, place))
        return NVML_ERROR_NOT_SUPPORTED;
    *count = 0;
    return NVML_SUCCESS;
}

struct detailed {
    unsigned long long l1, l2, memory, registers;
};

NVML_API(nvmlDeviceGetDetailedEccErrors,
         (nvmlDevice_t device, unsigned kind, unsigned counter, struct detailed *counts))
{
    NVML_ENTER_DEVICE(device, counts);
    if (kind >= ERROR_KINDS || counter >= COUNTERS)
        return NVML_ERROR_INVALID_ARGUMENT;
    *counts = (struct detailed){0};
    return NVML_SUCCESS;
}

struct sram_status {
    unsigned version;
    unsigned long long counts[11];
    unsigned too_many;
};

NVML_API(nvmlDeviceGetSramEccErrorStatus, (nvmlDevice_t device, struct sram_status *status))
{
    NVML_ENTER_DEVICE(device, status);
    if (status->version != NVML_VERSION(*status, 1))
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    if (!maps_rows(device))
        return NVML_ERROR_NOT_SUPPORTED;
    *status = (struct sram_status){.version = status->version};
    return NVML_SUCCESS;
}

NVML_API(nvmlDeviceClearEccErrorCounts, (nvmlDevice_t device, unsigned counter))
{
    NVML_ENTER_DEVICE(device, device);
    return counter >= COUNTERS ? NVML_ERROR_INVALID_ARGUMENT : NVML_ERROR_NO_PERMISSION;
}

/* ---- repairs ---- */

NVML_API(nvmlDeviceGetRemappedRows, (nvmlDevice_t device, unsigned *correctable, unsigned *uncorrectable,
                                     unsigned *pending, unsigned *failed))
{
    NVML_ENTER_DEVICE(device, correctable);
    if (!uncorrectable || !pending || !failed)
        return NVML_ERROR_INVALID_ARGUMENT;
    if (!maps_rows(device))
        return NVML_ERROR_NOT_SUPPORTED;
    *correctable = *uncorrectable = *pending = *failed = 0;
    return NVML_SUCCESS;
}

struct histogram {
    unsigned all, high, some, low, none;
};

/* Banks by how many spare rows they still have; how many banks there are differs from board to board. */
NVML_API(nvmlDeviceGetRowRemapperHistogram, (nvmlDevice_t device, struct histogram *banks))
{
    NVML_ENTER_DEVICE(device, banks);
    if (!maps_rows(device))
        return NVML_ERROR_NOT_SUPPORTED;
    *banks = (struct histogram){.all = 640};
    return NVML_SUCCESS;
}

static nvmlReturn_t no_retired_pages(nvmlDevice_t device, unsigned cause, unsigned *count)
{
    NVML_ENTER_DEVICE(device, count);
    if (cause > 1)
        return NVML_ERROR_INVALID_ARGUMENT;
    if (maps_rows(device))
        return NVML_ERROR_NOT_SUPPORTED;
    *count = 0;
    return NVML_SUCCESS;
}

NVML_API(nvmlDeviceGetRetiredPages,
         (nvmlDevice_t device, unsigned cause, unsigned *count, unsigned long long *address))
{
    return no_retired_pages(device, cause, count);
}

NVML_API(nvmlDeviceGetRetiredPages_v2, (nvmlDevice_t device, unsigned cause, unsigned *count,
                                        unsigned long long *address, unsigned long long *time))
{
    return no_retired_pages(device, cause, count);
}

NVML_API(nvmlDeviceGetRetiredPagesPendingStatus, (nvmlDevice_t device, unsigned *pending))
{
    return no_retired_pages(device, 0, pending);
}
