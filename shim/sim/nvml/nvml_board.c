/* nvml_board.c -- what NVML reads from a board's own memory, and how healthy it says that the board is: quite. */
#include "nvml.h"

#include <stdio.h>
#include <string.h>

#define SERIAL_TEXT 24

static void write_serial(char *text, size_t room, uint32_t index)
{
    snprintf(text, room, "16506220%05u", index);
}

NVML_API(nvmlDeviceGetSerial, (nvmlDevice_t device, char *text, unsigned room))
{
    NVML_ENTER_DEVICE(device, text);
    char serial[SERIAL_TEXT];
    write_serial(serial, sizeof(serial), device->index);
    return sim_nvml_give_text(text, room, serial);
}

#define TEXT(name, value)                                                                                    \
    NVML_API(name, (nvmlDevice_t device, char *text, unsigned room))                                         \
    {                                                                                                        \
        NVML_ENTER_DEVICE(device, text);                                                                     \
        return sim_nvml_give_text(text, room, value);                                                        \
    }

TEXT(nvmlDeviceGetInforomImageVersion, "G520.0200.00.05")
TEXT(nvmlDeviceGetBoardPartNumber, "900-21010-0040-000")
TEXT(nvmlDeviceGetVbiosVersion, "96.00.D9.00.01")
TEXT(nvmlDeviceGetGspFirmwareVersion, SIM_DRIVER_RELEASE)

NVML_API(nvmlDeviceGetInforomVersion, (nvmlDevice_t device, unsigned object, char *text, unsigned room))
{
    static const char *const oem_ecc_power_die_dram[] = {"2.1", "7.16", NULL, NULL, NULL};
    NVML_ENTER_DEVICE(device, text);
    if (object >= sizeof(oem_ecc_power_die_dram) / sizeof(*oem_ecc_power_die_dram))
        return NVML_ERROR_INVALID_ARGUMENT;
    if (!oem_ecc_power_die_dram[object])
        return NVML_ERROR_NOT_SUPPORTED;
    return sim_nvml_give_text(text, room, oem_ecc_power_die_dram[object]);
}

NVML_NUMBER(nvmlDeviceGetInforomConfigurationChecksum, unsigned, 0x5117a7e0 + device->index)

NVML_API(nvmlDeviceValidateInforom, (nvmlDevice_t device))
{
    NVML_ENTER_DEVICE(device, device);
    return NVML_SUCCESS;
}

NVML_API(nvmlDeviceGetLastBBXFlushTime,
         (nvmlDevice_t device, unsigned long long *time_us, unsigned long *duration_us))
{
    NVML_ENTER_DEVICE(device, time_us);
    return duration_us ? NVML_ERROR_NOT_READY : NVML_ERROR_INVALID_ARGUMENT;
}

NVML_API(nvmlDeviceGetGspFirmwareMode, (nvmlDevice_t device, unsigned *enabled, unsigned *by_default))
{
    NVML_ENTER_DEVICE(device, enabled);
    if (!by_default)
        return NVML_ERROR_INVALID_ARGUMENT;
    *enabled = *by_default = 1;
    return NVML_SUCCESS;
}

NVML_API(nvmlDeviceGetHandleBySerial, (const char *serial, nvmlDevice_t *device))
{
    NVML_ENTER();
    if (!serial || !device)
        return NVML_ERROR_INVALID_ARGUMENT;
    for (uint32_t i = 0; i < sim_nvml.machine->device_count; i++) {
        char text[SERIAL_TEXT];
        write_serial(text, sizeof(text), i);
        if (strcmp(text, serial) == 0) {
            *device = &sim_nvml.device[i];
            return NVML_SUCCESS;
        }
    }
    return NVML_ERROR_NOT_FOUND;
}

/* Clocks of applications are root's to set. */
NVML_API(nvmlDeviceGetAPIRestriction, (nvmlDevice_t device, unsigned what, unsigned *restricted))
{
    enum { SET_APPLICATION_CLOCKS, SET_AUTO_BOOSTED_CLOCKS };
    NVML_ENTER_DEVICE(device, restricted);
    if (what > SET_AUTO_BOOSTED_CLOCKS)
        return NVML_ERROR_INVALID_ARGUMENT;
    *restricted = 1;
    return what == SET_APPLICATION_CLOCKS ? NVML_SUCCESS : NVML_ERROR_NOT_SUPPORTED;
}

/* ---- structures that begin with a version ---- */

struct one_word {
    unsigned version, value;
};

/* One word behind the version. */
#define WORD(name, number)                                                                                   \
    NVML_API(name, (nvmlDevice_t device, struct one_word * answer))                                          \
    {                                                                                                        \
        NVML_ENTER_DEVICE(device, answer);                                                                   \
        if (answer->version != NVML_VERSION(*answer, 1))                                                     \
            return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;                                                     \
        answer->value = (number);                                                                            \
        return NVML_SUCCESS;                                                                                 \
    }

WORD(nvmlDeviceGetCapabilities, 0)
WORD(nvmlDeviceGetAddressingMode, 0)

struct pdi {
    unsigned version;
    unsigned long long value;
};

NVML_API(nvmlDeviceGetPdi, (nvmlDevice_t device, struct pdi *pdi))
{
    NVML_ENTER_DEVICE(device, pdi);
    if (pdi->version != NVML_VERSION(*pdi, 1))
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    memcpy(&pdi->value, sim_nvml_device(device)->uuid, sizeof(pdi->value));
    return NVML_SUCCESS;
}

struct repair {
    unsigned version, channel_pending, tpc_pending;
};

NVML_API(nvmlDeviceGetRepairStatus, (nvmlDevice_t device, struct repair *repair))
{
    NVML_ENTER_DEVICE(device, repair);
    if (repair->version != NVML_VERSION(*repair, 1))
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    repair->channel_pending = repair->tpc_pending = 0;
    return NVML_SUCCESS;
}

struct grid_features {
    int supported;
    unsigned count;
    unsigned char features[3 * 284];
};

NVML_API(nvmlDeviceGetGridLicensableFeatures_v4, (nvmlDevice_t device, struct grid_features *features))
{
    NVML_ENTER_DEVICE(device, features);
    *features = (struct grid_features){0};
    return NVML_SUCCESS;
}

/* ---- what only somebody with the right to may change; nobody here has it ---- */

#define MAY_NOT(name)                                                                                        \
    NVML_API(name, (nvmlDevice_t device, unsigned value))                                                    \
    {                                                                                                        \
        NVML_ENTER_DEVICE(device, device);                                                                   \
        return NVML_ERROR_NO_PERMISSION;                                                                     \
    }

MAY_NOT(nvmlDeviceSetComputeMode)
MAY_NOT(nvmlDeviceSetPersistenceMode)
MAY_NOT(nvmlDeviceSetEccMode)
MAY_NOT(nvmlDeviceSetPowerManagementLimit)
MAY_NOT(nvmlDeviceSetApplicationsClocks)
MAY_NOT(nvmlDeviceResetApplicationsClocks)
MAY_NOT(nvmlDeviceSetGpuLockedClocks)
MAY_NOT(nvmlDeviceResetGpuLockedClocks)
MAY_NOT(nvmlDeviceSetMemoryLockedClocks)
MAY_NOT(nvmlDeviceResetMemoryLockedClocks)
MAY_NOT(nvmlDeviceSetAPIRestriction)

NVML_API(nvmlDeviceSetPowerManagementLimit_v2, (nvmlDevice_t device, void *limit))
{
    NVML_ENTER_DEVICE(device, limit);
    return NVML_ERROR_NO_PERMISSION;
}

NVML_API(nvmlDeviceSetTemperatureThreshold, (nvmlDevice_t device, unsigned threshold, int *celsius))
{
    NVML_ENTER_DEVICE(device, celsius);
    return NVML_ERROR_NO_PERMISSION;
}
